//! A volume that becomes full: an error, nothing lost, and room again when something is removed.

use alloc::{format, string::String};

use wakeful::{
    blk,
    fs::{self, Error},
    println,
};

use crate::{random::bytes, tree};

/// Bytes of each file.
const LEN: usize = 300_000;

pub(crate) async fn run() -> Result<(), String> {
    let explain = |error: Error| format!("{error}");
    let disk = blk::disk(0).map_err(|error| format!("{error}"))?;
    let volume = fs::mount(disk).await.map_err(explain)?;
    let path = |number: u64| format!("/file {number}");
    let mut count = 0;
    loop {
        match volume.write(&path(count), &bytes(count, LEN)).await {
            Ok(()) => count += 1,
            Err(Error::NoSpace) => break,
            Err(error) => return Err(format!("{error}")),
        }
    }
    for number in 0..count {
        if volume.read(&path(number)).await.map_err(explain)? != bytes(number, LEN) {
            return Err(format!("{} is not what was written", path(number)));
        }
    }
    println!("full after {count} files, {:?}", volume.space().await.map_err(explain)?);
    volume.remove_file(&path(0)).await.map_err(explain)?;
    volume.write(&path(count), &bytes(count, LEN)).await.map_err(explain)?;
    volume.sync().await.map_err(explain)?;
    tree::fat(&volume).await.map_err(explain)
}
