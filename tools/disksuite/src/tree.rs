//! Prints what is on the first disk: a line for each file, with its length and a sum of its bytes, which the host
//! compares with what it has put there.

use alloc::{format, string::String, vec, vec::Vec};

use wakeful::{
    blk,
    fs::{self, Volume, ext4},
    println,
};

/// Bytes that are read at once: no number of blocks.
const PIECE: usize = 5000;

pub(crate) async fn run() -> Result<(), String> {
    let disk = blk::disk(0).map_err(|error| format!("{error}"))?;
    match fs::mount(disk).await {
        Ok(volume) => fat(&volume).await.map_err(|error| format!("{error}")),
        Err(fs::Error::NotFat) => {
            let volume = ext4::Volume::mount(disk).await.map_err(|error| format!("{error}"))?;
            of_ext4(&volume).await.map_err(|error| format!("{error}"))
        }
        Err(error) => Err(format!("{error}")),
    }
}

/// What is on a FAT volume.
pub(crate) async fn fat(volume: &Volume) -> Result<(), fs::Error> {
    println!("volume: {:?}, {:?}", volume.kind(), volume.health());
    let mut folders: Vec<String> = vec![String::new()];
    let mut buffer = vec![0; PIECE];
    while let Some(folder) = folders.pop() {
        let mut entries = volume.read_dir(&format!("{folder}/")).await?;
        while let Some(entry) = entries.next().await? {
            let path = format!("{folder}/{}", entry.name);
            if entry.metadata.is_dir {
                folders.push(path);
                continue;
            }
            let mut file = volume.open(&path).await?;
            let mut sum = Sum::new();
            while let count @ 1.. = file.read(&mut buffer).await? {
                sum.add(&buffer[..count]);
            }
            file.close().await?;
            sum.tell(&path);
        }
    }
    Ok(())
}

async fn of_ext4(volume: &ext4::Volume<blk::Disk>) -> Result<(), ext4::Error> {
    println!("volume: ext4");
    let mut folders: Vec<String> = vec![String::new()];
    let mut buffer = vec![0; PIECE];
    while let Some(folder) = folders.pop() {
        let mut entries = volume.read_dir(format!("{folder}/")).await?;
        while let Some(entry) = entries.next().await? {
            let path = format!("{folder}/{}", String::from_utf8_lossy(entry.file_name()));
            match entry.file_type() {
                ext4::FileType::Directory => folders.push(path),
                ext4::FileType::File => {
                    let mut file = volume.open(&path).await?;
                    let mut sum = Sum::new();
                    while let count @ 1.. = file.read(&mut buffer).await? {
                        sum.add(&buffer[..count]);
                    }
                    sum.tell(&path);
                }
                ext4::FileType::Link | ext4::FileType::Other => {}
            }
        }
    }
    Ok(())
}

/// FNV-1a in 64 bits (draft-eastlake-fnv), and how many bytes.
struct Sum {
    hash: u64,
    len: u64,
}

impl Sum {
    fn new() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, len: 0 }
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        self.len += bytes.len() as u64;
    }

    fn tell(&self, path: &str) {
        println!("file|{path}|{}|{:016x}", self.len, self.hash);
    }
}
