//! Directories: their blocks, and the entries in them.

use alloc::vec::Vec;
use core::ops::Range;

use wakeful_block::BlockDevice;

use crate::{
    Error, Shared,
    bytes::{u16_at, u32_at},
    inode::{FileType, Inode},
    map::Run,
    zeros,
};

/// The head of an entry, before its name ("Linear (Classic) Directories").
const HEAD: usize = 8;

/// Where one is in a directory. The inner nodes of hashed directories look like empty blocks, so that those are read
/// as any other.
#[derive(Debug)]
pub(crate) struct Cursor {
    directory: Inode,
    /// The block that comes next, if not `block`.
    next_block: u64,
    run: Run,
    block: Vec<u8>,
    /// Where the next entry is in the block; its end if there is none to be looked at.
    offset: usize,
}

/// A name that is in use.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) inode: u32,
    pub(crate) file_type: FileType,
    /// Where the name is in the cursor's block.
    name: Range<usize>,
}

impl Cursor {
    pub(crate) fn new(directory: Inode, block_size: u64) -> Result<Self, Error> {
        if !directory.metadata.is_dir() {
            return Err(Error::NotADirectory);
        }
        let block = zeros(block_size as usize)?;
        Ok(Self { directory, next_block: 0, run: Run::default(), offset: block.len(), block })
    }

    /// The name of the last entry.
    pub(crate) fn name(&self, entry: &Entry) -> &[u8] {
        &self.block[entry.name.clone()]
    }

    /// The next entry of this block that is in use.
    fn next_in_block(&mut self) -> Result<Option<Entry>, Error> {
        while self.offset < self.block.len() {
            let at = self.offset;
            let bytes = &self.block[at..];
            // Of a block of 64 KiB the whole length does not fit: it is 0 or 65535.
            let len = match u16_at(bytes, 4)? {
                0 | u16::MAX if bytes.len() == 1 << 16 => 1 << 16,
                len => usize::from(len),
            };
            let name_len = usize::from(*bytes.get(6).ok_or(Error::Corrupt)?);
            if len < HEAD + name_len || len > bytes.len() || !len.is_multiple_of(4) {
                return Err(Error::Corrupt);
            }
            let inode = u32_at(bytes, 0)?;
            // "Linear (Classic) Directories", the table of file types.
            let file_type = match bytes[7] {
                1 => FileType::File,
                2 => FileType::Directory,
                7 => FileType::Link,
                _ => FileType::Other,
            };
            self.offset += len;
            if inode != 0 && name_len > 0 {
                let name = at + HEAD..at + HEAD + name_len;
                return Ok(Some(Entry { inode, file_type, name }));
            }
        }
        Ok(None)
    }
}

impl<D: BlockDevice> Shared<D> {
    /// The next entry, with `.` and `..`.
    ///
    /// # Cancellation
    ///
    /// The cursor is where it was.
    pub(crate) async fn next_entry(&self, cursor: &mut Cursor) -> Result<Option<Entry>, Error> {
        loop {
            if let Some(entry) = cursor.next_in_block()? {
                return Ok(Some(entry));
            }
            let len = cursor.directory.metadata.len.div_ceil(self.layout.block_size);
            // One that is larger than the volume goes in circles.
            if len > self.layout.blocks {
                return Err(Error::Corrupt);
            }
            let next = cursor.next_block;
            if next >= len {
                return Ok(None);
            }
            if !cursor.run.contains(next) {
                cursor.run = self.run(&cursor.directory, next).await?;
            }
            let start = cursor.run.start.ok_or(Error::Corrupt)?;
            let at = (start + next - cursor.run.first) * self.layout.block_size;
            self.cache.read(at, &mut cursor.block).await?;
            cursor.next_block = next + 1;
            cursor.offset = 0;
        }
    }

    /// The inode of a name.
    pub(crate) async fn look_up(&self, directory: &Inode, name: &[u8]) -> Result<u32, Error> {
        let mut cursor = Cursor::new(directory.clone(), self.layout.block_size)?;
        while let Some(entry) = self.next_entry(&mut cursor).await? {
            if cursor.name(&entry) == name {
                return Ok(entry.inode);
            }
        }
        Err(Error::NotFound)
    }
}
