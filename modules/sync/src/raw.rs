//! The lock inside every primitive: a critical section.

use core::cell::Cell;

use critical_section::RestoreState;
use mutex_traits::RawMutex;

/// A critical section as a raw mutex.
///
/// An interrupt cannot come between a task of this hart and its list of waiters, and other harts
/// wait until the section ends: so every primitive may be used from everywhere. Nobody outside this
/// crate can make one, so it is locked only by the few lines of maitake-sync that edit a list.
#[derive(Debug)]
pub struct RawLock {
    held: Cell<bool>,
    /// What the section found. Belongs to the holder.
    restore: Cell<RestoreState>,
}

// SAFETY: both cells are touched within the critical section only, one hart at a time.
unsafe impl Sync for RawLock {}

impl RawLock {
    pub(crate) const fn new() -> Self {
        Self { held: Cell::new(false), restore: Cell::new(RestoreState::invalid()) }
    }
}

// SAFETY: the critical section keeps everybody else out until `unlock`; `held` keeps out the holder
// itself, as sections nest but a list that is being edited must not be entered again.
unsafe impl RawMutex for RawLock {
    /// A section ends on the hart where it began.
    type GuardMarker = *const ();

    /// # Panics
    ///
    /// If the holder locks it again: a waker that is cloned, dropped or woken inside a primitive
    /// used the very same primitive. Spinning would never end.
    #[inline]
    fn lock(&self) {
        assert!(self.try_lock(), "a waker used the primitive that was calling it");
    }

    #[inline]
    fn try_lock(&self) -> bool {
        // SAFETY: released below, or by `unlock`. maitake-sync keeps each guard in one function and
        // on its stack, so sections nest.
        let restore = unsafe { critical_section::acquire() };
        if self.held.replace(true) {
            // SAFETY: ends what the line above began.
            unsafe { critical_section::release(restore) };
            return false;
        }
        self.restore.set(restore);
        true
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.held.set(false);
        // SAFETY: the caller holds the lock, so `try_lock` left the section of this hart open and
        // stored what it found.
        unsafe { critical_section::release(self.restore.get()) };
    }

    fn is_locked(&self) -> bool {
        critical_section::with(|_| self.held.get())
    }
}
