//! Four threads as harts, and a fifth that is none, do at random whatever can be done to tasks: spawn,
//! wake, abort, wait, drop, change priorities. At the end nothing may be missing or left over.
//!
//! It takes a second; `WAKEFUL_STORM_SECONDS` says how many otherwise. The seed is printed, and
//! `WAKEFUL_STORM_SEED` gives one: threads make no two runs alike, but the same things are tried.

use core::{
    alloc::Layout,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    task::{Context, Poll, RawWakerVTable, Waker},
    time::Duration,
};
use std::{
    sync::{Arc, Condvar, Mutex},
    time::{Instant, SystemTime},
};

use super::{HERE, memory::Memory};
use crate::{Builder, Hart, JoinError, JoinHandle, OUTSIDE, Platform, Priority, waker_vtable};

const HARTS: usize = 4;
/// Tasks that live from the beginning to the end, and do things to others and to their children.
const PARENTS: usize = if cfg!(miri) { 6 } else { 48 };
/// How many children a parent has at most.
const CHILDREN: usize = 8;
/// How many wakers, of the living and the dead, are kept to be woken at random.
const STALE: usize = 256;

struct P;

static MEMORY: Memory = Memory::new();
static SLEEPS: [Sleep; HARTS] = [const { Sleep::new() }; HARTS];

fn harts() -> &'static [Hart<P>; HARTS] {
    static ALL: [Hart<P>; HARTS] = [const { Hart::new() }; HARTS];
    &ALL
}

// SAFETY: each number is that of one thread.
unsafe impl Platform for P {
    fn here() -> usize {
        HERE.get()
    }

    unsafe fn local() -> &'static Hart<Self> {
        &harts()[Self::here()]
    }

    unsafe fn hart(number: usize) -> &'static Hart<Self> {
        &harts()[number]
    }

    fn harts() -> usize {
        HARTS
    }

    fn interrupt(number: usize) {
        SLEEPS[number].interrupt();
    }

    fn vtable() -> &'static RawWakerVTable {
        static VTABLE: RawWakerVTable = waker_vtable::<P>();
        &VTABLE
    }

    fn allocate(layout: Layout) -> *mut u8 {
        MEMORY.allocate(layout)
    }

    #[cfg(feature = "counters")]
    fn now() -> u64 {
        0
    }
}

/// The sleep of a thread that is a hart: ended by interrupts alone.
struct Sleep {
    state: Mutex<Asleep>,
    changed: Condvar,
}

struct Asleep {
    interrupted: bool,
    sleeps: bool,
    ends: bool,
}

impl Sleep {
    const fn new() -> Self {
        let state = Asleep { interrupted: false, sleeps: false, ends: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn interrupt(&self) {
        self.state.lock().unwrap().interrupted = true;
        self.changed.notify_one();
    }

    /// Sleeps until interrupted. Returns whether it is to go on.
    fn sleep(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        state.sleeps = true;
        let wakes = |state: &mut Asleep| !state.interrupted && !state.ends;
        state = self.changed.wait_while(state, wakes).unwrap();
        state.sleeps = false;
        core::mem::take(&mut state.interrupted)
    }
}

/// Whether all harts sleep and none is about to be interrupted: then nobody does anything any more,
/// unless from outside.
fn is_quiet() -> bool {
    let states = SLEEPS.each_ref().map(|sleep| sleep.state.lock().unwrap());
    states.iter().all(|state| state.sleeps && !state.interrupted)
}

fn wait_until_quiet() {
    let limit = Instant::now() + Duration::from_secs(if cfg!(miri) { 600 } else { 20 });
    while !is_quiet() {
        assert!(Instant::now() < limit, "the harts do not come to rest");
        std::thread::yield_now();
    }
}

/// Marsaglia's xorshift64.
#[derive(Clone)]
struct Random(u64);

impl Random {
    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }
}

/// What the tasks share.
struct World {
    parents: Vec<Parent>,
    stale: Mutex<Vec<Waker>>,
    /// Handles that were given away, for the thread that is no hart.
    handles: Mutex<Vec<Handle>>,
    is_over: AtomicBool,
    ends: AtomicBool,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    completed: AtomicU64,
    aborted: AtomicU64,
    outputs_made: AtomicU64,
    outputs_dropped: AtomicU64,
    wakes: AtomicU64,
    joins: AtomicU64,
}

/// Where a parent can be reached, and what became of that.
#[derive(Default)]
struct Parent {
    waker: Mutex<Option<Waker>>,
    /// How many wakes were sent, written before each; how many of these its last poll knew of.
    sent: AtomicU64,
    seen: AtomicU64,
}

type Handle = JoinHandle<P, Output>;

/// Counts itself.
struct Output(Arc<World>, Box<u64>);

impl Output {
    fn new(world: &Arc<World>) -> Self {
        world.counts.outputs_made.fetch_add(1, Relaxed);
        Self(Arc::clone(world), Box::new(42))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        assert_eq!(core::mem::take(&mut *self.1), 42);
        self.0.counts.outputs_dropped.fetch_add(1, Relaxed);
    }
}

/// A task that ends, in one of several ways.
struct Child {
    world: Arc<World>,
    /// How often it gives others a turn before it ends. `None`: it is to be aborted.
    turns: Option<usize>,
    is_done: bool,
    random: Random,
}

impl Future for Child {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Output> {
        assert!(!self.is_done, "polled after its end");
        self.world.keep_stale(context.waker(), &mut self.random.clone());
        match &mut self.turns {
            Some(0) => {
                self.is_done = true;
                Poll::Ready(Output::new(&self.world))
            }
            Some(turns) => {
                *turns -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let counts = &self.world.counts;
        if self.is_done { &counts.completed } else { &counts.aborted }.fetch_add(1, Relaxed);
    }
}

impl World {
    /// Wakes a parent, and takes note of it before.
    fn wake_parent(&self, number: usize) {
        let parent = &self.parents[number];
        let waker = parent.waker.lock().unwrap().clone();
        if let Some(waker) = waker {
            parent.sent.fetch_add(1, Relaxed);
            self.counts.wakes.fetch_add(1, Relaxed);
            waker.wake();
        }
    }

    fn keep_stale(&self, waker: &Waker, random: &mut Random) {
        let mut stale = self.stale.lock().unwrap();
        if stale.len() < STALE {
            stale.push(waker.clone());
        } else {
            stale[random.below(STALE)] = waker.clone();
        }
    }

    fn wake_stale(&self, random: &mut Random) {
        let waker = {
            let stale = self.stale.lock().unwrap();
            (!stale.is_empty()).then(|| stale[random.below(stale.len())].clone())
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn spawn(self: &Arc<Self>, random: &mut Random) -> Handle {
        self.counts.begun.fetch_add(1, Relaxed);
        let turns = [Some(0), Some(1), Some(5), None][random.below(4)];
        let random_of_its_own = Random(random.0 | 1);
        let child =
            Child { world: Arc::clone(self), turns, is_done: false, random: random_of_its_own };
        let priority = Priority::from_level(random.below(8) as u8).unwrap();
        let builder = Builder::<P>::new().priority(priority);
        let spawned = match random.below(3) {
            0 => builder.spawn(child),
            1 => builder.name("child").hart(random.below(HARTS)).spawn(child),
            _ => builder.hart(random.below(HARTS)).spawn(child),
        };
        spawned.unwrap()
    }

    /// Lets a task go. Those that do not end by themselves are aborted.
    fn let_go(handle: Handle, random: &mut Random) {
        if random.below(2) == 0 {
            handle.abort();
            drop(handle);
        } else {
            let task = handle.task();
            drop(handle);
            task.abort();
        }
    }
}

/// What a parent does at each of its turns.
struct Life {
    world: Arc<World>,
    number: usize,
    random: Random,
    children: Vec<Handle>,
}

impl Life {
    fn act(&mut self, context: &mut Context<'_>) {
        let random = &mut self.random;
        let child = if self.children.is_empty() { 0 } else { random.below(self.children.len()) };
        match random.below(12) {
            0..3 if self.children.len() < CHILDREN => {
                let handle = self.world.spawn(random);
                self.children.push(handle);
            }
            3..6 => self.world.wake_parent(random.below(PARENTS)),
            6 => self.world.wake_stale(random),
            _ if self.children.is_empty() => {}
            7 => self.children[child].abort(),
            8 => {
                let level = random.below(8) as u8;
                self.children[child].task().set_priority(Priority::from_level(level).unwrap());
            }
            9 => World::let_go(self.children.swap_remove(child), random),
            10 => {
                let given = self.children.swap_remove(child);
                self.world.handles.lock().unwrap().push(given);
            }
            _ => {
                let mut joined = Pin::new(&mut self.children[child]).poll(context);
                if random.below(4) == 0 && joined.is_pending() {
                    joined = Pin::new(&mut self.children[child])
                        .poll(&mut Context::from_waker(Waker::noop()));
                }
                if let Poll::Ready(result) = joined {
                    assert!(
                        result.is_ok_and(|output| *output.1 == 42)
                            || self.children[child].is_finished()
                    );
                    self.world.counts.joins.fetch_add(1, Relaxed);
                    drop(self.children.swap_remove(child));
                }
            }
        }
    }
}

impl Future for Life {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = Arc::clone(&self.world);
        let parent = &world.parents[self.number];
        parent.seen.store(parent.sent.load(Relaxed), Relaxed);
        parent.waker.lock().unwrap().get_or_insert_with(|| context.waker().clone());
        if world.ends.load(Relaxed) {
            return Poll::Ready(());
        }
        if !world.is_over.load(Relaxed) {
            for _ in 0..=self.random.below(4) {
                self.act(context);
            }
        }
        Poll::Pending
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let mut random = self.random.clone();
        self.children.drain(..).for_each(|child| World::let_go(child, &mut random));
    }
}

/// What a thread that is a hart does.
fn be_hart(number: usize) {
    HERE.set(number);
    let hart = &harts()[number];
    let mut turns = 1;
    loop {
        while !hart.run_some(turns) {
            turns = turns % 64 + 1;
        }
        if hart.sleep() && !SLEEPS[number].sleep() {
            break;
        }
    }
}

/// What the thread that is no hart does.
fn meddle(world: &Arc<World>, random: &mut Random) {
    match random.below(6) {
        0 => world.wake_stale(random),
        1..4 => world.wake_parent(random.below(PARENTS)),
        4 => {
            let handle = world.handles.lock().unwrap().pop();
            if let Some(mut handle) = handle {
                let noop = &mut Context::from_waker(Waker::noop());
                match Pin::new(&mut handle).poll(noop) {
                    Poll::Ready(Err(JoinError::Aborted) | Ok(_)) => {}
                    Poll::Ready(Err(JoinError::Panicked)) => panic!("no task was given up"),
                    Poll::Pending => World::let_go(handle, random),
                }
            }
        }
        _ if random.below(8) == 0 => {
            let handle = world.spawn(random);
            world.handles.lock().unwrap().push(handle);
        }
        _ => {}
    }
}

#[test]
fn nothing_is_lost_in_the_storm() {
    let seconds = std::env::var("WAKEFUL_STORM_SECONDS").ok().and_then(|text| text.parse().ok());
    let seed = std::env::var("WAKEFUL_STORM_SEED").ok().and_then(|text| text.parse().ok());
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let seed = seed.unwrap_or(now.as_nanos() as u64) | 1;
    println!("WAKEFUL_STORM_SEED={seed}");
    for (number, hart) in harts().iter().enumerate() {
        // SAFETY: once.
        unsafe { hart.start(number) };
    }
    let world = Arc::new(World {
        parents: (0..PARENTS).map(|_| Parent::default()).collect(),
        stale: Mutex::default(),
        handles: Mutex::default(),
        is_over: AtomicBool::new(false),
        ends: AtomicBool::new(false),
        counts: Counts::default(),
    });
    HERE.set(OUTSIDE);
    let mut random = Random(seed);
    let threads: Vec<_> =
        (0..HARTS).map(|number| std::thread::spawn(move || be_hart(number))).collect();
    let mut parents = Vec::new();
    for number in 0..PARENTS {
        random.below(1);
        let life = Life {
            world: Arc::clone(&world),
            number,
            random: Random(random.0 | 1),
            children: Vec::new(),
        };
        let hart = number % HARTS;
        parents.push(Builder::<P>::new().hart(hart).spawn(life).unwrap());
    }
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(1));
    let rounds = AtomicUsize::new(0);
    while if cfg!(miri) { rounds.load(Relaxed) < 150 } else { Instant::now() < end } {
        rounds.fetch_add(1, Relaxed);
        meddle(&world, &mut random);
    }
    // No new ones: those that are under way must all arrive.
    world.is_over.store(true, Relaxed);
    wait_until_quiet();
    for (number, parent) in world.parents.iter().enumerate() {
        let (sent, seen) = (parent.sent.load(Relaxed), parent.seen.load(Relaxed));
        assert_eq!(sent, seen, "a wake of parent {number} is lost");
    }
    // All ends.
    world.ends.store(true, Relaxed);
    (0..PARENTS).for_each(|number| world.wake_parent(number));
    let given = core::mem::take(&mut *world.handles.lock().unwrap());
    given.into_iter().for_each(|handle| World::let_go(handle, &mut random));
    wait_until_quiet();
    assert!(parents.iter().all(JoinHandle::is_finished), "a wake is lost");
    drop(parents);
    wait_until_quiet();
    for sleep in &SLEEPS {
        sleep.state.lock().unwrap().ends = true;
        sleep.changed.notify_one();
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for (number, hart) in harts().iter().enumerate() {
        HERE.set(number);
        assert!(hart.sleep(), "hart {number} slept with something in its inbox");
    }
    assert_eq!(harts().iter().map(Hart::tasks).fold(0, u32::wrapping_add), 0);
    let Counts { begun, completed, aborted, outputs_made, outputs_dropped, wakes, joins } =
        &world.counts;
    let [begun, completed, aborted, outputs_made, outputs_dropped, wakes, joins] =
        [begun, completed, aborted, outputs_made, outputs_dropped, wakes, joins]
            .map(|count| count.load(Relaxed));
    assert_eq!(begun, completed + aborted, "a task has not ended, or twice");
    assert_eq!((outputs_made, outputs_dropped), (completed, completed), "an output is lost");
    MEMORY.assert_vacant::<P>(harts());
    world.stale.lock().unwrap().clear();
    assert_eq!(Arc::strong_count(&world), 1);
    println!(
        "{begun} tasks, {completed} completed, {aborted} aborted, {joins} joined; {wakes} wakes; {} KiB",
        MEMORY.size() / 1024
    );
}
