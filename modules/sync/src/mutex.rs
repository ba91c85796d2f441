//! A lock that may be held while waiting.

use core::fmt;

use crate::budget;
use crate::raw::RawLock;

/// Keeps the data for one task at a time. Tasks get it in the order in which they came.
///
/// For data that is touched for a few instructions, and never across an `.await`, a spin lock is
/// cheaper; this one is for longer.
///
/// A task that panics while it has the lock keeps it for ever.
pub struct Mutex<T: ?Sized>(maitake_sync::Mutex<T, RawLock>);

/// Access to what a [`Mutex`] holds; the lock goes to the next when it is dropped.
pub type MutexGuard<'a, T> = maitake_sync::MutexGuard<'a, T, RawLock>;

impl<T> Mutex<T> {
    /// An unlocked mutex.
    #[must_use]
    pub const fn new(data: T) -> Self {
        Self(maitake_sync::Mutex::new_with_raw_mutex(data, RawLock::new()))
    }

    /// What it held.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks, once those who came before have unlocked.
    ///
    /// # Cancellation
    ///
    /// Dropping it gives up the place in the queue; a lock that had already been handed to it goes
    /// to the next.
    // An `async fn`, because maitake's own future returns a second guard when it is polled again
    // after it was ready.
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        budget::spend().await;
        self.0.lock().await
    }

    /// Locks if it is unlocked and nobody waits.
    #[must_use]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }

    /// What it holds: whoever has it to himself needs no lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Some(data) => f.debug_tuple("Mutex").field(&&*data).finish(),
            None => f.write_str("Mutex(<locked>)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        hint::black_box,
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;
    use crate::poll::{check, storm};

    #[test]
    fn keeps_the_promise() {
        let mutex = Mutex::new(());
        let holder = RefCell::new(mutex.try_lock());
        check(|| mutex.lock(), || drop(holder.take()), |guard| *holder.borrow_mut() = Some(guard));
        assert!(mutex.try_lock().is_none());
        drop(holder);
        assert!(mutex.try_lock().is_some(), "nobody is left waiting");
    }

    #[test]
    #[should_panic(expected = "resumed after completion")]
    fn one_lock_gives_one_guard() {
        let mutex = Mutex::new(());
        let mut lock = pin!(mutex.lock());
        let mut context = Context::from_waker(Waker::noop());
        let _first = lock.as_mut().poll(&mut context);
        let _second = lock.as_mut().poll(&mut context);
    }

    #[test]
    fn excludes() {
        static MUTEX: Mutex<u64> = Mutex::new(0);
        storm(4, |random| {
            for _ in 0..1000 {
                let mut guard = random.block_on_some(|| MUTEX.lock());
                let before = black_box(*guard);
                std::thread::yield_now();
                *guard = before + 1;
            }
        });
        assert_eq!(*MUTEX.try_lock().unwrap(), 4000);
    }
}
