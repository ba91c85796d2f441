//! Names and values that survive the loss of power, on a block device.
//!
//! [`Settings`] is for what a machine has to know when it starts again: some dozens of short values, read at boot and
//! set now and then. It lies on a [`BlockDevice`](wakeful_block::BlockDevice), mostly a
//! [`Partition`](wakeful_block::Partition) of a few dozen KiB, behind one block that says that it is there.
//!
//! - What [`Settings::set`] and [`Settings::remove`] have done when they return is durable.
//! - Power may fail at any time: each key has its old or its new value then, all others have theirs.
//! - All futures may be dropped at any time, with the same outcome.
//! - A device with anything on it is opened, or refused with an error. A damaged item is as if it had
//!   never been set: its key has the value before that, if it is still there.
//!
//! The store is that of the crate `sequential-storage`, on [`Flash`](wakeful_block::Flash). Needs an allocator and three
//! pages of memory; no globals, no tasks: it waits for its device alone. What was decided, and against what, is in the
//! README of this crate.
//!
//! ```
//! # wakeful_block::fake::run(async {
//! use wakeful_block::RamDisk;
//! use wakeful_settings::{Error, Settings};
//!
//! let disk = RamDisk::new(512, 128)?;
//! let mut settings: Settings<_> = match Settings::open(&disk).await {
//!     Err(Error::NotFormatted) => Settings::format(&disk).await?,
//!     opened => opened?,
//! };
//! settings.set("hostname", "lamp").await?;
//! settings.set("colour", [255, 160, 0]).await?;
//!
//! let mut settings: Settings<_> = Settings::open(&disk).await?;
//! assert_eq!(settings.text("hostname").await?, Some("lamp"));
//! assert_eq!(settings.get("colour").await?, Some(&[255, 160, 0][..]));
//! assert_eq!(settings.get("size").await?, None);
//! # Ok::<(), Error>(())
//! # }).unwrap();
//! ```

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod error;
mod front;
mod key;
mod settings;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use key::{Key, MAX_KEY};
pub use settings::{Settings, Space};
