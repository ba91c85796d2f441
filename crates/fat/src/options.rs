//! How a volume is mounted, and how a file is opened.

use hadris_fat::CacheOptions;
use wakeful_block::Geometry;

use crate::{Clock, Error};

/// How a volume is mounted.
///
/// ```
/// # use wakeful_fat::Options;
/// let options = Options { is_read_only: true, ..Options::default() };
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Nothing is written at all, and nothing repaired.
    pub is_read_only: bool,
    /// What time it is. By default always the first of January 1980, the first that FAT knows.
    pub clock: &'static Clock,
    /// What is kept in memory.
    pub cache: Cache,
    /// The most bytes that are asked of the device at once, 64 KiB by default; at least a block. There is a buffer of as
    /// much, once it is needed.
    pub transfer: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            is_read_only: false,
            clock: Clock::NONE,
            cache: Cache::default(),
            transfer: 64 << 10,
        }
    }
}

/// How much of a volume is kept in memory. What is written is always given to the device at once.
///
/// The default takes 128 KiB for blocks, 12 KiB for places and 30 KiB for names. The README has the numbers of requests
/// with this and without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// Bytes of blocks with directories and parts of the allocation table. They are taken when first used.
    pub blocks: usize,
    /// How many places in files are known, of 48 bytes each: where to go on in a long file without a walk through the
    /// allocation table.
    pub places: usize,
    /// How many entries of the directory last searched are known, of 120 bytes and their long names each.
    pub names: usize,
}

impl Cache {
    /// Nothing but one block.
    pub const NONE: Self = Self { blocks: 0, places: 0, names: 0 };

    pub(crate) fn for_driver(self, geometry: Geometry) -> CacheOptions {
        CacheOptions::new()
            .with_blocks(self.blocks / geometry.block_size as usize)
            .with_chain_positions(self.places)
            .with_directory_entries(self.names)
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { blocks: 128 << 10, places: 256, names: 256 }
    }
}

/// How a file is opened. Begins with nothing, as the one of `std` does.
///
/// ```
/// # use wakeful_fat::OpenOptions;
/// let log = OpenOptions::new().append().create();
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenOptions {
    pub(crate) is_read: bool,
    pub(crate) is_write: bool,
    pub(crate) is_append: bool,
    pub(crate) is_truncate: bool,
    pub(crate) is_create: bool,
    pub(crate) is_create_new: bool,
}

impl OpenOptions {
    /// Nothing may be done yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            is_read: false,
            is_write: false,
            is_append: false,
            is_truncate: false,
            is_create: false,
            is_create_new: false,
        }
    }

    /// It may be read.
    #[must_use]
    pub const fn read(self) -> Self {
        Self { is_read: true, ..self }
    }

    /// It may be written.
    #[must_use]
    pub const fn write(self) -> Self {
        Self { is_write: true, ..self }
    }

    /// It may be written, always at its end.
    #[must_use]
    pub const fn append(self) -> Self {
        Self { is_write: true, is_append: true, ..self }
    }

    /// It is emptied. Needs [`OpenOptions::write`].
    #[must_use]
    pub const fn truncate(self) -> Self {
        Self { is_truncate: true, ..self }
    }

    /// It is made if there is none. Needs [`OpenOptions::write`] or [`OpenOptions::append`].
    #[must_use]
    pub const fn create(self) -> Self {
        Self { is_create: true, ..self }
    }

    /// It is made, and must not be there before. Needs [`OpenOptions::write`] or [`OpenOptions::append`].
    #[must_use]
    pub const fn create_new(self) -> Self {
        Self { is_create: true, is_create_new: true, ..self }
    }

    pub(crate) const fn check(self) -> Result<(), Error> {
        let needs_write = self.is_truncate || self.is_create;
        let is_nothing = !self.is_read && !self.is_write;
        if is_nothing || needs_write && !self.is_write || self.is_append && self.is_truncate {
            return Err(Error::InvalidInput);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions() {
        let new = OpenOptions::new;
        for sound in [
            new().read(),
            new().write(),
            new().append(),
            new().read().append().create(),
            new().write().create().truncate(),
            new().append().create_new(),
        ] {
            assert_eq!(sound.check(), Ok(()), "{sound:?}");
        }
        for bad in [
            new(),
            new().create(),
            new().read().create(),
            new().read().truncate(),
            new().read().create_new(),
            new().append().truncate(),
        ] {
            assert_eq!(bad.check(), Err(Error::InvalidInput), "{bad:?}");
        }
    }
}
