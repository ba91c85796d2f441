//! A future in memory of its own, or the news that there is none.
//!
//! `Box::pin` panics without memory, and what does not is not stable yet (`Box::try_new`). And a future that is
//! made for each request had better not look for memory each time: the more connections there are, the more
//! holes there are in the heap.

#![expect(unsafe_code, reason = "memory is asked for before there is something to put into it")]

use alloc::alloc::{Layout, alloc, dealloc};
use core::{
    cell::Cell,
    future::Future,
    marker::PhantomData,
    mem::ManuallyDrop,
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll},
};

/// The memory of the future that was dropped last, for the next one.
#[derive(Default)]
pub struct Spare(Cell<Option<Memory>>);

impl Spare {
    /// None yet.
    pub const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// Puts what `make` returns into memory of its own. `None` if there is none: then `make` is dropped without
    /// being called.
    #[inline]
    pub fn place<T>(&self, make: impl FnOnce() -> T) -> Option<Placed<'_, T>> {
        let memory = self.take(layout_for::<T>())?;
        // SAFETY: it has room for one.
        let place = unsafe { memory.place::<T>() };
        // SAFETY: it is valid for writes of one, and aligned for it.
        unsafe { place.write(make()) };
        Some(Placed { memory: ManuallyDrop::new(memory), spare: self, value: PhantomData })
    }

    #[inline(never)]
    fn take(&self, layout: Layout) -> Option<Memory> {
        match self.0.take() {
            Some(spare) if spare.has_room(layout) => Some(spare),
            _ => Memory::new(layout),
        }
    }
}

/// A piece of the heap that begins with its own layout. A value is behind it.
struct Memory(
    // Invariant: from the heap by the layout that it begins with, and nobody else's.
    NonNull<Layout>,
);

/// The layout of memory for a value.
const fn layout_for<T>() -> Layout {
    match Layout::new::<Layout>().extend(Layout::new::<T>()) {
        Ok((layout, _)) => layout,
        Err(_) => panic!("there is no such type"),
    }
}

impl Memory {
    fn new(layout: Layout) -> Option<Self> {
        // SAFETY: it begins with a layout, so the size is not 0.
        let start = NonNull::new(unsafe { alloc(layout) })?.cast::<Layout>();
        // SAFETY: there is room for it, and the whole is aligned for it.
        unsafe { start.write(layout) };
        Some(Self(start))
    }

    fn layout(&self) -> Layout {
        // SAFETY: by the invariant it begins with that.
        unsafe { self.0.read() }
    }

    fn has_room(&self, layout: Layout) -> bool {
        let own = self.layout();
        own.size() >= layout.size() && own.align() >= layout.align()
    }

    /// Where a value is.
    ///
    /// # Safety
    ///
    /// There is room for it.
    #[inline]
    unsafe fn place<T>(&self) -> NonNull<T> {
        let offset = size_of::<Layout>().next_multiple_of(align_of::<T>());
        // SAFETY: by the contract that is within the memory.
        unsafe { self.0.byte_add(offset) }.cast()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: by the invariant it was allocated with this layout, and nobody else has it.
        unsafe { dealloc(self.0.as_ptr().cast(), self.layout()) };
    }
}

/// A value in memory of its own. As a pinned box.
pub struct Placed<'s, T> {
    // Invariant: there is a `T` at its place, which is never moved.
    memory: ManuallyDrop<Memory>,
    spare: &'s Spare,
    value: PhantomData<T>,
}

impl<T> Placed<'_, T> {
    /// The value, which stays where it is.
    #[inline]
    pub fn as_mut(&mut self) -> Pin<&mut T> {
        // SAFETY: by the invariant there is one, which is never moved; it is borrowed as `self` is.
        unsafe { Pin::new_unchecked(self.memory.place::<T>().as_mut()) }
    }
}

impl<T: Future> Future for Placed<'_, T> {
    type Output = T::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T::Output> {
        self.get_mut().as_mut().poll(context)
    }
}

// The value is elsewhere.
impl<T> Unpin for Placed<'_, T> {}

impl<T> Drop for Placed<'_, T> {
    fn drop(&mut self) {
        // SAFETY: by the invariant there is a value, and it is not used again.
        unsafe { self.memory.place::<T>().drop_in_place() };
        // SAFETY: it is not used again.
        let memory = unsafe { ManuallyDrop::take(&mut self.memory) };
        self.spare.0.set(Some(memory));
    }
}

#[cfg(test)]
mod tests {
    use std::{panic::catch_unwind, task::Waker};

    use super::*;
    use crate::ration;

    /// Says when it is dropped.
    struct Dropped<'a>(&'a Cell<u32>);

    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn a_future_lives_and_dies_in_it() {
        let dropped = Cell::new(0);
        let guard = Dropped(&dropped);
        let spare = Spare::new();
        let mut future = spare
            .place(|| async {
                let here = [1_u64, 2, 3];
                let there = &here;
                core::future::ready(()).await;
                let _guard = guard;
                there.iter().sum::<u64>()
            })
            .expect("there is memory");
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!((polled, dropped.get()), (Poll::Ready(6), 1));
        drop(future);
        assert_eq!(dropped.get(), 1);
    }

    #[test]
    fn what_is_not_polled_is_dropped_as_well() {
        let dropped = Cell::new(0);
        let guard = Dropped(&dropped);
        drop(Spare::new().place(|| async move { drop(guard) }));
        assert_eq!(dropped.get(), 1);
    }

    #[test]
    fn alignment_is_kept() {
        #[repr(align(256))]
        struct Aligned(u8);
        let spare = Spare::new();
        drop(spare.place(|| [0_u64; 100])); // room enough, but it begins anywhere
        let mut aligned = spare.place(|| Aligned(7)).expect("there is memory");
        let aligned = aligned.as_mut();
        assert_eq!((&raw const *aligned).addr() % 256, 0);
        assert_eq!(aligned.0, 7);
    }

    #[test]
    fn without_memory_nothing_is_made() {
        let dropped = Cell::new(0);
        let guard = Dropped(&dropped);
        ration::set(Some(128));
        let spare = Spare::new();
        let made = spare.place(|| -> [u8; 113] {
            drop(guard);
            unreachable!("there is no room for it")
        });
        let small = spare.place(|| [7_u8; 100]);
        ration::set(None);
        assert!(made.is_none() && small.is_some());
        assert_eq!(dropped.get(), 1);
    }

    /// Miri sees whether memory is left behind.
    #[test]
    fn a_panic_leaves_nothing_behind() {
        let made = catch_unwind(|| {
            let spare = Spare::new();
            spare.place(|| -> u64 { panic!("on purpose") }).is_some()
        });
        assert!(made.is_err());
    }

    #[test]
    fn memory_is_used_again() {
        let spare = Spare::new();
        let address = |placed: &mut Placed<'_, [u64; 10]>| (&raw const *placed.as_mut()).addr();
        let mut first = spare.place(|| [1; 10]).expect("there is memory");
        let mut second = spare.place(|| [2; 10]).expect("there is memory");
        let [one, two] = [&mut first, &mut second].map(address);
        assert_ne!(one, two);
        drop(first);
        drop(second);
        ration::set(Some(0)); // from now on there is only that
        let third =
            spare.place(|| [3; 10]).map(|mut placed| (address(&mut placed), *placed.as_mut()));
        let fourth = spare.place(|| [4_u64; 11]).is_some();
        ration::set(None);
        assert_eq!(third, Some((two, [3; 10])));
        assert!(!fourth, "it is larger");
    }
}
