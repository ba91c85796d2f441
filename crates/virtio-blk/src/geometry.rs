//! What a disk is like: its features (Virtio 1.2 §5.2.3) and its configuration (§5.2.4).

use core::ops::{Bound, RangeBounds};

use virtio_drivers::transport::Transport;
use wakeful_virtio::{Error as SetupError, VERSION_1};

use crate::Error;

/// The longest piece of a request is in the configuration.
pub(crate) const SIZE_MAX: u64 = 1 << 1;
pub(crate) const RO: u64 = 1 << 5;
pub(crate) const BLK_SIZE: u64 = 1 << 6;
pub(crate) const FLUSH: u64 = 1 << 9;
pub(crate) const TOPOLOGY: u64 = 1 << 10;

/// What is taken if it is offered. Nothing else that there is asks for more than one piece of data in a request.
pub(crate) const WANTED: u64 = SIZE_MAX | RO | BLK_SIZE | FLUSH | TOPOLOGY | VERSION_1;

/// Fields of the configuration, in bytes from its start.
const CONFIG_CAPACITY: usize = 0;
const CONFIG_SIZE_MAX: usize = 8;
const CONFIG_BLK_SIZE: usize = 20;
const CONFIG_PHYSICAL_EXPONENT: usize = 24;
const CONFIG_OPTIMAL: usize = 28;

/// Bytes of a sector, the unit of capacities and positions (§5.2.4, §5.2.6).
pub(crate) const SECTOR: u32 = 512;

/// The largest block that is believed, in bytes. Disks have 512 or 4096.
const LARGEST_BLOCK: u32 = 1 << 20;

/// The longest request, in bytes. The device counts what it wrote in 32 bits, and QEMU takes less than 2 GiB.
const LONGEST: u32 = 1 << 30;

/// How often a configuration is read that changes meanwhile.
const PATIENCE: u32 = 8;

/// What a disk is like. Always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a block, the unit of positions and lengths: a power of two, at least 512.
    pub block_size: u32,
    /// How many blocks there are.
    pub blocks: u64,
    /// Writes are refused.
    pub read_only: bool,
    /// It keeps in memory what was written, until it is flushed. Otherwise what is written is there to stay
    /// (Virtio 1.2 §5.2.5.1), and to flush it is nothing.
    pub flushes: bool,
    /// Bytes of the longest request: a multiple of the block size.
    pub longest: u32,
    /// Bytes of what the medium writes at once, if it says so; or else of a block. Less is slow.
    pub physical_block: u32,
    /// Bytes of the requests that suit it best, if it says so.
    pub optimal: Option<u32>,
}

impl Geometry {
    /// What a device says of itself.
    pub(crate) fn read(transport: &impl Transport, agreed: u64) -> Result<Self, SetupError> {
        for _ in 0..PATIENCE {
            let before = transport.read_config_generation();
            let geometry = Self::read_once(transport, agreed);
            if transport.read_config_generation() == before {
                return geometry.and_then(|it| it.ok_or(SetupError::BadConfiguration));
            }
        }
        Err(SetupError::BadConfiguration)
    }

    /// `None` if it makes no sense.
    fn read_once(transport: &impl Transport, agreed: u64) -> Result<Option<Self>, SetupError> {
        let has = |feature: u64| agreed & feature != 0;
        let word = |at: usize| {
            transport.read_config_space::<u32>(at).map_err(|_| SetupError::BadConfiguration)
        };
        let field = |feature: u64, at: usize, otherwise: u32| match has(feature) {
            true => word(at),
            false => Ok(otherwise),
        };
        let halves = [word(CONFIG_CAPACITY)?, word(CONFIG_CAPACITY + 4)?];
        let capacity = u64::from(halves[0]) | u64::from(halves[1]) << 32;
        let block_size = field(BLK_SIZE, CONFIG_BLK_SIZE, SECTOR)?;
        let size_max = field(SIZE_MAX, CONFIG_SIZE_MAX, LONGEST)?;
        let exponent = field(TOPOLOGY, CONFIG_PHYSICAL_EXPONENT, 0)? & 0xff;
        let optimal = field(TOPOLOGY, CONFIG_OPTIMAL, 0)?;
        let is_sensible = block_size.is_power_of_two()
            && (SECTOR..=LARGEST_BLOCK).contains(&block_size)
            && size_max >= block_size;
        Ok(is_sensible.then(|| Self {
            block_size,
            blocks: capacity / u64::from(block_size / SECTOR),
            read_only: has(RO),
            flushes: has(FLUSH),
            longest: size_max.min(LONGEST) & !(block_size - 1),
            physical_block: block_size
                .checked_mul(1u32.checked_shl(exponent).unwrap_or(0))
                .filter(|bytes| (block_size..=LARGEST_BLOCK).contains(bytes))
                .unwrap_or(block_size),
            optimal: optimal.checked_mul(block_size).filter(|&bytes| bytes > 0),
        }))
    }

    /// Bytes of the disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size.into())
    }

    /// Which sector a request begins with, and which bytes of its buffer it is about.
    #[inline]
    pub(crate) fn place(
        &self,
        block: u64,
        range: impl RangeBounds<usize>,
        available: usize,
    ) -> Result<Place, Error> {
        let start = match range.start_bound() {
            Bound::Unbounded => 0,
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before.checked_add(1).ok_or(Error::Length)?,
        };
        let end = match range.end_bound() {
            Bound::Unbounded => available,
            Bound::Included(&last) => last.checked_add(1).ok_or(Error::Length)?,
            Bound::Excluded(&end) => end,
        };
        let len = end.checked_sub(start).filter(|_| end <= available).ok_or(Error::Length)?;
        if len == 0 || len & (self.block_size as usize - 1) != 0 {
            return Err(Error::Length);
        }
        if len > self.longest as usize {
            return Err(Error::TooLong);
        }
        let shift = self.block_size.trailing_zeros();
        match block.checked_add(len as u64 >> shift) {
            Some(after) if after <= self.blocks => {}
            _ => return Err(Error::OutOfRange),
        }
        // No more than the capacity, which is in sectors.
        let sector = block << (shift - SECTOR.trailing_zeros());
        Ok(Place { sector, start: start as u64, len: len as u32 })
    }
}

/// Where a request is on the disk, and in its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sector: u64,
    /// Bytes from the start of the buffer.
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) len: u32,
}

impl Place {
    /// That of a flush, or of a request that is refused.
    pub(crate) const NOWHERE: Self = Self { sector: 0, start: 0, len: 0 };
}
