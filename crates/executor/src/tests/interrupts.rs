//! An interrupt at each point of everything that a hart does, and two at each pair of points.
//!
//! The interrupt runs to its end, on the same hart, before what it interrupted goes on: so it must never
//! wait for that. And what it wakes, drops, spawns or rings must not be lost.

use core::{
    alloc::Layout,
    cell::Cell,
    future::{Future, pending},
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::{Context, Poll, RawWakerVTable, Waker},
};
use std::{
    rc::Rc,
    sync::{Arc, Mutex},
    task::Wake,
};

use super::{HERE, Interrupt, memory::Memory, points};
use crate::{
    Builder, Hart, JoinHandle, OUTSIDE, Platform, Priority, Task, waker_vtable, yield_now,
};

/// Hart 0.
fn hart() -> &'static Hart<P> {
    // SAFETY: there is one.
    unsafe { P::hart(0) }
}

/// Harts of this file's tests: one at a time has them, on one thread.
struct P;

static MEMORY: Memory = Memory::new();
static INTERRUPTS: [Interrupt; 2] = [const { Interrupt::new() }; 2];
static ALARMS: AtomicUsize = AtomicUsize::new(0);
static IN_USE: Mutex<bool> = Mutex::new(false);

// SAFETY: each number is that of one flow of control: the thread that has `IN_USE`, where it says so.
unsafe impl Platform for P {
    fn here() -> usize {
        HERE.get()
    }

    unsafe fn local() -> &'static Hart<Self> {
        // SAFETY: as ours.
        unsafe { Self::hart(Self::here()) }
    }

    unsafe fn hart(number: usize) -> &'static Hart<Self> {
        static HARTS: [Hart<P>; 2] = [const { Hart::new() }; 2];
        assert!(number != OUTSIDE, "no hart in an interrupt");
        &HARTS[number]
    }

    fn harts() -> usize {
        2
    }

    fn interrupt(number: usize) {
        INTERRUPTS[number].raise();
    }

    fn vtable() -> &'static RawWakerVTable {
        static VTABLE: RawWakerVTable = waker_vtable::<P>();
        &VTABLE
    }

    fn allocate(layout: Layout) -> *mut u8 {
        MEMORY.allocate(layout)
    }

    fn alarm() {
        ALARMS.fetch_add(1, Relaxed);
    }

    #[cfg(feature = "counters")]
    fn now() -> u64 {
        0
    }
}

/// Runs a test with the machine for itself.
fn with_machine(test: impl FnOnce(&'static Hart<P>)) {
    let mut is_started = IN_USE.lock().unwrap_or_else(|failed| {
        panic!("another test of these harts failed: {failed}");
    });
    if !core::mem::replace(&mut *is_started, true) {
        for number in 0..2 {
            // SAFETY: once.
            unsafe { P::hart(number).start(number) };
        }
    }
    HERE.set(0);
    test(hart());
    settle();
    MEMORY.assert_vacant::<P>(core::array::from_ref(hart()));
}

/// Does something as another: as an interrupt, or as if another hart did it at that moment.
fn as_hart<T>(number: usize, what: impl FnOnce() -> T) -> T {
    let here = HERE.replace(number);
    let result = what();
    HERE.set(here);
    result
}

/// Takes the interrupts of a hart that sleeps. Returns whether there were any.
fn take_interrupt(number: usize) -> bool {
    core::mem::take(&mut *INTERRUPTS[number].pending.lock().unwrap())
}

/// Runs hart 0 until it sleeps.
fn run() {
    loop {
        hart().run();
        if hart().sleep() {
            break;
        }
    }
}

/// Runs hart 0, which has just run, for as long as it does not sleep, or is interrupted.
fn settle() {
    let is_asleep = hart().sleep();
    if !is_asleep {
        run();
    }
    while take_interrupt(0) {
        run();
    }
}

/// What a task and its test share.
#[derive(Clone, Default)]
struct Gate(Rc<Inner>);

#[derive(Default)]
struct Inner {
    waker: Cell<Option<Waker>>,
    is_open: Cell<bool>,
}

// SAFETY: these tests have one thread.
unsafe impl Send for Gate {}

impl Gate {
    fn waker(&self) -> Waker {
        let waker = self.0.waker.take().expect("it was polled");
        self.0.waker.set(Some(waker.clone()));
        waker
    }

    fn open(&self) {
        self.0.is_open.set(true);
        self.waker().wake();
    }
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.waker.set(Some(context.waker().clone()));
        if self.0.is_open.get() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Tells how many there are.
struct Counted(#[expect(dead_code, reason = "its count is looked at")] Arc<()>);

type Handle = JoinHandle<P, Counted>;

/// Tasks in all stages of life.
struct Scene {
    alive: Arc<()>,
    /// Waits for the gate; somebody waits for it.
    gate: Gate,
    joiner: JoinHandle<P, bool>,
    /// Waits for a gate that is never opened, or for its abort.
    victim: Rc<Cell<Option<Handle>>>,
    victim_gate: Gate,
    /// Has ended.
    ended: Rc<Cell<Option<Handle>>>,
    ended_waker: Waker,
    /// Ends soon.
    ending: Rc<Cell<Option<Handle>>>,
    ending_task: Task<P>,
    ending_gate: Gate,
    /// Tasks that an interrupt started.
    begun: Rc<Cell<Option<Handle>>>,
    alarms: usize,
}

fn spawn(gate: &Gate, alive: &Arc<()>) -> Handle {
    let (gate, held, output) = (gate.clone(), Counted(Arc::clone(alive)), Arc::clone(alive));
    let task = async move {
        gate.await;
        drop(held);
        Counted(output)
    };
    Builder::<P>::new().hart(0).spawn(task).unwrap()
}

impl Scene {
    fn new() -> Self {
        let alive = Arc::new(());
        let [gate, victim_gate, ended_gate, ending_gate] = [(); 4].map(|()| Gate::default());
        let joined = spawn(&gate, &alive);
        let joiner = Builder::<P>::new().spawn_local(async { joined.await.is_ok() }).unwrap();
        let victim = spawn(&victim_gate, &alive);
        let ended = spawn(&ended_gate, &alive);
        let ending = spawn(&ending_gate, &alive);
        run();
        ended_gate.open();
        run();
        assert!(ended.is_finished());
        _ = take_interrupt(0);
        let of = |handle| Rc::new(Cell::new(Some(handle)));
        Self {
            gate,
            joiner,
            victim: of(victim),
            victim_gate,
            ended: of(ended),
            ended_waker: ended_gate.waker(),
            ending_task: ending.task(),
            ending: of(ending),
            ending_gate,
            begun: Rc::default(),
            alarms: ALARMS.load(Relaxed),
            alive,
        }
    }

    /// The tasks end, in whatever state they are, and nothing of them is left.
    fn end(self) {
        if let Some(victim) = self.victim.take() {
            victim.abort();
        }
        self.ending_task.abort();
        drop((self.ending.take(), self.ended.take(), self.begun.take()));
        self.gate.open();
        run();
        assert!(self.joiner.is_finished());
        drop(self.joiner);
        run();
        assert_eq!(Arc::strong_count(&self.alive), 1, "a future or an output is lost");
        assert_eq!(hart().tasks(), 0);
        _ = take_interrupt(0);
    }
}

/// What an interrupt may do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    Wake,
    WakeLate,
    Abort,
    DropEnded,
    DropEnding,
    Ring,
    Spawn,
    SetPriority,
}

const ALL: [Does; 8] = [
    Does::Wake,
    Does::WakeLate,
    Does::Abort,
    Does::DropEnded,
    Does::DropEnding,
    Does::Ring,
    Does::Spawn,
    Does::SetPriority,
];

impl Does {
    fn prepare(self, scene: &Scene) -> Box<dyn FnOnce()> {
        let what: Box<dyn FnOnce()> = match self {
            Self::Wake => {
                let gate = scene.gate.clone();
                Box::new(move || gate.open())
            }
            Self::WakeLate => {
                let waker = scene.ended_waker.clone();
                Box::new(move || waker.wake())
            }
            Self::Abort => {
                let victim = scene.victim.take();
                let task = victim.as_ref().map(JoinHandle::task);
                scene.victim.set(victim);
                Box::new(move || task.into_iter().for_each(|task| task.abort()))
            }
            Self::DropEnded => {
                let ended = Rc::clone(&scene.ended);
                Box::new(move || drop(ended.take()))
            }
            Self::DropEnding => {
                let ending = Rc::clone(&scene.ending);
                Box::new(move || drop(ending.take()))
            }
            Self::Ring => Box::new(|| hart().ring()),
            Self::Spawn => {
                let (begun, alive) = (Rc::clone(&scene.begun), Arc::clone(&scene.alive));
                Box::new(move || {
                    let gate = Gate::default();
                    gate.0.is_open.set(true);
                    drop(begun.replace(Some(spawn(&gate, &alive))));
                })
            }
            Self::SetPriority => {
                let victim = scene.victim.take();
                let task = victim.as_ref().map(JoinHandle::task);
                scene.victim.set(victim);
                Box::new(move || {
                    task.into_iter().for_each(|task| task.set_priority(Priority::LOW));
                })
            }
        };
        Box::new(move || as_hart(OUTSIDE, what))
    }

    /// Asserts that it was not for nothing. The hart sleeps.
    fn check(self, scene: &Scene) {
        match self {
            Self::Wake => assert!(scene.joiner.is_finished(), "a wake is lost"),
            Self::Abort => {
                let victim = scene.victim.take();
                let is_over = victim.as_ref().is_none_or(JoinHandle::is_finished);
                scene.victim.set(victim);
                assert!(is_over, "an abort is lost");
            }
            Self::Ring => assert!(ALARMS.load(Relaxed) > scene.alarms, "an alarm is lost"),
            Self::Spawn => {
                let begun = scene.begun.take();
                let is_over = begun.as_ref().is_some_and(JoinHandle::is_finished);
                scene.begun.set(begun);
                assert!(is_over, "a task is lost");
            }
            Self::WakeLate | Self::DropEnded | Self::DropEnding | Self::SetPriority => {}
        }
    }
}

/// Every point is tried, but under Miri, which is slow.
const STEP: usize = if cfg!(miri) { 47 } else { 1 };

/// Tries a part of the hart's work with each kind of interrupt at each point, and with some pairs.
fn every_interrupt(work: fn(&Scene)) {
    with_machine(|_| {
        let mut tries = 0;
        for does in ALL {
            for point in (0..).step_by(STEP) {
                tries += 1;
                if try_with(work, &[(point, does)]) {
                    break;
                }
            }
        }
        // Two in one: the kinds that meddle with the same things.
        let pairs = [
            (Does::Wake, Does::Wake),
            (Does::WakeLate, Does::DropEnded),
            (Does::DropEnded, Does::WakeLate),
            (Does::Abort, Does::DropEnding),
            (Does::Ring, Does::Spawn),
            (Does::Wake, Does::Abort),
        ];
        for (one, other) in pairs.into_iter().take(if cfg!(miri) { 0 } else { 6 }) {
            for first in 0.. {
                for second in first + 1.. {
                    tries += 1;
                    if try_with(work, &[(first, one), (second, other)]) {
                        break;
                    }
                }
                if try_with(work, &[(first, one)]) {
                    break;
                }
            }
        }
        println!("{tries} tries");
    });
}

/// Returns whether an interrupt was too late: the work was done.
fn try_with(work: fn(&Scene), interrupts: &[(usize, Does)]) -> bool {
    let scene = Scene::new();
    let prepared: Vec<_> =
        interrupts.iter().map(|&(point, does)| (point, does.prepare(&scene))).collect();
    points::arm(prepared);
    work(&scene);
    let late = points::disarm();
    let was_late = !late.is_empty();
    late.into_iter().for_each(|(_, interrupt)| interrupt());
    settle();
    interrupts.iter().for_each(|(_, does)| does.check(&scene));
    scene.end();
    was_late
}

#[test]
fn interrupted_turns() {
    every_interrupt(|_| {
        for _ in 0..2 {
            Builder::<P>::new().spawn_local(async { yield_now().await }).unwrap().detach();
        }
        hart().run();
    });
}

#[test]
fn interrupted_wake() {
    every_interrupt(|scene| {
        scene.victim_gate.waker().wake();
        scene.gate.waker().wake();
        hart().run();
    });
}

#[test]
fn interrupted_spawn() {
    every_interrupt(|scene| {
        drop(scene.ended.take());
        let gate = Gate::default();
        gate.0.is_open.set(true);
        let handle = spawn(&gate, &scene.alive);
        hart().run();
        assert!(handle.is_finished());
    });
}

#[test]
fn interrupted_completion() {
    every_interrupt(|scene| {
        scene.ending_gate.open();
        hart().run();
        drop(scene.ending.take());
    });
}

#[test]
fn interrupted_completion_of_what_is_joined() {
    every_interrupt(|scene| {
        scene.gate.open();
        hart().run();
        assert!(scene.joiner.is_finished());
    });
}

#[test]
fn interrupted_abort() {
    every_interrupt(|scene| {
        if let Some(ending) = scene.ending.take() {
            ending.abort();
            scene.ending.set(Some(ending));
        }
        hart().run();
    });
}

#[test]
fn interrupted_delivery() {
    every_interrupt(|scene| {
        let wakers = [&scene.victim_gate, &scene.ending_gate].map(Gate::waker);
        as_hart(OUTSIDE, || wakers.into_iter().for_each(Waker::wake));
        hart().run();
    });
}

#[test]
fn interrupted_sleep() {
    every_interrupt(|_| {
        hart().run();
        _ = take_interrupt(0);
        if hart().sleep() {
            _ = hart().sleep();
        }
    });
}

/// A late waker has the slot of the next task in a queue.
#[test]
fn interrupted_limbo() {
    every_interrupt(|scene| {
        scene.ended_waker.wake_by_ref();
        drop(scene.ended.take());
        let gate = Gate::default();
        let handle = spawn(&gate, &scene.alive);
        hart().run();
        handle.abort();
    });
}

/// A waker of another executor.
#[derive(Default)]
struct Foreign(AtomicUsize);

impl Wake for Foreign {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn poll<T>(handle: &mut JoinHandle<P, T>, waker: &Waker) -> bool {
    Pin::new(handle).poll(&mut Context::from_waker(waker)).is_ready()
}

/// A handle is asked outside, by one waker and then by another. Meanwhile, at each point, the hart ends
/// the task, and keeps the second waker for another handle: in the memory where the first was kept.
#[test]
fn handle_is_asked_as_the_task_ends() {
    with_machine(|_| {
        for point in 0.. {
            let (gate, other_gate) = (Gate::default(), Gate::default());
            let alive = Arc::new(());
            let mut handle = spawn(&gate, &alive);
            let other = Rc::new(Cell::new(Some(spawn(&other_gate, &alive))));
            run();
            let [one, two] = [(); 2].map(|()| Arc::new(Foreign::default()));
            let wakers = [&one, &two].map(|waker| Waker::from(Arc::clone(waker)));
            assert!(as_hart(OUTSIDE, || !poll(&mut handle, &wakers[0])));
            run();
            let (kept, second) = (Rc::clone(&other), wakers[1].clone());
            let hart = move || {
                as_hart(0, || {
                    gate.open();
                    run();
                    let mut other = kept.take().unwrap();
                    assert!(!poll(&mut other, &second));
                    kept.set(Some(other));
                    run();
                });
            };
            HERE.set(OUTSIDE);
            points::arm([(point, Box::new(hart) as Box<dyn FnOnce()>)]);
            let is_ready = poll(&mut handle, &wakers[1]);
            let late = points::disarm();
            let was_late = !late.is_empty();
            late.into_iter().for_each(|(_, hart)| hart());
            HERE.set(0);
            run();
            assert!(is_ready || two.0.load(Relaxed) > 0, "who waited last was not woken");
            assert!(is_ready || poll(&mut handle, Waker::noop()));
            drop((handle, other.take()));
            other_gate.open();
            run();
            drop(wakers);
            assert_eq!([one, two].map(|waker| Arc::strong_count(&waker)), [1, 1]);
            assert_eq!(Arc::strong_count(&alive), 1);
            if was_late {
                break;
            }
        }
    });
}

/// Who waits at a handle is another executor's: woken once the task ends, wherever that is seen.
#[test]
fn foreign_wakers_are_woken() {
    with_machine(|_| {
        for runs_before in [false, true] {
            let gate = Gate::default();
            let mut handle = spawn(&gate, &Arc::default());
            run();
            let foreign = Arc::new(Foreign::default());
            assert!(!poll(&mut handle, &Waker::from(Arc::clone(&foreign))));
            if runs_before {
                run();
            }
            assert_eq!(foreign.0.load(Relaxed), 0);
            gate.open();
            run();
            assert_eq!(foreign.0.load(Relaxed), 1);
            assert_eq!(Arc::strong_count(&foreign), 1);
            assert!(poll(&mut handle, Waker::noop()));
        }
        Builder::<P>::new().hart(0).spawn(pending::<()>()).unwrap().abort();
    });
}
