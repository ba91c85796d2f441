//! FAT volumes on block devices: files and directories, for any number of tasks.
//!
//! A [`Volume`] is mounted on a [`BlockDevice`](wakeful_block::BlockDevice): FAT12, FAT16 or FAT32, as cards, sticks and boot
//! partitions have them. It owns the device, what it keeps of it in memory, and a lock; clones of it are the same
//! volume. [`File`] and [`ReadDir`] are handles into it. Needs an allocator, and an implementation of
//! `critical-section`, as the lock's list of waiters is edited in one. No globals, no tasks, no clock but the one that it
//! is [given](Clock).
//!
//! ```
//! # use wakeful_block::fake::Disk;
//! # async fn example(disk: Disk) -> Result<(), wakeful_fat::Error> {
//! use wakeful_fat::{OpenOptions, Options, Volume};
//!
//! let volume = Volume::mount(disk, Options::default()).await?;
//! volume.create_dir("logs").await?;
//! let mut log = volume.open_with("logs/today.txt", OpenOptions::new().append().create()).await?;
//! log.write(b"It began to rain.\n").await?;
//! log.close().await?;
//! volume.sync().await?;
//! assert_eq!(volume.read("LOGS/Today.txt").await?, b"It began to rain.\n");
//! # Ok(())
//! # }
//! ```
//!
//! # Paths
//!
//! Names between slashes, from the root; whether one begins or ends with a slash means nothing. `.` and `..` are
//! resolved in the text alone, so `a/../b` is `b`, whether there is an `a` or not. Upper and lower case are the same, and a name is
//! listed as it was written first. New names may have 255 UTF-16 units, no control characters, none of
//! `"*/:<>?\|`, and no dot or space at the end. `CON` and its like can be made here; Windows cannot open them.
//!
//! # Who wakes whom
//!
//! A call waits for its turn, and is woken by the one whose turn ends; or for the device, which wakes it. Turns come in
//! the order of the calls. Futures are `Send` if those of the device are.
//!
//! # What is durable
//!
//! What was done before [`Volume::sync`] was called, once it has returned. [`File::sync`] does it for one file and does not mark the
//! volume as left in peace. Of what was done since, after a loss of power:
//!
//! - Any part of what was written to files may be there, and lengths may be old.
//! - Each change of a directory is there or not, in no particular order of files: what was made is there, empty or not; what was
//!   removed is gone, or not; what was renamed has one name or the other. A file that replaced another, if neither was open, has
//!   replaced it or not: its name has the old bytes or the new ones, all of them as far as they were synced. So to write a file anew
//!   and never lose both, write another, sync, rename. A directory in the place of another may leave that name free.
//! - Files that were not touched are as they were.
//!
//! What was being renamed may have no name, until the volume is mounted again to be written. It never has two, unless it is an
//! empty file.
//!
//! The next mount repairs what was left half done: a mark on the disk says that something may be. What it cannot
//! mend without loss, it leaves alone: [`Health::Damaged`].
//!
//! # Cancellation
//!
//! All futures may be dropped at any time. What the device was doing is waited for by the next call, which also finishes or
//! undoes what was begun; each function says which. A handle that is dropped is closed by the next call.
//!
//! # Bad volumes
//!
//! Whatever is on the disk, every call ends, with an error if need be. Work and memory are bounded by the size of the
//! volume and of its directories, of 65,536 entries at most. Directories of a broken volume may contain
//! themselves: who walks through all of them should count.
//!
//! Memory for files' bytes, names and tables is asked for and may be refused: [`Error::OutOfMemory`]. The driver's few
//! hundred bytes for an open file, and its caches, are not.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod date;
mod detach;
mod device;
mod directory;
mod error;
mod file;
mod mark;
mod options;
mod path;
mod rename;
mod repair;
mod replace;
mod session;
#[cfg(test)]
mod tests;
mod volume;

pub use embedded_io_async::SeekFrom;

pub use date::{Clock, DateTime};
pub use directory::{DirEntry, ReadDir};
pub use error::Error;
pub use file::File;
pub use options::{Cache, OpenOptions, Options};
pub use volume::{Health, Kind, Metadata, Space, Volume};
