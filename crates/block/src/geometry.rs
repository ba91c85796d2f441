//! How large a device is, and what may be asked of it.

use crate::Error;

/// The size of a block in bytes that every disk can have: one sector, as ATA and virtio count them.
pub const MIN_BLOCK_SIZE: u32 = 512;

/// The largest block in bytes. Larger ones would be memory that is always there for the rest of a block.
pub const MAX_BLOCK_SIZE: u32 = 64 << 10;

/// How large a device is.
///
/// Made by [`Geometry::new`], so that who reads it may rely on it: a block is a power of two from [`MIN_BLOCK_SIZE`]
/// to [`MAX_BLOCK_SIZE`], and the number of all bytes fits 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Geometry {
    /// Bytes in a block: what is read and written as a whole, and stays whole when power fails.
    pub block_size: u32,
    /// How many blocks there are.
    pub blocks: u64,
    /// Writing is refused.
    pub is_read_only: bool,
}

impl Geometry {
    /// A device that can be written. `None` for a block size that cannot be, or more bytes than 64 bits count.
    #[must_use]
    pub const fn new(block_size: u32, blocks: u64) -> Option<Self> {
        let fits = MIN_BLOCK_SIZE <= block_size && block_size <= MAX_BLOCK_SIZE;
        if fits && block_size.is_power_of_two() && blocks.checked_mul(block_size as u64).is_some() {
            Some(Self { block_size, blocks, is_read_only: false })
        } else {
            None
        }
    }

    /// The same, but writing is refused.
    #[must_use]
    pub const fn read_only(self) -> Self {
        Self { is_read_only: true, ..self }
    }

    /// How many bytes there are.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.blocks * self.block_size as u64
    }

    /// Whether `len` bytes from a block on can be read: for who writes a device.
    ///
    /// # Errors
    ///
    /// [`Error::Misaligned`], [`Error::OutOfRange`]. Nothing at all may be read anywhere up to the end.
    pub const fn check_read(self, block: u64, len: usize) -> Result<(), Error> {
        let len = len as u64;
        if !len.is_multiple_of(self.block_size as u64) {
            return Err(Error::Misaligned);
        }
        match block.checked_add(len / self.block_size as u64) {
            Some(end) if end <= self.blocks => Ok(()),
            _ => Err(Error::OutOfRange),
        }
    }

    /// Whether `len` bytes from a block on can be written.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`] before those of [`Geometry::check_read`].
    pub const fn check_write(self, block: u64, len: usize) -> Result<(), Error> {
        if self.is_read_only { Err(Error::ReadOnly) } else { self.check_read(block, len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be() {
        for (block_size, blocks) in
            [(0, 8), (256, 8), (513, 8), (768, 8), (128 << 10, 8), (u32::MAX, 8), (512, u64::MAX)]
        {
            assert_eq!(Geometry::new(block_size, blocks), None, "{block_size} {blocks}");
        }
        assert_eq!(Geometry::new(512, 8).unwrap().bytes(), 4096);
        assert!(Geometry::new(64 << 10, 0).is_some());
        assert!(Geometry::new(512, u64::MAX / 512).is_some());
    }

    #[test]
    fn nothing_outside() {
        let geometry = Geometry::new(512, 8).unwrap();
        assert_eq!(geometry.check_read(0, 4096), Ok(()));
        assert_eq!(geometry.check_read(7, 512), Ok(()));
        assert_eq!(geometry.check_read(8, 0), Ok(()));
        assert_eq!(geometry.check_read(9, 0), Err(Error::OutOfRange));
        assert_eq!(geometry.check_read(7, 1024), Err(Error::OutOfRange));
        assert_eq!(geometry.check_read(u64::MAX, 512), Err(Error::OutOfRange));
        assert_eq!(geometry.check_read(0, 511), Err(Error::Misaligned));
        assert_eq!(geometry.check_write(0, 512), Ok(()));
        assert_eq!(geometry.read_only().check_write(0, 512), Err(Error::ReadOnly));
        assert_eq!(geometry.read_only().check_read(0, 512), Ok(()));
    }
}
