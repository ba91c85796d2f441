//! Frames of RAM: 4 KiB pieces of physical memory, by the run.
//!
//! Low addresses go first, which leaves memory below 4 GiB to devices with 32-bit DMA only as long
//! as nobody else took it; such a driver takes its buffers at start.

use core::{fmt, ops::Range, ptr::NonNull};

use memory_addr::{PhysAddr, VirtAddr};
use wakeful_hal::{
    layout,
    paging::{self, FrameSource},
    sync::IrqLock,
};
use wakeful_memory::Frames;

static FRAMES: IrqLock<Frames> = IrqLock::new(Frames::new());

/// No RAM is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory;

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no memory is left beside the image and what is reserved")
    }
}

/// Takes over the RAM that is free. Once, at boot. Returns where page tables come from.
///
/// # Safety
///
/// The ranges are RAM in the linear map, page aligned, and nobody else uses them.
pub unsafe fn init(free: impl Iterator<Item = Range<PhysAddr>>) -> Result<FrameSource, NoMemory> {
    for range in free {
        // SAFETY: by this function's contract.
        unsafe { add(range) };
    }
    while FRAMES.lock().total() < BOOT_FRAMES && add_more() {}
    if FRAMES.lock().total() > 0 { Ok(take) } else { Err(NoMemory) }
}

/// What page tables take until [`allocate`] can look for more itself: about ten, and room to spare.
const BOOT_FRAMES: usize = 32;

/// # Safety
///
/// As for [`init`].
unsafe fn add(range: Range<PhysAddr>) {
    let start = layout::phys_to_virt(range.start).as_mut_ptr();
    // SAFETY: by this function's contract. A 65th region stays unused.
    unsafe { FRAMES.lock().add(start, range.end - range.start) };
}

/// Adds a piece of the memory that is worth its mapping only when all other is taken. Whether there
/// was one.
fn add_more() -> bool {
    // SAFETY: `map_more` has mapped it, and gives it once.
    paging::map_more(|range| unsafe { add(range) })
}

/// Takes `count` adjacent frames at a multiple of `align` bytes (a power of two).
///
/// Their contents are arbitrary. `None` if no such run is free.
pub fn allocate(count: usize, align: usize) -> Option<PhysAddr> {
    loop {
        let start = take(count, align);
        // What can be added are pieces of less than 512 frames.
        if start.is_some() || !(1..512).contains(&count) || !add_more() {
            return start;
        }
    }
}

/// [`allocate`], but it does not look for more: whoever builds page tables cannot wait for them.
fn take(count: usize, align: usize) -> Option<PhysAddr> {
    let start = FRAMES.lock().allocate(count, align)?;
    layout::virt_to_phys(VirtAddr::from(start.as_ptr() as usize))
}

/// Gives frames back.
///
/// # Safety
///
/// They came from [`allocate`] with this `count` (or are whole frames of such a run), are given back
/// for the first time, and nobody uses them any more.
pub unsafe fn free(start: PhysAddr, count: usize) {
    if let Some(start) = NonNull::new(layout::phys_to_virt(start).as_mut_ptr()) {
        // SAFETY: by this function's contract.
        unsafe { FRAMES.lock().free(start, count) };
    }
}

/// How many frames are in use or ready to be. What shares a large page with something else joins when
/// all other is taken.
pub fn total() -> usize {
    FRAMES.lock().total()
}

/// How many frames nobody has.
pub fn available() -> usize {
    FRAMES.lock().available()
}

/// [`available`] and [`total`] for a report; `None` while somebody, perhaps the dying code, is at it.
pub fn counts() -> Option<(usize, usize)> {
    FRAMES.try_lock().map(|frames| (frames.available(), frames.total()))
}
