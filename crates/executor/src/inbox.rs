//! Where tasks come in that were woken by interrupts, by other harts, or from outside.
//!
//! One word: empty, asleep, or the newest of a chain of tasks. Anybody pushes, the hart alone takes
//! all. That sleep is a value of the same word makes the question "must it be interrupted?" part of the
//! push: there is no second flag to be read too early, and no fence.
//!
//! A stack and not a queue with a tail (Vyukov's), because a pusher that is interrupted in the middle
//! must not keep the interrupt handler, or the hart, waiting: here all before the exchange is private.

use core::ptr::{self, NonNull};

use crate::{
    atomic::{AtomicPtr, Ordering, const_unless_loom},
    task::Header,
};

pub(crate) struct Inbox(AtomicPtr<Header>);

/// The hart sleeps, or is about to: who pushes must interrupt it.
const ASLEEP: *mut Header = ptr::without_provenance_mut(1);

impl Inbox {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self(AtomicPtr::new(ptr::null_mut()))
        }
    }

    /// Puts a task in. Returns whether the hart must be interrupted.
    ///
    /// # Safety
    ///
    /// The caller owns the task's link (has set `QUEUED`).
    pub(crate) unsafe fn push(&self, task: NonNull<Header>) -> bool {
        let mut newest = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: the link is ours until the exchange. `ASLEEP` ends a chain as well as null.
            unsafe { task.as_ref().next.set(newest) };
            let (success, failure) = (Ordering::Release, Ordering::Relaxed);
            match self.0.compare_exchange_weak(newest, task.as_ptr(), success, failure) {
                Ok(_) => return newest == ASLEEP,
                Err(other) => newest = other,
            }
        }
    }

    /// Whether a look inside is worth while.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }

    /// Takes all tasks out, the oldest first, and ends the sleep. For the hart alone.
    #[inline]
    pub(crate) fn take(&self, mut each: impl FnMut(NonNull<Header>)) {
        let Some(newest) = linked(self.0.swap(ptr::null_mut(), Ordering::Acquire)) else { return };
        // SAFETY: the chain is ours, here and below.
        let mut next = linked(unsafe { newest.as_ref().next.get() });
        if next.is_none() {
            return each(newest); // mostly there is one
        }
        let mut oldest = newest;
        // SAFETY: as above.
        unsafe { newest.as_ref().next.set(ptr::null_mut()) };
        while let Some(task) = next {
            // SAFETY: as above.
            unsafe {
                next = linked(task.as_ref().next.get());
                task.as_ref().next.set(oldest.as_ptr());
            }
            oldest = task;
        }
        let mut rest = Some(oldest);
        while let Some(task) = rest {
            // SAFETY: as above; from `each` on the link is no longer ours.
            rest = NonNull::new(unsafe { task.as_ref().next.get() });
            each(task);
        }
    }

    /// Falls asleep, unless there is something inside. For the hart alone; it may ask again while
    /// asleep.
    pub(crate) fn sleep(&self) -> bool {
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        match self.0.compare_exchange(ptr::null_mut(), ASLEEP, success, failure) {
            Ok(_) => true,
            Err(other) => other == ASLEEP,
        }
    }
}

/// The task that a word of a chain stands for, if that is not the end.
#[inline]
fn linked(word: *mut Header) -> Option<NonNull<Header>> {
    if word.addr() > ASLEEP.addr() { NonNull::new(word) } else { None }
}
