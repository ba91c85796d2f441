//! Files that are open.

use alloc::sync::Arc;
use core::fmt;

use embedded_io_async::{ErrorType, Read, Seek, SeekFrom};
use wakeful_block::BlockDevice;

use crate::{Error, Metadata, Shared, inode::Inode, map::Run};

/// A file that is open, and a position in it. It keeps the volume.
pub struct File<D> {
    shared: Arc<Shared<D>>,
    inode: Inode,
    position: u64,
    /// Where the last read was, so that the next one need not look for it.
    run: Run,
}

impl<D> File<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>, inode: Inode) -> Self {
        Self { shared, inode, position: 0, run: Run::default() }
    }

    /// What is known of it.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        self.inode.metadata
    }

    /// How long it is, in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.inode.metadata.len
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the next read begins, in bytes from the beginning.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes to a position. It may be after the end: there is nothing to be read there.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] for a position before the beginning, or that 64 bits do not hold; it stays where it was.
    pub fn seek(&mut self, to: SeekFrom) -> Result<u64, Error> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(Error::OutOfRange)?;
        Ok(self.position)
    }
}

impl<D: BlockDevice> File<D> {
    /// Reads from the position on, which moves. Fills the buffer unless the end comes first; returns how much was read.
    ///
    /// What is as long as a line of the cache goes from the device to the buffer, in one request for blocks that follow each
    /// other on the volume.
    ///
    /// # Errors
    ///
    /// [`Error::Encrypted`], [`Error::Unsupported`]; [`Error::Corrupt`], [`Error::OutOfMemory`], [`Error::Device`],
    /// [`Error::Gone`]. The position stays, and the buffer is in any state.
    ///
    /// # Cancellation
    ///
    /// As for errors.
    pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let (inode, run) = (&self.inode, &mut self.run);
        let len = self.shared.read_at(inode, run, self.position, into).await?;
        self.position += len as u64;
        Ok(len)
    }

    /// The same from a position of the caller's; that of the file stays.
    ///
    /// # Errors
    ///
    /// As [`File::read`].
    ///
    /// # Cancellation
    ///
    /// The buffer is in any state.
    pub async fn read_at(&self, position: u64, into: &mut [u8]) -> Result<usize, Error> {
        self.shared.read_at(&self.inode, &mut Run::default(), position, into).await
    }
}

impl<D> ErrorType for File<D> {
    type Error = Error;
}

impl<D: BlockDevice> Read for File<D> {
    /// # Cancellation
    ///
    /// As [`File::read`].
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        self.read(into).await
    }
}

impl<D: BlockDevice> Seek for File<D> {
    /// # Cancellation
    ///
    /// It is ready at once.
    async fn seek(&mut self, to: SeekFrom) -> Result<u64, Error> {
        self.seek(to)
    }
}

impl<D> fmt::Debug for File<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("inode", &self.inode.number)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
