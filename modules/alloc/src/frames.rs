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
    if FRAMES.lock().total() > 0 || add_rest() { Ok(take) } else { Err(NoMemory) }
}

/// # Safety
///
/// As for [`init`].
unsafe fn add(range: Range<PhysAddr>) {
    let start = layout::phys_to_virt(range.start).as_mut_ptr();
    // SAFETY: by this function's contract. A 65th region stays unused.
    unsafe { FRAMES.lock().add(start, range.end - range.start) };
}

/// Adds the memory that is worth its mapping only when all other is taken. Whether there was any.
fn add_rest() -> bool {
    let rest = paging::map_rest();
    // SAFETY: `map_rest` has mapped it, and gives it once.
    rest.map(|range| unsafe { add(range) }).is_some()
}

/// Takes `count` adjacent frames at a multiple of `align` bytes (a power of two).
///
/// Their contents are arbitrary. `None` if no such run is free.
pub fn allocate(count: usize, align: usize) -> Option<PhysAddr> {
    // The rest lies within one large page, beside the image: it can hold at most 511.
    let worth_a_try = (1..512).contains(&count);
    take(count, align).or_else(|| if worth_a_try && add_rest() { take(count, align) } else { None })
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

/// How many frames are in use or ready to be: those behind the image (up to 511) join last.
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
