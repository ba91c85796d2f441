//! Talking of a task from outside: the handle that waits for it, and the reference that may outlive it.

use core::{
    fmt,
    future::Future,
    marker::PhantomData,
    mem,
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll},
};

#[cfg(feature = "counters")]
use crate::counters::TaskUsage;
use crate::{
    Priority,
    budget::poll_proceed,
    platform::{OUTSIDE, Platform},
    state::{
        ABORTED, CANCEL, COMPLETE, DETACHED, HANDLE, LEVEL, LEVEL_SHIFT, State, VACANT, WAITER,
        generation,
    },
    task::{self, Header},
    thin::ThinWaker,
    waker,
};

/// A task, running or gone: a number that can be compared, and a few things to ask and to order.
///
/// Slots of tasks are used again, but not for the same `Task`: what is done to one that has ended does
/// nothing. (Until a slot has had 2^18 tasks: then its count starts again.)
pub struct Task<P> {
    header: NonNull<Header>,
    generation: u32,
    platform: PhantomData<fn() -> P>,
}

// SAFETY: headers are type-stable and their states atomic.
unsafe impl<P> Send for Task<P> {}
// SAFETY: the same.
unsafe impl<P> Sync for Task<P> {}

/// Identifies a task: its slot, and how many tasks had it before. The count starts again after 2^18, so two
/// tasks of a long-lived machine may have had the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.0 >> 20 << 4, self.0 & 0xf_ffff)
    }
}

impl<P: Platform> Task<P> {
    /// The task that is having its turn on this hart: the caller's own.
    ///
    /// `None` in an interrupt and outside of tasks.
    pub fn current() -> Option<Self> {
        if P::here() == OUTSIDE {
            return None;
        }
        // SAFETY: not outside.
        let header = unsafe { P::local() }.current()?;
        // SAFETY: a task having its turn is in its slot.
        Some(unsafe { Self::new(header) })
    }

    /// The name of the task that is having its turn on this hart, if it has one.
    pub fn current_name() -> Option<&'static str> {
        if P::here() == OUTSIDE {
            return None;
        }
        // SAFETY: not outside; a task having its turn is in its slot.
        unsafe { task::name(P::local().current()?) }
    }

    /// # Safety
    ///
    /// The slot holds a task now.
    pub(crate) unsafe fn new(header: NonNull<Header>) -> Self {
        // SAFETY: type-stable.
        let generation = generation(unsafe { header.as_ref() }.state.load());
        Self { header, generation, platform: PhantomData }
    }

    fn state(&self) -> &State {
        // SAFETY: type-stable.
        unsafe { &self.header.as_ref().state }
    }

    fn is(&self, state: u32) -> bool {
        state & VACANT == 0 && generation(state) == self.generation
    }

    /// Its number.
    pub fn id(&self) -> TaskId {
        let slot = self.header.addr().get() as u64;
        TaskId((slot >> 4) << 20 | u64::from(self.generation))
    }

    /// Whether it has ended, by itself or by [`abort`](Self::abort).
    pub fn is_finished(&self) -> bool {
        let state = self.state().load();
        !self.is(state) || state & COMPLETE != 0
    }

    /// How urgent it is. `None` if it has ended.
    pub fn priority(&self) -> Option<Priority> {
        let state = self.state().load();
        let level = ((state & LEVEL) >> LEVEL_SHIFT) as u8; // below 8
        if self.is(state) && state & COMPLETE == 0 { Priority::from_level(level) } else { None }
    }

    /// Changes how urgent it is. If it is ready now, it has this turn as before.
    pub fn set_priority(&self, priority: Priority) {
        let level = u32::from(priority.level()) << LEVEL_SHIFT;
        // If it has ended, there is nothing to change.
        _ = self.state().update(|old| self.is(old).then_some(old & !LEVEL | level));
    }

    /// Has the task's future dropped by its hart, as soon as that is not polling it.
    pub fn abort(&self) {
        let cancel = |old| (self.is(old) && old & COMPLETE == 0).then_some(old | CANCEL);
        if self.state().update(cancel).is_ok() {
            // SAFETY: type-stable. If the task ends meanwhile, this is a late waker like any other.
            unsafe { waker::wake::<P>(self.header) };
        }
    }
}

impl<P> Clone for Task<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Task<P> {}

impl<P> PartialEq for Task<P> {
    fn eq(&self, other: &Self) -> bool {
        self.header == other.header && self.generation == other.generation
    }
}

impl<P> Eq for Task<P> {}

impl<P: Platform> fmt::Debug for Task<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Task").field(&self.id()).finish()
    }
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinError {
    /// The task was aborted.
    Aborted,
    /// The task panicked, and was given up.
    Panicked,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aborted => "the task was aborted",
            Self::Panicked => "the task panicked",
        })
    }
}

impl core::error::Error for JoinError {}

/// Waits for a task's result: `Ok` of what its future returned, or a [`JoinError`].
///
/// Dropping the handle detaches the task: it goes on, and its result is dropped.
///
/// # Cancellation
///
/// Waiting by `&mut handle` may be given up and begun again; the result stays with the task. Until the
/// handle is dropped, the waker of who waited last stays with it.
///
/// # Panics
///
/// When it is polled after it has returned the result.
#[must_use = "to let the task go on without waiting for it, call `detach`"]
pub struct JoinHandle<P: Platform, T> {
    /// `None` when the result has been taken.
    task: Option<NonNull<Header>>,
    output: PhantomData<(T, fn() -> P)>,
}

// SAFETY: the header is for all; of the output, only this handle is left when it touches it.
unsafe impl<P: Platform, T: Send> Send for JoinHandle<P, T> {}
// SAFETY: through a shared handle only the state is reached.
unsafe impl<P: Platform, T: Send> Sync for JoinHandle<P, T> {}

impl<P: Platform, T> Unpin for JoinHandle<P, T> {}

impl<P: Platform, T> JoinHandle<P, T> {
    /// # Safety
    ///
    /// The task was spawned with `HANDLE`, this is that handle, and `T` is its output.
    pub(crate) unsafe fn new(task: NonNull<Header>) -> Self {
        Self { task: Some(task), output: PhantomData }
    }

    pub(crate) fn header(&self) -> NonNull<Header> {
        self.task.expect("the task's result has been taken")
    }

    /// Lets the task go on without waiting for it.
    pub fn detach(self) {
        drop(self);
    }

    /// A reference to the task.
    ///
    /// # Panics
    ///
    /// After the result was taken.
    pub fn task(&self) -> Task<P> {
        // SAFETY: the handle keeps the task in its slot.
        unsafe { Task::new(self.header()) }
    }

    /// As [`Task::abort`]. The result tells whether the task was quicker.
    pub fn abort(&self) {
        if self.task.is_some() {
            self.task().abort();
        }
    }

    /// Whether the result is there.
    pub fn is_finished(&self) -> bool {
        self.task.is_none() || self.task().is_finished()
    }

    /// The name that the task was spawned with.
    pub fn name(&self) -> Option<&'static str> {
        // SAFETY: the handle keeps the task in its slot.
        self.task.and_then(|task| unsafe { task::name(task) })
    }

    /// What the task did so far.
    #[cfg(feature = "counters")]
    pub fn usage(&self) -> TaskUsage {
        // SAFETY: type-stable.
        self.task.map_or_else(TaskUsage::default, |task| unsafe { task.as_ref() }.counters.usage())
    }
}

impl<P: Platform, T> Future for JoinHandle<P, T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let task = self.header();
        if poll_proceed::<P>(context).is_pending() {
            return Poll::Pending;
        }
        // SAFETY: type-stable.
        let header = unsafe { task.as_ref() };
        let mut state = header.state.load();
        let mut kept = None;
        while state & COMPLETE == 0 {
            if state & WAITER != 0 {
                // SAFETY: we set the bit; until it is clear nobody writes there.
                let waiter = unsafe { header.waiter::<P>() };
                // A foreign waker must be ours to be looked at: the completion may be dropping it.
                if waiter.is_own() && waiter.will_wake(context.waker()) {
                    return Poll::Pending;
                }
                let withdraw = |old| (old & COMPLETE == 0).then_some(old & !WAITER);
                if let Err(complete) = header.state.update(withdraw) {
                    state = complete;
                    break;
                }
                let waiter = mem::ManuallyDrop::into_inner(waiter); // ours again
                kept = waiter.will_wake(context.waker()).then_some(waiter);
            }
            let Some(waiter) = kept.take().or_else(|| ThinWaker::new(context.waker())) else {
                return Poll::Pending;
            };
            // SAFETY: the handle is ours, and `WAITER` clear.
            unsafe { header.set_waiter::<P>(waiter) };
            state = header.state.set(WAITER);
            if state & COMPLETE == 0 {
                return Poll::Pending;
            }
            // It did not see the waiter.
            header.state.clear(WAITER);
            // SAFETY: we put it there just now.
            drop(mem::ManuallyDrop::into_inner(unsafe { header.waiter::<P>() }));
        }
        self.task = None;
        let result = if state & ABORTED != 0 {
            Err(if state & DETACHED != 0 { JoinError::Panicked } else { JoinError::Aborted })
        } else {
            // SAFETY: complete, not aborted, and the handle is ours.
            Ok(unsafe { task::take_output::<T>(task) })
        };
        // SAFETY: complete, and the output is ours.
        unsafe { task::release::<P>(task) };
        Poll::Ready(result)
    }
}

impl<P: Platform, T> Drop for JoinHandle<P, T> {
    fn drop(&mut self) {
        let Some(task) = self.task else { return };
        // SAFETY: type-stable.
        let header = unsafe { task.as_ref() };
        let mut state = header.state.load();
        while state & COMPLETE == 0 {
            // SAFETY: the handle sets the bit and writes there, nobody else. The completion takes the
            // waiter for its own only after it has set `COMPLETE`, and then this copy is not used.
            let waiter = (state & WAITER != 0).then(|| unsafe { header.waiter::<P>() });
            match header.state.exchange(state, state & !(HANDLE | WAITER)) {
                Ok(_) => return drop(waiter.map(mem::ManuallyDrop::into_inner)),
                Err(other) => state = other,
            }
        }
        if state & ABORTED == 0 {
            // SAFETY: complete, not aborted, not taken.
            unsafe { task::drop_output::<T>(task) };
        }
        // SAFETY: complete, and the output is gone.
        unsafe { task::release::<P>(task) };
    }
}

impl<P: Platform, T> fmt::Debug for JoinHandle<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinHandle").field(&self.task.map(|_| self.task().id())).finish()
    }
}
