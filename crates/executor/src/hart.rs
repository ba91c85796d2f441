//! A hart's scheduler: its queue, its inbox, its memory of tasks, and the loop that polls.

use core::{
    fmt,
    marker::PhantomData,
    ptr::{self, NonNull},
    // Not loom's: these are statistics, nothing depends on their order.
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

#[cfg(feature = "counters")]
use crate::counters::HartUsage;
use crate::{
    atomic::{Cell, const_unless_loom},
    budget,
    counters::HartCounters,
    inbox::Inbox,
    platform::{OUTSIDE, Platform},
    queue::{Best, Queue},
    slab::{Returns, Slab},
    task::{self, CLASS_STATIC, Header},
    waker,
};

/// The number of a hart that was not started: one that nobody has, not even who is [`OUTSIDE`].
const NOT_STARTED: usize = usize::MAX;

/// Keeps what other harts write apart from what they do not.
#[repr(align(64))]
struct Apart<T>(T);

/// The scheduler of one hart.
///
/// ```ignore
/// hart.start(number);
/// loop {
///     hart.run(); // until nothing is ready
///     // interrupts off
///     if hart.sleep() { /* wait for an interrupt */ }
///     // interrupts on
/// }
/// ```
#[repr(C, align(64))]
pub struct Hart<P> {
    pub(crate) queue: Queue,
    current: Cell<*mut Header>,
    pub(crate) budget: Cell<u32>,
    number: Cell<usize>,
    is_running: Cell<bool>,
    /// Tasks that this hart began on itself, less those that ended on it: its part of the count.
    net_tasks: AtomicU32,
    counters: HartCounters,
    pub(crate) slab: Slab,
    /// Tasks that others began on this hart.
    sent_tasks: Apart<AtomicU32>,
    inbox: Apart<Inbox>,
    /// Of the first hart: those of the machine, for harts and for interrupts.
    pub(crate) returns: [Returns; 2],
    alarm: Header,
    platform: PhantomData<fn() -> P>,
}

// SAFETY: `inbox`, `alarm` and the counts are for all; the rest is for the flow of control in which
// `Platform::here` gives this hart's number, and that is one.
unsafe impl<P> Sync for Hart<P> {}

impl<P: Platform> Hart<P> {
    const_unless_loom! {
        /// A scheduler that has yet to be [`start`](Self::start)ed.
        #[expect(clippy::new_without_default, reason = "it is made for statics")]
        pub fn new() -> Self {
            Self {
                queue: Queue::new(),
                current: Cell::new(ptr::null_mut()),
                budget: Cell::new(budget::FULL),
                number: Cell::new(NOT_STARTED),
                is_running: Cell::new(false),
                net_tasks: AtomicU32::new(0),
                counters: HartCounters::new(),
                slab: Slab::new(),
                sent_tasks: Apart(AtomicU32::new(0)),
                inbox: Apart(Inbox::new()),
                returns: [Returns::new(), Returns::new()],
                alarm: Header::new(0, CLASS_STATIC, alarm::<P>),
                platform: PhantomData,
            }
        }
    }

    /// Makes it the scheduler of the hart `number`. Before anything is spawned or woken there.
    ///
    /// # Safety
    ///
    /// Nobody else uses it yet: called once, before [`Platform::here`] says `number` anywhere and before
    /// [`Platform::harts`] includes it.
    pub unsafe fn start(&'static self, number: usize) {
        assert!(number < OUTSIDE, "there is no room for so large a number");
        self.number.set(number);
        // SAFETY: nobody knows of the alarm yet.
        unsafe { self.alarm.home.set(number as u16) };
    }

    /// Its number.
    pub fn number(&self) -> usize {
        self.number.get()
    }

    /// Gives every task that is ready its turn, the most urgent first, until none is left.
    ///
    /// # Panics
    ///
    /// On another hart than this one, and from inside one of its tasks; and ever after a task has
    /// panicked, where panics unwind: whether its future still makes sense is not known.
    pub fn run(&'static self) {
        self.enter();
        let mut best = Best::UNKNOWN;
        while self.turn(&mut best) {}
        self.leave_loop();
    }

    /// Gives at most `turns` turns. Returns whether nothing is left.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    pub fn run_some(&'static self, turns: usize) -> bool {
        self.enter();
        let mut best = Best::UNKNOWN;
        let idle = (0..turns).any(|_| !self.turn(&mut best));
        self.leave_loop();
        idle
    }

    /// Whether the task that is having its turn on this hart can be [abandoned](Self::abandon_current): not
    /// if there is none, or if it was started as [essential](crate::Builder::essential).
    pub fn can_abandon(&self) -> bool {
        // SAFETY: a task having its turn is in its slot, and this is its home.
        self.current().is_some_and(|task| unsafe { !task::is_essential(task) })
    }

    /// Takes the turn away from the task that has it, for good, in the middle of its poll. README.md says
    /// why that is sound.
    ///
    /// From here on this hart is in no task's turn: the caller may say so on a console. Then come
    /// [`Abandoned::bury`], and a new [`run`](Self::run), which may be on top of what runs now or on
    /// another stack.
    ///
    /// Returns `None`, and does nothing, if it [cannot](Self::can_abandon) be abandoned.
    ///
    /// # Safety
    ///
    /// The caller was called by that poll, on this hart, and control never returns there. The frames of the
    /// poll are not overwritten ever after.
    pub unsafe fn abandon_current(&'static self) -> Option<Abandoned<P>> {
        if !self.can_abandon() {
            return None;
        }
        let task = self.current()?;
        self.leave_loop();
        // What it spent is not the fault of who comes next.
        self.budget.set(budget::FULL);
        Some(Abandoned { task, platform: PhantomData })
    }

    fn enter(&self) {
        assert!(P::here() == self.number.get(), "a hart runs its own tasks only");
        assert!(!self.is_running.replace(true), "a task cannot run the tasks of its hart");
    }

    fn leave_loop(&self) {
        self.current.set(ptr::null_mut());
        self.is_running.set(false);
    }

    /// Falls asleep unless something is ready. From then on, whoever brings something in calls
    /// [`Platform::interrupt`]; it may be asked again, and [`run`](Self::run) ends the sleep.
    ///
    /// # Panics
    ///
    /// On another hart than this one.
    pub fn sleep(&self) -> bool {
        assert!(P::here() == self.number.get(), "a hart falls asleep by itself only");
        let asleep = self.queue.is_empty() && self.inbox.0.sleep();
        if asleep {
            self.counters.slept();
        }
        asleep
    }

    /// Lets [`Platform::alarm`] be called on this hart, before any task. For interrupts: they may call
    /// it at any time, as they may wake a task.
    pub fn ring(&'static self) {
        // SAFETY: a header in a static is type-stable.
        unsafe { waker::wake::<P>(NonNull::from(&self.alarm)) };
    }

    /// How many tasks live here: queued, waiting, or running.
    pub fn tasks(&self) -> u32 {
        self.net_tasks.load(Relaxed).wrapping_add(self.sent_tasks.0.load(Relaxed))
    }

    /// What it did so far.
    #[cfg(feature = "counters")]
    pub fn usage(&self) -> HartUsage {
        self.counters.usage()
    }

    /// One turn. Returns whether there was anything.
    #[inline(always)]
    fn turn(&'static self, best: &mut Best) -> bool {
        if !self.inbox.0.is_empty() {
            self.take_in();
        }
        // SAFETY: `enter` says that this is our hart.
        let Some(task) = (unsafe { self.queue.pop(best) }) else { return false };
        // SAFETY: type-stable; until `pop`, `poll` is the queue's, which is ours.
        let (header, poll) = unsafe { (task.as_ref(), task.as_ref().poll.get()) };
        let old = header.state.pop();
        self.current.set(task.as_ptr());
        let begin = self.counters.begin(P::now);
        // SAFETY: popped by its home hart with this state; no other turn is under way here.
        unsafe { poll(task, old) };
        self.counters.end(&header.counters, begin, P::now);
        true
    }

    /// Queues what came in.
    #[cold]
    #[inline(never)]
    fn take_in(&self) {
        self.inbox.0.take(|task| {
            // SAFETY: our hart; who put the task in passed its link on.
            unsafe { self.queue.push(task, task.as_ref().state.peek()) };
            self.counters.delivered();
        });
    }

    /// Takes a task in from another hart or context. Returns whether the hart must be interrupted.
    ///
    /// # Safety
    ///
    /// The caller owns the task's link, and this is its home.
    pub(crate) unsafe fn deliver(&self, task: NonNull<Header>) -> bool {
        // SAFETY: by the caller's promise.
        unsafe { self.inbox.0.push(task) }
    }

    /// What goes on in this turn is no task's doing.
    pub(crate) fn no_task(&self) {
        self.current.set(ptr::null_mut());
    }

    /// The task whose turn it is.
    pub(crate) fn current(&self) -> Option<NonNull<Header>> {
        NonNull::new(self.current.get())
    }

    /// A task begins, by the hart's own doing.
    #[inline]
    pub(crate) fn arrive(&self) {
        self.net_tasks.store(self.net_tasks.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// A task begins, by another's doing.
    pub(crate) fn arrive_from_afar(&self) {
        self.sent_tasks.0.fetch_add(1, Relaxed);
    }

    /// A task ends, by the hart's own doing.
    #[inline]
    pub(crate) fn depart(&self) {
        self.net_tasks.store(self.net_tasks.load(Relaxed).wrapping_sub(1), Relaxed);
    }
}

/// A task that was taken out of its poll.
#[must_use = "until it is buried, those who wait for it do not know"]
pub struct Abandoned<P> {
    task: NonNull<Header>,
    platform: PhantomData<fn() -> P>,
}

impl<P: Platform> Abandoned<P> {
    /// The name that the task was spawned with.
    pub fn name(&self) -> Option<&'static str> {
        // SAFETY: its slot is never vacated.
        unsafe { task::name(self.task) }
    }

    /// Ends the task: its handle says [`Panicked`](crate::JoinError::Panicked), and what it was to do in this
    /// case is done, here and now. Its memory is lost.
    pub fn bury(self) {
        // SAFETY: who made this promised that the poll never goes on.
        unsafe { task::abandon::<P>(self.task) };
    }
}

impl<P: Platform> fmt::Debug for Abandoned<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Abandoned").field(&self.name()).finish()
    }
}

/// The turn of the alarm.
unsafe fn alarm<P: Platform>(_: NonNull<Header>, _: u32) {
    // SAFETY: a turn is on a hart.
    unsafe { P::local() }.no_task();
    P::alarm();
}
