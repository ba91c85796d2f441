//! Waiting for a moment: the future that owns a node, and the wheel of a hart behind its lock.

use core::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    ptr::{self, NonNull},
    task::{Context, Poll},
};

use lock_api::{Mutex, RawMutex};
use wakeful_executor::{OUTSIDE, Platform, ThinWaker, poll_proceed};

use crate::{Node, Wheel};

/// What timers need from the machine, beside what the executor does, and [`Platform::now`].
///
/// # Safety
///
/// `timers` always gives the same ones for a number, and `local_timers` is `timers(Platform::here())`. The lock
/// may be taken in any context, also in an interrupt of who holds it: so it keeps those away.
pub unsafe trait Clock: Sized + 'static {
    /// The machine under the executor, and whose `now` tells the time.
    type Platform: Platform;

    /// What guards the wheel of a hart.
    type Lock: RawMutex + 'static;

    /// The timers of the hart that runs this.
    ///
    /// # Safety
    ///
    /// `here` is not [`OUTSIDE`].
    unsafe fn local_timers() -> &'static Timers<Self>;

    /// The timers of a hart by its number.
    ///
    /// # Safety
    ///
    /// The number is 0 or below `harts`.
    unsafe fn timers(number: usize) -> &'static Timers<Self>;

    /// Has this hart interrupted at `deadline` instead of any other time; [`NEVER`]: not at all. The
    /// interrupt calls `Hart::ring`, and the alarm [`Timers::fire`].
    fn arm(deadline: u64);
}

/// The deadline that does not come.
pub const NEVER: u64 = u64::MAX;

/// How many nodes are fired under one hold of the lock, which keeps interrupts away.
const BATCH: usize = 32;

/// The timers of one hart.
pub struct Timers<C: Clock> {
    inner: Mutex<C::Lock, Inner<C>>,
}

struct Inner<C: Clock> {
    wheel: Wheel<Target<C>>,
    /// When this hart will be interrupted: not after the first deadline.
    /// The complement of when the hart is to be interrupted: so that no timers are all zero, which takes no
    /// room in an image.
    armed_complement: u64,
    /// Nodes in the wheel.
    pending: usize,
}

// SAFETY: the wheel and its nodes are touched under the lock.
unsafe impl<C: Clock> Sync for Timers<C> where C::Lock: Sync {}

impl<C: Clock> Timers<C> {
    /// No timers.
    #[expect(clippy::new_without_default, reason = "it is made for statics")]
    pub const fn new() -> Self {
        let inner = Inner { wheel: Wheel::new(), armed_complement: !NEVER, pending: 0 };
        Self { inner: Mutex::const_new(C::Lock::INIT, inner) }
    }

    /// Wakes whoever's time has come, and arms this hart for the next: what the alarm is for.
    pub fn fire(&'static self) {
        loop {
            let now = C::Platform::now();
            let mut inner = self.inner.lock();
            inner.wheel.advance(now);
            for _ in 0..BATCH {
                let Some(target) = inner.wheel.pop_expired() else {
                    // The interrupt that brought us here is spent.
                    let next = inner.wheel.next_deadline().unwrap_or(NEVER);
                    inner.armed_complement = !next;
                    return C::arm(next);
                };
                inner.pending -= 1;
                // Just a push to a queue, so it may be done under the lock.
                target.wake();
            }
        }
    }

    /// How many sleeps wait here.
    pub fn pending(&self) -> usize {
        self.inner.lock().pending
    }

    /// # Safety
    ///
    /// The node is pinned and in no wheel. It is removed from here before it goes away.
    unsafe fn insert(
        &'static self,
        node: NonNull<Node<Target<C>>>,
        deadline: u64,
        target: Target<C>,
    ) {
        let mut inner = self.inner.lock();
        // SAFETY: by the caller's promise; this wheel is in a static.
        unsafe { inner.wheel.insert(node, deadline, target) };
        inner.pending += 1;
        if deadline < !inner.armed_complement {
            inner.armed_complement = !deadline;
            if target.hart() == C::Platform::here() {
                C::arm(deadline);
            } else {
                drop(inner);
                // SAFETY: the target's hart is one that there is.
                unsafe { C::Platform::hart(target.hart()) }.ring(); // it arms itself
            }
        }
    }

    /// Takes a node out, if it is still in. Whether it was.
    ///
    /// # Safety
    ///
    /// If the node is in a wheel, then in this one.
    unsafe fn remove(&self, node: NonNull<Node<Target<C>>>) -> bool {
        let mut inner = self.inner.lock();
        // SAFETY: by the caller's promise; under the lock nobody else touches it.
        unsafe {
            let was_in = inner.wheel.remove(node);
            inner.pending -= usize::from(was_in);
            was_in
        }
    }

    /// Whether a node waits here.
    ///
    /// # Safety
    ///
    /// As for `remove`.
    unsafe fn has(&self, node: NonNull<Node<Target<C>>>) -> bool {
        let _inner = self.inner.lock();
        // SAFETY: as for `remove`.
        unsafe { node.as_ref() }.is_linked()
    }
}

impl<C: Clock> fmt::Debug for Timers<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers").field("pending", &self.pending()).finish()
    }
}

/// Who is woken, and on which hart's timers the node is: in one word, so that a sleep has four.
///
/// The number takes the place of the upper 16 bits of the waker's word, which in addresses of up to 48
/// bits repeat the bit below them (Privileged specification, "Sv48"; user space of x86-64 likewise).
struct Target<C> {
    word: *mut (),
    clock: PhantomData<fn() -> C>,
}

impl<C> Clone for Target<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Target<C> {}

const HART_SHIFT: u32 = 48;

impl<C: Clock> Target<C> {
    /// Of a node that was in no wheel since it was made or taken out.
    const NONE: Self = Self { word: ptr::null_mut(), clock: PhantomData };

    fn new(waker: ThinWaker<C::Platform>, hart: usize) -> Self {
        let word = waker.into_raw().as_ptr();
        let tagged =
            word.map_addr(|address| address & ((1 << HART_SHIFT) - 1) | hart << HART_SHIFT);
        let target = Self { word: tagged, clock: PhantomData };
        debug_assert!(target.waker_word() == word, "an address of more than 48 bits");
        target
    }

    fn is_none(self) -> bool {
        self.word.is_null()
    }

    fn hart(self) -> usize {
        self.word.addr() >> HART_SHIFT
    }

    fn waker_word(self) -> *mut () {
        let bits = usize::BITS - HART_SHIFT;
        self.word.map_addr(|address| ((address << bits) as isize >> bits) as usize)
    }

    /// The waker: to be dropped by whoever sets the target to `NONE`.
    fn waker(self) -> core::mem::ManuallyDrop<ThinWaker<C::Platform>> {
        debug_assert!(!self.is_none());
        // SAFETY: `new` took it from a thin waker, whose address is not null.
        core::mem::ManuallyDrop::new(unsafe {
            ThinWaker::from_raw(NonNull::new_unchecked(self.waker_word()))
        })
    }

    fn wake(self) {
        self.waker().wake_by_ref();
    }
}

/// Waits until a moment has come.
///
/// It may be polled again after that: it stays ready. It may move to another task, and to another hart,
/// between polls.
///
/// # Cancellation
///
/// Dropping it takes it out of its wheel at once; nothing is left behind. The hart may be interrupted
/// once at the deadline that nobody waits for any more.
#[must_use = "futures do nothing unless polled"]
pub struct Sleep<C: Clock> {
    node: Node<Target<C>>,
}

// SAFETY: the node is touched under the lock of the timers that it is on, or while it is on none.
unsafe impl<C: Clock> Send for Sleep<C> {}
// SAFETY: through a shared reference nothing but the deadline is read, which is written through `&mut`.
unsafe impl<C: Clock> Sync for Sleep<C> {}

impl<C: Clock> Sleep<C> {
    /// Waits until the clock says `deadline` or more, in its ticks.
    #[inline]
    pub const fn until(deadline: u64) -> Self {
        Self { node: Node::at(deadline, Target::NONE) }
    }

    /// What it waits for, in ticks.
    pub fn deadline(&self) -> u64 {
        self.node.deadline()
    }

    /// Waits for another moment instead, also if the first has passed.
    pub fn reset(self: Pin<&mut Self>, deadline: u64) {
        self.as_ref().leave();
        self.node.set(deadline, Target::NONE);
    }

    fn target(&self) -> Target<C> {
        // SAFETY: `until` has set it.
        unsafe { self.node.target() }
    }

    /// Leaves the wheel, if it is in one.
    fn leave(self: Pin<&Self>) {
        let target = self.target();
        if !target.is_none() {
            // SAFETY: these are the timers that it was inserted into last.
            unsafe { C::timers(target.hart()).remove(NonNull::from(&self.node)) };
            self.node.set(self.node.deadline(), Target::NONE);
            drop(core::mem::ManuallyDrop::into_inner(target.waker()));
        }
    }

    /// Whether it is on this hart's timers with this waker already.
    fn is_registered(&self, context: &Context<'_>) -> bool {
        let target = self.target();
        !target.is_none()
            && target.waker().will_wake(context.waker())
            // SAFETY: these are the timers that it was inserted into last.
            && unsafe { C::timers(target.hart()).has(NonNull::from(&self.node)) }
    }
}

impl<C: Clock> Future for Sleep<C> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.as_ref();
        let deadline = this.node.deadline();
        if C::Platform::now() >= deadline {
            // Or a task that sleeps for moments that have passed would never give way.
            if poll_proceed::<C::Platform>(context).is_pending() {
                return Poll::Pending;
            }
            this.leave();
            return Poll::Ready(());
        }
        if !this.target().is_none() {
            if this.is_registered(context) {
                return Poll::Pending;
            }
            this.leave();
        }
        if let Some(waker) = ThinWaker::new(context.waker()) {
            let here = C::Platform::here();
            // SAFETY: these timers are there. The sleep is pinned, in no wheel, and leaves when it is
            // dropped.
            unsafe {
                let (timers, hart) =
                    if here == OUTSIDE { (C::timers(0), 0) } else { (C::local_timers(), here) };
                timers.insert(NonNull::from(&this.node), deadline, Target::new(waker, hart));
            }
        }
        Poll::Pending
    }
}

impl<C: Clock> Drop for Sleep<C> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it does not move any more.
        unsafe { Pin::new_unchecked(&*self) }.leave();
    }
}

impl<C: Clock> fmt::Debug for Sleep<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline()).finish()
    }
}

#[cfg(test)]
mod tests;
