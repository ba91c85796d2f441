//! Open files.

use core::fmt;

use embedded_io_async::{ErrorType, Read, Seek, SeekFrom, Write};
use hadris_fs::NodeId;
use wakeful_block::BlockDevice;

use crate::{
    Error, Metadata, OpenOptions, Volume,
    device::Order,
    session::{Left, Session, ask},
};

/// The most bytes that are read or written in one turn, so that others have theirs.
const TURN: usize = 256 << 10;

/// A file that is open, with a place in it where it is read and written next.
///
/// Dropped, it is closed by whatever is done next on its volume. What was written is seen by all readers of this volume at
/// once; it is durable after [`File::sync`] or [`Volume::sync`].
///
/// It has the traits of `embedded-io-async`. Their `flush` does nothing, as nothing is kept back here.
pub struct File<D: BlockDevice> {
    volume: Volume<D>,
    node: NodeId,
    options: OpenOptions,
    place: u64,
    is_closed: bool,
}

impl<D: BlockDevice> File<D> {
    pub(crate) fn new(volume: Volume<D>, node: NodeId, options: OpenOptions) -> Self {
        Self { volume, node, options, place: 0, is_closed: false }
    }

    /// Reads from where the file is, into the beginning of `into`. Says how many bytes: fewer than asked for at the end of the file
    /// and for more than 256 KiB, none only at its end, or if `into` is empty.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] if it was not opened for that; what the device reports; [`Error::Corrupt`].
    ///
    /// # Cancellation
    ///
    /// `into` is in any state, and the place is where it was.
    pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let done = self.read_at(self.place, into).await?;
        self.place += done as u64;
        Ok(done)
    }

    /// Reads as [`File::read`] does, from `offset` bytes after the start. The file's place stays where it is.
    ///
    /// # Errors
    ///
    /// As [`File::read`].
    ///
    /// # Cancellation
    ///
    /// `into` is in any state.
    pub async fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, Error> {
        if !self.options.is_read {
            return Err(Error::Denied);
        }
        let mut session = self.volume.0.begin().await?;
        let len = into.len().min(TURN);
        ask!(session, fs => fs.read(self.node, offset, &mut into[..len]))
    }

    /// Writes where the file is, or at its end if it is opened so, from the beginning of `from`. Says how many bytes: fewer than
    /// asked for of more than 256 KiB, and at 4 GiB. What is between the end of the file and its place becomes zeros.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] if it was not opened for that; [`Error::NoSpace`]; [`Error::TooLarge`];
    /// [`Error::ReadOnly`]; what the device reports; [`Error::Corrupt`]. Bytes that are overwritten may be old or new.
    ///
    /// # Cancellation
    ///
    /// Bytes that are overwritten may be old or new. The file is as long as it was, or as it would be.
    pub async fn write(&mut self, from: &[u8]) -> Result<usize, Error> {
        let mut session = self.begin_write().await?;
        let offset = match self.options.is_append {
            true => session.stat(self.node).await?.len(),
            false => self.place,
        };
        let done = put(&mut session, self.node, offset, from).await?;
        drop(session);
        self.place = offset + done as u64;
        Ok(done)
    }

    /// Writes as [`File::write`] does, from `offset` bytes after the start on, also if the file is open for appending. The file's
    /// place stays where it is.
    ///
    /// # Errors
    ///
    /// As [`File::write`].
    ///
    /// # Cancellation
    ///
    /// As [`File::write`].
    pub async fn write_at(&self, offset: u64, from: &[u8]) -> Result<usize, Error> {
        let mut session = self.begin_write().await?;
        put(&mut session, self.node, offset, from).await
    }

    /// Moves the file's place, and says where it is then, in bytes from the start. It may be behind the end.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for a place before the start; of [`SeekFrom::End`], those of [`File::len`].
    ///
    /// # Cancellation
    ///
    /// The place is where it was.
    pub async fn seek(&mut self, to: SeekFrom) -> Result<u64, Error> {
        let (from, by) = match to {
            SeekFrom::Start(place) => (place, 0),
            SeekFrom::Current(by) => (self.place, by),
            SeekFrom::End(by) => (self.len().await?, by),
        };
        self.place = from.checked_add_signed(by).ok_or(Error::InvalidInput)?;
        Ok(self.place)
    }

    /// How long it is, in bytes.
    ///
    /// # Errors
    ///
    /// What the device reports; [`Error::Corrupt`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    #[expect(clippy::len_without_is_empty, reason = "it asks the disk, as the one of `std` does")]
    pub async fn len(&self) -> Result<u64, Error> {
        Ok(self.metadata().await?.len)
    }

    /// What is known of it.
    ///
    /// # Errors
    ///
    /// What the device reports; [`Error::Corrupt`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn metadata(&self) -> Result<Metadata, Error> {
        let mut session = self.volume.0.begin().await?;
        Ok(Metadata::from(&session.stat(self.node).await?))
    }

    /// Makes it so long: cuts it off, or adds zeros, which are written. The file's place stays where it is.
    ///
    /// # Errors
    ///
    /// As [`File::write`].
    ///
    /// # Cancellation
    ///
    /// It is as long as it was, or as it should be.
    pub async fn set_len(&self, len: u64) -> Result<(), Error> {
        let mut session = self.begin_write().await?;
        let is_longer = len > session.stat(self.node).await?.len();
        session.shared.exchange.set_order(if is_longer { Order::Kinds } else { Order::Each });
        ask!(session, fs => fs.truncate(self.node, len))
    }

    /// Makes durable what was written to this file, and all else that the device has been given.
    ///
    /// # Errors
    ///
    /// What the device reports; [`Error::Corrupt`]; [`Error::ReadOnly`] if the device has become so.
    ///
    /// # Cancellation
    ///
    /// A part of it may be durable.
    pub async fn sync(&self) -> Result<(), Error> {
        let mut session = self.volume.0.begin().await?;
        session.must_be_finished()?;
        ask!(session, fs => fs.fsync(self.node))
    }

    /// Closes it, and says how that went; dropping it does the same later, and says nothing. Nothing is durable for that.
    ///
    /// # Errors
    ///
    /// What the device reports; [`Error::Corrupt`]. It is closed all the same, and [`Volume::sync`] tries again.
    ///
    /// # Cancellation
    ///
    /// It is closed by whatever is done next on its volume.
    pub async fn close(mut self) -> Result<(), Error> {
        let volume = self.volume.clone();
        let mut session = volume.0.begin().await?;
        self.is_closed = true;
        session.close(Left::File(self.node)).await
    }

    async fn begin_write(&self) -> Result<Session<'_, D>, Error> {
        if !self.options.is_write {
            return Err(Error::Denied);
        }
        let mut session = self.volume.0.begin().await?;
        session.change().await?;
        Ok(session)
    }
}

async fn put<D: BlockDevice>(
    session: &mut Session<'_, D>,
    node: NodeId,
    offset: u64,
    from: &[u8],
) -> Result<usize, Error> {
    session.shared.exchange.set_order(Order::Kinds);
    ask!(session, fs => fs.write(node, offset, &from[..from.len().min(TURN)]))
}

impl<D: BlockDevice> Drop for File<D> {
    fn drop(&mut self) {
        if !self.is_closed {
            self.volume.0.leave(Left::File(self.node));
        }
    }
}

impl<D: BlockDevice> fmt::Debug for File<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("options", &self.options)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl<D: BlockDevice> ErrorType for File<D> {
    type Error = Error;
}

impl<D: BlockDevice> Read for File<D> {
    /// # Cancellation
    ///
    /// As [`File::read`].
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        Self::read(self, into).await
    }
}

impl<D: BlockDevice> Write for File<D> {
    /// # Cancellation
    ///
    /// As [`File::write`].
    async fn write(&mut self, from: &[u8]) -> Result<usize, Error> {
        Self::write(self, from).await
    }

    /// # Cancellation
    ///
    /// There is nothing to do.
    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl<D: BlockDevice> Seek for File<D> {
    /// # Cancellation
    ///
    /// As [`File::seek`].
    async fn seek(&mut self, to: SeekFrom) -> Result<u64, Error> {
        Self::seek(self, to).await
    }
}
