//! What can go wrong: with a request, and with the device.

use core::fmt;

use wakeful_virtio::Overrun;

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// A write to a disk that is read-only. The device has not seen it.
    ReadOnly,
    /// It goes beyond the last block. The device has not seen it.
    OutOfRange,
    /// What was chosen of the buffer is not in it, or is no multiple of the block size, or nothing. The device has
    /// not seen it.
    Length,
    /// It is longer than the [longest](crate::Geometry::longest) request. The device has not seen it.
    TooLong,
    /// The device says that it failed (`VIRTIO_BLK_S_IOERR`). Some blocks may be written, or read.
    Device,
    /// The device does not do such things (`VIRTIO_BLK_S_UNSUPP`).
    Unsupported,
    /// The device broke the rules, or somebody had it reset, while it had the request. It may be done, or in part.
    Reset,
    /// The disk is not used any more.
    Gone,
}

impl core::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadOnly => "the disk is read-only",
            Self::OutOfRange => "beyond the end of the disk",
            Self::Length => "not a number of blocks, or not in the buffer",
            Self::TooLong => "more at once than the disk takes",
            Self::Device => "the disk failed",
            Self::Unsupported => "the disk does not do that",
            Self::Reset => "the disk was reset",
            Self::Gone => "the disk is not used any more",
        })
    }
}

/// A request that failed, with its buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed<M> {
    /// Why.
    pub error: Error,
    /// `None` if the device has it still, as it does not come out of its reset.
    pub buffer: Option<M>,
}

impl<M: fmt::Debug> core::error::Error for Failed<M> {}

impl<M> fmt::Display for Failed<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<M> From<Failed<M>> for Error {
    fn from(failed: Failed<M>) -> Self {
        failed.error
    }
}

/// What a device did that the rules forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It returned a request that it did not have.
    Request,
    /// It says that it wrote more than there was room for.
    Length,
    /// It said neither that a request is done nor that it failed.
    Status,
    /// It asked for a reset.
    NeedsReset,
}

impl From<Overrun> for Fault {
    #[inline]
    fn from(_: Overrun) -> Self {
        Self::Request
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "it returned a request that it did not have",
            Self::Length => "it wrote more than can be",
            Self::Status => "it ended a request with a status that there is not",
            Self::NeedsReset => "it asked for a reset",
        })
    }
}
