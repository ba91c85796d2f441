//! Volumes: what is asked of them by path.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use wakeful_block::BlockDevice;

use crate::{
    Error, File, FileType, Metadata,
    cache::Cache,
    directory::Cursor,
    inode::Inode,
    journal::Journal,
    map::Run,
    superblock::{Layout, SUPERBLOCK_SIZE, SUPERBLOCK_START},
    zeros,
};

/// What can be chosen when a volume is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How many bytes of metadata and of small reads are remembered, at most. One line always is.
    pub cache: usize,
    /// How many bytes are read at once where fewer were asked for; rounded up to a power of two and to the
    /// device's block. Reads of files that are larger go past the cache.
    pub line: usize,
}

impl Default for Options {
    /// 256 KiB, in lines of 8 KiB.
    fn default() -> Self {
        Self { cache: 256 << 10, line: 8 << 10 }
    }
}

/// A volume that is read. Clones are the same volume, for as many tasks as there are.
///
/// Paths are bytes, with `/` between names; all are from the root, whether they begin with `/` or not. Symbolic links
/// are followed, except where something else is said.
pub struct Volume<D> {
    shared: Arc<Shared<D>>,
}

/// What a volume, its files and its directories have in common.
#[derive(Debug)]
pub(crate) struct Shared<D> {
    pub(crate) cache: Cache<D>,
    pub(crate) layout: Layout,
    pub(crate) journal: Journal,
}

impl<D: BlockDevice> Volume<D> {
    /// Mounts the volume that begins with the device, with the default options.
    ///
    /// # Errors
    ///
    /// [`Error::NotExt4`], [`Error::Unsupported`], [`Error::NeedsRecovery`], [`Error::Corrupt`] also if the device is
    /// smaller than the volume, [`Error::OutOfMemory`], [`Error::Device`], [`Error::Gone`]. The last four are errors of
    /// all that reads here.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened, and the device is dropped.
    pub async fn mount(device: D) -> Result<Self, Error> {
        Self::mount_with(device, Options::default()).await
    }

    /// Mounts the volume that begins with the device.
    ///
    /// # Errors
    ///
    /// As [`Volume::mount`].
    ///
    /// # Cancellation
    ///
    /// As [`Volume::mount`].
    pub async fn mount_with(device: D, options: Options) -> Result<Self, Error> {
        let cache = Cache::new(device, options.line, options.cache);
        if cache.len() < SUPERBLOCK_START + SUPERBLOCK_SIZE as u64 {
            return Err(Error::NotExt4);
        }
        let mut superblock = [0; SUPERBLOCK_SIZE];
        cache.read(SUPERBLOCK_START, &mut superblock).await?;
        let layout = Layout::parse(&superblock, cache.len())?;
        let mut shared = Shared { cache, layout, journal: Journal::default() };
        if let Some(number) = shared.layout.journal {
            shared.journal = shared.replay(number).await?;
        }
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Opens a file.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotADirectory`], [`Error::TooManyLinks`], [`Error::NameTooLong`],
    /// [`Error::Encrypted`] on the way there, as for all paths; [`Error::IsADirectory`], [`Error::NotAFile`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened. So it is for all that is asked of a volume: more may be remembered than before.
    pub async fn open(&self, path: impl AsRef<[u8]>) -> Result<File<D>, Error> {
        let inode = self.shared.resolve(path.as_ref(), true).await?;
        match inode.metadata.file_type() {
            FileType::File => Ok(File::new(self.shared.clone(), inode)),
            FileType::Directory => Err(Error::IsADirectory),
            FileType::Link | FileType::Other => Err(Error::NotAFile),
        }
    }

    /// All that is in a file. Memory for all of it is taken first, also where it has holes.
    ///
    /// # Errors
    ///
    /// As [`Volume::open`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn read(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>, Error> {
        let file = self.open(path).await?;
        let mut bytes = zeros(usize::try_from(file.len()).map_err(|_| Error::OutOfMemory)?)?;
        file.read_at(0, &mut bytes).await?;
        Ok(bytes)
    }

    /// What is known of what a path leads to.
    ///
    /// # Errors
    ///
    /// Those of paths: see [`Volume::open`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn metadata(&self, path: impl AsRef<[u8]>) -> Result<Metadata, Error> {
        Ok(self.shared.resolve(path.as_ref(), true).await?.metadata)
    }

    /// The same, but of a link itself if the path ends in one.
    ///
    /// # Errors
    ///
    /// Those of paths: see [`Volume::open`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn symlink_metadata(&self, path: impl AsRef<[u8]>) -> Result<Metadata, Error> {
        Ok(self.shared.resolve(path.as_ref(), false).await?.metadata)
    }

    /// Where a link leads: a path from the directory in which the link is, or from the root if it begins with `/`.
    ///
    /// # Errors
    ///
    /// Those of paths; [`Error::NotALink`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn read_link(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>, Error> {
        let link = self.shared.resolve(path.as_ref(), false).await?;
        self.shared.target(&link).await
    }

    /// The entries of a directory.
    ///
    /// # Errors
    ///
    /// Those of paths; [`Error::NotADirectory`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn read_dir(&self, path: impl AsRef<[u8]>) -> Result<ReadDir<D>, Error> {
        let inode = self.shared.resolve(path.as_ref(), true).await?;
        let cursor = Cursor::new(inode, self.shared.layout.block_size)?;
        Ok(ReadDir { shared: self.shared.clone(), cursor })
    }
}

impl<D> Clone for Volume<D> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<D> fmt::Debug for Volume<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Volume").field(&self.shared.layout).finish()
    }
}

/// The entries of a directory, one after the other, in the order in which they are on the volume.
pub struct ReadDir<D> {
    shared: Arc<Shared<D>>,
    cursor: Cursor,
}

/// A name in a directory.
pub struct DirEntry<D> {
    shared: Arc<Shared<D>>,
    name: Vec<u8>,
    inode: u32,
    file_type: FileType,
}

impl<D: BlockDevice> ReadDir<D> {
    /// The next entry; `.` and `..` are left out.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] and what all that reads may give; the next call tries again.
    ///
    /// # Cancellation
    ///
    /// The next call gives the entry that this one would have given.
    pub async fn next(&mut self) -> Result<Option<DirEntry<D>>, Error> {
        while let Some(entry) = self.shared.next_entry(&mut self.cursor).await? {
            let name = self.cursor.name(&entry);
            if name != b"." && name != b".." {
                let mut copy = zeros(name.len())?;
                copy.copy_from_slice(name);
                let shared = self.shared.clone();
                let (inode, file_type) = (entry.inode, entry.file_type);
                return Ok(Some(DirEntry { shared, name: copy, inode, file_type }));
            }
        }
        Ok(None)
    }
}

impl<D: BlockDevice> DirEntry<D> {
    /// Its name: bytes, which are UTF-8 wherever people are careful.
    #[must_use]
    pub fn file_name(&self) -> &[u8] {
        &self.name
    }

    /// What it is, as the directory has it: nothing is read.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    /// What is known of it; of the link itself, if it is one.
    ///
    /// # Errors
    ///
    /// Those of all that reads: see [`Volume::mount`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn metadata(&self) -> Result<Metadata, Error> {
        Ok(self.shared.inode(self.inode).await?.metadata)
    }
}

impl<D> fmt::Debug for ReadDir<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadDir").field(&self.cursor).finish()
    }
}

impl<D> fmt::Debug for DirEntry<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirEntry({})", self.name.escape_ascii())
    }
}

impl<D: BlockDevice> Shared<D> {
    /// Reads a part of a block of metadata.
    pub(crate) async fn read_block(
        &self,
        block: u64,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), Error> {
        if block == 0 || block >= self.layout.blocks {
            return Err(Error::Corrupt);
        }
        let (block, _) = self.journal.redirect(block, 1);
        self.cache.read(block * self.layout.block_size + offset, into).await
    }

    /// Reads from a file until the buffer is full or the file at its end, and returns how much that was. What is known of
    /// the run at that place is remembered.
    pub(crate) async fn read_at(
        &self,
        inode: &Inode,
        run: &mut Run,
        position: u64,
        into: &mut [u8],
    ) -> Result<usize, Error> {
        let left = inode.metadata.len.saturating_sub(position);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        let block_size = self.layout.block_size;
        let mut done = 0;
        while done < len {
            let at = position + done as u64;
            let (block, offset) = (at / block_size, at % block_size);
            if !run.contains(block) {
                *run = self.run(inode, block).await?;
            }
            let index = block - run.first;
            let bytes = (run.blocks - index).saturating_mul(block_size) - offset;
            let part = usize::try_from(bytes).unwrap_or(usize::MAX).min(len - done);
            let part = &mut into[done..][..part];
            match run.start {
                Some(start) => {
                    self.cache.stream((start + index) * block_size + offset, part).await?;
                }
                None => part.fill(0),
            }
            done += part.len();
        }
        Ok(len)
    }
}
