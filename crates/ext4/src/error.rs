//! Why something could not be done.

use core::fmt;

use axerrno::{AxError, AxErrorKind};
use embedded_io_async::ErrorKind;

/// Why something could not be done. Converts into [`AxError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// There is nothing of this name.
    NotFound,
    /// This is no directory, or a path leads through what is none.
    NotADirectory,
    /// This is a directory, where a file was asked for.
    IsADirectory,
    /// This is a device, a pipe or a socket.
    NotAFile,
    /// This is no symbolic link.
    NotALink,
    /// More symbolic links than [`MAX_LINKS`](crate::MAX_LINKS), or they go in circles.
    TooManyLinks,
    /// A name longer than [`MAX_NAME`](crate::MAX_NAME), or a path longer than [`MAX_PATH`](crate::MAX_PATH).
    NameTooLong,
    /// A position before the beginning of a file.
    OutOfRange,
    /// The file is encrypted.
    Encrypted,
    /// This is no ext2, ext3 or ext4.
    NotExt4,
    /// The volume, or the file, uses something that is not known here.
    Unsupported,
    /// What was written last is still in the volume's journal: `e2fsck`, or mounting it elsewhere, ends that.
    NeedsRecovery,
    /// What is on the volume contradicts itself, or a checksum.
    Corrupt,
    /// There is no memory for it.
    OutOfMemory,
    /// The device has tried, and failed.
    Device,
    /// There is no such device.
    NoDevice,
    /// The device is not there any more.
    Gone,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "there is no such file or directory",
            Self::NotADirectory => "this is no directory",
            Self::IsADirectory => "this is a directory",
            Self::NotAFile => "this is no regular file",
            Self::NotALink => "this is no symbolic link",
            Self::TooManyLinks => "there are too many symbolic links on the way",
            Self::NameTooLong => "the name or the path is too long",
            Self::OutOfRange => "there is no such position",
            Self::Encrypted => "the file is encrypted",
            Self::NotExt4 => "this is no ext2, ext3 or ext4 volume",
            Self::Unsupported => "the volume or the file uses something that is not supported",
            Self::NeedsRecovery => {
                "the volume was not unmounted: its journal is to be replayed first"
            }
            Self::Corrupt => "the volume is damaged",
            Self::OutOfMemory => "out of memory",
            Self::Device => "the device reports an error",
            Self::NoDevice => "there is no such disk",
            Self::Gone => "the device is gone",
        })
    }
}

impl core::error::Error for Error {}

impl From<Error> for AxError {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::NotFound => AxErrorKind::NotFound,
            Error::NotADirectory => AxErrorKind::NotADirectory,
            Error::IsADirectory => AxErrorKind::IsADirectory,
            Error::NotAFile | Error::NotALink | Error::OutOfRange => AxErrorKind::InvalidInput,
            Error::TooManyLinks => AxErrorKind::FilesystemLoop,
            Error::NameTooLong => AxErrorKind::NameTooLong,
            Error::Encrypted => AxErrorKind::PermissionDenied,
            Error::NotExt4 | Error::Corrupt => AxErrorKind::InvalidData,
            Error::Unsupported => AxErrorKind::Unsupported,
            Error::NeedsRecovery => AxErrorKind::BadState,
            Error::OutOfMemory => AxErrorKind::NoMemory,
            Error::Device => AxErrorKind::Io,
            Error::NoDevice | Error::Gone => AxErrorKind::NoSuchDevice,
        };
        kind.into()
    }
}

impl embedded_io_async::Error for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound | Self::NoDevice | Self::Gone => ErrorKind::NotFound,
            Self::NotADirectory
            | Self::IsADirectory
            | Self::NotAFile
            | Self::NotALink
            | Self::NameTooLong
            | Self::OutOfRange => ErrorKind::InvalidInput,
            Self::Encrypted => ErrorKind::PermissionDenied,
            Self::NotExt4 | Self::NeedsRecovery | Self::Corrupt | Self::TooManyLinks => {
                ErrorKind::InvalidData
            }
            Self::Unsupported => ErrorKind::Unsupported,
            Self::OutOfMemory => ErrorKind::OutOfMemory,
            Self::Device => ErrorKind::Other,
        }
    }
}

/// A device that is only read has few reasons to refuse; the others mean that the volume leads outside of it.
impl From<wakeful_block::Error> for Error {
    fn from(error: wakeful_block::Error) -> Self {
        use wakeful_block::Error as Block;
        match error {
            Block::Device => Self::Device,
            Block::NoDevice => Self::NoDevice,
            Block::Gone => Self::Gone,
            Block::OutOfMemory => Self::OutOfMemory,
            Block::Unsupported | Block::ReadOnly => Self::Unsupported,
            Block::OutOfRange
            | Block::Misaligned
            | Block::Full
            | Block::TableDamaged
            | Block::TableOutOfRange
            | Block::TableLoop
            | Block::TableTooLarge => Self::Corrupt,
        }
    }
}
