//! Memory that can run out, for each thread by itself.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

std::thread_local! {
    static MOST: Cell<Option<usize>> = const { Cell::new(None) };
}

/// From now on nobody on this thread gets more than so many bytes at once.
pub(crate) fn set(most: Option<usize>) {
    MOST.set(most);
}

struct Ration;

#[global_allocator]
static RATION: Ration = Ration;

#[expect(unsafe_code, reason = "this is what an allocator is")]
// SAFETY: the system's, or none.
unsafe impl GlobalAlloc for Ration {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if MOST.get().is_some_and(|most| layout.size() > most) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; all memory is the system's.
        unsafe { System.dealloc(start, layout) };
    }
}
