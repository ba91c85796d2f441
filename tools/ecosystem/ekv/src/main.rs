//! ekv as it is on crates.io: a database on the first disk, of which it uses a MiB, counts how often it was opened,
//! by this boot of the machine and by the one before.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
};

use ekv::{
    Database, MountError, ReadError,
    config::{MAX_PAGE_COUNT, PAGE_SIZE},
    flash::PageID,
};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};
use wakeful::{
    blk::{self, Disk, Error},
    println,
};

/// How many other keys there are.
const KEYS: u32 = 200;

/// What ekv asks for. Its words have 4 bytes at most.
struct Flash(blk::Flash<Disk, PAGE_SIZE, 4>);

impl ekv::flash::Flash for Flash {
    type Error = Error;

    fn page_count(&self) -> usize {
        (self.0.capacity() / PAGE_SIZE).min(MAX_PAGE_COUNT)
    }

    async fn erase(&mut self, page: PageID) -> Result<(), Error> {
        self.0.erase(address(page, 0), address(page, PAGE_SIZE)).await
    }

    async fn read(&mut self, page: PageID, offset: usize, into: &mut [u8]) -> Result<(), Error> {
        self.0.read(address(page, offset), into).await
    }

    async fn write(&mut self, page: PageID, offset: usize, from: &[u8]) -> Result<(), Error> {
        self.0.write(address(page, offset), from).await
    }
}

fn address(page: PageID, offset: usize) -> u32 {
    (page.index() * PAGE_SIZE + offset) as u32
}

type Data = Database<Flash, CriticalSectionRawMutex>;

/// How often it is opened in a boot.
const TIMES: u32 = 2;

#[wakeful::main]
async fn main() -> Result<(), String> {
    for _ in 0..TIMES {
        let disk = blk::disk(0).map_err(|error| error.to_string())?;
        let flash = Flash(blk::Flash::new(disk).map_err(|error| error.to_string())?);
        // Both are larger than a task should be.
        let data = Box::new(Data::new(flash, ekv::Config::default()));
        if Box::pin(count(&data)).await? == TIMES {
            println!("starting again");
            wakeful::reboot();
        }
    }
    Ok(())
}

/// Reads what the last one has written, and writes something else. Returns how often it was opened.
async fn count(data: &Data) -> Result<u32, String> {
    match data.mount().await {
        Ok(()) => {}
        Err(MountError::Corrupted) => {
            println!("a new database");
            data.format().await.map_err(|error| format!("format: {error:?}"))?;
        }
        Err(error) => return Err(format!("mount: {error:?}")),
    }
    let times = read(data, "times").await?.unwrap_or(0);
    for key in 0..KEYS {
        let value = read(data, &format!("key {key:03}")).await?;
        if value != (times > 0).then_some(key * times) {
            return Err(format!("key {key} has {value:?}"));
        }
    }
    write(data, times + 1).await?;
    println!("opened {times} times before");
    Ok(times + 1)
}

async fn read(data: &Data, key: &str) -> Result<Option<u32>, String> {
    let mut value = [0; 4];
    let transaction = data.read_transaction().await;
    match transaction.read(key.as_bytes(), &mut value).await {
        Ok(4) => Ok(Some(u32::from_le_bytes(value))),
        Err(ReadError::KeyNotFound) => Ok(None),
        other => Err(format!("{key}: {other:?}")),
    }
}

/// Everything at once, and to stay.
async fn write(data: &Data, times: u32) -> Result<(), String> {
    let explain = |error| format!("write: {error:?}");
    let mut transaction = data.write_transaction().await;
    for key in 0..KEYS {
        let value = key * times;
        let key = format!("key {key:03}");
        transaction.write(key.as_bytes(), &value.to_le_bytes()).await.map_err(explain)?;
    }
    transaction.write(b"times", &times.to_le_bytes()).await.map_err(explain)?;
    transaction.commit().await.map_err(|error| format!("commit: {error:?}"))?;
    // ekv knows nothing of caches.
    data.lock_flash().await.0.flush().await.map_err(|error| error.to_string())
}
