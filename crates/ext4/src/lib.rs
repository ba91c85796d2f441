//! Reads ext2, ext3 and ext4 volumes, asynchronously, and believes nothing that they say.
//!
//! - [`Volume`]: what is asked by path, named as in `std::fs`. Clones are the same volume.
//! - [`File`]: an open file, with the traits of `embedded-io-async`. [`ReadDir`]: the entries of a directory.
//! - [`Options`]: how much is remembered.
//!
//! It owns the device, which it never writes, and a cache of bounded size. It has no task, and nobody is woken by it but who
//! waits for the cache, which is locked while bytes are copied; while the device works nothing is locked, so as many
//! requests are under way as there are tasks. Futures are `Send` if the device's are.
//!
//! All that is read may be damaged, or made to do damage: that is an [`Error`]. The work for what is asked is bounded by
//! the size of the volume, memory by the cache, some blocks, and the length of what [`Volume::read`] reads.
//!
//! Needs an allocator, and a `critical-section`. What is read, what is refused, and what it costs is in the README of
//! this crate.
//!
//! ```
//! # wakeful_block::fake::run(async {
//! use wakeful_block::RamDisk;
//! use wakeful_ext4::{Error, Volume};
//!
//! let disk = RamDisk::new(512, 100)?;
//! assert_eq!(Volume::mount(disk).await.unwrap_err(), Error::NotExt4);
//! # Ok::<(), wakeful_block::Error>(())
//! # }).unwrap();
//! ```

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod bytes;
mod cache;
mod directory;
mod error;
mod file;
mod inode;
mod journal;
mod map;
mod path;
mod superblock;
#[cfg(test)]
mod tests;
mod volume;

pub use embedded_io_async::SeekFrom;
pub use error::Error;
pub use file::File;
pub use inode::{FileType, Metadata, Timestamp};
pub use path::{MAX_LINKS, MAX_NAME, MAX_PATH};
pub use volume::{DirEntry, Options, ReadDir, Volume};

use volume::Shared;

/// Memory of zeros, if there is any.
fn zeros(len: usize) -> Result<alloc::vec::Vec<u8>, Error> {
    let mut bytes = alloc::vec::Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Error::OutOfMemory)?;
    bytes.resize(len, 0);
    Ok(bytes)
}
