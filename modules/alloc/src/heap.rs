//! The heap behind `Box` and `Vec`. Which one is the application's choice:
//! `#[wakeful::main(heap = wakeful::alloc::Talc)]`.

use core::{
    alloc::{GlobalAlloc, Layout},
    ptr::{self, NonNull},
    sync::atomic::{AtomicUsize, Ordering},
};

use wakeful_hal::{layout, sync::IrqLock};
use wakeful_memory::{Chunks, Counted, FRAME_SIZE, Statistics};

use crate::frames;

/// Feeds a heap from the frames.
#[derive(Debug)]
struct FromFrames;

// SAFETY: runs of frames are aligned, in the linear map, and not freed again.
unsafe impl Chunks for FromFrames {
    fn take(&mut self, len: usize) -> Option<NonNull<[u8]>> {
        let start = frames::allocate(len / FRAME_SIZE, FRAME_SIZE)?;
        let start = NonNull::new(layout::phys_to_virt(start).as_mut_ptr())?;
        Some(NonNull::slice_from_raw_parts(start, len))
    }
}

/// Size of the last allocation that failed.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// The size of the last allocation for which there was no memory, if there was one.
pub fn last_refusal() -> Option<usize> {
    Some(REFUSED.load(Ordering::Relaxed)).filter(|&size| size != 0)
}

/// A heap type and the one heap behind it.
macro_rules! heap {
    ($(#[$doc:meta])* $name:ident, $heap:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name;

        static $heap: IrqLock<Counted<wakeful_memory::$name<FromFrames>>> =
            IrqLock::new(Counted::new(wakeful_memory::$name::new(FromFrames)));

        // SAFETY: `Counted` hands out memory that is the caller's alone until it comes back; the lock
        // makes that hold on all harts and in interrupts.
        unsafe impl GlobalAlloc for $name {
            unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
                match $heap.lock().allocate(layout) {
                    Some(start) => start.as_ptr(),
                    None => {
                        REFUSED.store(layout.size(), Ordering::Relaxed);
                        ptr::null_mut()
                    }
                }
            }

            unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
                if let Some(start) = NonNull::new(start) {
                    // SAFETY: by the contract of `GlobalAlloc`.
                    unsafe { $heap.lock().deallocate(start, layout) };
                }
            }
        }
    };
}

heap! {
    /// The default heap: one list of free blocks, by `linked_list_allocator`. See
    /// [`wakeful_memory::LinkedList`] for when it is the right one.
    LinkedList, LINKED_LIST
}

#[cfg(feature = "talc")]
heap! {
    /// The heap for many live blocks, by `talc`. See [`wakeful_memory::Talc`].
    Talc, TALC
}

/// What the heap holds, in bytes.
///
/// Looking for the largest free block takes some thirty attempts, with interrupts off: for reports,
/// not for hot paths.
pub fn statistics() -> Statistics {
    let statistics = LINKED_LIST.lock().statistics();
    #[cfg(feature = "talc")]
    if statistics.capacity == 0 {
        // An image has one heap: the other one never grew.
        return TALC.lock().statistics();
    }
    statistics
}
