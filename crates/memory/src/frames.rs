//! Runs of frames: first fit, exact sizes, coalescing.
//!
//! A region of RAM is a [`linked_list_allocator::Heap`] that is asked for whole frames only: its
//! list of holes, kept in the free frames themselves and sorted by address, is what a frame
//! allocator needs. There is no table to size or to clear at boot, a run of 5 frames costs 5, and
//! the code is in the image already. Allocating and freeing take time in proportion to the number
//! of holes: few, because frames are taken in large pieces (heap chunks, stacks, rings) and most
//! of them for good.

use core::{alloc::Layout, ptr::NonNull};

use arrayvec::ArrayVec;
use linked_list_allocator::Heap;

use crate::FRAME_SIZE;

/// The most separate regions of RAM; see [`Frames::add`].
const MAX_REGIONS: usize = 64;

/// An allocator of frames.
pub struct Frames {
    regions: ArrayVec<Heap, MAX_REGIONS>,
}

// SAFETY: the regions are memory that `add` was given for good, reached through `&mut self` only.
unsafe impl Send for Frames {}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

impl Frames {
    /// One without any memory.
    pub const fn new() -> Self {
        Self { regions: ArrayVec::new_const() }
    }

    /// Adds a region: `len` bytes from `start` on, both multiples of [`FRAME_SIZE`].
    ///
    /// Returns whether there was room for it: 64 regions are kept.
    ///
    /// # Safety
    ///
    /// The memory is valid for reads and writes from now on, and nobody else uses it.
    pub unsafe fn add(&mut self, start: *mut u8, len: usize) -> bool {
        debug_assert!(start.addr().is_multiple_of(FRAME_SIZE) && len.is_multiple_of(FRAME_SIZE));
        // SAFETY: by this function's contract.
        self.regions.try_push(unsafe { Heap::new(start, len) }).is_ok()
    }

    /// Takes `count` adjacent frames at a multiple of `align` bytes. Their contents are arbitrary.
    ///
    /// `None` if no run of that length is free, or for a count of 0 or an alignment that is not a
    /// power of two.
    pub fn allocate(&mut self, count: usize, align: usize) -> Option<NonNull<u8>> {
        let layout = layout(count, align)?;
        self.regions.iter_mut().find_map(|region| region.allocate_first_fit(layout).ok())
    }

    /// Gives frames back.
    ///
    /// # Safety
    ///
    /// `start` and `count` are those of one [`allocate`](Self::allocate), or `count` whole frames
    /// of it, given back for the first time; nobody uses them any more.
    pub unsafe fn free(&mut self, start: NonNull<u8>, count: usize) {
        let (Some(layout), Some(region)) = (layout(count, FRAME_SIZE), self.region_of(start))
        else {
            return debug_assert!(false, "not from this allocator");
        };
        // SAFETY: by this function's contract; the layout differs from that of `allocate` at most
        // in alignment and length, neither of which the list of holes remembers.
        unsafe { region.deallocate(start, layout) };
    }

    /// Frames in all.
    pub fn total(&self) -> usize {
        self.regions.iter().map(|region| region.size() / FRAME_SIZE).sum()
    }

    /// Frames that nobody has.
    pub fn available(&self) -> usize {
        self.regions.iter().map(|region| region.free() / FRAME_SIZE).sum()
    }

    fn region_of(&mut self, address: NonNull<u8>) -> Option<&mut Heap> {
        let address = address.as_ptr();
        self.regions.iter_mut().find(|region| (region.bottom()..region.top()).contains(&address))
    }
}

fn layout(count: usize, align: usize) -> Option<Layout> {
    let size = count.checked_mul(FRAME_SIZE).filter(|&size| size > 0)?;
    Layout::from_size_align(size, align.max(FRAME_SIZE)).ok()
}

#[cfg(test)]
mod tests {
    use std::{alloc, collections::BTreeMap};

    use proptest::prelude::*;

    use super::*;

    /// Memory from the host, freed at the end.
    struct Memory(NonNull<u8>, Layout);

    impl Memory {
        fn new(frames: usize) -> Self {
            let layout = Layout::from_size_align(frames * FRAME_SIZE, FRAME_SIZE).unwrap();
            // SAFETY: not of size 0.
            Self(NonNull::new(unsafe { alloc::alloc(layout) }).unwrap(), layout)
        }

        fn add_to(&self, frames: &mut Frames) {
            // SAFETY: ours alone, and it outlives `frames` in these tests.
            assert!(unsafe { frames.add(self.0.as_ptr(), self.1.size()) });
        }
    }

    impl Drop for Memory {
        fn drop(&mut self) {
            // SAFETY: allocated with this layout.
            unsafe { alloc::dealloc(self.0.as_ptr(), self.1) };
        }
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        let memory = Memory::new(4);
        let mut frames = Frames::new();
        assert_eq!(frames.allocate(1, FRAME_SIZE), None);
        memory.add_to(&mut frames);
        assert_eq!(frames.allocate(0, FRAME_SIZE), None);
        assert_eq!(frames.allocate(5, FRAME_SIZE), None);
        assert_eq!(frames.allocate(usize::MAX / FRAME_SIZE + 1, FRAME_SIZE), None);
        assert_eq!(frames.allocate(1, 3 * FRAME_SIZE), None);
        assert_eq!(frames.available(), 4);
    }

    #[test]
    fn takes_exactly_all_and_joins_again() {
        let (a, b) = (Memory::new(5), Memory::new(3));
        let mut frames = Frames::new();
        a.add_to(&mut frames);
        b.add_to(&mut frames);
        assert_eq!(frames.total(), 8);
        let taken: Vec<_> = std::iter::from_fn(|| frames.allocate(1, FRAME_SIZE)).collect();
        assert_eq!((taken.len(), frames.available()), (8, 0));
        for frame in taken {
            // SAFETY: from `allocate`, once.
            unsafe { frames.free(frame, 1) };
        }
        // The five are one run again.
        assert!(frames.allocate(5, FRAME_SIZE).is_some());
        assert!(frames.allocate(3, FRAME_SIZE).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

        /// Against a model: runs never overlap, lie inside, are aligned, and freeing all joins all.
        #[test]
        fn runs_are_disjoint(steps in prop::collection::vec((any::<bool>(), 1..9_usize, 0..3_u32), 1..60)) {
            let memory = Memory::new(64);
            let mut frames = Frames::new();
            memory.add_to(&mut frames);
            let start = memory.0.as_ptr().addr();
            let mut live = BTreeMap::<usize, (NonNull<u8>, usize)>::new();
            for (free, count, align) in steps {
                if free && let Some((_, (run, count))) = live.pop_first() {
                    // SAFETY: from `allocate`, once.
                    unsafe { frames.free(run, count) };
                } else if let Some(run) = frames.allocate(count, FRAME_SIZE << align) {
                    let first = run.addr().get();
                    prop_assert!(first.is_multiple_of(FRAME_SIZE << align));
                    let end = first + count * FRAME_SIZE;
                    prop_assert!(first >= start && end <= start + 64 * FRAME_SIZE);
                    if let Some((_, &(before, len))) = live.range(..end).next_back() {
                        prop_assert!(before.addr().get() + len * FRAME_SIZE <= first);
                    }
                    // SAFETY: ours now. Overwrites what the allocator kept there.
                    unsafe { run.as_ptr().write_bytes(0xa5, if cfg!(miri) { 64 } else { count * FRAME_SIZE }) };
                    live.insert(first, (run, count));
                }
                let used: usize = live.values().map(|(_, count)| count).sum();
                prop_assert_eq!(frames.available(), 64 - used);
            }
            for (run, count) in live.into_values() {
                // SAFETY: from `allocate`, once.
                unsafe { frames.free(run, count) };
            }
            prop_assert!(frames.allocate(64, FRAME_SIZE).is_some());
        }
    }
}
