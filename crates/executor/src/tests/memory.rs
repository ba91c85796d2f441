//! Memory for the slots of one test, which tells at the end whether all of them are vacant.

use core::{
    alloc::Layout,
    ptr::NonNull,
    sync::atomic::{AtomicBool, Ordering},
};
use std::sync::Mutex;

use super::HERE;
use crate::{
    Hart, OUTSIDE, Platform,
    slab::{self, Class},
    state::{LIMBO, QUEUED, VACANT},
    task::Header,
};

pub(crate) struct Memory {
    chunks: Mutex<Vec<Chunk>>,
    is_closed: AtomicBool,
}

#[derive(Clone, Copy)]
struct Chunk(*mut u8, Layout);

// SAFETY: kept, and compared.
unsafe impl Send for Chunk {}

impl Memory {
    pub(crate) const fn new() -> Self {
        Self { chunks: Mutex::new(Vec::new()), is_closed: AtomicBool::new(false) }
    }

    pub(crate) fn allocate(&self, layout: Layout) -> *mut u8 {
        if self.is_closed.load(Ordering::Relaxed) {
            return core::ptr::null_mut();
        }
        // SAFETY: slots are not of size 0.
        let memory = unsafe { std::alloc::alloc(layout) };
        self.chunks.lock().unwrap().push(Chunk(memory, layout));
        memory
    }

    /// How many bytes it gave.
    pub(crate) fn size(&self) -> usize {
        self.chunks.lock().unwrap().iter().map(|chunk| chunk.1.size()).sum()
    }

    /// Asserts that every slot is on a free list, once, and clean. For a machine at rest, whose harts
    /// are all this thread's now.
    pub(crate) fn assert_vacant<P: Platform>(&self, harts: &'static [Hart<P>]) {
        self.is_closed.store(true, Ordering::Relaxed);
        let here = HERE.get();
        let classes: Vec<_> = (1..128).filter_map(|size| Class::of(size * 16, 1)).collect();
        let mut slots: Vec<(usize, usize, NonNull<Header>)> = Vec::new();
        for (number, hart) in harts.iter().enumerate() {
            HERE.set(number);
            for &class in &classes {
                // SAFETY: our hart, for now.
                while let Some((slot, state)) = unsafe { hart.slab.take::<P>(class) } {
                    assert!(state & (VACANT | LIMBO) == VACANT, "{state:#x} on a free list");
                    slots.push((slot.addr().get(), number, slot));
                }
            }
        }
        HERE.set(OUTSIDE);
        for &class in &classes {
            while let Some((slot, state)) = slab::allocate::<P>(class) {
                assert!(state & (VACANT | LIMBO) == VACANT, "{state:#x} on a list");
                slots.push((slot.addr().get(), OUTSIDE, slot));
            }
        }
        slots.sort_unstable();
        assert!(slots.windows(2).all(|pair| pair[0].0 != pair[1].0), "a slot is doubled");
        for &Chunk(memory, layout) in &*self.chunks.lock().unwrap() {
            let begin = slots.partition_point(|slot| slot.0 < memory.addr());
            let end = slots.partition_point(|slot| slot.0 < memory.addr() + layout.size());
            let inside = &slots[begin..end];
            assert!(!inside.is_empty(), "a slot is lost");
            let apart = layout.size() / inside.len();
            let at = |index: usize| memory.addr() + index * apart;
            assert!(
                inside.iter().enumerate().all(|(index, slot)| slot.0 == at(index)),
                "a slot is lost: there are {} of {layout:?}",
                inside.len()
            );
        }
        for (_, number, slot) in slots {
            HERE.set(number);
            // SAFETY: we claimed it above. Type-stable.
            unsafe {
                let old = slot.as_ref().state.clear(QUEUED);
                assert!(old & LIMBO == 0, "a slot is doubled");
                match harts.get(number) {
                    Some(hart) => hart.slab.put(slot),
                    None => slab::put_back::<P>(slot),
                }
            }
        }
        HERE.set(here);
        self.is_closed.store(false, Ordering::Relaxed);
    }
}
