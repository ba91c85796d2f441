//! A queue of values from many tasks to many.
//!
//! Two semaphores, for free slots and for values, so tasks are served in the order in which they
//! came and each is woken once, when there is something for it.

use core::{cell::RefCell, fmt};

use critical_section as section;
use heapless::Deque;
use maitake_sync::semaphore::TryAcquireError;

use crate::budget;
use crate::semaphore::{Permit, Semaphore};

/// A queue of at most `N` values. Any number of tasks send and receive; each value goes to one.
pub struct Channel<T, const N: usize> {
    /// Permits: slots that no value is in and no [`Slot`] is for. Closed with the channel.
    free: Semaphore,
    /// Permits: values that no receiver was promised. Closed with the channel.
    values: Semaphore,
    queue: section::Mutex<RefCell<Queue<T, N>>>,
}

struct Queue<T, const N: usize> {
    values: Deque<T, N>,
    closed: bool,
}

/// The channel was closed; this could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed<T = ()>(pub T);

/// Why a value was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// All slots are taken.
    Full(T),
    /// The channel was closed.
    Closed(T),
}

/// Why no value was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryReceiveError {
    /// There is none now.
    Empty,
    /// There is none, and the channel was closed.
    Closed,
}

/// The right to send one value at once. Dropped unused, it goes to the next.
pub struct Slot<'a, T, const N: usize> {
    channel: &'a Channel<T, N>,
    permit: Permit<'a>,
}

impl<T, const N: usize> Channel<T, N> {
    /// An empty channel.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(N > 0, "a channel needs a slot") };
        Self {
            free: Semaphore::new(N),
            values: Semaphore::new(0),
            queue: section::Mutex::new(RefCell::new(Queue { values: Deque::new(), closed: false })),
        }
    }

    /// Sends a value, once there is a slot.
    ///
    /// # Errors
    ///
    /// [`Closed`] with the value.
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the value unsent, and gives up the place in the queue. To keep the value,
    /// use [`reserve`](Self::reserve).
    pub async fn send(&self, value: T) -> Result<(), Closed<T>> {
        match self.reserve().await {
            Ok(slot) => slot.send(value),
            Err(Closed(())) => Err(Closed(value)),
        }
    }

    /// Waits for a slot to send a value to.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    ///
    /// # Cancellation
    ///
    /// Dropping it gives up the place in the queue; a slot that was already its own goes to the
    /// next.
    pub async fn reserve(&self) -> Result<Slot<'_, T, N>, Closed> {
        budget::spend().await;
        let permit = self.free.0.acquire(1).await.map_err(|_| Closed(()))?;
        Ok(Slot { channel: self, permit })
    }

    /// Sends a value if there is a slot.
    ///
    /// # Errors
    ///
    /// [`TrySendError`] with the value.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.free.0.try_acquire(1) {
            Ok(permit) => Slot { channel: self, permit }
                .send(value)
                .map_err(|Closed(value)| TrySendError::Closed(value)),
            Err(TryAcquireError::InsufficientPermits) => Err(TrySendError::Full(value)),
            Err(TryAcquireError::Closed) => Err(TrySendError::Closed(value)),
        }
    }

    /// Receives a value, once there is one. `None`: the channel is closed and empty.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost: the value is taken in the poll that returns it. Dropping it gives up the
    /// place in the queue.
    pub async fn receive(&self) -> Option<T> {
        budget::spend().await;
        // Closed: what is left may be taken without a permit.
        if let Ok(permit) = self.values.0.acquire(1).await {
            permit.forget();
        }
        self.take()
    }

    /// Receives a value if there is one that no waiting task was promised.
    ///
    /// # Errors
    ///
    /// [`TryReceiveError`].
    pub fn try_receive(&self) -> Result<T, TryReceiveError> {
        match self.values.0.try_acquire(1) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::InsufficientPermits) => return Err(TryReceiveError::Empty),
            Err(TryAcquireError::Closed) => {}
        }
        self.take().ok_or(TryReceiveError::Closed)
    }

    /// Ends it: nothing more is sent, and who waits for a value or a slot is woken. What was sent
    /// can still be received.
    pub fn close(&self) {
        section::with(|cs| self.queue.borrow_ref_mut(cs).closed = true);
        self.free.0.close();
        self.values.0.close();
    }

    /// How many values it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        section::with(|cs| self.queue.borrow_ref(cs).values.len())
    }

    /// Whether it holds no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who calls this had a permit for a value, or saw the channel closed: then there may be none.
    fn take(&self) -> Option<T> {
        let value = section::with(|cs| self.queue.borrow_ref_mut(cs).values.pop_front())?;
        self.free.add_permits(1);
        Some(value)
    }
}

impl<T, const N: usize> Slot<'_, T, N> {
    /// Sends a value.
    ///
    /// # Errors
    ///
    /// [`Closed`] with the value, if the channel was closed since.
    pub fn send(self, value: T) -> Result<(), Closed<T>> {
        let full = section::with(|cs| {
            let mut queue = self.channel.queue.borrow_ref_mut(cs);
            if queue.closed { Err(value) } else { queue.values.push_back(value) }
        });
        // Pushing fails never: there are as many slots as permits.
        full.map_err(Closed)?;
        self.permit.forget();
        self.channel.values.add_permits(1);
        Ok(())
    }
}

impl<T, const N: usize> Default for Channel<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> fmt::Debug for Channel<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<T, const N: usize> fmt::Debug for Slot<'_, T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::poll::{Task, block_on, check, run, storm};

    #[test]
    fn keeps_the_promise_to_receivers() {
        let channel = Channel::<(), 2>::new();
        check(|| channel.receive(), || channel.try_send(()).unwrap(), |value| value.unwrap());
        assert_eq!(channel.try_receive(), Err(TryReceiveError::Empty));
    }

    #[test]
    fn keeps_the_promise_to_senders() {
        let channel = Channel::<(), 1>::new();
        channel.try_send(()).unwrap();
        check(|| channel.send(()), || channel.try_receive().unwrap(), |sent| sent.unwrap());
        assert_eq!(channel.try_send(()), Err(TrySendError::Full(())));
    }

    #[test]
    fn an_unused_slot_goes_to_the_next() {
        let channel = Channel::<u8, 1>::new();
        let slot = block_on(channel.reserve()).unwrap();
        assert_eq!(channel.try_send(1), Err(TrySendError::Full(1)));
        drop(slot);
        assert_eq!(channel.try_send(2), Ok(()));
        assert_eq!(channel.try_receive(), Ok(2));
    }

    #[test]
    fn closing_wakes_all_and_loses_nothing() {
        let channel = Channel::<u8, 2>::new();
        let mut receivers: Vec<_> = (0..8).map(|_| Task::new(channel.receive())).collect();
        run(&mut receivers);
        channel.close();
        let (polls, received) = run(&mut receivers);
        assert_eq!((polls, received), (8, vec![None; 8]));

        let channel = Channel::<u8, 1>::new();
        channel.try_send(1).unwrap();
        let mut senders: Vec<_> = (0..8).map(|i| Task::new(channel.send(i))).collect();
        run(&mut senders);
        channel.close();
        let (polls, sent) = run(&mut senders);
        assert_eq!((polls, sent), (8, (0..8).map(|i| Err(Closed(i))).collect()));
        assert_eq!(channel.try_send(2), Err(TrySendError::Closed(2)));
        assert_eq!(block_on(channel.receive()), Some(1));
        assert_eq!(block_on(channel.receive()), None);
        assert_eq!(channel.try_receive(), Err(TryReceiveError::Closed));
    }

    #[test]
    fn each_value_arrives_once() {
        let (channel, sum) = (Channel::<u64, 3>::new(), AtomicU64::new(0));
        let thread = AtomicU64::new(0);
        storm(4, |random| {
            let receives = thread.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
            for i in 1..=2000 {
                if receives {
                    let value = random.block_on_some(|| channel.receive()).unwrap();
                    sum.fetch_add(value, Ordering::SeqCst);
                } else {
                    random.block_on_some(|| channel.reserve()).unwrap().send(i).unwrap();
                }
            }
        });
        assert_eq!(sum.into_inner(), 2 * (1..=2000).sum::<u64>());
        assert!(channel.is_empty());
    }
}
