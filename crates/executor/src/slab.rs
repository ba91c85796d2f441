//! Memory of tasks: free lists of slots by size class. A slot is a slot for ever.
//!
//! Each hart has lists of its own, without locks; a slot goes to the list of the hart that vacates it.
//! Memory comes in chunks and is never given back: that is what makes wakers free (`task.rs`). So the
//! memory in use is that of the most tasks of each size that ever lived at once.

use core::{
    alloc::Layout,
    cell::Cell,
    ptr::{self, NonNull},
};

use crate::{
    platform::Platform,
    state::{LIMBO, QUEUED, VACANT},
    task::Header,
};

/// The smallest slot: a header with nothing behind.
const SMALLEST: usize = size_of::<Header>();
/// The largest slot, in bytes.
pub(crate) const LARGEST: usize = 1 << 20;
/// A chunk is of this size, or one slot if that is larger. Its alignment is that of its slots, at most.
const CHUNK: usize = 4096;

/// The number of size classes: the smallest, 48, 64, then four to each doubling, 80, 96, 112, 128, 160, …
const CLASSES: usize = 3 + 4 * (LARGEST.ilog2() as usize - 6);

/// A size class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Class(u8);

impl Class {
    /// The smallest class for a type, or `None` if it is too large.
    ///
    /// Slots are as aligned as their size is even, so a type of high alignment may need a larger class.
    pub(crate) const fn of(size: usize, align: usize) -> Option<Self> {
        let mut class = 0;
        while class < CLASSES {
            let slot = Self(class as u8).size();
            if slot >= size && slot.is_multiple_of(align) && align <= CHUNK {
                return Some(Self(class as u8));
            }
            class += 1;
        }
        None
    }

    const fn size(self) -> usize {
        match self.0 {
            0 => SMALLEST,
            1 => 48,
            2 => 64,
            class => {
                let (doubling, quarter) = ((class - 3) / 4, (class - 3) % 4);
                (64 + 16 * (quarter as usize + 1)) << doubling
            }
        }
    }

    fn chunk(self) -> Layout {
        let align = 1 << self.size().trailing_zeros().min(CHUNK.trailing_zeros());
        let size = (CHUNK / self.size()).max(1) * self.size();
        Layout::from_size_align(size, align).expect("a power of two, and far from overflow")
    }
}

pub(crate) struct Slab {
    vacant: [Cell<*mut Header>; CLASSES],
}

impl Slab {
    pub(crate) const fn new() -> Self {
        Self { vacant: [const { Cell::new(ptr::null_mut()) }; CLASSES] }
    }

    /// Claims a vacant slot: it is `QUEUED` now. Returns its state before.
    ///
    /// # Safety
    ///
    /// The slab's hart calls.
    #[inline]
    pub(crate) unsafe fn take<P: Platform>(&self, class: Class) -> Option<(NonNull<Header>, u32)> {
        let slot = self.next(class);
        if let Some(slot) = slot {
            // SAFETY: type-stable.
            let state = unsafe { slot.as_ref() }.state.queue();
            if state & QUEUED == 0 {
                return Some((slot, state));
            }
        }
        self.take_another::<P>(class, slot)
    }

    /// What `take` does when the list is empty, or its first slot was found `QUEUED`.
    #[cold]
    #[inline(never)]
    fn take_another<P: Platform>(
        &self,
        class: Class,
        mut queued: Option<NonNull<Header>>,
    ) -> Option<(NonNull<Header>, u32)> {
        loop {
            if let Some(slot) = queued {
                // SAFETY: it was on the list.
                if let Some(state) = unsafe { leave_in_limbo(slot) } {
                    return Some((slot, state));
                }
            }
            if self.vacant[class.0 as usize].get().is_null() {
                self.grow::<P>(class)?;
            }
            let slot = self.next(class)?;
            // SAFETY: type-stable.
            let state = unsafe { slot.as_ref() }.state.queue();
            if state & QUEUED == 0 {
                return Some((slot, state));
            }
            queued = Some(slot);
        }
    }

    /// Takes the first slot off a list.
    #[inline]
    fn next(&self, class: Class) -> Option<NonNull<Header>> {
        // SAFETY: a class made by `of` is below `CLASSES`.
        let list = unsafe { self.vacant.get_unchecked(class.0 as usize) };
        let slot = NonNull::new(list.get())?;
        // SAFETY: slots on the list are ours; nobody else touches `aux` of a vacant one.
        list.set(unsafe { slot.as_ref().aux.get() }.cast());
        Some(slot)
    }

    /// Puts a slot on its list.
    ///
    /// # Safety
    ///
    /// The slab's hart calls; the slot is vacant, not in limbo, and the caller's.
    #[inline]
    pub(crate) unsafe fn put(&self, slot: NonNull<Header>) {
        // SAFETY: by the caller's promise; slots of a slab have a class below `CLASSES`.
        unsafe {
            let list = self.vacant.get_unchecked(slot.as_ref().class as usize);
            slot.as_ref().aux.set(list.get().cast());
            list.set(slot.as_ptr());
        }
    }

    /// Fills a list that is empty.
    fn grow<P: Platform>(&self, class: Class) -> Option<()> {
        let (layout, size) = (class.chunk(), class.size());
        let chunk = NonNull::new(P::allocate(layout))?;
        for offset in (0..layout.size()).step_by(size).rev() {
            // SAFETY: inside of the chunk, aligned as a multiple of a class size is, and ours.
            unsafe {
                let slot = chunk.byte_add(offset).cast::<Header>();
                slot.write(Header::vacant(class.0));
                self.put(slot);
            }
        }
        Some(())
    }
}

/// Claims a slot of its own, where there is no slab at hand.
pub(crate) fn allocate<P: Platform>(class: Class) -> Option<(NonNull<Header>, u32)> {
    let layout = Layout::from_size_align(class.size(), class.chunk().align()).ok()?;
    let slot = NonNull::new(P::allocate(layout))?.cast::<Header>();
    // SAFETY: fresh memory, large enough and aligned.
    unsafe {
        slot.write(Header::vacant(class.0));
        Some((slot, slot.as_ref().state.queue()))
    }
}

/// A late waker has put a vacant slot into a queue, so it cannot be used: whoever pops it is to put it
/// back. If that has happened just now, the slot is the caller's after all: claimed, with this state.
///
/// # Safety
///
/// The slot is vacant, was just taken from the free list, and was found `QUEUED`.
unsafe fn leave_in_limbo(slot: NonNull<Header>) -> Option<u32> {
    // SAFETY: type-stable.
    let header = unsafe { slot.as_ref() };
    let queued_still = |old: u32| Some(if old & QUEUED == 0 { old | QUEUED } else { old | LIMBO });
    let (Ok(old) | Err(old)) = header.state.update(queued_still);
    debug_assert!(old & VACANT != 0);
    (old & QUEUED == 0).then_some(old)
}
