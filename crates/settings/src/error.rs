//! Why something could not be done.

use core::fmt;

use axerrno::{AxError, AxErrorKind};
use sequential_storage::Error as StorageError;
use wakeful_block::Error as DeviceError;

/// Why something could not be done. Converts into [`AxError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The device says no.
    Device(DeviceError),
    /// A key is empty, or longer than [`MAX_KEY`](crate::MAX_KEY).
    InvalidKey,
    /// A value is longer than [`Settings::MAX_VALUE`](crate::Settings::MAX_VALUE).
    TooLarge,
    /// There is no room for another value. What is there stays.
    Full,
    /// The value is not text in UTF-8.
    NotText,
    /// There is no store on this device: it was never formatted, or is something else.
    NotFormatted,
    /// The store is of another version, or has pages of another size.
    OtherFormat,
    /// The device has room for fewer than two pages and what stands before them, or the store has more than it.
    TooSmall,
    /// What is on the device contradicts itself, and could not be repaired.
    Damaged,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device(error) => return error.fmt(f),
            Self::InvalidKey => "the key is empty or too long",
            Self::TooLarge => "the value is too long",
            Self::Full => "there is no room for another value",
            Self::NotText => "the value is not text",
            Self::NotFormatted => "there are no settings on this device",
            Self::OtherFormat => "the settings on this device have another format",
            Self::TooSmall => "the device is too small",
            Self::Damaged => "the settings are damaged",
        })
    }
}

impl core::error::Error for Error {}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl From<StorageError<DeviceError>> for Error {
    fn from(error: StorageError<DeviceError>) -> Self {
        match error {
            StorageError::Storage { value, .. } => Self::Device(value),
            StorageError::FullStorage => Self::Full,
            StorageError::ItemTooBig => Self::TooLarge,
            // Keys are read from any bytes, and buffers are as long as a page. So the others, and those that may be
            // added, come from what is on the device.
            _ => Self::Damaged,
        }
    }
}

impl From<Error> for AxError {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Device(error) => return error.into(),
            Error::InvalidKey | Error::TooLarge => AxErrorKind::InvalidInput,
            Error::Full | Error::TooSmall => AxErrorKind::StorageFull,
            Error::NotFormatted => AxErrorKind::NotFound,
            Error::OtherFormat => AxErrorKind::Unsupported,
            Error::NotText | Error::Damaged => AxErrorKind::InvalidData,
        };
        kind.into()
    }
}
