//! A number of permits.

use core::fmt;

use crate::budget;
use crate::raw::RawLock;

/// A number of permits, which tasks take and give back.
///
/// Who comes first is served first, also when it wants many: those behind it wait, even if there
/// are enough permits for them.
pub struct Semaphore(pub(crate) maitake_sync::Semaphore<RawLock>);

/// Permits of a [`Semaphore`], given back when this is dropped.
pub type Permit<'a> = maitake_sync::semaphore::Permit<'a, RawLock>;

impl Semaphore {
    /// The most permits there can be.
    pub const MAX_PERMITS: usize = maitake_sync::Semaphore::<RawLock>::MAX_PERMITS;

    /// A semaphore with so many permits to give.
    #[must_use]
    pub const fn new(permits: usize) -> Self {
        Self(maitake_sync::Semaphore::new_with_raw_mutex(permits, RawLock::new()))
    }

    /// Takes permits, once there are so many. More than there will ever be: waits for ever.
    ///
    /// # Cancellation
    ///
    /// Dropping it gives up the place in the queue; permits that it had collected go to the next.
    // An `async fn`, because maitake's own future returns permits that nobody gave when it is
    // polled again after it was ready.
    pub async fn acquire(&self, permits: usize) -> Permit<'_> {
        budget::spend().await;
        self.0.acquire(permits).await.expect("nobody can close it")
    }

    /// Takes permits if there are so many.
    #[must_use]
    pub fn try_acquire(&self, permits: usize) -> Option<Permit<'_>> {
        self.0.try_acquire(permits).ok()
    }

    /// Adds permits: new ones, or those of a [`Permit`] that was [forgotten](Permit::forget).
    ///
    /// # Panics
    ///
    /// Above [`MAX_PERMITS`](Self::MAX_PERMITS).
    pub fn add_permits(&self, permits: usize) {
        self.0.add_permits(permits);
    }

    /// How many permits could be taken right now.
    #[must_use]
    pub fn available_permits(&self) -> usize {
        self.0.available_permits()
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available_permits())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::{Task, check, run, storm};

    #[test]
    fn keeps_the_promise() {
        let semaphore = Semaphore::new(0);
        check(|| semaphore.acquire(1), || semaphore.add_permits(1), |permit| permit.forget());
        assert_eq!(semaphore.available_permits(), 0);
    }

    #[test]
    fn who_wants_many_is_not_passed_over_and_not_in_the_way_when_gone() {
        let semaphore = Semaphore::new(2);
        let mut tasks: Vec<_> =
            [3, 1, 1].map(|permits| Task::new(semaphore.acquire(permits))).into();
        assert_eq!(run(&mut tasks).1.len(), 0);
        assert!(semaphore.try_acquire(1).is_none());
        tasks.remove(0);
        let (polls, permits) = run(&mut tasks);
        assert_eq!((polls, permits.len()), (2, 2), "what it had collected goes to the others");
        drop(permits);
        assert_eq!(semaphore.available_permits(), 2);
    }

    #[test]
    fn permits_are_neither_lost_nor_made() {
        let semaphore = Semaphore::new(5);
        storm(4, |random| {
            for _ in 0..1000 {
                let permits = random.next() as usize % 5 + 1;
                drop(random.block_on_some(|| semaphore.acquire(permits)));
            }
        });
        assert_eq!(semaphore.available_permits(), 5);
    }
}
