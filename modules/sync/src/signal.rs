//! The latest value, for one task to take.

use core::{cell::Cell, fmt};

use critical_section as section;

use crate::budget;
use crate::wait_queue::WaitQueue;

/// The latest value that somebody gave, until a task takes it.
///
/// For answers (one value, one task) and for "there is news". Values that nobody took in time are
/// replaced; if each counts, use a [`Channel`](crate::Channel), if each task wants it, a
/// [`Watch`](crate::Watch).
pub struct Signal<T> {
    value: section::Mutex<Cell<Option<T>>>,
    waiting: WaitQueue,
}

impl<T> Signal<T> {
    /// A signal without a value.
    #[must_use]
    pub const fn new() -> Self {
        Self { value: section::Mutex::new(Cell::new(None)), waiting: WaitQueue::new() }
    }

    /// Gives a value, and wakes one task that waits for it. Returns the one before if nobody took
    /// it.
    pub fn signal(&self, value: T) -> Option<T> {
        let before = section::with(|cs| self.value.borrow(cs).replace(Some(value)));
        self.waiting.wake_one();
        before
    }

    /// Takes the value if there is one.
    pub fn try_take(&self) -> Option<T> {
        section::with(|cs| self.value.borrow(cs).take())
    }

    /// Takes the value, once there is one. Of several tasks that wait, one gets it.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost: the value is taken in the poll that returns it.
    pub async fn wait(&self) -> T {
        budget::spend().await;
        self.waiting.wait_for(|| self.try_take()).await
    }
}

impl<T> Default for Signal<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Signal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::poll::{block_on, check};

    #[test]
    fn keeps_the_promise() {
        let signal = Signal::new();
        check(|| signal.wait(), || assert_eq!(signal.signal(()), None), |()| ());
        assert!(signal.try_take().is_none());
    }

    #[test]
    fn the_latest_value_counts() {
        let signal = Signal::new();
        assert_eq!(signal.signal(1), None);
        assert_eq!(signal.signal(2), Some(1));
        assert_eq!(block_on(signal.wait()), 2);
        assert_eq!(signal.try_take(), None);
    }

    #[test]
    fn answers_come_from_other_threads() {
        let (ask, answer) = (Signal::new(), Signal::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..1000 {
                    assert_eq!(answer.signal(block_on(ask.wait()) + 1), None);
                }
            });
            for i in 0..1000 {
                assert_eq!(ask.signal(i), None);
                assert_eq!(block_on(answer.wait()), i + 1);
            }
        });
    }
}
