//! Disks: what is written is read again, by one task and by many; what goes wrong goes wrong as it should.

use alloc::{format, string::String, vec::Vec};
use core::{future::Future, pin::pin, time::Duration};

use futures_util::future::{join, join_all, poll_immediate};
use wakeful::{println, task, time};
use wakeful_driver::blk::{Buffer, Disk, Error, IN_FLIGHT};

use crate::{Outcome, ensure};

/// How long a request may take, or many that were begun together.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of most buffers.
const LEN: usize = 4096;

/// Tasks at a time, and what each does: more than the device has at a time.
const TASKS: usize = 100;
const ROUNDS: usize = 20;

/// All disks that there are.
pub(crate) async fn all() -> Outcome {
    let disks = wakeful_driver::start().blk;
    ensure(!disks.is_empty(), || String::from("no disk"))?;
    for disk in &disks {
        task::spawn(disk.serve()).detach();
    }
    for disk in &disks {
        let number = disk.number();
        println!("disk {number}: {:?}", disk.geometry());
        if disk.geometry().read_only {
            only_reads(disk).await?;
            println!("disk {number} is read-only");
            continue;
        }
        one_by_one(disk).await?;
        println!("disk {number}: one by one");
        many(disk).await?;
        println!("disk {number}: many");
        refused(disk).await?;
        dropped(disk).await?;
        println!("disk {number}: dropped");
        restarted(disk).await?;
        println!("disk {number}: restarted");
    }
    Ok(())
}

fn buffer(len: usize, value: u8) -> Result<Buffer, String> {
    let mut buffer = Buffer::new(len).ok_or("no memory")?;
    buffer.fill(value);
    Ok(buffer)
}

/// What comes of it in time.
async fn within<F: Future>(future: F) -> Result<F::Output, String> {
    time::timeout(PATIENCE, future).await.map_err(|_| String::from("nobody was woken"))
}

fn blocks_of(disk: &Disk, len: usize) -> u64 {
    (len / disk.geometry().block_size as usize) as u64
}

async fn write(disk: &Disk, block: u64, buffer: Buffer) -> Result<Buffer, String> {
    within(disk.write(block, buffer, ..)).await?.map_err(|failed| format!("write: {failed}"))
}

async fn read(disk: &Disk, block: u64, buffer: Buffer) -> Result<Buffer, String> {
    within(disk.read(block, buffer, ..)).await?.map_err(|failed| format!("read: {failed}"))
}

fn is_full_of(buffer: &[u8], value: u8) -> Outcome {
    let odd = buffer.iter().position(|&byte| byte != value);
    ensure(odd.is_none(), || format!("not {value} but {} at {odd:?}", buffer[odd.unwrap_or(0)]))
}

async fn one_by_one(disk: &Disk) -> Outcome {
    let mut at = 0;
    for (value, len) in (1..).zip([LEN, 2 * LEN, 16 * LEN, 256 * LEN, LEN]) {
        let mut buffer = write(disk, at, buffer(len, value)?).await?;
        buffer.fill(0);
        let buffer = read(disk, at, buffer).await?;
        is_full_of(&buffer, value)?;
        // A part of it.
        let part = within(disk.read(at, buffer, ..LEN)).await?;
        is_full_of(&part.map_err(|failed| format!("part: {failed}"))?, value)?;
        at += blocks_of(disk, len);
    }
    // The last block, and none behind it.
    let block = disk.geometry().block_size as usize;
    let last = disk.geometry().blocks - 1;
    let written = write(disk, last, buffer(block, 9)?).await?;
    is_full_of(&read(disk, last, written).await?, 9)?;
    within(disk.flush()).await?.map_err(|error| format!("flush: {error}"))
}

/// As many tasks as there can be requests in flight and more, on all harts.
async fn many(disk: &Disk) -> Outcome {
    let disk = *disk;
    let tasks: Vec<_> = (0..TASKS).map(|number| task::spawn(work(disk, number))).collect();
    for task in tasks {
        within(task).await?.map_err(|error| format!("{error}"))??;
    }
    // Of one task.
    let read = |number: usize| async move {
        let at = number as u64 * blocks_of(&disk, LEN);
        is_full_of(&read(&disk, at, buffer(LEN, 0)?).await?, (number + ROUNDS - 1) as u8)
    };
    join_all((0..TASKS).map(read)).await.into_iter().collect()
}

/// Writes and reads again and again at a place of its own.
async fn work(disk: Disk, number: usize) -> Outcome {
    let at = number as u64 * blocks_of(&disk, LEN);
    let mut buffer = buffer(LEN, 0)?;
    for round in 0..ROUNDS {
        let value = (number + round) as u8;
        buffer.fill(value);
        buffer = write(&disk, at, buffer).await?;
        if round % 8 == 0 {
            within(disk.flush()).await?.map_err(|error| format!("flush: {error}"))?;
        }
        buffer.fill(!value);
        buffer = read(&disk, at, buffer).await?;
        is_full_of(&buffer, value)?;
    }
    Ok(())
}

async fn refused(disk: &Disk) -> Outcome {
    let past = disk.geometry().blocks;
    let failed = disk.write(past, buffer(LEN, 0)?, ..).await.err();
    let failed = failed.ok_or_else(|| String::from("a write behind the end"))?;
    ensure(failed.error == Error::OutOfRange, || format!("{failed}"))?;
    let buffer = failed.buffer.ok_or("no buffer")?;
    let failed = disk.read(0, buffer, 1..LEN).await.err();
    ensure(failed.is_some_and(|it| it.error == Error::Length), || {
        String::from("a part of a block")
    })?;
    ensure(Buffer::new(0).is_none(), || String::from("a buffer of nothing"))?;
    ensure(Buffer::new(1 << 40).is_none(), || String::from("a buffer without memory"))
}

/// Requests that nobody waits for: those that the device has are done.
async fn dropped(disk: &Disk) -> Outcome {
    for round in 0..10 {
        let value = 100 + round;
        for number in 0..2 * IN_FLIGHT as u64 {
            let at = number * blocks_of(disk, LEN);
            let mut request = pin!(disk.write(at, buffer(LEN, value)?, ..));
            // (It may be done at once, if somebody serves it on another hart.)
            let _ = poll_immediate(request.as_mut()).await;
        }
        within(disk.flush()).await?.map_err(|error| format!("flush: {error}"))?;
        is_full_of(&read(disk, 0, buffer(LEN, 0)?).await?, value)?;
    }
    Ok(())
}

/// Reset in the middle of everything, again and again.
async fn restarted(disk: &Disk) -> Outcome {
    let (disk, count) = (*disk, 2 * IN_FLIGHT);
    let (mut done, mut failed) = (0, 0);
    for round in 0..20 {
        let request = |number: usize| async move {
            let at = (number % TASKS) as u64 * blocks_of(&disk, LEN);
            match disk.write(at, buffer(LEN, round)?, ..).await {
                Ok(_) => Ok(true),
                Err(failed) if failed.error == Error::Reset && failed.buffer.is_some() => Ok(false),
                Err(failed) => Err(format!("round {round}: {failed}")),
            }
        };
        let all = join_all((0..count).map(request));
        let reset = async {
            task::yield_now().await;
            disk.restart()
        };
        let (results, works) = join(within(all), reset).await;
        ensure(works, || format!("no restart in round {round}"))?;
        for result in results? {
            *if result? { &mut done } else { &mut failed } += 1;
        }
        let buffer = write(&disk, 0, buffer(LEN, round)?).await?;
        is_full_of(&read(&disk, 0, buffer).await?, round)?;
    }
    println!("{done} done, {failed} reset");
    ensure(failed > 0 && disk.restarts() == 0, || String::from("nothing was reset"))
}

async fn only_reads(disk: &Disk) -> Outcome {
    let buffer = read(disk, 0, buffer(LEN, 1)?).await?;
    is_full_of(&buffer, 0)?;
    let failed = disk.write(0, buffer, ..).await.err();
    ensure(failed.is_some_and(|it| it.error == Error::ReadOnly), || String::from("a write"))?;
    within(disk.flush()).await?.map_err(|error| format!("flush: {error}"))
}
