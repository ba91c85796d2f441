//! Memory for requests to disks.

#![expect(unsafe_code, reason = "memory is allocated, and a device sees it")]

use alloc::alloc::{alloc_zeroed, dealloc};
use core::{
    alloc::Layout,
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
};

use memory_addr::VirtAddr;
use wakeful_hal::layout;

/// Memory of the heap that a disk can read and write: zero at first, aligned to a page.
///
/// A request takes it, and gives it back with its result. One buffer may be used again and again, in whole or in part.
pub struct Buffer {
    start: NonNull<u8>,
    /// Bytes, at least one.
    len: usize,
    /// What devices call the first byte.
    address: u64,
}

// SAFETY: it owns what it points to.
unsafe impl Send for Buffer {}
// SAFETY: shared, it can only be read.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A buffer of `len` bytes. `None` if there is no such memory: nothing is an answer as well to 0 bytes, and to a
    /// heap that lies where devices do not see it.
    #[must_use]
    pub fn new(len: usize) -> Option<Self> {
        if len == 0 {
            return None;
        }
        let layout = Self::layout(len)?;
        // SAFETY: not of size 0.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        // The linear map and the image are in one piece, so that one address is enough.
        match layout::virt_to_phys(VirtAddr::from(start.as_ptr() as usize)) {
            Some(physical) => Some(Self { start, len, address: physical.as_usize() as u64 }),
            None => {
                // SAFETY: just allocated, with this layout.
                unsafe { dealloc(start.as_ptr(), layout) };
                None
            }
        }
    }

    fn layout(len: usize) -> Option<Layout> {
        Layout::from_size_align(len, layout::PAGE_SIZE).ok()
    }
}

// SAFETY: allocated memory stays where it is, and belongs to its owner. It is initialised. Caches are coherent with
// devices, and no IOMMU stands between. It is freed only when this is dropped.
unsafe impl wakeful_virtio_blk::Buffer for Buffer {
    #[inline]
    fn address(&self) -> u64 {
        self.address
    }

    #[inline]
    fn len(&self) -> usize {
        self.len
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes, ours and initialised. No device has them: a request owns its buffer.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed for writing.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer of {} bytes", self.len)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.len) {
            // SAFETY: allocated with this layout, and nobody borrows it any more.
            unsafe { dealloc(self.start.as_ptr(), layout) };
        }
    }
}
