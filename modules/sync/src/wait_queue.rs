//! Tasks that wait for something to happen.

use core::fmt;

use crate::raw::RawLock;

/// Tasks that wait, in the order in which they came.
///
/// The piece to build others from: keep the state next to it, change the state, then wake; and wait
/// with [`wait_until`](Self::wait_until), which looks at the state after it has joined the queue,
/// so that no change is missed.
pub struct WaitQueue(maitake_sync::WaitQueue<RawLock>);

impl WaitQueue {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self(maitake_sync::WaitQueue::new_with_raw_mutex(RawLock::new()))
    }

    /// Wakes the task that has waited longest. If nobody waits, the next one to come does not.
    ///
    /// Any number of wakes that nobody waits for let one task through.
    pub fn wake_one(&self) {
        self.0.wake();
    }

    /// Wakes every task that waits, and those that hold a [`wait`](Self::wait) but have not polled
    /// it.
    pub fn wake_all(&self) {
        self.0.wake_all();
    }

    /// Waits for a wake.
    ///
    /// # Cancellation
    ///
    /// Dropping it gives up the place in the queue; a wake that had already come for it goes to the
    /// next.
    pub fn wait(&self) -> impl Future<Output = ()> {
        let wait = self.0.wait();
        async move { wait.await.expect("nobody can close it") }
    }

    /// Waits until `ready` says so. It is asked at once, and again after each wake.
    ///
    /// # Cancellation
    ///
    /// As with [`wait`](Self::wait). Waking one task does for as many waiters as it makes ready.
    pub async fn wait_until(&self, ready: impl FnMut() -> bool) {
        self.0.wait_for(ready).await.expect("nobody can close it");
    }

    /// Waits until `take` returns something. It is asked at once, and again after each wake.
    ///
    /// # Cancellation
    ///
    /// As with [`wait`](Self::wait); what `take` took is returned in the same poll, so it is not
    /// lost.
    pub async fn wait_for<T>(&self, take: impl FnMut() -> Option<T>) -> T {
        self.0.wait_for_value(take).await.expect("nobody can close it")
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitQueue").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::poll::{Task, check, run, storm};

    #[test]
    fn keeps_the_promise() {
        let queue = WaitQueue::new();
        check(|| queue.wait(), || queue.wake_one(), |()| ());
    }

    #[test]
    fn wakes_all_and_only_those_that_wait() {
        let queue = WaitQueue::new();
        let mut tasks: Vec<_> = (0..40).map(|_| Task::new(queue.wait())).collect();
        run(&mut tasks);
        let early = queue.wait();
        queue.wake_all();
        assert_eq!(run(&mut tasks).0, 40);
        assert_eq!(run(&mut vec![Task::new(early)]).1.len(), 1, "it counts from its creation");
        assert_eq!(run(&mut vec![Task::new(queue.wait())]).1.len(), 0, "nothing is stored");
    }

    #[test]
    fn unready_waiters_sleep_on() {
        let (queue, limit) = (WaitQueue::new(), AtomicUsize::new(0));
        let mut tasks: Vec<_> = (1..=8)
            .map(|i| {
                let (queue, limit) = (&queue, &limit);
                Task::new(queue.wait_until(move || limit.load(Ordering::SeqCst) >= i))
            })
            .collect();
        assert_eq!(run(&mut tasks).0, 8);
        limit.store(3, Ordering::SeqCst);
        queue.wake_all();
        let (polls, outputs) = run(&mut tasks);
        assert_eq!((polls, outputs.len()), (8, 3));
    }

    #[test]
    fn no_change_is_missed() {
        let (queue, tokens) = (WaitQueue::new(), AtomicUsize::new(1));
        storm(4, |random| {
            for _ in 0..1000 {
                let take = || {
                    tokens.try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).ok()
                };
                random.block_on_some(|| queue.wait_for(take));
                tokens.fetch_add(1, Ordering::SeqCst);
                queue.wake_one();
            }
        });
        assert_eq!(tokens.into_inner(), 1);
    }
}
