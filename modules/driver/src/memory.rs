//! The memory that devices read and write, as `virtio-drivers` asks for it.
//!
//! Caches are coherent with devices on the machines that Wakeful knows, and no IOMMU stands between:
//! sharing a buffer is to say where it is.

#![expect(unsafe_code, reason = "devices write to this memory")]

use core::ptr::NonNull;

use memory_addr::{PhysAddr, VirtAddr};
use virtio_drivers::{BufferDirection, PhysAddr as DeviceAddr};
use wakeful_alloc::{FRAME_SIZE, frames};
use wakeful_hal::layout;
use wakeful_virtio::{Machine, Region};

use crate::{registers::Doorbell, virtio::Doorbells};

/// Frames in one piece. Their contents are arbitrary.
#[inline(never)]
pub(crate) fn allocate(count: usize) -> Option<(PhysAddr, NonNull<u8>)> {
    let start = frames::allocate(count, FRAME_SIZE)?;
    Some((start, NonNull::new(layout::phys_to_virt(start).as_mut_ptr())?))
}

/// Puts a value into frames of its own, for good.
#[inline(never)]
pub(crate) fn keep<T>(value: T) -> Option<&'static mut T> {
    const { assert!(align_of::<T>() <= FRAME_SIZE) };
    let (_, place) = allocate(size_of::<T>().div_ceil(FRAME_SIZE).max(1))?;
    let place = place.cast::<T>();
    // SAFETY: frames of our own, enough of them, aligned, never given back.
    unsafe {
        place.write(value);
        Some(&mut *place.as_ptr())
    }
}

/// Memory for [`VirtQueue`](virtio_drivers::queue::VirtQueue). Who hands it buffers takes them from
/// [`allocate`]: [`share`](virtio_drivers::Hal::share) knows no other.
#[derive(Debug)]
pub(crate) struct Memory;

// SAFETY: memory from `allocate` is valid, page aligned (a frame is a page of theirs) and nobody
// else's, and is zeroed.
unsafe impl virtio_drivers::Hal for Memory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (DeviceAddr, NonNull<u8>) {
        match allocate(pages) {
            Some((physical, memory)) => {
                // SAFETY: ours since just now, in the linear map, that many bytes.
                unsafe { memory.write_bytes(0, pages * FRAME_SIZE) };
                (physical.as_usize() as u64, memory)
            }
            None => (0, NonNull::dangling()), // they check for 0
        }
    }

    unsafe fn dma_dealloc(physical: DeviceAddr, _: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: by the trait's contract this came from `dma_alloc` and is given back once.
        unsafe { frames::free(PhysAddr::from(physical as usize), pages) };
        0
    }

    unsafe fn mmio_phys_to_virt(physical: DeviceAddr, _: usize) -> NonNull<u8> {
        // `pci` asks for nothing before it has mapped it: such an address is in the linear map.
        let start = layout::phys_to_virt(PhysAddr::from(physical as usize)).as_mut_ptr();
        NonNull::new(start).unwrap_or(NonNull::dangling())
    }

    #[inline]
    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> DeviceAddr {
        // In the linear map, as all buffers here. Anything else would give an address beyond RAM,
        // where a device finds nothing.
        let address = VirtAddr::from(buffer.as_ptr().cast::<u8>() as usize);
        address.as_usize().wrapping_sub(layout::LINEAR_BASE) as u64
    }

    #[inline]
    unsafe fn unshare(_: DeviceAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// This machine, as a driver needs it that is to have these doorbells.
pub(crate) struct Here(pub(crate) Doorbells);

impl Machine for Here {
    type Doorbell = Doorbell;

    fn doorbell(&mut self, queue: u16) -> Option<Doorbell> {
        self.0.of(queue)
    }

    fn memory(&mut self, bytes: usize) -> Option<Region> {
        let (physical, start) = allocate(bytes.div_ceil(FRAME_SIZE))?;
        // SAFETY: frames in one piece, a page each, ours for good. Caches are coherent with devices.
        Some(unsafe { Region::new(start, physical.as_usize() as u64) })
    }
}
