//! Why something could not be done.

use core::fmt;

/// Why something could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Somebody listens on this port, or has bound it, already.
    AddressInUse,
    /// Port 0, no address, or one that nobody can have.
    InvalidAddress,
    /// This machine has no address of that family yet, or no route.
    NetworkUnreachable,
    /// All ports for outgoing connections are taken.
    NoFreePort,
    /// There is no memory for it.
    OutOfMemory,
    /// The peer refused the connection.
    ConnectionRefused,
    /// The peer, or this side, reset the connection.
    ConnectionReset,
    /// The peer did not answer in time.
    TimedOut,
    /// This side has said that it sends no more.
    Closed,
    /// The datagram is larger than the socket's buffer or the network takes.
    TooLarge,
    /// This is not a name that could be looked up.
    InvalidName,
    /// There is no such name.
    NoSuchName,
    /// No server to ask for names is known.
    NoNameServer,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddressInUse => "the port is in use",
            Self::InvalidAddress => "the address cannot be used",
            Self::NetworkUnreachable => "there is no way to that network",
            Self::NoFreePort => "no port is free",
            Self::OutOfMemory => "out of memory",
            Self::ConnectionRefused => "the peer refused the connection",
            Self::ConnectionReset => "the connection was reset",
            Self::TimedOut => "the peer did not answer in time",
            Self::Closed => "this side of the connection is closed",
            Self::TooLarge => "the datagram is too large",
            Self::InvalidName => "the name is not valid",
            Self::NoSuchName => "there is no such name",
            Self::NoNameServer => "no name server is known",
        })
    }
}

impl core::error::Error for Error {}
