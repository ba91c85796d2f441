//! Starting tasks.

use core::{fmt, future::Future, marker::PhantomData, ptr::NonNull};

use crate::{
    JoinHandle, Pool, Priority,
    platform::{OUTSIDE, Platform},
    slab::{self, Class, LARGEST},
    state::{AFAR, HANDLE, LEVEL_SHIFT},
    task::{Cell, Fit, Guarded, Header, Label, Name},
    waker,
};

/// Why a task could not be started. Its future has been dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnError {
    /// There is no memory for it, or no slot left in the pool.
    NoMemory,
    /// The hart that was asked for does not exist; or the task was to stay on the calling hart, and that
    /// is another one, or this is an interrupt.
    NoHart,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMemory => "no memory for another task",
            Self::NoHart => "there is no hart that could run the task here",
        })
    }
}

impl core::error::Error for SpawnError {}

/// A task to be: who it is, how urgent, and where it runs.
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder<P, L = ()> {
    label: L,
    priority: Priority,
    hart: Option<usize>,
    platform: PhantomData<fn() -> P>,
}

impl<P: Platform> Builder<P> {
    /// A task without a name, of normal priority, on any hart.
    #[expect(clippy::new_without_default, reason = "there is no reader of such a default")]
    pub const fn new() -> Self {
        Self { label: (), priority: Priority::NORMAL, hart: None, platform: PhantomData }
    }

    /// Names the task. Costs 16 bytes of its slot.
    pub const fn name(self, name: &'static str) -> Builder<P, Name> {
        let Self { priority, hart, platform, .. } = self;
        Builder { label: name, priority, hart, platform }
    }
}

impl<P: Platform> Builder<P, Name> {
    /// The machine cannot do without this task: if it panics, it is not [given
    /// up](crate::Hart::abandon_current). Costs another 16 bytes of its slot.
    pub const fn essential(self) -> Builder<P, Guarded<()>> {
        let Self { label, priority, hart, platform } = self;
        Builder { label: Guarded::essential(label), priority, hart, platform }
    }

    /// Says what to do if the task panics, as its future is not dropped then: for those who would wait for
    /// what it has, or count it. Called on the task's hart, outside of any task; dropped when the future
    /// is, if the task ends otherwise. Costs 8 bytes of the slot and what it holds, in steps of 16.
    pub fn on_panic<H: FnOnce() + 'static>(self, last: H) -> Builder<P, Guarded<H>> {
        let Self { label, priority, hart, platform } = self;
        Builder { label: Guarded::new(label, last), priority, hart, platform }
    }
}

#[expect(private_bounds, reason = "labels are of no use to others")]
impl<P: Platform, L: Label> Builder<P, L> {
    /// Says how urgent it is.
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Says which hart runs it.
    pub const fn hart(mut self, number: usize) -> Self {
        self.hart = Some(number);
        self
    }

    /// Starts the task: on the hart that was asked for, or on that with the fewest tasks.
    ///
    /// # Errors
    ///
    /// [`SpawnError`]; the future is dropped.
    #[inline]
    pub fn spawn<F>(self, future: F) -> Result<JoinHandle<P, F::Output>, SpawnError>
    where
        F: Future<Output: Send> + Send + 'static,
        L: Send,
    {
        let here = P::here();
        let home = self.home(here)?;
        let slot = slot::<P, L, F>(here).ok_or(SpawnError::NoMemory)?;
        // SAFETY: it fits, and may run anywhere.
        Ok(unsafe { self.begin(slot, home, here, future) })
    }

    /// Starts the task on the hart that calls: its future need not be `Send`.
    ///
    /// # Errors
    ///
    /// [`SpawnError::NoHart`] in an interrupt, or if another hart was asked for;
    /// [`SpawnError::NoMemory`]. The future is dropped.
    #[inline]
    pub fn spawn_local<F>(self, future: F) -> Result<JoinHandle<P, F::Output>, SpawnError>
    where
        F: Future + 'static,
    {
        let here = self.local()?;
        let slot = slot::<P, L, F>(here).ok_or(SpawnError::NoMemory)?;
        // SAFETY: it fits, and stays here; so does the handle if it must.
        Ok(unsafe { self.begin(slot, here, here, future) })
    }

    /// As [`spawn`](Self::spawn), in memory that was set aside.
    ///
    /// # Errors
    ///
    /// [`SpawnError`]; the future is dropped.
    pub fn spawn_in<F, const SIZE: usize, const COUNT: usize>(
        self,
        pool: &'static Pool<P, SIZE, COUNT>,
        future: F,
    ) -> Result<JoinHandle<P, F::Output>, SpawnError>
    where
        F: Future<Output: Send> + Send + 'static,
        L: Send,
    {
        let here = P::here();
        let home = self.home(here)?;
        let slot = pool.take::<L, F>().ok_or(SpawnError::NoMemory)?;
        // SAFETY: it fits, and may run anywhere.
        Ok(unsafe { self.begin(slot, home, here, future) })
    }

    /// As [`spawn_local`](Self::spawn_local), in memory that was set aside.
    ///
    /// # Errors
    ///
    /// [`SpawnError`]; the future is dropped.
    pub fn spawn_local_in<F, const SIZE: usize, const COUNT: usize>(
        self,
        pool: &'static Pool<P, SIZE, COUNT>,
        future: F,
    ) -> Result<JoinHandle<P, F::Output>, SpawnError>
    where
        F: Future + 'static,
    {
        let here = self.local()?;
        let slot = pool.take::<L, F>().ok_or(SpawnError::NoMemory)?;
        // SAFETY: it fits, and stays here; so does the handle if it must.
        Ok(unsafe { self.begin(slot, here, here, future) })
    }

    /// The hart that was asked for, or the one with the fewest tasks.
    #[inline]
    fn home(&self, here: usize) -> Result<usize, SpawnError> {
        let harts = P::harts();
        match self.hart {
            Some(number) if number < harts => Ok(number),
            Some(_) => Err(SpawnError::NoHart),
            None if harts == 1 => Ok(0),
            None => Ok(least_busy::<P>(here, harts)),
        }
    }

    /// The calling hart, if the task may run here.
    fn local(&self) -> Result<usize, SpawnError> {
        let here = P::here();
        let elsewhere = self.hart.is_some_and(|hart| hart != here);
        if here == OUTSIDE || elsewhere { Err(SpawnError::NoHart) } else { Ok(here) }
    }

    /// # Safety
    ///
    /// The slot was claimed for `Cell<L, F>` and had this state. As for `Send`, see `Cell::occupy`.
    #[inline(always)]
    unsafe fn begin<F: Future>(
        self,
        (slot, state): (NonNull<Header>, u32),
        home: usize,
        here: usize,
        future: F,
    ) -> JoinHandle<P, F::Output> {
        const {
            assert!(
                size_of::<F>() <= P::LARGEST,
                "a task's future is too large: Box::pin its large parts"
            );
        }
        let afar = if home == here { 0 } else { AFAR };
        let bits = HANDLE | afar | u32::from(self.priority.level()) << LEVEL_SHIFT;
        // SAFETY: by the caller's promise; then the task is queued, and this is its handle.
        unsafe {
            Cell::<L, F>::occupy::<P>(slot, state, bits, home as u16, self.label, future);
            if home == here {
                let hart = P::local();
                hart.arrive();
                hart.queue.push(slot, bits);
            } else {
                P::hart(home).arrive_from_afar();
                waker::deliver::<P>(slot, home);
            }
            JoinHandle::new(slot)
        }
    }
}

impl<P, L> fmt::Debug for Builder<P, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { priority, hart, .. } = self;
        f.debug_struct("Builder")
            .field("priority", priority)
            .field("hart", hart)
            .finish_non_exhaustive()
    }
}

/// A slot for a task, claimed, and its state before.
#[inline]
fn slot<P: Platform, L: Label, F: Future>(here: usize) -> Option<(NonNull<Header>, u32)> {
    let class = const {
        assert!(
            Fit::<L, F>::SIZE <= LARGEST,
            "the future of this task is larger than 1 MiB: keep its large parts in boxes"
        );
        Class::of(Fit::<L, F>::SIZE, Fit::<L, F>::ALIGN).expect("no slot is aligned like this")
    };
    if here == OUTSIDE {
        return slab::allocate::<P>(class);
    }
    // SAFETY: our hart's.
    unsafe { P::local().slab.take::<P>(class) }
}

/// The hart with the fewest tasks; the calling one if there are several.
#[cold]
fn least_busy<P: Platform>(here: usize, harts: usize) -> usize {
    // SAFETY: below `harts`.
    let tasks = |number| unsafe { P::hart(number) }.tasks();
    let by_load = |&number: &usize| (tasks(number), number != here);
    (0..harts).min_by_key(by_load).unwrap_or(0)
}
