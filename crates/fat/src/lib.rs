//! FAT volumes on block devices: files and directories, for any number of tasks.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod date;
mod device;
mod directory;
mod error;
mod file;
mod mark;
mod options;
mod path;
mod repair;
mod session;
#[cfg(test)]
mod tests;
mod volume;

pub use date::{Clock, DateTime};
pub use directory::{DirEntry, ReadDir};
pub use error::Error;
pub use file::File;
pub use options::{Cache, OpenOptions, Options};
pub use volume::{Health, Kind, Metadata, Space, Volume};
