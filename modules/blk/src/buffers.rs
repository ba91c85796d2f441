//! Buffers for what is copied from and to a disk: kept when a request is done, so that the next one allocates
//! nothing.

use alloc::vec::Vec;

use spin::Mutex;
use wakeful_driver::blk::Buffer;

use crate::Error;

/// Bytes of a buffer of each kind: for a block or a page, and for a piece of something long.
pub(crate) const SMALL: usize = 4 << 10;
pub(crate) const LARGE: usize = 64 << 10;

/// So many of each are kept.
const SMALL_KEPT: usize = 32;
const LARGE_KEPT: usize = 2;

/// What is kept.
pub(crate) struct Buffers {
    small: Mutex<Vec<Buffer>>,
    large: Mutex<Vec<Buffer>>,
}

impl Buffers {
    pub(crate) const fn new() -> Self {
        Self { small: Mutex::new(Vec::new()), large: Mutex::new(Vec::new()) }
    }

    /// A buffer for the beginning of `len` bytes, in blocks of that size. What is in it does not matter.
    pub(crate) fn take(&self, len: usize, block: usize) -> Result<Buffer, Error> {
        let large = if len > SMALL { one_of(&self.large, LARGE) } else { None };
        // Without memory for a large one, more requests do as well, if a block fits.
        let any = large.or_else(|| if block > SMALL { None } else { one_of(&self.small, SMALL) });
        any.ok_or(Error::OutOfMemory)
    }

    /// Gives it back, for the next request or to the heap.
    pub(crate) fn put(&self, buffer: Buffer) {
        let (kept, most) = match buffer.len() {
            LARGE => (&self.large, LARGE_KEPT),
            _ => (&self.small, SMALL_KEPT),
        };
        let mut kept = kept.lock();
        if kept.len() < most && kept.try_reserve(1).is_ok() {
            kept.push(buffer);
        } else {
            drop(kept);
            drop(buffer);
        }
    }
}

fn one_of(kept: &Mutex<Vec<Buffer>>, len: usize) -> Option<Buffer> {
    let one = kept.lock().pop();
    one.or_else(|| Buffer::new(len))
}
