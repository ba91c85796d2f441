//! Reads and writes of the first disk, each with a buffer that goes and comes back: nothing is copied.
//!
//! What lies between the marks is all that the hart does: requests, interrupts, tasks.

use alloc::{format, string::String, vec::Vec};

use wakeful::{
    blk::{self, BlockDevice, Buffer, Disk},
    task,
};

use crate::measure::{Shape, mark, row};

const OWNER: &str = "wakeful";

/// Random requests of a row, how many bytes they have, and how many are under way where there are many at once.
const REQUESTS: usize = 2048;
const PAGE: usize = 4 << 10;
const AT_ONCE: usize = 32;

/// Sequential requests of a row, and how many bytes they have.
const LONG_REQUESTS: usize = 128;
const MIB: usize = 1 << 20;

const WORKS: &str = "the disk works";

#[derive(Clone, Copy)]
enum Way {
    Read,
    Write,
}

/// As the host does not say otherwise, the first disk has 128 MiB at least.
pub(crate) async fn rows() -> Result<(), String> {
    let disk = blk::disk(0).map_err(|error| format!("{error}"))?;
    let random = Shape { operations: REQUESTS, ..Shape::AROUND };
    let sequential = Shape { operations: LONG_REQUESTS, ..Shape::AROUND };
    for (way, one, many, long) in [
        (Way::Read, "disk-read", "disk-read-32", "disk-read-mib"),
        (Way::Write, "disk-write", "disk-write-32", "disk-write-mib"),
    ] {
        row(OWNER, one, random, async || {
            let pages = pages(disk, way, buffer(PAGE), 1, REQUESTS);
            mark();
            pages.await;
            mark();
        })
        .await;
        row(OWNER, many, random, async || {
            let pages = |seed| pages(disk, way, buffer(PAGE), seed, REQUESTS / AT_ONCE);
            let pages: Vec<_> = (1..=AT_ONCE as u64).map(pages).collect();
            mark();
            let tasks: Vec<_> = pages.into_iter().map(task::spawn_local).collect();
            for task in tasks {
                task.await.expect(WORKS);
            }
            mark();
        })
        .await;
        row(OWNER, long, sequential, async || {
            let mut buffer = buffer(MIB);
            let blocks = blocks(disk, MIB);
            mark();
            for number in 0..LONG_REQUESTS as u64 {
                buffer = request(disk, way, number * blocks, buffer).await;
            }
            mark();
        })
        .await;
    }
    Ok(())
}

/// One random page after the other.
async fn pages(disk: Disk, way: Way, mut buffer: Buffer, seed: u64, count: usize) {
    let blocks = blocks(disk, PAGE);
    let pages = disk.geometry().blocks / blocks;
    let mut random = seed;
    for _ in 0..count {
        // Marsaglia, "Xorshift RNGs" (2003), §4.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        buffer = request(disk, way, random % pages * blocks, buffer).await;
    }
}

async fn request(disk: Disk, way: Way, block: u64, buffer: Buffer) -> Buffer {
    let done = match way {
        Way::Read => disk.read_buffer(block, buffer, ..).await,
        Way::Write => disk.write_buffer(block, buffer, ..).await,
    };
    done.expect(WORKS)
}

fn buffer(bytes: usize) -> Buffer {
    Buffer::new(bytes).expect("there is memory for it")
}

fn blocks(disk: Disk, bytes: usize) -> u64 {
    bytes as u64 / u64::from(disk.geometry().block_size)
}
