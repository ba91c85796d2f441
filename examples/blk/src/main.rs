//! What is on the machine's disks: their partitions, and the checksum of all bytes.
//!
//! `make run APP=blk DISK=FILE` says the same of a disk as `crc32 FILE` and `sfdisk --list FILE`. Two buffers take turns:
//! while the disk fills one, the other is summed up; and nothing is copied.

#![no_std]
#![no_main]

use core::fmt;

use crc::{CRC_32_ISO_HDLC, Crc, Table};
use futures_util::future::join;
use wakeful::{
    blk::{self, BlockDevice, Buffer, Disk, Error, Geometry, table},
    println,
};

static CRC_32: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

#[wakeful::main]
async fn main() -> Result<(), Error> {
    if blk::disks().len() == 0 {
        println!("this machine has no disk: make run APP=blk DISK=file-or-folder gives it one");
    }
    for disk in blk::disks() {
        describe(disk).await?;
        println!("  CRC-32 {:08x}", checksum(disk).await?);
    }
    Ok(())
}

/// Its size and its partitions.
async fn describe(disk: Disk) -> Result<(), Error> {
    let geometry = disk.geometry();
    let kind = if geometry.is_read_only { ", read-only" } else { "" };
    let (number, kib, size) = (disk.number(), geometry.bytes() >> 10, geometry.block_size);
    println!("disk {number}: {kib} KiB in blocks of {size} bytes{kind}");
    let table = match table::partitions(&disk).await {
        Ok(table) => table,
        Err(error) => {
            // What is on it is its owner's business: its bytes can be read all the same.
            println!("  {error}");
            return Ok(());
        }
    };
    for partition in table.entries() {
        let table::Entry { index, first, blocks, .. } = partition;
        println!("  partition {index}: {blocks} blocks from {first} on, {}", Type(partition.kind));
    }
    Ok(())
}

/// What a table says that a partition is for.
struct Type(table::Kind);

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            table::Kind::Mbr(kind) => write!(f, "type {kind:02x}"),
            table::Kind::Gpt(kind) => write!(f, "type {kind}"),
        }
    }
}

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// That of all bytes of a disk.
async fn checksum(disk: Disk) -> Result<u32, Error> {
    let buffer = || Buffer::new(PIECE).ok_or(Error::OutOfMemory);
    let (mut full, mut spare) = (buffer()?, buffer()?);
    let (mut sum, mut block, mut len) = (CRC_32.digest(), 0, 0);
    loop {
        let (next, ()) = join(read(disk, block, spare), async { sum.update(&full[..len]) }).await;
        (spare, (full, len)) = (full, next?);
        if len == 0 {
            return Ok(sum.finalize());
        }
        block += len as u64 / u64::from(disk.geometry().block_size);
    }
}

/// Reads as much as there is from a block on, and fits. Says how many bytes that is.
async fn read(disk: Disk, block: u64, buffer: Buffer) -> Result<(Buffer, usize), Error> {
    let Geometry { block_size, blocks, .. } = disk.geometry();
    let rest = (blocks - block) * u64::from(block_size);
    let len = rest.min(PIECE.min(disk.longest()) as u64) as usize;
    if len == 0 {
        return Ok((buffer, 0));
    }
    Ok((disk.read_buffer(block, buffer, ..len).await?, len))
}
