//! Why something could not be done.

use core::fmt;

use axerrno::{AxError, AxErrorKind};
use embedded_io_async::ErrorKind;
use wakeful_stack::Error as StackError;

/// Why something could not be done. Converts into [`AxError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// There is no network card, or none that this image can drive.
    NoCard,
    /// The network says no.
    Stack(StackError),
    /// The peer has said that it sends no more, in the middle of what was to be read.
    UnexpectedEnd,
    /// This is not done here: what a foreign trait asks for and this stack has not.
    Unsupported,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCard => f.write_str("there is no network card"),
            Self::Stack(error) => error.fmt(f),
            Self::UnexpectedEnd => f.write_str("the peer ended the connection too early"),
            Self::Unsupported => f.write_str("this is not supported"),
        }
    }
}

impl core::error::Error for Error {}

impl From<StackError> for Error {
    fn from(error: StackError) -> Self {
        Self::Stack(error)
    }
}

impl From<Error> for AxError {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::NoCard => AxErrorKind::NoSuchDevice,
            Error::UnexpectedEnd => AxErrorKind::UnexpectedEof,
            Error::Unsupported => AxErrorKind::Unsupported,
            Error::Stack(error) => match error {
                StackError::AddressInUse | StackError::NoFreePort => AxErrorKind::AddrInUse,
                StackError::InvalidAddress | StackError::TooLarge | StackError::InvalidName => {
                    AxErrorKind::InvalidInput
                }
                StackError::NetworkUnreachable | StackError::NoNameServer => {
                    AxErrorKind::BadAddress
                }
                StackError::OutOfMemory => AxErrorKind::NoMemory,
                StackError::ConnectionRefused => AxErrorKind::ConnectionRefused,
                StackError::ConnectionReset => AxErrorKind::ConnectionReset,
                StackError::TimedOut => AxErrorKind::TimedOut,
                StackError::Closed => AxErrorKind::BrokenPipe,
                StackError::NoSuchName => AxErrorKind::NotFound,
            },
        };
        kind.into()
    }
}

impl embedded_io_async::Error for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoCard => ErrorKind::NotFound,
            Self::UnexpectedEnd => ErrorKind::Other,
            Self::Unsupported => ErrorKind::Unsupported,
            Self::Stack(error) => match error {
                StackError::AddressInUse | StackError::NoFreePort => ErrorKind::AddrInUse,
                StackError::InvalidAddress | StackError::TooLarge | StackError::InvalidName => {
                    ErrorKind::InvalidInput
                }
                StackError::NetworkUnreachable | StackError::NoNameServer => {
                    ErrorKind::AddrNotAvailable
                }
                StackError::OutOfMemory => ErrorKind::OutOfMemory,
                StackError::ConnectionRefused => ErrorKind::ConnectionRefused,
                StackError::ConnectionReset => ErrorKind::ConnectionReset,
                StackError::TimedOut => ErrorKind::TimedOut,
                StackError::Closed => ErrorKind::BrokenPipe,
                StackError::NoSuchName => ErrorKind::NotFound,
            },
        }
    }
}
