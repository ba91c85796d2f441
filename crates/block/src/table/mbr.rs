//! The first sector of a disk, and what it leads to.
//!
//! The layout is in UEFI 2.10 §5.2, the chains of logical partitions nowhere but in the programs that make
//! them: here as sfdisk and parted do, and as Linux reads them.

use alloc::vec::Vec;

use super::{Entry, Kind, Name, Reader, add, u32_at};
use crate::{BlockDevice, Error};

/// How many logical partitions a disk may have. Linux once had 60.
pub const MAX_LOGICAL: usize = 128;

/// What the first block says.
pub(super) enum First {
    /// There is no table.
    Nothing,
    /// There is a GPT.
    Protective,
    /// There is a table, which is this.
    Table { signature: u32, entries: Vec<Entry> },
}

/// Places in the sector (UEFI 2.10 §5.2.1, table 5.1).
const DISK_SIGNATURE: usize = 440;
const RECORDS: usize = 446;
const RECORD_SIZE: usize = 16;
const MAGIC: usize = 510;

/// The type of the record that protects a GPT (UEFI 2.10 §5.2.3).
const PROTECTIVE: u8 = 0xee;

/// Types of containers of logical partitions: with cylinders, without, and Linux' own.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// One of the four records of a sector (UEFI 2.10 §5.2.1, table 5.2).
#[derive(Clone, Copy)]
struct Record {
    is_possible: bool,
    kind: u8,
    first: u64,
    blocks: u64,
}

impl Record {
    fn is_used(&self) -> bool {
        self.kind != 0 && self.blocks != 0
    }

    fn is_extended(&self) -> bool {
        EXTENDED.contains(&self.kind)
    }

    fn is_within(&self, first: u64, end: u64) -> bool {
        first <= self.first && self.first + self.blocks <= end
    }

    fn entry(&self, index: u32, base: u64) -> Entry {
        Entry {
            index,
            kind: Kind::Mbr(self.kind),
            unique: None,
            name: Name::NONE,
            first: base + self.first,
            blocks: self.blocks,
        }
    }
}

/// The records of a sector, if it ends as such a sector does.
fn records(sector: &[u8]) -> Option<[Record; 4]> {
    if sector[MAGIC..][..2] != [0x55, 0xaa] {
        return None;
    }
    Some(core::array::from_fn(|number| {
        let record = &sector[RECORDS + number * RECORD_SIZE..][..RECORD_SIZE];
        Record {
            // The disk starts from it, or not; anything else is some program's code.
            is_possible: matches!(record[0], 0 | 0x80),
            kind: record[4],
            first: u32_at(record, 8).into(),
            blocks: u32_at(record, 12).into(),
        }
    }))
}

/// Reads the first block, and the chains of logical partitions that begin there.
pub(super) async fn read<D: BlockDevice>(reader: &mut Reader<'_, D>) -> Result<First, Error> {
    let disk_end = reader.blocks;
    if disk_end == 0 {
        return Ok(First::Nothing);
    }
    let sector = reader.block(0).await?;
    let Some(records) = records(sector) else { return Ok(First::Nothing) };
    if records.iter().any(|record| !record.is_possible) {
        return Ok(First::Nothing);
    }
    let signature = u32_at(sector, DISK_SIGNATURE);
    let is_file_system = is_file_system(sector);

    let used = || records.iter().filter(|record| record.is_used());
    if used().any(|record| record.kind == PROTECTIVE && record.first == 1) {
        return Ok(First::Protective);
    }
    // A partition over the very table is what mkfs.fat writes into its first sector, for Windows' sake.
    let is_sound = used().all(|record| record.is_within(1, disk_end));
    if is_file_system && (!is_sound || used().next().is_none()) {
        return Ok(First::Nothing);
    }
    if !is_sound {
        return Err(Error::TableOutOfRange);
    }

    let mut entries = Vec::new();
    for (index, record) in (1..).zip(&records) {
        if record.is_used() && !record.is_extended() {
            add(&mut entries, record.entry(index, 0))?;
        }
    }
    let mut visited = Vec::new();
    for extended in used().filter(|record| record.is_extended()) {
        read_chain(reader, extended, &mut visited, &mut entries).await?;
    }
    Ok(First::Table { signature, entries })
}

/// Reads the chain of sectors that describe one logical partition each and lead to the next. Logical partitions are
/// counted from the sector that describes them, links from the beginning of the container.
async fn read_chain<D: BlockDevice>(
    reader: &mut Reader<'_, D>,
    extended: &Record,
    visited: &mut Vec<u64>,
    entries: &mut Vec<Entry>,
) -> Result<(), Error> {
    let end = extended.first + extended.blocks;
    let mut next = Some(extended.first);
    while let Some(at) = next {
        if visited.contains(&at) {
            return Err(Error::TableLoop);
        }
        if visited.len() == MAX_LOGICAL {
            return Err(Error::TableTooLarge);
        }
        visited.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        visited.push(at);

        // A container that nothing was put into may have no such sector.
        let Some(records) = records(reader.block(at).await?) else { break };
        let used = || records.iter().filter(|record| record.is_used());
        if let Some(logical) = used().find(|record| !record.is_extended()) {
            let index = 5 + entries.iter().filter(|entry| entry.index >= 5).count() as u32;
            let entry = logical.entry(index, at);
            if logical.first == 0 || entry.first + entry.blocks > end {
                return Err(Error::TableOutOfRange);
            }
            add(entries, entry)?;
        }
        next = match used().find(|record| record.is_extended()) {
            Some(link) if extended.first + link.first < end => Some(extended.first + link.first),
            Some(_) => return Err(Error::TableOutOfRange),
            None => None,
        };
    }
    Ok(())
}

/// Whether this is the first sector of FAT, exFAT or NTFS, which ends as that of a disk with a table does.
///
/// FAT: "Microsoft Extensible Firmware Initiative FAT32 File System Specification" 1.03, "Boot Sector and BPB".
/// Loaders for disks with a table may have such fields too, left over from what was there before.
fn is_file_system(sector: &[u8]) -> bool {
    let begins_with_jump = sector[0] == 0xe9 || (sector[0] == 0xeb && sector[2] == 0x90);
    if !begins_with_jump {
        return false;
    }
    if [b"NTFS    ", b"EXFAT   "].iter().any(|name| sector[3..11] == name[..]) {
        return true;
    }
    let bytes_per_sector = u16::from_le_bytes([sector[11], sector[12]]);
    let sectors_per_cluster = sector[13];
    let reserved_sectors = u16::from_le_bytes([sector[14], sector[15]]);
    let fats = sector[16];
    let media = sector[21];
    matches!(bytes_per_sector, 512 | 1024 | 2048 | 4096)
        && sectors_per_cluster.is_power_of_two()
        && reserved_sectors != 0
        && (1..=2).contains(&fats)
        && media >= 0xf0
}
