//! Memory that a device may read and write.

use core::{
    fmt,
    ops::{Deref, DerefMut},
    slice,
};

use axerrno::{AxError, AxErrorKind};
use memory_addr::PhysAddr;
use wakeful_hal::layout;
use wakeful_memory::FRAME_SIZE;

use crate::frames;

/// There is not that much memory in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// The bytes that were asked for.
    pub size: usize,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "out of memory: no {} bytes in one piece", self.size)
    }
}

impl core::error::Error for OutOfMemory {}

impl From<OutOfMemory> for AxError {
    fn from(OutOfMemory { size: _ }: OutOfMemory) -> Self {
        AxErrorKind::NoMemory.into()
    }
}

/// Whole frames, physically contiguous, zeroed at first; given back when dropped.
///
/// The bytes are ordinary memory to the CPU: the machines that Wakeful knows keep caches coherent
/// with their devices. Order is the driver's business: a `fence` between the last access here and
/// the register write that tells the device, and before the first access after the device is done.
/// What the device writes while you look, such as a descriptor's owner bit, must be read through
/// `read_volatile`: the compiler does not know of the device. Do not drop a buffer that a device may
/// still write.
#[derive(Debug)]
pub struct DmaBuffer {
    start: PhysAddr,
    frames: usize,
}

impl DmaBuffer {
    /// A buffer of at least `size` bytes, rounded up to frames.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if that much is not free in one piece, or if `size` is 0.
    pub fn new(size: usize) -> Result<Self, OutOfMemory> {
        let frames = size.div_ceil(FRAME_SIZE);
        let start = frames::allocate(frames, FRAME_SIZE).ok_or(OutOfMemory { size })?;
        let mut buffer = Self { start, frames };
        buffer.fill(0);
        Ok(buffer)
    }

    /// The address for the device.
    pub fn physical(&self) -> PhysAddr {
        self.start
    }
}

impl Deref for DmaBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = layout::phys_to_virt(self.start).as_ptr();
        // SAFETY: our frames, in the linear map as long as we live, initialised by `new`.
        unsafe { slice::from_raw_parts(start, self.frames * FRAME_SIZE) }
    }
}

impl DerefMut for DmaBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = layout::phys_to_virt(self.start).as_mut_ptr();
        // SAFETY: as above, and borrowed for writing.
        unsafe { slice::from_raw_parts_mut(start, self.frames * FRAME_SIZE) }
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        // SAFETY: from `allocate` with this count, and nobody borrows it any more.
        unsafe { frames::free(self.start, self.frames) };
    }
}
