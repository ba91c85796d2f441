//! A web server of the files on a disk: types, ranges, lists of directories, and nothing twice to who has it already.
//!
//! `make run APP=files DISK=./site` makes a FAT disk of the folder `site`, boots, and says where to point the browser.
//! `DISK=` takes the image of a disk as well, with partitions or without. Only so much of a file is in memory as is
//! just being sent.

#![no_std]
#![no_main]

use core::fmt;

use wakeful::{
    blk,
    fs::{self, Options},
    http::{self, Files},
    net, println,
};

#[wakeful::main]
async fn main() -> Result<(), Error> {
    let disk = blk::disk(0).map_err(|_| Error::NoDisk)?;
    // Nothing is written here, so a volume that was not left in peace is taken as it is.
    let options = Options { is_read_only: true, ..Options::default() };
    let volume = fs::mount_with(disk, options).await.map_err(Error::Volume)?;
    if let Some(label) = volume.label().await.map_err(Error::Volume)? {
        println!("files of the volume {label}");
    }
    http::serve(80, Files::new(volume).router()).await.map_err(Error::Network)
}

/// Why there is nothing to serve.
enum Error {
    NoDisk,
    Volume(fs::Error),
    Network(net::Error),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const COMMAND: &str = "`make run APP=files DISK=./folder` makes one of a folder";
        match self {
            Self::NoDisk => write!(f, "this machine has no disk: {COMMAND}"),
            Self::Volume(fs::Error::NotFat) => write!(f, "the disk has no FAT volume: {COMMAND}"),
            Self::Volume(error) => write!(f, "the disk cannot be read: {error}"),
            Self::Network(error) => write!(f, "there is no network to serve: {error}"),
        }
    }
}
