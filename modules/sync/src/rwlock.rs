//! A lock that many readers or one writer may hold while waiting.
//!
//! maitake-sync has one, but its writers can write only under its own spin lock, which is not for
//! interrupts. This one is the same design: a semaphore whose permits a writer takes all.

use core::{
    cell::UnsafeCell,
    fmt,
    ops::{Deref, DerefMut},
};

use crate::budget;
use crate::semaphore::{Permit, Semaphore};

/// Keeps the data for many readers or one writer. Tasks get it in the order in which they came.
///
/// So readers that come after a waiting writer wait too, and no stream of readers keeps a writer
/// out. A task that reads must not ask to read again: with a writer waiting in between, it waits
/// for ever.
pub struct RwLock<T: ?Sized> {
    readers: Semaphore,
    data: UnsafeCell<T>,
}

/// How many may read at once: all permits, so that who has them all is alone.
const READERS: usize = Semaphore::MAX_PERMITS;

// SAFETY: sending the lock sends the data.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: from `&RwLock<T>`, readers on several harts get `&T` at once (T: Sync) and a writer on
// any hart gets `&mut T`, so could move the data out (T: Send).
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

/// Access to read what a [`RwLock`] holds.
///
/// Invariant: the permit is one of `READERS`, so nobody writes while this lives.
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    _permit: Permit<'a>,
}

/// Access to write what a [`RwLock`] holds.
///
/// Invariant: the permit is all of `READERS`, so nobody else reads or writes while this lives.
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    _permit: Permit<'a>,
}

impl<T> RwLock<T> {
    /// An unlocked lock.
    #[must_use]
    pub const fn new(data: T) -> Self {
        Self { readers: Semaphore::new(READERS), data: UnsafeCell::new(data) }
    }

    /// What it held.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks for reading, once every writer that came before has unlocked.
    ///
    /// # Cancellation
    ///
    /// Dropping it gives up the place in the queue, and lets those behind go on.
    pub async fn read(&self) -> RwLockReadGuard<'_, T> {
        budget::spend().await;
        RwLockReadGuard { lock: self, _permit: self.readers.acquire(1).await }
    }

    /// Locks for writing, once everybody who came before has unlocked.
    ///
    /// # Cancellation
    ///
    /// Dropping it gives up the place in the queue, and lets those behind go on.
    pub async fn write(&self) -> RwLockWriteGuard<'_, T> {
        budget::spend().await;
        RwLockWriteGuard { lock: self, _permit: self.readers.acquire(READERS).await }
    }

    /// Locks for reading if nobody writes or waits to write.
    #[must_use]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        Some(RwLockReadGuard { lock: self, _permit: self.readers.try_acquire(1)? })
    }

    /// Locks for writing if nobody has it.
    #[must_use]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        Some(RwLockWriteGuard { lock: self, _permit: self.readers.try_acquire(READERS)? })
    }

    /// What it holds: whoever has it to himself needs no lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: nobody writes, as this guard has a permit.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: nobody else has a permit, and writing through this guard needs `&mut`.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: nobody else has a permit, and `&mut self` rules out other references through this
        // guard.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_read() {
            Some(data) => f.debug_tuple("RwLock").field(&&*data).finish(),
            None => f.write_str("RwLock(<written>)"),
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::poll::{Task, check, run, storm};

    #[test]
    fn keeps_the_promise_to_writers() {
        let lock = RwLock::new(());
        let holder = RefCell::new(lock.try_write());
        check(|| lock.write(), || drop(holder.take()), |guard| *holder.borrow_mut() = Some(guard));
        drop(holder);
        assert!(lock.try_write().is_some(), "nobody is left waiting");
    }

    #[test]
    fn readers_share_and_wait_behind_a_writer_until_it_gives_up() {
        let lock = RwLock::new(7);
        let first = lock.try_read().unwrap();
        assert_eq!(*lock.try_read().unwrap(), 7);
        let mut writer = Task::new(lock.write());
        assert!(writer.poll().unwrap().is_pending());
        let mut readers: Vec<_> = (0..8).map(|_| Task::new(lock.read())).collect();
        let (polls, guards) = run(&mut readers);
        assert_eq!((polls, guards.len()), (8, 0));
        drop(writer);
        let (polls, guards) = run(&mut readers);
        assert_eq!((polls, guards.len()), (8, 8));
        drop((first, guards));
        assert!(lock.try_write().is_some());
    }

    #[test]
    fn excludes() {
        static LOCK: RwLock<[u64; 2]> = RwLock::new([0; 2]);
        storm(4, |random| {
            for i in 0..1000 {
                if i % 2 == 0 {
                    let mut guard = random.block_on_some(|| LOCK.write());
                    guard[0] += 1;
                    std::thread::yield_now();
                    guard[1] += 1;
                } else {
                    let guard = random.block_on_some(|| LOCK.read());
                    assert_eq!(guard[0], guard[1]);
                }
            }
        });
        assert_eq!(*LOCK.try_read().unwrap(), [2000; 2]);
    }
}
