//! What drivers need of the machine that they are in: memory, and doorbells.

#![expect(unsafe_code, reason = "memory is shared with a device")]

use core::ptr::NonNull;

/// Tells the device that there is something new in a queue.
pub trait Doorbell {
    /// Rings. What was written to memory before must be seen by the device.
    fn ring(&self);
}

/// What a driver needs of the machine that it is in, when it is set up.
pub trait Machine {
    /// What rings at a queue.
    type Doorbell: Doorbell;

    /// The doorbell of a queue, by its number.
    fn doorbell(&mut self, queue: u16) -> Option<Self::Doorbell>;

    /// So many bytes of memory, for good.
    fn memory(&mut self, bytes: usize) -> Option<Region>;
}

/// Memory that a device sees, in one piece.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    address: u64,
}

// SAFETY: it leads to memory that nobody else has.
unsafe impl Send for Region {}

impl Region {
    /// What is in it at first does not matter.
    ///
    /// # Safety
    ///
    /// `start` is that of a page (4096 bytes), valid for reads and writes of as many bytes as were asked for,
    /// and nobody else's, for good: a device may write there whatever becomes of its driver. For the device
    /// it is in one piece as well, and begins at `address`. Each sees what the other has written.
    #[must_use]
    pub unsafe fn new(start: NonNull<u8>, address: u64) -> Self {
        Self { start, address }
    }

    /// The first bytes of it, and the rest.
    ///
    /// # Safety
    ///
    /// It has so many.
    #[must_use]
    pub unsafe fn split(self, bytes: usize) -> (Self, Self) {
        // SAFETY: by this function's contract.
        let start = unsafe { self.start.byte_add(bytes) };
        let rest = Self { start, address: self.address + bytes as u64 };
        (self, rest)
    }

    /// Where it begins.
    #[inline]
    #[must_use]
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// What the device calls that.
    #[inline]
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }
}
