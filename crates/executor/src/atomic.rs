//! Atomics and cells: those of `core`, or loom's, which try every interleaving. In tests those of `core`
//! with a point before each operation where an interrupt can be made to come.

pub(crate) use core::cell::Cell;
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::Ordering;
#[cfg(not(any(loom, test)))]
pub(crate) use core::sync::atomic::{AtomicPtr, AtomicU32};

#[cfg(all(test, not(loom)))]
pub(crate) use crate::tests::points::{AtomicPtr, AtomicU32};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, Ordering};

/// A plain word that passes from owner to owner: no two may touch it at once, and a protocol of
/// atomics says whose it is. Loom checks that the protocol does.
#[cfg(not(loom))]
pub(crate) struct Plain<T>(core::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> Plain<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    /// The bits of the value.
    ///
    /// # Safety
    ///
    /// Nobody writes it meanwhile. If it is not `Copy`, one copy may be used by value.
    #[inline(always)]
    pub(crate) unsafe fn get(&self) -> T {
        #[cfg(test)]
        crate::tests::points::pass();
        // SAFETY: by the caller's promise.
        unsafe { self.0.get().read() }
    }

    /// # Safety
    ///
    /// Nobody else touches it meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn set(&self, value: T) {
        #[cfg(test)]
        crate::tests::points::pass();
        // SAFETY: by the caller's promise.
        unsafe { self.0.get().write(value) }
    }
}

#[cfg(loom)]
pub(crate) struct Plain<T>(loom::cell::UnsafeCell<T>);

#[cfg(loom)]
impl<T> Plain<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::cell::UnsafeCell::new(value))
    }

    pub(crate) unsafe fn get(&self) -> T {
        // SAFETY: as the other one.
        self.0.with(|value| unsafe { value.read() })
    }

    pub(crate) unsafe fn set(&self, value: T) {
        // SAFETY: as the other one.
        self.0.with_mut(|place| unsafe { place.write(value) })
    }
}

#[cfg(loom)]
pub(crate) struct AtomicU32(loom::sync::atomic::AtomicU32);

#[cfg(loom)]
impl AtomicU32 {
    pub(crate) fn new(value: u32) -> Self {
        Self(loom::sync::atomic::AtomicU32::new(value))
    }

    /// As a swap. Loom does not know that nothing comes between what a read-modify-write reads and what
    /// it writes: it has a store come there, where the store of a processor comes before or after.
    pub(crate) fn store(&self, value: u32, order: Ordering) {
        self.0.swap(value, order);
    }
}

#[cfg(loom)]
impl core::ops::Deref for AtomicU32 {
    type Target = loom::sync::atomic::AtomicU32;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
