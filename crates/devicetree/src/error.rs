//! What can be wrong with a device tree, in sentences for the person at the console.

use core::fmt::{self, Display, Formatter, Write};

use crate::blob::MAX_BLOB_LEN;

/// Why a device tree cannot be used.
///
/// Offsets count bytes from the start of the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The blob does not start with the magic number `0xd00dfeed` (§5.2).
    NotADeviceTree {
        /// What stands there instead.
        found: u32,
    },
    /// The header says more bytes than there are.
    CutShort {
        /// The `totalsize` of the header, or the size of a header if not even that is there.
        says: usize,
        /// How many bytes there are.
        there: usize,
    },
    /// The `totalsize` of the header is smaller than a header or larger than [`MAX_BLOB_LEN`].
    UnlikelySize {
        /// The `totalsize` of the header.
        says: usize,
    },
    /// The format is not version 17, nor compatible with it.
    Version {
        /// The `version` of the header.
        version: u32,
    },
    /// The header places a block outside of the blob.
    BadHeader {
        /// Where the header's field stands.
        offset: usize,
    },
    /// The list of reserved memory or the structure is not well formed.
    Damaged {
        /// Where the first piece that makes no sense stands.
        offset: usize,
    },
    /// A node's `reg` does not consist of whole address and size pairs of at most 64 bits.
    BadReg {
        /// The node.
        node: NodeName,
    },
    /// A node's address plus size reaches 2⁶⁴.
    RangeOverflow {
        /// The node.
        node: NodeName,
    },
    /// There are more separate reserved ranges than [`Machine`](crate::Machine) holds. Leaving
    /// one out would hand out memory that belongs to someone else.
    TooManyReservations {
        /// The node with the first range that found no place.
        node: NodeName,
    },
    /// No node describes RAM.
    NoMemory,
    /// No hart has a supervisor mode with an MMU and is enabled.
    NoUsableHart {
        /// How many harts are listed nevertheless.
        listed: u32,
    },
    /// Neither `/cpus` nor a hart says the frequency of the timer.
    NoTimebase,
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Error::NotADeviceTree { found } => write!(
                f,
                "this is not a device tree: it starts with {found:#x}, not with 0xd00dfeed"
            ),
            Error::CutShort { says, there } => write!(
                f,
                "the device tree is cut short: its header says {says} bytes, only {there} are there"
            ),
            Error::UnlikelySize { says } => write!(
                f,
                "the device tree's header says {says} bytes, which is less than a header or more \
                 than {MAX_BLOB_LEN}"
            ),
            Error::Version { version } => {
                write!(f, "the device tree has format version {version}, only version 17 is known")
            }
            Error::BadHeader { offset } => write!(
                f,
                "the device tree's header is damaged: its field at byte {offset} points outside"
            ),
            Error::Damaged { offset } => write!(f, "the device tree is damaged at byte {offset}"),
            Error::BadReg { node } => write!(
                f,
                "the device tree's node {node} has a reg that is not a list of addresses and sizes"
            ),
            Error::RangeOverflow { node } => {
                write!(f, "the device tree's node {node} has a range that ends beyond 64 bits")
            }
            Error::TooManyReservations { node } => write!(
                f,
                "the device tree reserves too many separate ranges of memory: there is no place \
                 for that of {node}"
            ),
            Error::NoMemory => f.write_str("the device tree has no memory node"),
            Error::NoUsableHart { listed: 0 } => f.write_str("the device tree lists no hart"),
            Error::NoUsableHart { listed } => write!(
                f,
                "no hart can run this image: of {listed} in the device tree none is enabled and \
                 has S-mode with an MMU"
            ),
            Error::NoTimebase => f.write_str("/cpus has no timebase-frequency"),
        }
    }
}

impl core::error::Error for Error {}

/// The name of a node, kept for an [`Error`] that outlives the blob.
///
/// Up to 31 bytes; a longer name (its unit address may be of any length) is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeName {
    bytes: [u8; 31],
    len: u8,
}

impl NodeName {
    #[cold]
    #[inline(never)]
    pub(crate) fn new(name: &[u8]) -> Self {
        let mut bytes = [0; 31];
        let len = name.len().min(bytes.len());
        bytes[..len].copy_from_slice(&name[..len]);
        Self { bytes, len: len as u8 }
    }
}

impl Display for NodeName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for &byte in self.bytes.iter().take(self.len.into()) {
            // The blob is not trusted: nothing may steer the terminal.
            let shown = if byte.is_ascii_graphic() { byte } else { b'?' };
            f.write_char(shown.into())?;
        }
        Ok(())
    }
}
