//! Inodes: what a file is, and where its contents begin.

use wakeful_block::BlockDevice;

use crate::{
    Error, Shared,
    bytes::{u16_at, u32_at, u64_of},
    superblock::checksum,
    zeros,
};

/// The inode of the directory `/`.
pub(crate) const ROOT: u32 = 2;

/// The last twelve bits of the mode are permissions.
const PERMISSIONS: u16 = 0o7777;

const FLAG_ENCRYPTED: u32 = 0x800;
const FLAG_EXTENTS: u32 = 0x8_0000;
const FLAG_INLINE_DATA: u32 = 0x1000_0000;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// Bytes.
    File,
    /// Names.
    Directory,
    /// Another path.
    Link,
    /// A device, a pipe or a socket, of which there is nothing to be read.
    Other,
}

/// A moment in Unix time, as far from 1970-01-01 00:00 UTC as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds; before 1970 they are negative.
    pub seconds: i64,
    /// And so many, less than 1,000,000,000. Volumes with small inodes have none.
    pub nanoseconds: u32,
}

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    pub(crate) mode: u16,
    pub(crate) len: u64,
    pub(crate) modified: Timestamp,
}

impl Metadata {
    /// What it is.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        // The upper four bits of the mode, as in `st_mode` of POSIX.
        match self.mode >> 12 {
            0x8 => FileType::File,
            0x4 => FileType::Directory,
            0xa => FileType::Link,
            _ => FileType::Other,
        }
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.file_type() == FileType::File
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    /// Whether it is a symbolic link: only [`symlink_metadata`](crate::Volume::symlink_metadata) and a
    /// [`DirEntry`](crate::DirEntry) can tell.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.file_type() == FileType::Link
    }

    /// In bytes. Files with holes take less on the disk.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "named as in std::fs")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The permissions: twelve bits as `chmod` has them. They are not enforced: nobody is root here.
    #[must_use]
    pub fn mode(&self) -> u16 {
        self.mode & PERMISSIONS
    }

    /// When its contents were changed.
    #[must_use]
    pub fn modified(&self) -> Timestamp {
        self.modified
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Inode {
    pub(crate) number: u32,
    pub(crate) metadata: Metadata,
    pub(crate) has_extents: bool,
    /// The root of the tree of extents or of the block map; the target of a short link.
    pub(crate) root: [u8; 60],
    /// What the checksums of all that belongs to it begin with.
    pub(crate) checksum_seed: u32,
    flags: u32,
}

impl Inode {
    fn parse(bytes: &[u8], number: u32, seed: u32) -> Result<Self, Error> {
        let mut root = [0; 60];
        root.copy_from_slice(bytes.get(0x28..0x64).ok_or(Error::Corrupt)?);
        let mode = u16_at(bytes, 0x0)?;
        let flags = u32_at(bytes, 0x20)?;
        let mut metadata = Metadata {
            mode,
            len: u32_at(bytes, 0x4)?.into(),
            modified: Timestamp {
                seconds: u32_at(bytes, 0x10)?.cast_signed().into(),
                nanoseconds: 0,
            },
        };
        // Of what is no file, ext2 has something else there.
        if metadata.is_file() {
            metadata.len |= u64_of(u32_at(bytes, 0x6c)?, 0);
        }
        if extra_size(bytes) >= 0x8c - 0x80 {
            let extra = u32_at(bytes, 0x88)?;
            metadata.modified.seconds += i64::from(extra & 3) << 32;
            metadata.modified.nanoseconds = (extra >> 2).min(999_999_999);
        }
        Ok(Self {
            number,
            metadata,
            has_extents: flags & FLAG_EXTENTS != 0,
            root,
            checksum_seed: checksum(seed, &[&number.to_le_bytes(), &bytes[0x64..0x68]]),
            flags,
        })
    }

    /// Whether what it holds can be read at all.
    pub(crate) fn check_readable(&self) -> Result<(), Error> {
        if self.flags & FLAG_ENCRYPTED != 0 {
            Err(Error::Encrypted)
        } else if self.flags & FLAG_INLINE_DATA != 0 {
            Err(Error::Unsupported)
        } else {
            Ok(())
        }
    }

    /// Whether the bytes it was read from have its checksum: of 16 bits, or of 32 where there is room.
    fn is_whole(&self, bytes: &[u8]) -> bool {
        let half = |at| u16_at(bytes, at).unwrap_or(0);
        let head = [&bytes[..0x7c], &[0, 0], &bytes[0x7e..0x80]];
        let sum = checksum(self.checksum_seed, &head);
        if extra_size(bytes) < 4 {
            return checksum(sum, &[&bytes[0x80..]]) as u16 == half(0x7c);
        }
        let sum = checksum(sum, &[&bytes[0x80..0x82], &[0, 0], &bytes[0x84..]]);
        sum == u32::from(half(0x82)) << 16 | u32::from(half(0x7c))
    }
}

/// How much of the fields after the first 128 bytes there is.
fn extra_size(bytes: &[u8]) -> u16 {
    u16_at(bytes, 0x80).unwrap_or(0)
}

impl<D: BlockDevice> Shared<D> {
    /// # Cancellation
    ///
    /// Nothing has happened, except that more may be remembered. So it is for all that is shared here.
    pub(crate) async fn inode(&self, number: u32) -> Result<Inode, Error> {
        if number == 0 || number > self.layout.inodes {
            return Err(Error::Corrupt);
        }
        let group = (number - 1) / self.layout.inodes_per_group;
        let index = (number - 1) % self.layout.inodes_per_group;
        let table = self.inode_table(group).await?;
        let offset = u64::from(index) * self.layout.inode_size as u64;
        let block = table.checked_add(offset / self.layout.block_size).ok_or(Error::Corrupt)?;
        let mut bytes = zeros(self.layout.inode_size)?;
        self.read_block(block, offset % self.layout.block_size, &mut bytes).await?;
        let inode = Inode::parse(&bytes, number, self.layout.checksum_seed)?;
        if self.layout.has_checksums && !inode.is_whole(&bytes) {
            return Err(Error::Corrupt);
        }
        Ok(inode)
    }

    /// The block in which the inodes of a group begin.
    async fn inode_table(&self, group: u32) -> Result<u64, Error> {
        let offset = u64::from(group) * self.layout.descriptor_size as u64;
        let block = self.layout.descriptors() + offset / self.layout.block_size;
        let mut bytes = zeros(self.layout.descriptor_size)?;
        self.read_block(block, offset % self.layout.block_size, &mut bytes).await?;
        if self.layout.has_checksums {
            let parts = [&group.to_le_bytes(), &bytes[..0x1e], &[0, 0], &bytes[0x20..]];
            if checksum(self.layout.checksum_seed, &parts) as u16 != u16_at(&bytes, 0x1e)? {
                return Err(Error::Corrupt);
            }
        }
        let high = if bytes.len() >= 64 { u32_at(&bytes, 0x28)? } else { 0 };
        Ok(u64_of(high, u32_at(&bytes, 0x8)?))
    }
}
