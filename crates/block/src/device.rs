//! What every block device can do.

use alloc::{boxed::Box, rc::Rc, sync::Arc};

use crate::{Error, Geometry};

/// A device of blocks that are read and written by number, in any order, several at once.
///
/// All take `&self`: each call is a request of its own, and the device may do them in any order. So who reads what
/// is being written, or writes it twice at once, finds either, block by block. Who shares a device shares a
/// reference, an [`Arc`] or an [`Rc`] to it, which are devices themselves.
///
/// The futures are not asked to be `Send`: they are if the device's own are, which the compiler sees where the
/// type of the device is known. So a task on any hart uses a disk that harts can share, and a device for one
/// hart needs no locks.
///
/// # What is durable
///
/// A write that has returned is seen by every later read, but may still be in a cache of the device. When
/// [`BlockDevice::flush`] has returned, all writes that had returned before it was called survive a loss of power. Of
/// those since, each block may be there or not, in whatever order; a block has what it had before or what was
/// written, not a mixture. (Disks promise that for their physical sectors, and nearly all keep the promise. Where
/// one does not, that block may be anything, or cannot be read: [`Error::Device`].)
///
/// # Cancellation
///
/// All futures may be dropped at any time; nobody reads or writes the caller's buffer afterwards. A device to which
/// the buffer was lent therefore copies, or keeps a buffer of its own. What a drop leaves behind:
///
/// - A read leaves its buffer in any state.
/// - A write may have happened or not, block by block, **or may happen later**: the device may have it in its queue,
///   and no device gives requests back. Whoever writes the same blocks again might then be overtaken by the first write.
///   So flush before that: [`BlockDevice::flush`] returns when all writes whose futures were dropped before it was
///   called have happened, or never will.
/// - A flush may have happened.
///
/// A write that returns an error may have happened as well, but will not later.
pub trait BlockDevice {
    /// How large it is. Does not change.
    fn geometry(&self) -> Geometry;

    /// Reads whole blocks, from number `block` on, into `into`, which is a multiple of the block size.
    ///
    /// # Errors
    ///
    /// [`Error::Misaligned`] and [`Error::OutOfRange`], before anything is done; [`Error::Device`], [`Error::Gone`],
    /// [`Error::OutOfMemory`], and `into` is in any state.
    ///
    /// # Cancellation
    ///
    /// `into` is in any state.
    fn read(&self, block: u64, into: &mut [u8]) -> impl Future<Output = Result<(), Error>>;

    /// Writes whole blocks, from number `block` on; `from` is a multiple of the block size.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::Misaligned`] and [`Error::OutOfRange`], before anything is done;
    /// [`Error::Device`], [`Error::Gone`], [`Error::OutOfMemory`], and each block may be written.
    ///
    /// # Cancellation
    ///
    /// Each block may be written, at any time until the next flush has returned.
    fn write(&self, block: u64, from: &[u8]) -> impl Future<Output = Result<(), Error>>;

    /// Makes durable what was written.
    ///
    /// # Errors
    ///
    /// [`Error::Device`], [`Error::Gone`], and nothing is known about what was not durable before.
    ///
    /// # Cancellation
    ///
    /// It may have happened.
    fn flush(&self) -> impl Future<Output = Result<(), Error>>;
}

/// What points to a device is a device.
macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<D: BlockDevice + ?Sized> BlockDevice for $pointer {
            fn geometry(&self) -> Geometry {
                (**self).geometry()
            }

            fn read(&self, block: u64, into: &mut [u8]) -> impl Future<Output = Result<(), Error>> {
                (**self).read(block, into)
            }

            fn write(&self, block: u64, from: &[u8]) -> impl Future<Output = Result<(), Error>> {
                (**self).write(block, from)
            }

            fn flush(&self) -> impl Future<Output = Result<(), Error>> {
                (**self).flush()
            }
        }
    )*};
}
forward!(&D, Arc<D>, Rc<D>, Box<D>);
