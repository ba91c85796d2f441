//! Block devices as values: disks in memory, and parts of disks.
//!
//! - [`BlockDevice`]: what a disk can do, how many at once, what is durable when, and what a dropped future leaves
//!   behind. [`Geometry`] is how large it is.
//! - [`RamDisk`], a disk in memory. [`Partition`], a range of a device as a device.
//! - [`table`]: where the partitions of a disk are.
//! - [`Stream`], a device as a stream of bytes; [`Flash`], a device as flash memory: for crates that read and write those.
//! - `fake`, with the feature of that name: a disk for tests that loses power.
//!
//! Needs an allocator. No globals, no hardware, no tasks: who completes a request wakes whoever waits for it, and that
//! is the device. What was decided, and against what, is in the README of this crate.
//!
//! ```
//! # wakeful_block::fake::run(async {
//! use wakeful_block::{BlockDevice, Error, Partition, RamDisk};
//!
//! let disk = RamDisk::new(512, 100)?;
//! let (left, right) = (Partition::new(&disk, 0, 50)?, Partition::new(&disk, 50, 50)?);
//! left.write(49, &[1; 512]).await?;
//! right.write(0, &[2; 512]).await?;
//! disk.flush().await?;
//!
//! let mut both = [0; 1024];
//! disk.read(49, &mut both).await?;
//! assert_eq!((both[0], both[512]), (1, 2));
//! # Ok::<(), Error>(())
//! # }).unwrap();
//! ```

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod device;
mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod flash;
mod geometry;
mod partition;
mod ram;
mod stream;
pub mod table;

pub use device::BlockDevice;
pub use error::Error;
pub use flash::Flash;
pub use geometry::{Geometry, MAX_BLOCK_SIZE, MIN_BLOCK_SIZE};
pub use partition::Partition;
pub use ram::RamDisk;
pub use stream::Stream;

/// Memory of zeros, if there is any.
fn zeros(len: usize) -> Result<alloc::vec::Vec<u8>, Error> {
    let mut bytes = alloc::vec::Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Error::OutOfMemory)?;
    bytes.resize(len, 0);
    Ok(bytes)
}
