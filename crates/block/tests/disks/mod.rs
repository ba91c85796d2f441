//! Disks with tables, made by the programs that people use, and ways to break them.
//!
//! The files in `tests/data` say at their head how they were made. The first line after that is the block size and the
//! number of blocks; the others are a place in bytes, in hexadecimal, and 32 bytes that stand there. The rest is zeros.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use crc::{CRC_32_ISO_HDLC, Crc};
use wakeful_block::{
    BlockDevice, Error, Geometry,
    fake::run,
    table::{Table, partitions},
};

pub(crate) const DISKS: [&str; 8] = [
    include_str!("../data/mbr-sfdisk.disk"),
    include_str!("../data/mbr-parted.disk"),
    include_str!("../data/mbr-fdisk-4096.disk"),
    include_str!("../data/gpt-sgdisk.disk"),
    include_str!("../data/gpt-parted.disk"),
    include_str!("../data/gpt-fdisk-4096.disk"),
    include_str!("../data/fat16-mkfs.disk"),
    include_str!("../data/fat32-mkfs-mbr.disk"),
];

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// A disk of which only blocks that are not zeros take memory.
#[derive(Clone)]
pub(crate) struct Sparse {
    pub(crate) geometry: Geometry,
    pub(crate) blocks: BTreeMap<u64, Vec<u8>>,
    /// Blocks that cannot be read.
    pub(crate) bad: BTreeSet<u64>,
    /// How many bytes were read.
    pub(crate) read: Cell<u64>,
}

impl Sparse {
    pub(crate) fn new(block_size: u32, blocks: u64) -> Self {
        let geometry = Geometry::new(block_size, blocks).unwrap();
        Self { geometry, blocks: BTreeMap::new(), bad: BTreeSet::new(), read: Cell::new(0) }
    }

    pub(crate) fn parse(text: &str) -> Self {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let (block_size, blocks) = lines.next().unwrap().split_once(' ').unwrap();
        let mut disk = Self::new(block_size.parse().unwrap(), blocks.parse().unwrap());
        for line in lines {
            let (at, bytes) = line.split_once(' ').unwrap();
            let at = u64::from_str_radix(at, 16).unwrap();
            let bytes: Vec<u8> = (0..bytes.len())
                .step_by(2)
                .map(|digit| u8::from_str_radix(&bytes[digit..digit + 2], 16).unwrap())
                .collect();
            disk.put(at, &bytes);
        }
        disk
    }

    /// Bytes that lie in one block.
    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) {
        let size = u64::from(self.geometry.block_size);
        let block = self.blocks.entry(at / size).or_insert_with(|| vec![0; size as usize]);
        block[(at % size) as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let size = u64::from(self.geometry.block_size);
        let mut bytes = Vec::new();
        for number in at / size..(at + len as u64).div_ceil(size) {
            match self.blocks.get(&number) {
                Some(block) => bytes.extend(block),
                None => bytes.resize(bytes.len() + size as usize, 0),
            }
        }
        bytes.drain(..(at % size) as usize);
        bytes.truncate(len);
        bytes
    }

    pub(crate) fn block_at(&self, number: u64) -> u64 {
        number * u64::from(self.geometry.block_size)
    }

    /// Makes the checksums of a GPT right, of what is there to have some.
    pub(crate) fn seal(&mut self) {
        for number in [1, self.geometry.blocks.saturating_sub(1)] {
            let start = self.block_at(number);
            let mut header = self.bytes(start, self.geometry.block_size as usize);
            let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
            let entries = u64::from_le_bytes(header[72..80].try_into().unwrap());
            let len = u64::from(word(80)) * u64::from(word(84));
            if len <= 1 << 17 && entries < self.geometry.blocks {
                let entries = CRC.checksum(&self.bytes(self.block_at(entries), len as usize));
                header[88..92].copy_from_slice(&entries.to_le_bytes());
            }
            let size = (u32::from_le_bytes(header[12..16].try_into().unwrap()) as usize)
                .clamp(92, header.len());
            header[16..20].fill(0);
            let sum = CRC.checksum(&header[..size]);
            header[16..20].copy_from_slice(&sum.to_le_bytes());
            if self.blocks.contains_key(&number) {
                self.put(start, &header);
            }
        }
    }
}

impl BlockDevice for Sparse {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    async fn read(&self, block: u64, into: &mut [u8]) -> Result<(), Error> {
        self.geometry.check_read(block, into.len())?;
        self.read.set(self.read.get() + into.len() as u64);
        for (number, into) in (block..).zip(into.chunks_mut(self.geometry.block_size as usize)) {
            if self.bad.contains(&number) {
                return Err(Error::Device);
            }
            match self.blocks.get(&number) {
                Some(bytes) => into.copy_from_slice(bytes),
                None => into.fill(0),
            }
        }
        Ok(())
    }

    async fn write(&self, _: u64, _: &[u8]) -> Result<(), Error> {
        Err(Error::ReadOnly)
    }

    async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Reads the table of a disk, whatever it is, and checks what holds of all.
pub(crate) fn check(disk: &Sparse) -> Result<Table, Error> {
    disk.read.set(0);
    let result = run(partitions(disk));
    // Three tables of the largest size, or the longest chain, and headers.
    let most = 3 * (1 << 20) + 140 * u64::from(disk.geometry.block_size);
    assert!(disk.read.get() <= most, "{} bytes were read", disk.read.get());
    match &result {
        Ok(table) => {
            assert!(table.entries().len() <= 1024);
            for entry in table.entries() {
                assert!(entry.first > 0 && entry.blocks > 0);
                assert!(entry.open(disk).is_ok(), "{entry:?} is not on the disk");
            }
        }
        Err(Error::OutOfRange | Error::Misaligned) => panic!("asked the disk for what it has not"),
        Err(_) => {}
    }
    result
}
