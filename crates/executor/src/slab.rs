//! Memory of tasks: free lists of slots by size class. A slot is a slot for ever.
//!
//! Each hart has lists of its own, which it alone touches. A slot that is vacated on the hart whose list
//! it came from goes back there; any other goes to the [`Returns`] that all harts share, and is taken
//! from there by the next hart whose list is empty: otherwise a hart that spawns on others would take
//! memory for ever. Interrupts have no list, so their slots are their own: a [`Returns`] that no hart empties.
//!
//! Memory comes in chunks and is never given back: that is what makes wakers free (`task.rs`). So what is
//! in use is the sum of what each hart at its peak needed of each size at once.

use core::{
    alloc::Layout,
    ptr::{self, NonNull},
};

use crate::{
    atomic::{AtomicPtr, Cell, Ordering},
    platform::Platform,
    state::{LIMBO, QUEUED, VACANT},
    task::Header,
};

/// The smallest slot: a header with nothing behind.
const SMALLEST: usize = size_of::<Header>();
/// The largest slot, in bytes. (Loom counts every list of every hart.)
pub(crate) const LARGEST: usize = if cfg!(loom) { 1 << 12 } else { 1 << 20 };
/// A chunk is of this size, or one slot if that is larger. Its alignment is that of its slots, at most.
const CHUNK: usize = 4096;

/// The number of size classes: the smallest, 48, 64, then four to each doubling, 80, 96, 112, 128, 160, …
const CLASSES: usize = 3 + 4 * (LARGEST.ilog2() as usize - 6);

/// In a header's class: a slot of the [`Returns`] for interrupts.
const OUTSIDERS: u8 = 0x80;

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
        // Loom counts every slot.
        let count = if cfg!(loom) { 1 } else { (CHUNK / self.size()).max(1) };
        let size = count * self.size();
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
                match returns::<P>(0).take_all(class) {
                    Some(returned) => self.vacant[class.0 as usize].set(returned.as_ptr()),
                    None => self.grow::<P>(class)?,
                }
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
        let (first, _) = chunk::<P>(class, 0)?;
        self.vacant[class.0 as usize].set(first.as_ptr());
        Some(())
    }
}

/// Slots that were vacated elsewhere than where they came from, by class. In any context.
pub(crate) struct Returns {
    newest: [AtomicPtr<Header>; CLASSES],
}

impl Returns {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self { newest: [const { AtomicPtr::new(ptr::null_mut()) }; CLASSES] }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { newest: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())) }
    }

    /// Takes all slots of a class, linked: never one of several, so that no link can have changed
    /// between its being read and used.
    pub(crate) fn take_all(&self, class: Class) -> Option<NonNull<Header>> {
        let newest = &self.newest[class.0 as usize];
        if newest.load(Ordering::Relaxed).is_null() {
            return None;
        }
        NonNull::new(newest.swap(ptr::null_mut(), Ordering::Acquire))
    }

    /// Adds what is left of what was just taken.
    ///
    /// # Safety
    ///
    /// As for `add`, of this slot and all behind.
    pub(crate) unsafe fn undo_take(&self, class: Class, first: NonNull<Header>) {
        let newest = &self.newest[class.0 as usize];
        let (success, failure) = (Ordering::Release, Ordering::Relaxed);
        // Mostly nothing has come meanwhile. The sooner this is over, the fewer find nothing here.
        if newest.compare_exchange(ptr::null_mut(), first.as_ptr(), success, failure).is_ok() {
            return;
        }
        let mut last = first;
        // SAFETY: the caller's.
        unsafe {
            while let Some(next) = NonNull::new(last.as_ref().aux.get().cast()) {
                last = next;
            }
            self.add(class, first, last);
        }
    }

    /// Adds the slots from `first` to `last`, which are linked.
    ///
    /// # Safety
    ///
    /// They are vacant, not in limbo, of this class, and the caller's.
    pub(crate) unsafe fn add(&self, class: Class, first: NonNull<Header>, last: NonNull<Header>) {
        let newest = &self.newest[class.0 as usize];
        let mut rest = newest.load(Ordering::Relaxed);
        loop {
            // SAFETY: the caller's until the exchange.
            unsafe { last.as_ref().aux.set(rest.cast()) };
            let (success, failure) = (Ordering::Release, Ordering::Relaxed);
            match newest.compare_exchange_weak(rest, first.as_ptr(), success, failure) {
                Ok(_) => return,
                Err(other) => rest = other,
            }
        }
    }
}

/// Those of the machine, which the first hart keeps: for slots with this bit in their class, or without.
fn returns<P: Platform>(outsiders: u8) -> &'static Returns {
    // SAFETY: there is a first hart.
    let [harts, interrupts] = unsafe { &P::hart(0).returns };
    if outsiders == 0 { harts } else { interrupts }
}

/// Puts back a slot that goes to no hart's list.
///
/// # Safety
///
/// It is vacant, not in limbo, not in a static, and the caller's.
#[cold]
#[inline(never)]
pub(crate) unsafe fn put_back<P: Platform>(slot: NonNull<Header>) {
    // SAFETY: type-stable; the class is constant.
    let class = unsafe { slot.as_ref() }.class;
    let returns = returns::<P>(class & OUTSIDERS);
    // SAFETY: by the caller's promise.
    unsafe { returns.add(Class(class & !OUTSIDERS), slot, slot) };
}

/// Whether a slot goes to the list of the hart it came from.
pub(crate) fn is_of_a_hart(class: u8) -> bool {
    class & OUTSIDERS == 0
}

/// Claims a slot where there is no slab at hand.
#[cold]
#[inline(never)]
pub(crate) fn allocate<P: Platform>(class: Class) -> Option<(NonNull<Header>, u32)> {
    let returns = returns::<P>(OUTSIDERS);
    while let Some(first) = returns.take_all(class) {
        // SAFETY: they are ours now, the first one and those behind; all but the first go back.
        unsafe {
            if let Some(second) = NonNull::new(first.as_ref().aux.get().cast::<Header>()) {
                returns.undo_take(class, second);
            }
            let state = first.as_ref().state.queue();
            if state & QUEUED == 0 {
                return Some((first, state));
            }
            if let Some(state) = leave_in_limbo(first) {
                return Some((first, state));
            }
        }
    }
    let (first, rest) = chunk::<P>(class, OUTSIDERS)?;
    if let Some((second, last)) = rest {
        // SAFETY: fresh ones, linked.
        unsafe { returns.add(class, second, last) };
    }
    // SAFETY: a fresh one.
    Some((first, unsafe { first.as_ref() }.state.queue()))
}

/// The first and the last of slots that are linked.
type Links = (NonNull<Header>, NonNull<Header>);

/// Makes a chunk: its first slot, and the first and last of the others, which are linked.
fn chunk<P: Platform>(class: Class, outsiders: u8) -> Option<(NonNull<Header>, Option<Links>)> {
    let (layout, size) = (class.chunk(), class.size());
    let chunk = NonNull::new(P::allocate(layout))?;
    let count = layout.size() / size;
    // SAFETY: inside of the chunk, and aligned as a multiple of a class size is.
    let slot = |index: usize| unsafe { chunk.byte_add(index * size).cast::<Header>() };
    for index in 0..count {
        let next = if index + 1 < count { slot(index + 1).as_ptr() } else { ptr::null_mut() };
        // SAFETY: ours.
        unsafe {
            slot(index).write(Header::vacant(class.0 | outsiders));
            slot(index).as_ref().aux.set(next.cast());
        }
    }
    Some((slot(0), (count > 1).then(|| (slot(1), slot(count - 1)))))
}

/// A late waker has put a vacant slot into a queue, so it cannot be used: whoever pops it is to put it
/// back. If that has happened just now, the slot is the caller's after all: claimed, with this state.
///
/// # Safety
///
/// The slot is vacant, was just taken from a list, and was found `QUEUED`.
unsafe fn leave_in_limbo(slot: NonNull<Header>) -> Option<u32> {
    // SAFETY: type-stable.
    let header = unsafe { slot.as_ref() };
    let queued_still = |old: u32| Some(if old & QUEUED == 0 { old | QUEUED } else { old | LIMBO });
    let (Ok(old) | Err(old)) = header.state.update(queued_still);
    debug_assert!(old & VACANT != 0);
    (old & QUEUED == 0).then_some(old)
}
