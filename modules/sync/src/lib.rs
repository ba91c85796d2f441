//! Locks, semaphore, channels, queues of waiters: for tasks on any hart and interrupts.
//!
//! Owns nothing and knows no executor: a task is a [`Waker`](core::task::Waker). Needs an
//! implementation of the `critical-section` crate at link time, one that also keeps other harts
//! out. Allocates nothing; all can stand in a `static`.
//!
//! Whatever does not wait (`new`, `try_*`, `wake_*`, `signal`, `add_permits`, dropping a guard) may
//! be done in an interrupt handler: what it works on was never left half done, as each change
//! happens in a critical section of a few dozen instructions. Only what waits is a future.
//!
//! A task that waits is polled once and then not again until there is something for it, however
//! many wait: nothing here polls in a loop. The first to come is the first to be woken.
//!
//! # Cancellation
//!
//! Every future here may be dropped at any time. No waiter stays behind, and a wake that had come
//! for it goes to the next. What is given up:
//!
//! | dropped | given up |
//! |---|---|
//! | [`WaitQueue::wait`], `wait_until`, `wait_for` | the place in the queue |
//! | [`Mutex::lock`], [`RwLock::read`], [`RwLock::write`] | the place in the queue |
//! | [`Semaphore::acquire`] | the place in the queue, and the permits collected so far |
//! | [`Signal::wait`], [`Channel::receive`] | the place in the queue; never a value |
//! | [`Channel::reserve`] | the place in the queue |
//! | [`Channel::send`] | the place in the queue, and the value |
//! | [`Watch`]: `changed`, `get` | nothing; its task may be polled once more for nothing |
//! | [`Broadcast`]: `next_message` | nothing; its task may be polled once more for nothing |
//! | [`Broadcast`]: `publish` | the message; its task may be polled once more for nothing |
//!
//! # Example
//!
//! ```
//! use wakeful_sync::{Channel, Mutex};
//!
//! static COUNT: Mutex<u64> = Mutex::new(0);
//! static FRAMES: Channel<[u8; 64], 8> = Channel::new();
//!
//! async fn count_frames() {
//!     while let Some(_frame) = FRAMES.receive().await {
//!         *COUNT.lock().await += 1;
//!     }
//! }
//! ```
//!
//! # Why these
//!
//! Queues of waiters are maitake-sync's: nodes inside the futures, so no allocation and no limit,
//! and an internal lock that can be replaced. Left out of it on purpose: `close` of queue and
//! semaphore, which a wake at the same time can undo, its futures for locks, which give twice when
//! polled after they are ready, and its `RwLock` (`rwlock.rs` says why). embassy-sync's `Mutex`,
//! `RwLock`, `Signal`, `Channel` and `GreedySemaphore` have room for one waiter: two wake each
//! other for ever. async-lock allocates for each wait; async-channel and thingbuf spin, so an
//! interrupt can hang on them.

#![cfg_attr(not(test), no_std)]

#[expect(unsafe_code, reason = "a function passes through an atomic word")]
mod budget;
mod channel;
mod mutex;
#[cfg(test)]
mod poll;
#[expect(unsafe_code, reason = "a raw mutex is an unsafe trait")]
mod raw;
#[expect(unsafe_code, reason = "a lock hands out references to what it guards")]
mod rwlock;
mod semaphore;
mod signal;
mod wait_queue;
mod watch;

pub use crate::{
    budget::{Spend, set_budget},
    channel::{Channel, Closed, Slot, TryReceiveError, TrySendError},
    mutex::{Mutex, MutexGuard},
    rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    semaphore::{Permit, Semaphore},
    signal::Signal,
    wait_queue::WaitQueue,
    watch::{Broadcast, Watch},
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Tasks move between harts, statics are shared: none of these may be tied to one.
    #[test]
    fn futures_and_guards_are_send() {
        fn send<T: Send>(_: &T) {}
        fn sync<T: Sync>(_: &T) {}
        let (queue, mutex, lock) = (WaitQueue::new(), Mutex::new(0), RwLock::new(0));
        let (semaphore, signal, channel) =
            (Semaphore::new(1), Signal::<u8>::new(), Channel::<u8, 1>::new());
        sync(&(&queue, &mutex, &lock, &semaphore, &signal, &channel));
        send(&(queue.wait(), mutex.lock(), lock.read(), lock.write(), semaphore.acquire(1)));
        send(&(signal.wait(), channel.send(1), channel.receive(), channel.reserve()));
        send(&(mutex.try_lock(), lock.try_read(), semaphore.try_acquire(1)));
    }
}
