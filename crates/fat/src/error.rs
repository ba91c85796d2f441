//! Why something could not be done.

use core::fmt;

use axerrno::{AxError, AxErrorKind};
use embedded_io_async::ErrorKind;
use wakeful_block::Error as DeviceError;

/// Why something could not be done. Converts into [`AxError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// There is no file or directory of that name, or no directory on the way to it.
    NotFound,
    /// There is something of that name already.
    AlreadyExists,
    /// Something on the way, or what was to be one, is no directory.
    NotADirectory,
    /// It is a directory, where a file is needed.
    IsADirectory,
    /// The directory to be removed or replaced has entries.
    NotEmpty,
    /// The file to be removed or replaced is open.
    Busy,
    /// A name that FAT cannot keep: a control character, one of `"*/:<>?\|`, or a dot or space at its end.
    InvalidName,
    /// A name of more than 255 UTF-16 units.
    NameTooLong,
    /// A file would have 4 GiB or more.
    TooLarge,
    /// This cannot be meant: options that contradict each other, a place before the start of a file, a directory
    /// that is to be moved into itself, the root where an entry is needed.
    InvalidInput,
    /// The file was not opened for that, or is marked as read-only.
    Denied,
    /// The volume is mounted read-only, or the device cannot be written.
    ReadOnly,
    /// No room is left on the volume, or in a root directory of FAT12 or FAT16.
    NoSpace,
    /// There is no FAT volume on this device.
    NotFat,
    /// The table that says where volumes are is damaged.
    Table,
    /// The volume contradicts itself. `fsck.vfat` may repair it.
    Corrupt,
    /// This is not done here: blocks of more than 4096 bytes.
    Unsupported,
    /// There is no memory for it.
    OutOfMemory,
    /// The device has tried, and failed: a bad block, or a broken cable.
    Device,
    /// There is no such device.
    NoDevice,
    /// The device is not there any more, or was reset. What was not synced may be lost.
    Gone,
}

/// What the file system's driver reports.
pub(crate) type DriverError = hadris_fs::Error<DeviceError>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "there is no such file or directory",
            Self::AlreadyExists => "there is something of that name already",
            Self::NotADirectory => "this is no directory",
            Self::IsADirectory => "this is a directory",
            Self::NotEmpty => "the directory is not empty",
            Self::Busy => "the file is open",
            Self::InvalidName => "FAT cannot keep this name",
            Self::NameTooLong => "the name is longer than 255 UTF-16 units",
            Self::TooLarge => "files of 4 GiB and more cannot be",
            Self::InvalidInput => "this makes no sense",
            Self::Denied => "the file is not open for that, or marked as read-only",
            Self::ReadOnly => "the volume is read-only",
            Self::NoSpace => "the volume is full",
            Self::NotFat => "there is no FAT volume",
            Self::Table => "the table of partitions is damaged",
            Self::Corrupt => "the volume contradicts itself; fsck.vfat may repair it",
            Self::Unsupported => "blocks of more than 4096 bytes are not supported",
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
            Error::AlreadyExists => AxErrorKind::AlreadyExists,
            Error::NotADirectory => AxErrorKind::NotADirectory,
            Error::IsADirectory => AxErrorKind::IsADirectory,
            Error::NotEmpty => AxErrorKind::DirectoryNotEmpty,
            Error::Busy => AxErrorKind::ResourceBusy,
            Error::InvalidName | Error::InvalidInput => AxErrorKind::InvalidInput,
            Error::NameTooLong => AxErrorKind::NameTooLong,
            Error::TooLarge => AxErrorKind::OutOfRange,
            Error::Denied => AxErrorKind::PermissionDenied,
            Error::ReadOnly => AxErrorKind::ReadOnlyFilesystem,
            Error::NoSpace => AxErrorKind::StorageFull,
            Error::NotFat | Error::Table | Error::Corrupt => AxErrorKind::InvalidData,
            Error::Unsupported => AxErrorKind::Unsupported,
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
            Self::AlreadyExists => ErrorKind::AlreadyExists,
            Self::InvalidName | Self::NameTooLong | Self::InvalidInput => ErrorKind::InvalidInput,
            Self::Denied | Self::ReadOnly => ErrorKind::PermissionDenied,
            Self::NoSpace | Self::TooLarge => ErrorKind::WriteZero,
            Self::NotFat | Self::Table | Self::Corrupt => ErrorKind::InvalidData,
            Self::Unsupported => ErrorKind::Unsupported,
            Self::OutOfMemory => ErrorKind::OutOfMemory,
            Self::NotADirectory
            | Self::IsADirectory
            | Self::NotEmpty
            | Self::Busy
            | Self::Device => ErrorKind::Other,
        }
    }
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::ReadOnly => Self::ReadOnly,
            DeviceError::Device => Self::Device,
            DeviceError::NoDevice => Self::NoDevice,
            DeviceError::Gone => Self::Gone,
            DeviceError::OutOfMemory => Self::OutOfMemory,
            DeviceError::Unsupported => Self::Unsupported,
            // Blocks that the volume has and the device has not.
            DeviceError::OutOfRange | DeviceError::Full => Self::Corrupt,
            DeviceError::TableDamaged
            | DeviceError::TableOutOfRange
            | DeviceError::TableLoop
            | DeviceError::TableTooLarge => Self::Table,
            // A mistake of whoever calls a device.
            DeviceError::Misaligned => Self::Device,
        }
    }
}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        if let Some(device) = error.device_error() {
            return (*device).into();
        }
        error.kind().into()
    }
}

impl From<hadris_fs::ErrorKind> for Error {
    fn from(kind: hadris_fs::ErrorKind) -> Self {
        use hadris_fs::ErrorKind;
        match kind {
            ErrorKind::Io => Self::Device,
            ErrorKind::NotRecognized => Self::NotFat,
            // A handle that the driver does not know is an entry that has changed.
            ErrorKind::NotFound | ErrorKind::InvalidHandle => Self::NotFound,
            ErrorKind::AlreadyExists => Self::AlreadyExists,
            ErrorKind::NotADirectory => Self::NotADirectory,
            ErrorKind::IsADirectory => Self::IsADirectory,
            ErrorKind::DirectoryNotEmpty => Self::NotEmpty,
            ErrorKind::NoSpace => Self::NoSpace,
            ErrorKind::ReadOnly => Self::ReadOnly,
            ErrorKind::InvalidInput => Self::InvalidInput,
            ErrorKind::Unsupported => Self::Unsupported,
            ErrorKind::NameTooLong => Self::NameTooLong,
            ErrorKind::FileTooLarge => Self::TooLarge,
            ErrorKind::Busy => Self::Busy,
            // The driver's list of kinds is open. Limits are those of names that are none, and FAT has no links.
            _ => Self::Corrupt,
        }
    }
}
