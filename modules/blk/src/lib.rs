//! The machine's disks.
//!
//! ```ignore
//! let disk = blk::disk(0)?;
//! for partition in blk::table::partitions(&disk).await?.entries() {
//!     println!("{}: {} blocks", partition.index, partition.blocks);
//! }
//! let mut block = [0; 512];
//! disk.read(0, &mut block).await?;
//! ```
//!
//! [`Disk`] is a [`BlockDevice`]: so partitions, streams of bytes, flash memory, settings and file systems work on it as
//! on any other. Requests are done by the device in any order, up to 42 at a time, and more wait for their turn. Where
//! no byte is to be copied, [`Disk::read_buffer`] and [`Disk::write_buffer`] take a [`Buffer`] and give it back.
//!
//! Disks have numbers, from 0 on, in the order in which they are found: that of QEMU's command line. Nothing has to be
//! started or polled: one task for each disk, of this module, sleeps until the disk's interrupt wakes it, and
//! wakes those whose requests are done.
//!
//! Owns the disks and these tasks. Needs `wakeful-driver`, tasks and a heap. The locks here and below are held for a
//! few stores, never across an `await`, and no interrupt takes them.

#![no_std]

extern crate alloc;

mod buffers;
mod disk;

use arrayvec::ArrayVec;
use spin::Once;
pub use wakeful_block::{BlockDevice, Error, Flash, Geometry, Partition, RamDisk, Stream, table};
pub use wakeful_driver::blk::Buffer;
use wakeful_driver::blk::{self as driver, MAX};
use wakeful_hal::console;
pub use wakeful_settings as settings;
use wakeful_task::Builder;

pub use disk::{Disk, Failed};

use disk::Owned;

static DISKS: Once<ArrayVec<Owned, MAX>> = Once::new();

/// Takes the disks into service. At boot, after tasks.
pub fn start(found: ArrayVec<driver::Disk, MAX>) {
    let disks = DISKS.call_once(|| found.into_iter().map(Owned::new).collect());
    for disk in disks {
        let serve = disk.driver.serve();
        match Builder::new().name("blk").essential().spawn_local(serve) {
            Ok(task) => task.detach(),
            Err(error) => {
                let number = disk.driver.number();
                console::print(format_args!("wakeful: disk {number} is not served: {error}\n"));
            }
        }
    }
}

/// All disks, in the order of their numbers.
pub fn disks() -> impl ExactSizeIterator<Item = Disk> {
    DISKS.get().map_or(&[][..], |disks| disks).iter().map(Disk)
}

/// The disk with this number.
///
/// # Errors
///
/// [`Error::NoDevice`].
pub fn disk(number: usize) -> Result<Disk, Error> {
    disks().nth(number).ok_or(Error::NoDevice)
}
