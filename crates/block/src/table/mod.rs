//! Where the partitions of a disk are: tables as PCs have had since 1983 (MBR), and as UEFI has them (GPT).
//!
//! [`partitions`] reads them. Nothing in a table is trusted: where it leads outside of the disk or in circles that is
//! an error, and the largest one that is read costs [`MAX_ENTRIES`] entries of memory and [`MAX_BYTES`] of reading.
//! Tables are not written here.
//!
//! Overlapping partitions are no error: images for CDs and USB sticks alike have them on purpose.
//!
//! ```
//! # wakeful_block::fake::run(async {
//! use wakeful_block::{BlockDevice, Error, RamDisk, table::{Kind, Table, partitions}};
//!
//! let mut bytes = vec![0; 100 * 512];
//! bytes[446..462].copy_from_slice(&[0x80, 0, 0, 0, 0x0c, 0, 0, 0, 10, 0, 0, 0, 90, 0, 0, 0]);
//! bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
//! let disk = RamDisk::from_bytes(512, bytes)?;
//!
//! let table = partitions(&disk).await?;
//! let fat = table.entries().iter().find(|entry| entry.kind == Kind::Mbr(0x0c)).unwrap();
//! assert_eq!((fat.index, fat.first, fat.blocks), (1, 10, 90));
//! assert_eq!(fat.open(&disk)?.geometry().blocks, 90);
//! # Ok::<(), Error>(())
//! # }).unwrap();
//! ```

use alloc::vec::Vec;
use core::fmt::{self, Write};

pub use uguid::{Guid, guid};

use crate::{BlockDevice, Error, Partition};

mod gpt;
mod mbr;

pub use gpt::{MAX_BYTES, MAX_ENTRIES};
pub use mbr::MAX_LOGICAL;

/// The partitions of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Table {
    /// There is no table: the disk is empty, or one file system from its first block to its last.
    None,
    /// A table in the first sector.
    Mbr {
        /// What Windows and Linux tell disks apart by; may be 0.
        signature: u32,
        /// What is in it, without containers of logical partitions.
        entries: Vec<Entry>,
    },
    /// A GUID partition table.
    Gpt {
        /// What tells disks apart.
        disk: Guid,
        /// The table at the beginning is damaged, and this is the one at the end.
        is_backup: bool,
        /// What is in it.
        entries: Vec<Entry>,
    },
}

/// A partition, as the table has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its number, as Linux has it: `/dev/vda1` is 1. Logical partitions begin at 5.
    pub index: u32,
    /// What is said to be on it.
    pub kind: Kind,
    /// What tells partitions apart (GPT).
    pub unique: Option<Guid>,
    /// What it is called (GPT); may be empty.
    pub name: Name,
    /// Its first block.
    pub first: u64,
    /// How many blocks it has. All of them were on the disk.
    pub blocks: u64,
}

/// What is said to be on a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The number of a type: 0x0c is FAT32, 0x83 a file system of Linux.
    Mbr(u8),
    /// The GUID of a type.
    Gpt(Guid),
}

/// The name of a partition: up to 36 units of UTF-16, which need not be text. `Display` shows what is none as `�`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name(pub(crate) [u16; 36]);

/// Reads the table of a disk. Blocks are those of the device: a table is for one block size, and
/// not found with another.
///
/// # Errors
///
/// [`Error::TableDamaged`], [`Error::TableOutOfRange`], [`Error::TableLoop`], [`Error::TableTooLarge`],
/// [`Error::OutOfMemory`], and what the device says.
///
/// # Cancellation
///
/// Nothing is left behind.
pub async fn partitions(device: &impl BlockDevice) -> Result<Table, Error> {
    let mut reader = Reader::new(device)?;
    match mbr::read(&mut reader).await? {
        mbr::First::Nothing => Ok(Table::None),
        mbr::First::Protective => gpt::read(&mut reader).await,
        mbr::First::Table { signature, entries } => Ok(Table::Mbr { signature, entries }),
    }
}

impl Table {
    /// The partitions, in the order of the table.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match self {
            Self::None => &[],
            Self::Mbr { entries, .. } | Self::Gpt { entries, .. } => entries,
        }
    }
}

impl Entry {
    /// The partition as a device.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if this is not the device of the table.
    pub fn open<D: BlockDevice>(&self, device: D) -> Result<Partition<D>, Error> {
        Partition::new(device, self.first, self.blocks)
    }
}

impl Name {
    const NONE: Self = Self([0; 36]);

    /// Its characters.
    pub fn chars(&self) -> impl Iterator<Item = char> {
        let units = self.0.iter().copied().take_while(|unit| *unit != 0);
        char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars().try_for_each(|char| f.write_char(char))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        self.chars().flat_map(char::escape_debug).try_for_each(|char| f.write_char(char))?;
        f.write_char('"')
    }
}

/// Reads pieces of a disk into a buffer of its own.
struct Reader<'a, D> {
    device: &'a D,
    block_size: usize,
    blocks: u64,
    buffer: Vec<u8>,
}

/// How many bytes are read at once, unless a block is larger.
const PIECE: usize = 4096;

impl<'a, D: BlockDevice> Reader<'a, D> {
    fn new(device: &'a D) -> Result<Self, Error> {
        let geometry = device.geometry();
        let block_size = geometry.block_size as usize;
        let buffer = crate::zeros(block_size.max(PIECE))?;
        Ok(Self { device, block_size, blocks: geometry.blocks, buffer })
    }

    /// A block. Its bytes are 512 at least.
    async fn block(&mut self, number: u64) -> Result<&[u8], Error> {
        let block = &mut self.buffer[..self.block_size];
        self.device.read(number, block).await?;
        Ok(block)
    }

    /// As many bytes from a block on as are wanted and the buffer holds.
    async fn piece(&mut self, number: u64, wanted: usize) -> Result<&[u8], Error> {
        let len = wanted.min(self.buffer.len());
        let piece = &mut self.buffer[..len.next_multiple_of(self.block_size)];
        self.device.read(number, piece).await?;
        Ok(&piece[..len])
    }
}

/// Numbers with the lowest byte first; the places are constants within what was read.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("a field within a sector"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("a field within a sector"))
}

fn guid_at(bytes: &[u8], at: usize) -> Guid {
    Guid::from_bytes(*bytes[at..].first_chunk().expect("a field within a sector"))
}

/// Adds an entry, if there is memory for it.
fn add(entries: &mut Vec<Entry>, entry: Entry) -> Result<(), Error> {
    entries.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
    entries.push(entry);
    Ok(())
}
