//! Lists of directories.

use alloc::string::String;
use core::fmt;

use hadris_fs::{DirCursor, NodeId};
use wakeful_block::BlockDevice;

use crate::{
    Error, Metadata, Volume,
    session::{Left, ask},
    volume::copy,
};

/// The entries of a directory, one after the other, in the order of the disk, without `.` and `..`.
///
/// What is added or removed meanwhile may be among them or not.
pub struct ReadDir<D: BlockDevice> {
    volume: Volume<D>,
    node: NodeId,
    cursor: DirCursor,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name, as whoever made it wrote it.
    pub name: String,
    /// What is known of it.
    pub metadata: Metadata,
}

impl<D: BlockDevice> ReadDir<D> {
    pub(crate) fn new(volume: Volume<D>, node: NodeId) -> Self {
        Self { volume, node, cursor: DirCursor::default() }
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the directory was removed; what the device reports; [`Error::Corrupt`];
    /// [`Error::OutOfMemory`].
    ///
    /// # Cancellation
    ///
    /// The same entry is the next one.
    pub async fn next(&mut self) -> Result<Option<DirEntry>, Error> {
        let mut session = self.volume.0.begin().await?;
        let Some(entry) = ask!(session, fs => fs.readdir(self.node, self.cursor))? else {
            return Ok(None);
        };
        let name = entry.name().to_str().map_err(|_| Error::Corrupt)?;
        let found = DirEntry { name: copy(name)?, metadata: entry.metadata().into() };
        self.cursor = entry.next_cursor();
        Ok(Some(found))
    }
}

impl<D: BlockDevice> Drop for ReadDir<D> {
    fn drop(&mut self) {
        self.volume.0.leave(Left::Directory(self.node));
    }
}

impl<D: BlockDevice> fmt::Debug for ReadDir<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadDir").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}
