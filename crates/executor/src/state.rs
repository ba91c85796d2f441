//! The state of a task: one word, changed by read-modify-writes only (but for one store, of who has
//! claimed a slot).
//!
//! ```text
//!    31   30 ... 13   12    11       10       9      8     7      6     5..3     2      1       0
//! QUEUED generation AFAR RENOTIFY DETACHED VACANT LIMBO WAITER HANDLE level ABORTED CANCEL COMPLETE
//! ```
//!
//! `QUEUED` is a lock as well: who sets it owns the header's `next`, `home` and `poll` and must put
//! the task into a queue; who takes the task out of the queue reads them and clears the bit. So a task
//! is in one queue at most, and a wake is one `fetch_or`: if the bit was set, somebody has yet to
//! poll, and will see what this waker's owner wrote, because all changes are read-modify-writes.

use crate::atomic::{AtomicU32, Ordering, const_unless_loom};

/// The future is gone. Unless `ABORTED`, its output is there until the handle takes it.
pub(crate) const COMPLETE: u32 = 1 << 0;
/// Somebody wants the future dropped.
pub(crate) const CANCEL: u32 = 1 << 1;
/// The future was dropped before it was done.
pub(crate) const ABORTED: u32 = 1 << 2;
/// Urgency, 0 the most: the level of the queue that the next wake puts the task into.
pub(crate) const LEVEL: u32 = 0b111 << LEVEL_SHIFT;
pub(crate) const LEVEL_SHIFT: u32 = 3;
/// There is a `JoinHandle`: it releases the slot, or leaves that to the completion.
pub(crate) const HANDLE: u32 = 1 << 6;
/// `aux` holds the waker of who waits at the handle. The handle sets it; once `COMPLETE` is there
/// too, `aux` belongs to the completion until that clears the bit.
pub(crate) const WAITER: u32 = 1 << 7;
/// A vacant slot that belongs to the queue it is in: who pops it puts it on the free list.
pub(crate) const LIMBO: u32 = 1 << 8;
/// No task is here. The slot is on a free list, unless `LIMBO`.
pub(crate) const VACANT: u32 = 1 << 9;
/// A poll is under way on a stack that has been set aside: it must not be polled now. If the task is over
/// all the same, that poll never ends: see [`ABANDONED`].
pub(crate) const DETACHED: u32 = 1 << 10;
/// It was popped while `DETACHED`: it must be polled again when that poll is over.
pub(crate) const RENOTIFY: u32 = 1 << 11;
/// The slot came from another hart's list than that of the task's home.
pub(crate) const AFAR: u32 = 1 << 12;
/// In a queue, or about to be put there.
pub(crate) const QUEUED: u32 = 1 << 31;

/// A task that was given up in the middle of a poll. Future and frames of that poll stay as they are for ever,
/// so the slot is never vacated.
pub(crate) const ABANDONED: u32 = COMPLETE | ABORTED | DETACHED;

/// What keeps a popped task from just being polled. In the lower 11 bits: an operand of one instruction.
pub(crate) const SPECIAL: u32 = COMPLETE | CANCEL | LIMBO | VACANT | DETACHED;

const GENERATION_SHIFT: u32 = 13;
const GENERATION: u32 = !(QUEUED | ((1 << GENERATION_SHIFT) - 1));

/// How often the slot has been used before, modulo 2^18: tells tasks in one slot apart.
pub(crate) const fn generation(state: u32) -> u32 {
    (state & GENERATION) >> GENERATION_SHIFT
}

/// A vacant slot for the next task, still in whatever queue it is in.
const fn vacated(state: u32) -> u32 {
    let next = state.wrapping_add(1 << GENERATION_SHIFT) & GENERATION;
    (state & QUEUED) | next | VACANT
}

pub(crate) struct State(AtomicU32);

impl State {
    const_unless_loom! {
        pub(crate) fn new(value: u32) -> Self {
            Self(AtomicU32::new(value))
        }
    }

    #[inline(always)]
    pub(crate) fn load(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// For the level alone, which nobody relies on for order.
    #[inline(always)]
    pub(crate) fn peek(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// A wake. If `QUEUED` was not set before, the caller must queue the task.
    #[inline(always)]
    pub(crate) fn queue(&self) -> u32 {
        self.0.fetch_or(QUEUED, Ordering::AcqRel)
    }

    /// The task has been taken out of its queue. A read-modify-write and not a store, so that it reads
    /// every wake that it makes good for, and the poll sees what was written before those.
    #[inline(always)]
    pub(crate) fn pop(&self) -> u32 {
        // The bit is set, so subtracting clears it, and is one instruction everywhere.
        self.clear(QUEUED)
    }

    /// Sets bits that are clear: as a sum, which is one instruction everywhere.
    #[inline(always)]
    pub(crate) fn set(&self, bits: u32) -> u32 {
        let old = self.0.fetch_add(bits, Ordering::AcqRel);
        debug_assert!(old & bits == 0);
        old
    }

    /// Clears bits that are set.
    #[inline(always)]
    pub(crate) fn clear(&self, bits: u32) -> u32 {
        let old = self.0.fetch_sub(bits, Ordering::AcqRel);
        debug_assert!(old & bits == bits);
        old
    }

    /// Claims a slot of a pool, unless it has a task or is still in a queue. Returns the state before.
    pub(crate) fn claim(&self) -> Option<u32> {
        let is_free = |old: u32| old & (VACANT | QUEUED) == VACANT;
        self.update(|old| is_free(old).then_some(old | QUEUED)).ok()
    }

    /// Makes a vacant slot, claimed by [`queue`](Self::queue), a task that is still queued. A relaxed
    /// store will do: nobody but wakers knows of the slot, they would set the bit that is set, and
    /// what was written into the slot is published by the queue.
    #[inline(always)]
    pub(crate) fn occupy(&self, vacant: u32, bits: u32) {
        self.0.store((vacant & GENERATION) | bits | QUEUED, Ordering::Relaxed);
    }

    /// Changes `old` into `new`, unless it is something else by now.
    #[inline]
    pub(crate) fn exchange(&self, old: u32, new: u32) -> Result<u32, u32> {
        self.0.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire)
    }

    /// Applies `change` until it sticks, or gives `None`. Returns the state before.
    #[inline]
    pub(crate) fn update(&self, change: impl Fn(u32) -> Option<u32>) -> Result<u32, u32> {
        let mut old = self.load();
        loop {
            let Some(new) = change(old) else { return Err(old) };
            match self.exchange(old, new) {
                Ok(_) => return Ok(old),
                Err(other) => old = other,
            }
        }
    }

    /// The task is over and nobody looks at it any more: a vacant slot, in limbo if it is still in a
    /// queue. If `unless` bits are set, only `HANDLE` is cleared. Returns the state before.
    #[inline]
    pub(crate) fn vacate(&self, unless: u32) -> u32 {
        let new = |old: u32| match old {
            _ if old & unless != 0 => old & !HANDLE,
            _ if old & QUEUED != 0 => vacated(old) | LIMBO,
            _ => vacated(old),
        };
        let (Ok(old) | Err(old)) = self.update(|old| Some(new(old)));
        old
    }
}
