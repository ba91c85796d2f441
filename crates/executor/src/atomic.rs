//! Atomics and cells: those of `core`, or loom's, which try every interleaving. In tests those of `core`
//! with a point before each operation where an interrupt can be made to come.

/// Makes a function `const`, except under loom, whose atomics are not made at compile time.
macro_rules! const_unless_loom {
    ($(#[$attribute:meta])* $visibility:vis fn $($rest:tt)*) => {
        $(#[$attribute])*
        #[cfg(not(loom))]
        $visibility const fn $($rest)*

        #[cfg(loom)]
        $(#[$attribute])*
        $visibility fn $($rest)*
    };
}
pub(crate) use const_unless_loom;

#[cfg(any(loom, not(test)))]
pub(crate) use core::cell::Cell;
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::Ordering;
#[cfg(not(any(loom, test)))]
pub(crate) use core::sync::atomic::{AtomicPtr, AtomicU32};

#[cfg(all(test, not(loom)))]
pub(crate) use crate::tests::points::{AtomicPtr, AtomicU32, Cell};

#[cfg(loom)]
pub(crate) use for_loom::{AtomicPtr, AtomicU32, SEARCHING_LOADS};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::Ordering;

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

/// Loom's atomics, with what loom does not do by itself.
#[cfg(loom)]
mod for_loom {
    use core::{cell::Cell, ops::Deref};

    use loom::sync::atomic::{self, Ordering};

    std::thread_local! {
        /// Whether a load is a read-modify-write to loom, one that fails. Loom does not try all that
        /// another thread's read-modify-writes may do before a load if another load went before: but
        /// for loads it tries older values. So each model is to be run with and without.
        pub(crate) static SEARCHING_LOADS: Cell<bool> = const { Cell::new(false) };
    }

    pub(crate) struct AtomicU32(atomic::AtomicU32);

    impl AtomicU32 {
        pub(crate) fn new(value: u32) -> Self {
            Self(atomic::AtomicU32::new(value))
        }

        pub(crate) fn load(&self, order: Ordering) -> u32 {
            if !SEARCHING_LOADS.get() {
                return self.0.load(order);
            }
            // A state with all bits does not occur.
            let (Ok(value) | Err(value)) =
                self.0.compare_exchange(u32::MAX, u32::MAX, order, order);
            value
        }

        /// As a swap. Loom does not know that nothing comes between what a read-modify-write reads and
        /// what it writes: it has a store come there, where that of a processor comes before or after.
        pub(crate) fn store(&self, value: u32, order: Ordering) {
            self.0.swap(value, order);
        }
    }

    impl Deref for AtomicU32 {
        type Target = atomic::AtomicU32;

        fn deref(&self) -> &Self::Target {
            &self.0
        }
    }

    pub(crate) struct AtomicPtr<T>(atomic::AtomicPtr<T>);

    impl<T> AtomicPtr<T> {
        pub(crate) fn new(value: *mut T) -> Self {
            Self(atomic::AtomicPtr::new(value))
        }

        pub(crate) fn load(&self, order: Ordering) -> *mut T {
            if !SEARCHING_LOADS.get() {
                return self.0.load(order);
            }
            // There is nothing at such an address.
            let never = core::ptr::without_provenance_mut(usize::MAX);
            let (Ok(value) | Err(value)) = self.0.compare_exchange(never, never, order, order);
            value
        }
    }

    impl<T> Deref for AtomicPtr<T> {
        type Target = atomic::AtomicPtr<T>;

        fn deref(&self) -> &Self::Target {
            &self.0
        }
    }
}
