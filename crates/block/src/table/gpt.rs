//! The GUID partition table (UEFI 2.10 §5.3): a header in block 1 and the entries that it leads to, and the same
//! again at the end of the disk.

use alloc::vec::Vec;

use crc::{CRC_32_ISO_HDLC, Crc, Table as Tables};
use uguid::Guid;

use super::{Entry, Kind, Name, Reader, Table, add, guid_at, u32_at, u64_at};
use crate::{BlockDevice, Error};

/// How many entries a table may have, used or not. UEFI asks for room for 128.
pub const MAX_ENTRIES: u32 = 1024;

/// How long all entries may be together, in bytes.
pub const MAX_BYTES: u32 = 1 << 20;

/// Places in the header (UEFI 2.10 §5.3.2, table 5.5), and how long it is at least.
mod header {
    pub(super) const SIGNATURE: usize = 0;
    pub(super) const REVISION: usize = 8;
    pub(super) const SIZE: usize = 12;
    pub(super) const CHECKSUM: usize = 16;
    pub(super) const ITSELF: usize = 24;
    pub(super) const OTHER: usize = 32;
    pub(super) const FIRST_USABLE: usize = 40;
    pub(super) const LAST_USABLE: usize = 48;
    pub(super) const DISK: usize = 56;
    pub(super) const ENTRIES: usize = 72;
    pub(super) const COUNT: usize = 80;
    pub(super) const ENTRY_SIZE: usize = 84;
    pub(super) const ENTRIES_CHECKSUM: usize = 88;
    pub(super) const LEAST: usize = 92;
}

/// Places in an entry (UEFI 2.10 §5.3.3, table 5.6), and how long it is at least.
mod entry {
    pub(super) const KIND: usize = 0;
    pub(super) const UNIQUE: usize = 16;
    pub(super) const FIRST: usize = 32;
    pub(super) const LAST: usize = 40;
    pub(super) const NAME: usize = 56;
    pub(super) const LEAST: usize = 128;
}

/// Version 1.0, the only one.
const REVISION: u32 = 0x0001_0000;

/// That of Ethernet and zip. A table of 1 KiB: without, 16 KiB of entries take five times as long.
static CHECKSUM: Crc<u32, Tables<1>> = Crc::<u32, Tables<1>>::new(&CRC_32_ISO_HDLC);

/// What a header that is whole says.
struct Header {
    disk: Guid,
    other: u64,
    first_usable: u64,
    last_usable: u64,
    entries: u64,
    count: u32,
    entry_size: u32,
    checksum: u32,
}

/// Reads the table at the beginning; if that is damaged the other one, where the header says that it is, or else in
/// the last block.
pub(super) async fn read<D: BlockDevice>(reader: &mut Reader<'_, D>) -> Result<Table, Error> {
    let last = reader.blocks - 1;
    let primary = whole(read_header(reader, 1).await)?;
    if let Some(header) = &primary
        && let Some(entries) = whole(read_entries(reader, header).await)?
    {
        return Ok(Table::Gpt { disk: header.disk, is_backup: false, entries });
    }
    // On a disk that has grown it is not in the last block.
    let other = primary.map(|header| header.other).filter(|other| *other < last);
    for at in other.into_iter().chain([last]) {
        if let Some(header) = whole(read_header(reader, at).await)?
            && let Some(entries) = whole(read_entries(reader, &header).await)?
        {
            return Ok(Table::Gpt { disk: header.disk, is_backup: true, entries });
        }
    }
    Err(Error::TableDamaged)
}

/// What is damaged or cannot be read is a case for the backup; the rest is an error.
fn whole<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::TableDamaged | Error::Device) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn read_header<D: BlockDevice>(reader: &mut Reader<'_, D>, at: u64) -> Result<Header, Error> {
    let blocks = reader.blocks;
    if at == 0 || at >= blocks {
        return Err(Error::TableDamaged);
    }
    let block = reader.block(at).await?;
    let size = u32_at(block, header::SIZE) as usize;
    let is_header = block[header::SIGNATURE..].starts_with(b"EFI PART")
        && u32_at(block, header::REVISION) == REVISION
        && (header::LEAST..=block.len()).contains(&size)
        && u64_at(block, header::ITSELF) == at;
    if !is_header || header_checksum(&block[..size]) != u32_at(block, header::CHECKSUM) {
        return Err(Error::TableDamaged);
    }

    let header = Header {
        disk: guid_at(block, header::DISK),
        other: u64_at(block, header::OTHER),
        first_usable: u64_at(block, header::FIRST_USABLE),
        last_usable: u64_at(block, header::LAST_USABLE),
        entries: u64_at(block, header::ENTRIES),
        count: u32_at(block, header::COUNT),
        entry_size: u32_at(block, header::ENTRY_SIZE),
        checksum: u32_at(block, header::ENTRIES_CHECKSUM),
    };
    // A disk that was cut short has its table at the beginning, and lacks what it tells of.
    let is_sane = header.last_usable < blocks
        && header.entry_size as usize >= entry::LEAST
        && header.entry_size.is_power_of_two();
    if is_sane { Ok(header) } else { Err(Error::TableDamaged) }
}

/// That of a header, in which its own place counts as zeros.
fn header_checksum(header: &[u8]) -> u32 {
    let mut digest = CHECKSUM.digest();
    digest.update(&header[..header::CHECKSUM]);
    digest.update(&[0; 4]);
    digest.update(&header[header::CHECKSUM + 4..]);
    digest.finalize()
}

async fn read_entries<D: BlockDevice>(
    reader: &mut Reader<'_, D>,
    header: &Header,
) -> Result<Vec<Entry>, Error> {
    let len = header.count.checked_mul(header.entry_size).filter(|len| *len <= MAX_BYTES);
    let (Some(len), ..=MAX_ENTRIES) = (len, header.count) else {
        return Err(Error::TableTooLarge);
    };
    let blocks = u64::from(len).div_ceil(reader.block_size as u64);
    if header.entries.checked_add(blocks).is_none_or(|end| end > reader.blocks) {
        return Err(Error::TableDamaged);
    }

    // What is read at once is a multiple of a block, and the beginning of an entry lies in one block. So an entry is
    // whole as far as it is looked at, and longer ones end in the next piece.
    let (len, entry_size) = (len as usize, header.entry_size as usize);
    let mut entries = Vec::new();
    let mut is_in_range = true;
    let mut digest = CHECKSUM.digest();
    let mut at = 0;
    while at < len {
        let block = header.entries + (at / reader.block_size) as u64;
        let piece = reader.piece(block, len - at).await?;
        digest.update(piece);
        let skipped = at.next_multiple_of(entry_size) - at;
        for (number, bytes) in
            piece.get(skipped..).into_iter().flat_map(|rest| rest.chunks(entry_size)).enumerate()
        {
            let index = (at + skipped) / entry_size + number + 1;
            match parse_entry(bytes, index as u32, header) {
                Ok(None) => {}
                Ok(Some(entry)) => add(&mut entries, entry)?,
                Err(OutOfRange) => is_in_range = false,
            }
        }
        at += piece.len();
    }
    if digest.finalize() != header.checksum {
        return Err(Error::TableDamaged);
    }
    if is_in_range { Ok(entries) } else { Err(Error::TableOutOfRange) }
}

/// A partition that is not where partitions may be.
struct OutOfRange;

fn parse_entry(bytes: &[u8], index: u32, header: &Header) -> Result<Option<Entry>, OutOfRange> {
    let kind = guid_at(bytes, entry::KIND);
    if kind.is_zero() {
        return Ok(None);
    }
    let (first, last) = (u64_at(bytes, entry::FIRST), u64_at(bytes, entry::LAST));
    if first < header.first_usable.max(1) || last < first || last > header.last_usable {
        return Err(OutOfRange);
    }
    let (units, _) = bytes[entry::NAME..entry::LEAST].as_chunks();
    let name = Name(core::array::from_fn(|at| u16::from_le_bytes(units[at])));
    let unique = Some(guid_at(bytes, entry::UNIQUE));
    let blocks = last - first + 1;
    Ok(Some(Entry { index, kind: Kind::Gpt(kind), unique, name, first, blocks }))
}
