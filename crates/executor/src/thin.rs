//! A waker in one word, for those who keep many: who waits at a handle, or for a time.

use core::{
    fmt,
    future::Future,
    marker::{PhantomData, PhantomPinned},
    mem::{self, ManuallyDrop},
    pin::Pin,
    ptr::NonNull,
    // Not loom's: a turn of the task follows, and that is ordered by its state.
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
};

use crate::{
    Builder, JoinHandle, Priority,
    platform::{OUTSIDE, Platform},
    task::{self, Header},
    waker,
};

/// A waker in one word.
///
/// Of a task of this platform it is the header's address. For the waker of another executor, or of a
/// combinator that makes its own, a small task is spawned whose turn is to wake it: so keeping a waker
/// needs no heap, and waking is a push to a queue and never foreign code, even under a lock.
pub struct ThinWaker<P: Platform> {
    /// The header's address; its lowest bit is set if the task is a [`Forward`] of our own.
    task: NonNull<Header>,
    platform: PhantomData<fn() -> P>,
}

const FORWARDS: usize = 1;

// SAFETY: wakers are both, and a header's address is a waker.
unsafe impl<P: Platform> Send for ThinWaker<P> {}
// SAFETY: the same.
unsafe impl<P: Platform> Sync for ThinWaker<P> {}

impl<P: Platform> ThinWaker<P> {
    /// A copy of `waker`.
    ///
    /// If that takes a task and there is no memory for it, `waker` is woken instead, and `None` returned:
    /// so that the caller is asked again, which is work but loses nothing.
    #[inline]
    pub fn new(waker: &Waker) -> Option<Self> {
        match own::<P>(waker) {
            Some(task) => Some(Self { task, platform: PhantomData }),
            None => Self::forward(waker),
        }
    }

    #[cold]
    fn forward(waker: &Waker) -> Option<Self> {
        // Any hart will do, but the spawning one has the memory.
        let home = if P::here() == OUTSIDE { 0 } else { P::here() };
        let forward = Forward::<P> {
            to: waker.clone(),
            woken: AtomicBool::new(false),
            platform: PhantomData,
            _pinned: PhantomPinned,
        };
        // Its turn is a wake and nothing else: as urgent as the most urgent that it may wake.
        let builder = Builder::<P>::new().priority(Priority::HIGHEST).hart(home);
        let Ok(handle) = builder.spawn(forward) else {
            waker.wake_by_ref();
            return None;
        };
        let task = ManuallyDrop::new(handle).header();
        let tagged = task.as_ptr().map_addr(|address| address | FORWARDS);
        // SAFETY: not null before, and not after.
        Some(Self { task: unsafe { NonNull::new_unchecked(tagged) }, platform: PhantomData })
    }

    /// The task to wake, and whether it is ours.
    #[inline]
    fn target(&self) -> (NonNull<Header>, bool) {
        let task = self.task.as_ptr().map_addr(|address| address & !FORWARDS);
        // SAFETY: a header's address.
        (unsafe { NonNull::new_unchecked(task) }, self.task.addr().get() & FORWARDS != 0)
    }

    /// Whether it is the address of a task of this platform, and needs no drop.
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        !self.target().1
    }

    /// Whether this wakes what `waker` wakes. May say no in doubt.
    #[inline]
    pub fn will_wake(&self, waker: &Waker) -> bool {
        match self.target() {
            (task, false) => own::<P>(waker) == Some(task),
            (task, true) => self.forwards(task).to.will_wake(waker),
        }
    }

    /// The future of a task of our own.
    fn forwards(&self, task: NonNull<Header>) -> &Forward<P> {
        // SAFETY: it is there until we are dropped, and as it is not `Unpin`, its poll has no more of it
        // for itself than we have.
        unsafe { task::future::<Forward<P>>(task).as_ref() }
    }

    /// Wakes the task.
    #[inline]
    pub fn wake_by_ref(&self) {
        let (task, forwards) = self.target();
        if forwards {
            self.forwards(task).woken.store(true, Ordering::Release);
        }
        // SAFETY: a header of this platform.
        unsafe { waker::wake::<P>(task) };
    }

    /// The word. Until [`from_raw`](Self::from_raw) it is not dropped.
    #[inline]
    pub fn into_raw(self) -> NonNull<()> {
        let task = self.task.cast();
        mem::forget(self);
        task
    }

    /// A thin waker from its word.
    ///
    /// # Safety
    ///
    /// The word came from [`into_raw`](Self::into_raw), and of all thin wakers made from it one at most
    /// is dropped, as the last.
    #[inline]
    pub unsafe fn from_raw(word: NonNull<()>) -> Self {
        Self { task: word.cast(), platform: PhantomData }
    }
}

impl<P: Platform> Drop for ThinWaker<P> {
    #[inline]
    fn drop(&mut self) {
        if let (task, true) = self.target() {
            // SAFETY: `forward` forgot this handle. Its hart drops the waker.
            let handle = unsafe { JoinHandle::<P, ()>::new(task) };
            handle.abort();
        }
    }
}

impl<P: Platform> fmt::Debug for ThinWaker<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThinWaker").field(&self.task).finish()
    }
}

/// The task behind one of the platform's wakers.
#[inline]
fn own<P: Platform>(waker: &Waker) -> Option<NonNull<Header>> {
    let task = NonNull::new(waker.data().cast_mut().cast());
    if core::ptr::eq(waker.vtable(), P::vtable()) { task } else { None }
}

/// The task that stands for a foreign waker. It never ends by itself.
struct Forward<P: Platform> {
    to: Waker,
    /// Whether there is a wake to be passed on. A turn alone does not say so: the first is that of every
    /// new task, and the last may be for the drop that came right after the wake.
    woken: AtomicBool,
    platform: PhantomData<fn() -> P>,
    /// Others look at it while it is polled.
    _pinned: PhantomPinned,
}

impl<P: Platform> Forward<P> {
    fn pass_on(&self) {
        if self.woken.swap(false, Ordering::Acquire) {
            if P::here() != OUTSIDE {
                // What is woken may look for its task, to abort it for example: this one is not its own.
                // SAFETY: not outside.
                unsafe { P::local() }.no_task();
            }
            self.to.wake_by_ref();
        }
    }
}

impl<P: Platform> Future for Forward<P> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.pass_on();
        Poll::Pending
    }
}

impl<P: Platform> Drop for Forward<P> {
    fn drop(&mut self) {
        self.pass_on();
    }
}
