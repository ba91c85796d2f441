//! One disk: requests with buffers of their own, and the copies that a [`BlockDevice`] makes.

use core::{fmt, ops::RangeBounds};

use wakeful_driver::blk::{self as driver, Buffer};

use crate::{BlockDevice, Error, Geometry, buffers::Buffers};

/// A disk of the machine. This is a handle: all copies are alike, and it lives until power off.
#[derive(Clone, Copy)]
pub struct Disk(pub(crate) &'static Owned);

/// What there is of a disk.
pub(crate) struct Owned {
    pub(crate) driver: driver::Disk,
    geometry: Geometry,
    buffers: Buffers,
}

impl Owned {
    pub(crate) fn new(driver: driver::Disk) -> Self {
        let &driver::Geometry { block_size, blocks, read_only, .. } = driver.geometry();
        // No disk has 2⁶⁴ bytes, whatever it says; and the driver takes no blocks that are larger than here.
        let geometry = Geometry::new(block_size, blocks.min(u64::MAX / u64::from(block_size)));
        let mut geometry = geometry.unwrap_or(EMPTY);
        geometry.is_read_only = read_only;
        Self { driver, geometry, buffers: Buffers::new() }
    }
}

const EMPTY: Geometry = Geometry::new(512, 0).expect("a block size that all disks can have");

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("number", &self.number())
            .field("geometry", &self.0.geometry)
            .finish()
    }
}

impl Disk {
    /// Its number, from 0 on.
    #[must_use]
    pub fn number(&self) -> usize {
        self.0.driver.number()
    }

    /// The longest request with a buffer, in bytes. (Reads and writes of slices may have any length.)
    #[must_use]
    pub fn longest(&self) -> usize {
        self.0.driver.geometry().longest as usize
    }

    /// How often its device was restarted because it broke the rules.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.0.driver.restarts()
    }

    /// Reads blocks from `block` on into a buffer, or into the bytes of it that `range` says. Nothing is copied.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::read`]; [`Error::Unsupported`] for more than the [longest](Self::longest), and
    /// [`Error::Misaligned`] for a range that is empty or not in the buffer. The buffer comes with it.
    ///
    /// # Cancellation
    ///
    /// The buffer is dropped, as soon as the device does not have it any more.
    #[inline]
    pub async fn read_buffer(
        &self,
        block: u64,
        buffer: Buffer,
        range: impl RangeBounds<usize>,
    ) -> Result<Buffer, Failed> {
        self.0.driver.read(block, buffer, range).await.map_err(Failed::from)
    }

    /// Writes a buffer, or the bytes of it that `range` says, to blocks from `block` on. Nothing is copied.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::write`], and as [`read_buffer`](Self::read_buffer).
    ///
    /// # Cancellation
    ///
    /// As for [`BlockDevice::write`]; the buffer as for [`read_buffer`](Self::read_buffer).
    #[inline]
    pub async fn write_buffer(
        &self,
        block: u64,
        buffer: Buffer,
        range: impl RangeBounds<usize>,
    ) -> Result<Buffer, Failed> {
        self.0.driver.write(block, buffer, range).await.map_err(Failed::from)
    }
}

impl BlockDevice for Disk {
    #[inline]
    fn geometry(&self) -> Geometry {
        self.0.geometry
    }

    async fn read(&self, block: u64, into: &mut [u8]) -> Result<(), Error> {
        self.0.geometry.check_read(block, into.len())?;
        let (mut block, mut rest) = (block, into);
        while !rest.is_empty() {
            let (buffer, len) = self.buffer(rest.len())?;
            let (piece, others) = rest.split_at_mut(len);
            let buffer = self.done(self.0.driver.read(block, buffer, ..len).await)?;
            piece.copy_from_slice(&buffer[..len]);
            self.0.buffers.put(buffer);
            (block, rest) = (block + self.blocks(len), others);
        }
        Ok(())
    }

    async fn write(&self, block: u64, from: &[u8]) -> Result<(), Error> {
        self.0.geometry.check_write(block, from.len())?;
        let (mut block, mut rest) = (block, from);
        while !rest.is_empty() {
            let (mut buffer, len) = self.buffer(rest.len())?;
            let (piece, others) = rest.split_at(len);
            buffer[..len].copy_from_slice(piece);
            let buffer = self.done(self.0.driver.write(block, buffer, ..len).await)?;
            self.0.buffers.put(buffer);
            (block, rest) = (block + self.blocks(len), others);
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), Error> {
        self.0.driver.flush().await.map_err(translated)
    }
}

impl Disk {
    /// A buffer for the beginning of `len` bytes, and for how many: a number of blocks that the device takes at once.
    fn buffer(&self, len: usize) -> Result<(Buffer, usize), Error> {
        let len = len.min(self.longest());
        let buffer = self.0.buffers.take(len, self.0.geometry.block_size as usize)?;
        let len = len.min(buffer.len());
        Ok((buffer, len))
    }

    fn blocks(&self, len: usize) -> u64 {
        len as u64 / u64::from(self.0.geometry.block_size)
    }

    /// The buffer of a request that succeeded. That of another is kept for the next one as well.
    fn done(&self, result: Result<Buffer, driver::Failed>) -> Result<Buffer, Error> {
        result.map_err(|driver::Failed { error, buffer }| {
            if let Some(buffer) = buffer {
                self.0.buffers.put(buffer);
            }
            translated(error)
        })
    }
}

/// A request that failed, with its buffer.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: Error,
    /// `None` if the device keeps it, as it does not come out of a reset.
    pub buffer: Option<Buffer>,
}

impl From<driver::Failed> for Failed {
    fn from(driver::Failed { error, buffer }: driver::Failed) -> Self {
        Self { error: translated(error), buffer }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl core::error::Error for Failed {}

/// In the words of all devices.
fn translated(error: driver::Error) -> Error {
    match error {
        driver::Error::ReadOnly => Error::ReadOnly,
        driver::Error::OutOfRange => Error::OutOfRange,
        driver::Error::Length => Error::Misaligned,
        driver::Error::TooLong | driver::Error::Unsupported => Error::Unsupported,
        driver::Error::Device => Error::Device,
        driver::Error::Reset | driver::Error::Gone => Error::Gone,
    }
}
