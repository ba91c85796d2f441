//! What a volume says of itself, as far as it can be believed.

use crc::{Algorithm, Crc, Table};

use crate::{
    Error,
    bytes::{u16_at, u32_at, u64_of},
};

/// Where the superblock is, in bytes, and its size ("Layout" in the kernel's "ext4 Data Structures and Algorithms",
/// where all offsets and flags of this crate are from).
pub(crate) const SUPERBLOCK_START: u64 = 1024;
pub(crate) const SUPERBLOCK_SIZE: usize = 1024;

const MAGIC: u16 = 0xef53;
/// Of larger blocks than 64 KiB, neither Linux nor `mkfs.ext4` knows.
const MAX_BLOCK_SHIFT: u32 = 16;

const COMPAT_JOURNAL: u32 = 0x4;

const INCOMPAT_FILETYPE: u32 = 0x2;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_EXTENTS: u32 = 0x40;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_FLEX_BG: u32 = 0x200;
const INCOMPAT_EA_INODE: u32 = 0x400;
const INCOMPAT_CSUM_SEED: u32 = 0x2000;
const INCOMPAT_LARGEDIR: u32 = 0x4000;
const INCOMPAT_ENCRYPT: u32 = 0x10000;
const INCOMPAT_KNOWN: u32 = INCOMPAT_FILETYPE
    | INCOMPAT_RECOVER
    | INCOMPAT_EXTENTS
    | INCOMPAT_64BIT
    | INCOMPAT_FLEX_BG
    | INCOMPAT_EA_INODE
    | INCOMPAT_CSUM_SEED
    | INCOMPAT_LARGEDIR
    | INCOMPAT_ENCRYPT;

const RO_COMPAT_METADATA_CSUM: u32 = 0x400;

/// CRC-32C as ext4 has it: not inverted at the end, so that one can go on where another ended.
const CRC32C: Algorithm<u32> = Algorithm {
    width: 32,
    poly: 0x1edc_6f41,
    init: 0xffff_ffff,
    refin: true,
    refout: true,
    xorout: 0,
    check: 0x1cf9_6d7c,
    residue: 0,
};
static CHECKSUM: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC32C);

/// The checksum of what came before, and of these.
pub(crate) fn checksum(before: u32, parts: &[&[u8]]) -> u32 {
    let mut digest = CHECKSUM.digest_with_initial(before.reverse_bits());
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// Where things are on a volume. All of it is on the device, and no number in it is zero that divides.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) block_size: u64,
    pub(crate) blocks: u64,
    pub(crate) inodes: u32,
    pub(crate) inodes_per_group: u32,
    pub(crate) inode_size: usize,
    pub(crate) descriptor_size: usize,
    /// Whether metadata has checksums, and what each begins with.
    pub(crate) has_checksums: bool,
    pub(crate) checksum_seed: u32,
    /// The inode of a journal that is to be replayed.
    pub(crate) journal: Option<u32>,
}

impl Layout {
    /// Of a superblock, on a device of so many bytes.
    pub(crate) fn parse(bytes: &[u8; SUPERBLOCK_SIZE], device_len: u64) -> Result<Self, Error> {
        if u16_at(bytes, 0x38)? != MAGIC {
            return Err(Error::NotExt4);
        }
        let is_old = u32_at(bytes, 0x4c)? == 0;
        let (compat, incompat, ro_compat) = if is_old {
            (0, 0, 0)
        } else {
            (u32_at(bytes, 0x5c)?, u32_at(bytes, 0x60)?, u32_at(bytes, 0x64)?)
        };
        if incompat & !INCOMPAT_KNOWN != 0 || incompat & INCOMPAT_FILETYPE == 0 {
            return Err(Error::Unsupported);
        }
        let has_checksums = ro_compat & RO_COMPAT_METADATA_CSUM != 0;
        if has_checksums && checksum(!0, &[&bytes[..0x3fc]]) != u32_at(bytes, 0x3fc)? {
            return Err(Error::Corrupt);
        }

        let block_shift = u32_at(bytes, 0x18)?.saturating_add(10);
        if block_shift > MAX_BLOCK_SHIFT {
            return Err(Error::Corrupt);
        }
        let has_64bit = incompat & INCOMPAT_64BIT != 0;
        let blocks_high = if has_64bit { u32_at(bytes, 0x150)? } else { 0 };
        let layout = Self {
            block_size: 1 << block_shift,
            blocks: u64_of(blocks_high, u32_at(bytes, 0x4)?),
            inodes: u32_at(bytes, 0x0)?,
            inodes_per_group: u32_at(bytes, 0x28)?,
            inode_size: if is_old { 128 } else { u16_at(bytes, 0x58)?.into() },
            descriptor_size: if has_64bit { u16_at(bytes, 0xfe)?.into() } else { 32 },
            has_checksums,
            checksum_seed: if incompat & INCOMPAT_CSUM_SEED != 0 {
                u32_at(bytes, 0x270)?
            } else {
                checksum(!0, &[&bytes[0x68..0x78]])
            },
            journal: (compat & COMPAT_JOURNAL != 0 && incompat & INCOMPAT_RECOVER != 0)
                .then_some(u32_at(bytes, 0xe0)?),
        };
        layout.check(has_64bit, device_len)?;
        Ok(layout)
    }

    fn check(&self, has_64bit: bool, device_len: u64) -> Result<(), Error> {
        let fits = self.blocks.checked_mul(self.block_size).is_some_and(|len| len <= device_len);
        let inode_fits = self.inode_size.is_power_of_two()
            && (128..=self.block_size as usize).contains(&self.inode_size);
        let least_descriptor = if has_64bit { 64 } else { 32 };
        let descriptor_fits = self.descriptor_size.is_power_of_two()
            && (least_descriptor..=self.block_size as usize).contains(&self.descriptor_size);
        if fits && inode_fits && descriptor_fits && self.inodes_per_group > 0 {
            Ok(())
        } else {
            Err(Error::Corrupt)
        }
    }

    /// The block in which the descriptors of the groups begin: after that of the superblock.
    pub(crate) fn descriptors(&self) -> u64 {
        SUPERBLOCK_START / self.block_size + 1
    }
}
