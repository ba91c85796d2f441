//! Sleeps on this computer: threads for harts, and a clock that the test moves.

use core::{
    alloc::Layout,
    cell::Cell,
    future::Future,
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    task::{Context, Poll, RawWakerVTable, Waker},
};
use std::{
    sync::{Arc, Mutex, MutexGuard},
    task::Wake,
};

use lock_api::{GuardSend, RawMutex};
use wakeful_executor::{Builder, Hart, OUTSIDE, Platform, waker_vtable};

use crate::{Clock, NEVER, Sleep, Timers};

thread_local! {
    static HERE: Cell<usize> = const { Cell::new(OUTSIDE) };
}

static NOW: AtomicU64 = AtomicU64::new(0);
static HARTS: [Hart<Machine>; 2] = [const { Hart::new() }; 2];
static TIMERS: [Timers<TestClock>; 2] = [const { Timers::new() }; 2];
static ARMED: [AtomicU64; 2] = [const { AtomicU64::new(NEVER) }; 2];

struct Machine;

// SAFETY: each number is that of one thread.
unsafe impl Platform for Machine {
    fn here() -> usize {
        HERE.get()
    }

    unsafe fn local() -> &'static Hart<Self> {
        &HARTS[HERE.get()]
    }

    unsafe fn hart(number: usize) -> &'static Hart<Self> {
        &HARTS[number]
    }

    fn harts() -> usize {
        2
    }

    fn interrupt(_: usize) {}

    fn vtable() -> &'static RawWakerVTable {
        static VTABLE: RawWakerVTable = waker_vtable::<Machine>();
        &VTABLE
    }

    fn allocate(layout: Layout) -> *mut u8 {
        static CHUNKS: Mutex<Vec<usize>> = Mutex::new(Vec::new());
        // SAFETY: slots are not of size 0.
        let memory = unsafe { std::alloc::alloc(layout) };
        CHUNKS.lock().unwrap().push(memory.expose_provenance()); // reachable, so not a leak
        memory
    }

    fn alarm() {
        // SAFETY: alarms are on a hart.
        unsafe { TestClock::local_timers() }.fire();
    }

    fn now() -> u64 {
        NOW.load(Ordering::SeqCst)
    }
}

/// A spin lock, which keeps interrupts away: one that a test lets come while it is held comes when it is
/// released. So wherever in an edit of the wheel it would come, it comes before or after.
struct Spin(AtomicBool);

type Interrupt = Box<dyn FnOnce()>;

thread_local! {
    /// How many times a lock may still be taken or released before the interrupt comes.
    static COUNTDOWN: Cell<usize> = const { Cell::new(usize::MAX) };
    static INTERRUPT: Cell<Option<Interrupt>> = const { Cell::new(None) };
}

/// A place where an interrupt may come.
fn point() {
    let left = COUNTDOWN.get();
    COUNTDOWN.set(left.saturating_sub(1));
    if left == 0
        && let Some(handler) = INTERRUPT.take()
    {
        let here = HERE.replace(OUTSIDE);
        handler();
        HERE.set(here);
    }
}

// SAFETY: `swap` lets one in.
unsafe impl RawMutex for Spin {
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = GuardSend;

    fn lock(&self) {
        point();
        while !self.try_lock() {
            std::hint::spin_loop();
        }
    }

    fn try_lock(&self) -> bool {
        !self.0.swap(true, Ordering::Acquire)
    }

    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
        point();
    }
}

struct TestClock;

// SAFETY: statics.
unsafe impl Clock for TestClock {
    type Platform = Machine;
    type Lock = Spin;

    unsafe fn local_timers() -> &'static Timers<Self> {
        &TIMERS[HERE.get()]
    }

    unsafe fn timers(number: usize) -> &'static Timers<Self> {
        &TIMERS[number]
    }

    fn arm(deadline: u64) {
        ARMED[HERE.get()].store(deadline, Ordering::SeqCst);
    }
}

type Sleeping = Sleep<TestClock>;

/// The machine is one for all tests: they take turns. This thread is hart 0.
fn machine() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    static STARTED: AtomicBool = AtomicBool::new(false);
    let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !STARTED.swap(true, Ordering::SeqCst) {
        for (number, hart) in HARTS.iter().enumerate() {
            // SAFETY: once.
            unsafe { hart.start(number) };
        }
    }
    HERE.set(0);
    assert_eq!(pending(), [0, 0]);
    turn
}

fn pending() -> [usize; 2] {
    [TIMERS[0].pending(), TIMERS[1].pending()]
}

fn later(ticks: u64) -> u64 {
    NOW.load(Ordering::SeqCst) + ticks
}

/// Lets time pass, with the interrupts of hart 0 that belong to it. Returns how many came.
fn pass(ticks: u64) -> usize {
    let end = later(ticks);
    let mut interrupts = 0;
    loop {
        let next = ARMED[0].load(Ordering::SeqCst);
        if next > end {
            break;
        }
        interrupts += 1;
        NOW.fetch_max(next, Ordering::SeqCst);
        ARMED[0].store(NEVER, Ordering::SeqCst);
        HARTS[0].ring();
        HARTS[0].run();
    }
    NOW.store(end, Ordering::SeqCst);
    HARTS[0].run();
    interrupts
}

fn tasks() -> u32 {
    HARTS[0].tasks()
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

#[test]
fn a_sleep_is_four_words() {
    assert_eq!(size_of::<Sleeping>(), 32);
}

#[test]
fn sleeps_end_at_their_deadlines() {
    let _turn = machine();
    let ends = Arc::new(Mutex::new(Vec::new()));
    for length in [700, 3, 100_000, 64, 65, 3] {
        let (ends, deadline) = (Arc::clone(&ends), later(length));
        let task = async move {
            Sleeping::until(deadline).await;
            ends.lock().unwrap().push((Machine::now(), deadline));
        };
        Builder::<Machine>::new().spawn_local(task).unwrap().detach();
    }
    HARTS[0].run();
    assert_eq!(pending(), [6, 0]);
    assert_eq!(pass(200_000), 5, "one interrupt for each moment");
    let ends = ends.lock().unwrap();
    assert!(ends.len() == 6 && ends.iter().all(|(end, deadline)| end == deadline));
    assert_eq!((pending(), ARMED[0].load(Ordering::SeqCst)), ([0, 0], NEVER));
}

#[test]
fn a_moment_that_has_passed_needs_no_timer() {
    let _turn = machine();
    pass(10);
    let mut past = pin!(Sleeping::until(later(0)));
    assert!(poll(past.as_mut(), Waker::noop()).is_ready());
    assert!(poll(past, Waker::noop()).is_ready(), "and stays ready");
    assert_eq!((pending(), tasks()), ([0, 0], 0));
}

#[test]
fn dropping_leaves_nothing() {
    let _turn = machine();
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    // Before the first poll, while it waits, when it is due but not fired, and after it fired.
    drop(Box::pin(Sleeping::until(later(5))));
    let mut sleep = Box::pin(Sleeping::until(later(5)));
    assert!(poll(sleep.as_mut(), &waker).is_pending());
    assert_eq!((pending(), tasks()), ([1, 0], 1), "one task stands for the foreign waker");
    drop(sleep);
    HARTS[0].run();
    assert_eq!((pending(), tasks(), count.0.load(Ordering::SeqCst)), ([0, 0], 0, 0));
    assert_eq!(pass(10), 1, "the interrupt still comes, once");

    let mut sleep = Box::pin(Sleeping::until(later(5)));
    assert!(poll(sleep.as_mut(), &waker).is_pending());
    NOW.fetch_add(5, Ordering::SeqCst);
    drop(sleep);
    pass(10);
    assert_eq!((pending(), tasks(), count.0.load(Ordering::SeqCst)), ([0, 0], 0, 0));

    let mut sleep = Box::pin(Sleeping::until(later(5)));
    assert!(poll(sleep.as_mut(), &waker).is_pending());
    pass(10);
    assert_eq!((pending(), count.0.load(Ordering::SeqCst)), ([0, 0], 1));
    drop(sleep);
    HARTS[0].run();
    assert_eq!((tasks(), Arc::strong_count(&count)), (0, 2));
}

#[test]
fn whoever_polled_last_is_woken() {
    let _turn = machine();
    let counts: [Arc<Count>; 2] = Default::default();
    let wakers = counts.each_ref().map(|count| Waker::from(Arc::clone(count)));
    let mut sleep = Box::pin(Sleeping::until(later(5)));
    for waker in [&wakers[0], &wakers[0], &wakers[1]] {
        assert!(poll(sleep.as_mut(), waker).is_pending());
        HARTS[0].run();
        assert_eq!((pending(), tasks()), ([1, 0], 1));
    }
    pass(5);
    assert_eq!(counts.map(|count| count.0.load(Ordering::SeqCst)), [0, 1]);
    assert!(poll(sleep.as_mut(), &wakers[0]).is_ready());
    drop(sleep);
    HARTS[0].run();
}

#[test]
fn a_sleep_can_be_reset() {
    let _turn = machine();
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut sleep = Box::pin(Sleeping::until(later(5)));
    assert!(poll(sleep.as_mut(), &waker).is_pending());
    sleep.as_mut().reset(later(50));
    assert_eq!((pending(), sleep.deadline()), ([0, 0], later(50)));
    assert!(poll(sleep.as_mut(), &waker).is_pending());
    pass(49);
    assert_eq!(count.0.load(Ordering::SeqCst), 0);
    pass(1);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert!(poll(sleep.as_mut(), &waker).is_ready());
    sleep.as_mut().reset(later(1));
    assert!(poll(sleep.as_mut(), &waker).is_pending());
    sleep.as_mut().reset(NEVER);
    assert!(poll(sleep.as_mut(), &waker).is_pending());
    assert!(pass(1_000_000) <= 1);
    drop(sleep);
    HARTS[0].run();
}

#[test]
fn a_sleep_may_go_to_another_hart() {
    let _turn = machine();
    let sleep = {
        let mut sleep = Box::pin(Sleeping::until(later(100)));
        assert!(poll(sleep.as_mut(), Waker::noop()).is_pending());
        sleep
    };
    assert_eq!(pending(), [1, 0]);
    // Dropped there, while this hart inserts and fires beside it.
    let elsewhere = std::thread::spawn(move || {
        HERE.set(1);
        drop(sleep);
    });
    for _ in 0..100 {
        let mut beside = Box::pin(Sleeping::until(later(100)));
        assert!(poll(beside.as_mut(), Waker::noop()).is_pending());
    }
    elsewhere.join().unwrap();
    HARTS[0].run();
    assert_eq!((pending(), tasks()), ([0, 0], 0));

    // Polled there: it waits on that hart's timers from then on.
    let mut sleep = Box::pin(Sleeping::until(later(100)));
    assert!(poll(sleep.as_mut(), Waker::noop()).is_pending());
    let sleep = std::thread::spawn(move || {
        HERE.set(1);
        let waker = Waker::from(Arc::new(Count::default()));
        assert!(poll(sleep.as_mut(), &waker).is_pending());
        assert_eq!(pending(), [0, 1]);
        sleep
    });
    let sleep = sleep.join().unwrap();
    drop(sleep);
    HARTS[0].run();
    std::thread::spawn(|| {
        HERE.set(1);
        HARTS[1].run();
    })
    .join()
    .unwrap();
    assert_eq!((pending(), tasks(), HARTS[1].tasks()), ([0, 0], 0, 0));
}

#[test]
fn a_sleep_outside_of_any_hart_is_on_the_first() {
    let _turn = machine();
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let deadline = later(7);
    let sleep = std::thread::spawn(move || {
        let mut sleep = Box::pin(Sleeping::until(deadline));
        assert!(poll(sleep.as_mut(), &waker).is_pending());
        sleep
    });
    let sleep = sleep.join().unwrap();
    HARTS[0].run(); // rung to arm itself
    assert_eq!((pending(), ARMED[0].load(Ordering::SeqCst)), ([1, 0], deadline));
    pass(7);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    drop(sleep);
    HARTS[0].run();
    assert_eq!(tasks(), 0);
}

/// Clocks of two harts may differ by a tick: whoever is woken early by that is still woken.
#[test]
fn a_wake_that_was_early_is_not_the_last() {
    let _turn = machine();
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut sleep = Box::pin(Sleeping::until(later(5)));
    assert!(poll(sleep.as_mut(), &waker).is_pending());
    pass(5);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    NOW.fetch_sub(1, Ordering::SeqCst); // the other hart's clock
    assert!(poll(sleep.as_mut(), &waker).is_pending());
    assert_eq!(pending(), [1, 0], "it waits again");
    NOW.fetch_add(1, Ordering::SeqCst);
    HARTS[0].ring();
    HARTS[0].run();
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
    assert!(poll(sleep.as_mut(), &waker).is_ready());
    drop(sleep);
    HARTS[0].run();
}

/// An interrupt comes between any two edits of the wheel, and rings, drops a sleep, or polls one.
#[test]
fn interrupts_come_between_edits() {
    let handlers: [fn(&Arc<Count>) -> Interrupt; 4] = [
        |_| Box::new(|| HARTS[0].ring()),
        |_| {
            let mut sleep = Box::pin(Sleeping::until(later(3)));
            assert!(poll(sleep.as_mut(), Waker::noop()).is_pending());
            Box::new(move || drop(sleep))
        },
        |count| {
            let waker = Waker::from(Arc::clone(count));
            Box::new(move || {
                let mut sleep = Box::pin(Sleeping::until(later(1)));
                assert!(poll(sleep.as_mut(), &waker).is_pending());
                drop(sleep);
            })
        },
        |_| {
            Box::new(|| {
                NOW.fetch_add(7, Ordering::SeqCst);
                HARTS[0].ring();
            })
        },
    ];
    let _turn = machine();
    let mut tries = 0;
    for handler in handlers {
        for countdown in 0.. {
            let (kept, count) = (Arc::new(Count::default()), Arc::new(Count::default()));
            let waker = Waker::from(Arc::clone(&kept));
            INTERRUPT.set(Some(handler(&count)));
            COUNTDOWN.set(countdown);
            let ends = Arc::new(Mutex::new(0));
            for length in [2, 5, 5, 900] {
                let (ends, deadline) = (Arc::clone(&ends), later(length));
                let task = async move {
                    Sleeping::until(deadline).await;
                    assert!(Machine::now() >= deadline, "early");
                    *ends.lock().unwrap() += 1;
                };
                Builder::<Machine>::new().spawn_local(task).unwrap().detach();
            }
            let mut sleep = Box::pin(Sleeping::until(later(4)));
            _ = poll(sleep.as_mut(), &waker);
            HARTS[0].run();
            sleep.as_mut().reset(later(6));
            let ready = poll(sleep.as_mut(), &waker).is_ready();
            pass(2000);
            assert!(ready || poll(sleep.as_mut(), &waker).is_ready());
            drop(sleep);
            HARTS[0].run();
            let came = INTERRUPT.take().is_none();
            COUNTDOWN.set(usize::MAX);
            pass(2000);
            assert_eq!(*ends.lock().unwrap(), 4, "a sleep is lost, interrupted at {countdown}");
            assert_eq!((pending(), tasks()), ([0, 0], 0), "interrupted at {countdown}");
            tries += 1;
            if !came {
                break; // there are no more places
            }
        }
    }
    assert!(tries > 60, "only {tries} places");
}
