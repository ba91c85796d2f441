//! Why something could not be done.

use core::fmt;

use axerrno::{AxError, AxErrorKind};
use embedded_io_async::ErrorKind;
use embedded_storage_async::nor_flash::{NorFlashError, NorFlashErrorKind};

/// Why something could not be done. Converts into [`AxError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Blocks that the device does not have.
    OutOfRange,
    /// A length that is no whole number of blocks, or a place that is not on the border of one.
    Misaligned,
    /// The device cannot be written.
    ReadOnly,
    /// The device has tried, and failed: a bad block, or a broken cable.
    Device,
    /// The device is not there any more, or was reset. What was not flushed may be lost.
    Gone,
    /// There is no memory for it.
    OutOfMemory,
    /// This is not done here: what the device cannot do, or a block size that does not fit.
    Unsupported,
    /// The device has no more room: its end is reached.
    Full,
    /// The disk says that it has a partition table (GPT), and neither it nor its backup is whole.
    TableDamaged,
    /// The partition table has a partition that is not on the disk, or not where partitions may be.
    TableOutOfRange,
    /// The logical partitions of the table go in circles.
    TableLoop,
    /// The partition table is larger than [`MAX_ENTRIES`](crate::table::MAX_ENTRIES) and its like.
    TableTooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "there are no such blocks",
            Self::Misaligned => "this is no whole number of blocks",
            Self::ReadOnly => "the device is read-only",
            Self::Device => "the device reports an error",
            Self::Gone => "the device is gone",
            Self::OutOfMemory => "out of memory",
            Self::Unsupported => "this is not supported",
            Self::Full => "the end of the device is reached",
            Self::TableDamaged => "the partition table is damaged, and so is its backup",
            Self::TableOutOfRange => "the partition table has a partition that is not on the disk",
            Self::TableLoop => "the partition table goes in circles",
            Self::TableTooLarge => "the partition table is too large",
        })
    }
}

impl core::error::Error for Error {}

impl From<Error> for AxError {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::OutOfRange => AxErrorKind::OutOfRange,
            Error::Misaligned => AxErrorKind::InvalidInput,
            Error::ReadOnly => AxErrorKind::ReadOnlyFilesystem,
            Error::Device => AxErrorKind::Io,
            Error::Gone => AxErrorKind::NoSuchDevice,
            Error::OutOfMemory => AxErrorKind::NoMemory,
            Error::Unsupported => AxErrorKind::Unsupported,
            Error::Full => AxErrorKind::StorageFull,
            Error::TableDamaged
            | Error::TableOutOfRange
            | Error::TableLoop
            | Error::TableTooLarge => AxErrorKind::InvalidData,
        };
        kind.into()
    }
}

impl embedded_io_async::Error for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfRange | Self::Misaligned => ErrorKind::InvalidInput,
            Self::ReadOnly => ErrorKind::PermissionDenied,
            Self::Device => ErrorKind::Other,
            Self::Gone => ErrorKind::NotFound,
            Self::OutOfMemory => ErrorKind::OutOfMemory,
            Self::Unsupported => ErrorKind::Unsupported,
            Self::Full => ErrorKind::WriteZero,
            Self::TableDamaged | Self::TableOutOfRange | Self::TableLoop | Self::TableTooLarge => {
                ErrorKind::InvalidData
            }
        }
    }
}

impl NorFlashError for Error {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::OutOfRange => NorFlashErrorKind::OutOfBounds,
            Self::Misaligned => NorFlashErrorKind::NotAligned,
            Self::ReadOnly
            | Self::Device
            | Self::Gone
            | Self::OutOfMemory
            | Self::Unsupported
            | Self::Full
            | Self::TableDamaged
            | Self::TableOutOfRange
            | Self::TableLoop
            | Self::TableTooLarge => NorFlashErrorKind::Other,
        }
    }
}
