//! The flattened format (§5): header, list of reservations, tokens of the structure block.
//!
//! Nothing is validated ahead. Whoever reads a token learns then whether it makes sense, so the
//! blob is gone over once.

use crate::cells::{u32_at, u64_at};
use crate::error::Error;

/// The largest blob that is looked at, in bytes: 2 MiB, as in Linux on RISC-V (its
/// `MAX_FDT_SIZE`).
pub const MAX_BLOB_LEN: usize = 2 << 20;

/// Size of the header, §5.2.
const HEADER_LEN: usize = 40;
const MAGIC: u32 = 0xd00d_feed;
/// The version of v0.4 of the specification. A newer one says in `last_comp_version` whether it
/// can be read as this one.
const VERSION: u32 = 17;

// Where the fields of the header stand.
const OFF_DT_STRUCT: usize = 8;
const OFF_DT_STRINGS: usize = 12;
const OFF_MEM_RSVMAP: usize = 16;
const FIELD_VERSION: usize = 20;
const LAST_COMP_VERSION: usize = 24;
const SIZE_DT_STRINGS: usize = 32;
const SIZE_DT_STRUCT: usize = 36;

/// How long the blob is that starts with these 8 bytes.
///
/// For a caller that has only an address: it maps or slices this many bytes and gives them to
/// [`Machine::parse`](crate::Machine::parse).
///
/// # Errors
///
/// [`Error::NotADeviceTree`], and [`Error::UnlikelySize`] for less than a header or more than
/// [`MAX_BLOB_LEN`].
pub fn blob_len(header: &[u8; 8]) -> Result<usize, Error> {
    let [m0, m1, m2, m3, size @ ..] = *header;
    let found = u32::from_be_bytes([m0, m1, m2, m3]);
    if found != MAGIC {
        return Err(Error::NotADeviceTree { found });
    }
    let says = u32::from_be_bytes(size) as usize;
    if !(HEADER_LEN..=MAX_BLOB_LEN).contains(&says) {
        return Err(Error::UnlikelySize { says });
    }
    Ok(says)
}

/// The three blocks of a blob.
#[derive(Clone, Copy)]
pub(crate) struct Blob<'a> {
    /// The memory reservation block and what follows it.
    reservations: &'a [u8],
    reservations_at: usize,
    structure: &'a [u8],
    structure_at: usize,
    /// The names of the properties, each ended by a NUL.
    pub(crate) strings: &'a [u8],
}

impl<'a> Blob<'a> {
    /// Takes the blob apart. What stands beyond the tree is left alone.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(Error::CutShort { says: HEADER_LEN, there: bytes.len() });
        };
        let mut start = [0; 8];
        start.copy_from_slice(&header[..8]);
        let says = blob_len(&start)?;
        let Some(bytes) = bytes.get(..says) else {
            return Err(Error::CutShort { says, there: bytes.len() });
        };

        let field = |at: usize| u32_at(header, at).unwrap_or(0);
        let version = field(FIELD_VERSION);
        if version < VERSION || field(LAST_COMP_VERSION) > VERSION {
            return Err(Error::Version { version });
        }
        let from = |offset: usize| {
            let start = field(offset) as usize;
            bytes.get(start..).ok_or(Error::BadHeader { offset })
        };
        let block = |offset: usize, size: usize| {
            let len = field(size) as usize;
            from(offset)?.get(..len).ok_or(Error::BadHeader { offset: size })
        };
        Ok(Self {
            reservations: from(OFF_MEM_RSVMAP)?,
            reservations_at: field(OFF_MEM_RSVMAP) as usize,
            structure: block(OFF_DT_STRUCT, SIZE_DT_STRUCT)?,
            structure_at: field(OFF_DT_STRUCT) as usize,
            strings: block(OFF_DT_STRINGS, SIZE_DT_STRINGS)?,
        })
    }

    /// The entries of the memory reservation block (§5.3): address and size.
    pub(crate) fn reservations(&self) -> impl Iterator<Item = Result<(u64, u64), Error>> + 'a {
        let (block, block_at) = (self.reservations, self.reservations_at);
        let mut at = 0;
        core::iter::from_fn(move || match (u64_at(block, at), u64_at(block, at + 8)) {
            (Some(0), Some(0)) => None,
            (Some(address), Some(size)) => {
                at += 16;
                Some(Ok((address, size)))
            }
            _ => Some(Err(Error::Damaged { offset: block_at + at })),
        })
    }

    /// The tokens from the start.
    pub(crate) fn tokens(&self) -> Tokens<'a> {
        Tokens { rest: self.structure }
    }

    /// How far these tokens have come, in bytes of the structure block.
    pub(crate) fn position(&self, tokens: &Tokens<'a>) -> usize {
        self.structure.len() - tokens.rest.len()
    }

    /// The error for a token that could not be read.
    #[cold]
    pub(crate) fn damaged(&self, tokens: &Tokens<'a>) -> Error {
        Error::Damaged { offset: self.structure_at + self.position(tokens) }
    }
}

/// Whether a node's full name answers to a component of a path, which may leave out the unit
/// address (§2.2.3).
pub(crate) fn is_called(name: &[u8], component: &[u8]) -> bool {
    matches!(name.strip_prefix(component), Some([] | [b'@', ..]))
}

/// A piece of the structure block, §5.4.1.
pub(crate) enum Token<'a> {
    /// A node starts; its name with unit address, "" for the root.
    Begin(&'a [u8]),
    /// A property of the node that is open.
    Property {
        /// Where its name stands in [`Blob::strings`].
        name: u32,
        value: &'a [u8],
    },
    /// The open node ends.
    End,
    /// The tree ends.
    Done,
}

const FDT_BEGIN_NODE: usize = 1;
const FDT_END_NODE: usize = 2;
const FDT_PROP: usize = 3;
const FDT_NOP: usize = 4;
const FDT_END: usize = 9;

/// Reads tokens one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    /// The next token. `None` if what stands there is not one; it stays there then.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let (tag, rest) = self.rest.split_first_chunk()?;
            let (token, rest) = match small(*tag)? {
                FDT_BEGIN_NODE => {
                    let len = rest.iter().position(|&byte| byte == 0)?;
                    let (name, rest) = rest.split_at_checked(aligned(len + 1))?;
                    (Token::Begin(name.get(..len)?), rest)
                }
                FDT_PROP => {
                    let (header, rest) = rest.split_first_chunk::<8>()?;
                    let [l0, l1, l2, l3, n0, n1, n2, n3] = *header;
                    let len = small([l0, l1, l2, l3])?;
                    let (value, rest) = rest.split_at_checked(aligned(len))?;
                    let name = small([n0, n1, n2, n3])? as u32;
                    let value = value.get(..len)?;
                    (Token::Property { name, value }, rest)
                }
                FDT_END_NODE => (Token::End, rest),
                FDT_NOP => {
                    self.rest = rest;
                    continue;
                }
                FDT_END => (Token::Done, rest),
                _ => return None,
            };
            self.rest = rest;
            return Some(token);
        }
    }

    /// [`next`](Self::next) for where it does not matter how long it takes.
    #[inline(never)]
    pub(crate) fn next_slowly(&mut self) -> Option<Token<'a>> {
        self.next()
    }
}

/// A big-endian word, `None` from 2²⁴ on: no tag, length or offset within [`MAX_BLOB_LEN`] is so
/// large. Three bytes are also read with half the instructions of four, which the compiler loads
/// as one number and then swaps, without having an instruction for either.
#[inline(always)]
fn small([b0, b1, b2, b3]: [u8; 4]) -> Option<usize> {
    let small = usize::from(b1) << 16 | usize::from(b2) << 8 | usize::from(b3);
    (b0 == 0).then_some(small)
}

/// The next multiple of 4; lengths stay below [`MAX_BLOB_LEN`] plus one word, or are refused.
fn aligned(len: usize) -> usize {
    (len + 3) & !3
}
