//! Every interleaving of two or three threads, and every value that the memory model lets a load see,
//! under loom:
//!
//! ```text
//! RUSTFLAGS="--cfg loom -Cdebug-assertions" CARGO_PROFILE_RELEASE_LTO=off \
//!     cargo test -p wakeful-executor --lib --release --target host-tuple loom_
//! ```
//!
//! The model's main thread is hart 0, others are hart 1 or no hart. Each model ends when its harts sleep
//! and nobody interrupts them; then all slots must be on the free lists again, each once, and every
//! future and output must have been dropped, each once. That the plain fields have one owner at a time
//! is loom's to check. `bounded_model`s leave out interleavings of many preemptions; the others are
//! complete, as far as loom is: see `atomic.rs` for why each model runs twice.
//!
//! That the models would notice was tried with errors put in on purpose. Among them:
//!
//! | error | noticed by |
//! |---|---|
//! | the pop is a load and a store, or relaxed | `wakes_from_outside_are_not_lost`, and most others |
//! | a wake is a relaxed load and a store, or relaxed | `handle_goes_outside`, and most others |
//! | a wake that sees `QUEUED` in a load returns | `priority_and_wakes` |
//! | `QUEUED` is cleared after the poll | `wakes_during_a_poll_are_not_lost`, and most others |
//! | no `LIMBO` when a slot is vacated in a queue, or taken in one | `late_wakes_and_the_next_task` |
//! | the completion does not clear `WAITER` before it wakes, or not at all | `handle_goes_on_another_hart` |
//! | the handle vacates although `WAITER` is set | `result_is_taken_elsewhere` |
//! | the handle registers, or goes, without a second look at `COMPLETE` | `abort_and_join`, `handle_goes_outside` |
//! | sleep is a look and a store; a push is relaxed, or a load and a store | `inbox_and_sleep` |
//! | a detached task that was woken is known by `QUEUED` alone | `wake_while_detached`, `abort_while_detached` |
//! | orders do not look at the generation, or it is not counted | `orders_do_not_hit_the_next_task` |
//! | a slot is vacated although its task was given up | `handle_goes_as_the_task_is_abandoned` |
//! | an update (priority, abort, vacating) is a load and a store | `priority_and_wakes` |
//! | a slot vacated elsewhere is not put back | `slot_comes_back_from_outside` |
//! | the slots put back are taken by a load and a store | `slots_put_back_are_found_once` |

use core::{
    alloc::Layout,
    future::{Future, poll_fn},
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll, RawWakerVTable, Waker},
};
use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    sync::{Arc, Mutex, atomic::AtomicUsize},
    task::Wake,
};

use loom::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread::{self, JoinHandle as Thread},
};

use crate::{
    Builder, Hart, JoinError, JoinHandle, OUTSIDE, Platform, Priority, SpawnError, Task,
    atomic::SEARCHING_LOADS,
    inbox::Inbox,
    slab::{Class, Returns},
    state::{LIMBO, QUEUED, VACANT},
    task::{CLASS_STATIC, Fit, Header, detached, nothing},
    waker_vtable,
};

/// Hart 0 and hart 1, and the memory of their tasks. Made anew for each interleaving.
struct Machine {
    harts: [Hart<P>; 2],
    /// Interrupts that have come. Not ordered with anything.
    interrupts: [AtomicU32; 2],
    slots: RefCell<HashSet<NonNull<Header>>>,
    /// The slot whose task was given up.
    abandoned: Cell<Option<NonNull<Header>>>,
    memory: RefCell<Vec<(*mut u8, Layout)>>,
    /// How many outputs and futures were made, and how many were dropped.
    made: AtomicUsize,
    dropped: Arc<AtomicUsize>,
}

std::thread_local! {
    /// The machine of the model. All of loom's threads are in one thread.
    static MACHINE: Cell<Option<&'static Machine>> = const { Cell::new(None) };
}

loom::thread_local! {
    /// The number of the hart that one of loom's threads is.
    static HERE: Cell<usize> = Cell::new(OUTSIDE);
}

fn machine() -> &'static Machine {
    MACHINE.get().expect("in a model")
}

fn hart(number: usize) -> &'static Hart<P> {
    &machine().harts[number]
}

fn be(number: usize) {
    HERE.with(|here| here.set(number));
}

fn become_hart(number: usize) -> &'static Hart<P> {
    be(number);
    hart(number)
}

struct P;

// SAFETY: each number is that of one of loom's threads at a time: others have been joined.
unsafe impl Platform for P {
    fn here() -> usize {
        HERE.with(Cell::get)
    }

    unsafe fn local() -> &'static Hart<Self> {
        hart(Self::here())
    }

    unsafe fn hart(number: usize) -> &'static Hart<Self> {
        hart(number)
    }

    fn harts() -> usize {
        2
    }

    fn interrupt(number: usize) {
        machine().interrupts[number].fetch_or(1, Relaxed);
    }

    fn vtable() -> &'static RawWakerVTable {
        static VTABLE: RawWakerVTable = waker_vtable::<P>();
        &VTABLE
    }

    /// The model's tasks have only the slots from the beginning. What stands for foreign wakers is
    /// smaller, and finds memory.
    fn allocate(layout: Layout) -> *mut u8 {
        let machine = machine();
        let is_of_tasks = machine.memory.borrow().first().is_some_and(|first| first.1 == layout);
        if is_of_tasks && !machine.slots.borrow().is_empty() {
            return core::ptr::null_mut();
        }
        // SAFETY: slots are not of size 0.
        let memory = unsafe { std::alloc::alloc(layout) };
        machine.memory.borrow_mut().push((memory, layout));
        memory
    }

    #[cfg(feature = "counters")]
    fn now() -> u64 {
        0
    }
}

/// All tasks have futures and outputs of these types, so slots of one size.
type Work = Pin<Box<dyn Future<Output = Tracked> + Send>>;
type Handle = JoinHandle<P, Tracked>;

/// An output, or something that a future owns: counts its drops.
struct Tracked {
    dropped: Arc<AtomicUsize>,
    was_dropped: Arc<Mutex<bool>>,
    /// Tells the slots from those of the tasks that stand for foreign wakers: one fills a chunk.
    _padding: [usize; 300],
}

impl Tracked {
    fn new() -> Self {
        let machine = machine();
        machine.made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dropped = Arc::clone(&machine.dropped);
        Self { dropped, was_dropped: Arc::default(), _padding: [0; 300] }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let was_dropped = core::mem::replace(&mut *self.was_dropped.lock().unwrap(), true);
        assert!(!was_dropped, "dropped twice");
        self.dropped.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

fn class() -> Class {
    Class::of(Fit::<(), Work>::SIZE, Fit::<(), Work>::ALIGN).expect("it is small")
}

/// Runs a model with so many slots on hart 0's free list.
fn model(slots: usize, body: fn()) {
    bounded_model(slots, None, body);
}

/// As `model`, with at most so many preemptions in each interleaving: where all of them take minutes.
fn bounded_model(slots: usize, preemptions: Option<usize>, body: fn()) {
    let mut builder = loom::model::Builder::new();
    let bounds = [preemptions, builder.preemption_bound];
    builder.preemption_bound = bounds.into_iter().flatten().min();
    for searching in [false, true] {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        SEARCHING_LOADS.set(searching);
        builder.check(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            begin(slots);
            body();
            end();
        });
        println!("{} interleavings", count.load(std::sync::atomic::Ordering::Relaxed));
    }
}

fn begin(slots: usize) {
    let machine: &'static Machine = Box::leak(Box::new(Machine {
        harts: [Hart::new(), Hart::new()],
        interrupts: [AtomicU32::new(0), AtomicU32::new(0)],
        slots: RefCell::default(),
        abandoned: Cell::default(),
        memory: RefCell::default(),
        made: AtomicUsize::new(0),
        dropped: Arc::default(),
    }));
    MACHINE.set(Some(machine));
    for (number, hart) in machine.harts.iter().enumerate() {
        // SAFETY: once.
        unsafe { hart.start(number) };
    }
    let hart = become_hart(0);
    // SAFETY: our hart.
    let take = |_| unsafe { hart.slab.take::<P>(class()) }.unwrap().0;
    let fresh: Vec<_> = (0..slots).map(take).collect();
    for slot in &fresh {
        // SAFETY: claimed above, and nobody else knows of it. Our hart.
        unsafe {
            slot.as_ref().state.clear(QUEUED);
            hart.slab.put(*slot);
        }
    }
    machine.slots.borrow_mut().extend(fresh);
}

/// All harts sleep, and the other threads have ended.
fn end() {
    let machine = machine();
    assert_eq!(machine.harts.iter().map(Hart::tasks).fold(0, u32::wrapping_add), 0, "tasks");
    let mut vacant = HashSet::new();
    for number in 0..2 {
        let hart = become_hart(number);
        assert!(hart.sleep(), "something is left");
        // SAFETY: our hart.
        while let Some((slot, state)) = unsafe { hart.slab.take::<P>(class()) } {
            assert!(state & (VACANT | LIMBO) == VACANT, "state {state:#x} on a free list");
            assert!(vacant.insert(slot), "doubled");
        }
    }
    if let Some(abandoned) = machine.abandoned.get() {
        assert!(machine.slots.borrow_mut().remove(&abandoned));
    }
    assert_eq!(vacant, *machine.slots.borrow(), "a slot is lost");
    let made = machine.made.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(made, dropped(), "a future or an output is lost");
    for slot in vacant {
        // SAFETY: type-stable.
        assert!(unsafe { slot.as_ref() }.state.load() & LIMBO == 0, "doubled");
    }
    for (memory, layout) in machine.memory.take() {
        // SAFETY: `allocate` made it so, and nobody uses it any more.
        unsafe { std::alloc::dealloc(memory, layout) };
    }
    // SAFETY: `begin` leaked it, and nobody uses it any more.
    drop(unsafe { Box::from_raw(core::ptr::from_ref(machine).cast_mut()) });
}

/// Runs the hart until it sleeps.
fn run(number: usize) {
    let hart = become_hart(number);
    loop {
        hart.run();
        if hart.sleep() {
            break;
        }
    }
}

/// Runs a hart that sleeps if it has been interrupted. Returns whether it was.
fn run_if_interrupted(number: usize) -> bool {
    let interrupted = machine().interrupts[number].swap(0, Relaxed) != 0;
    if interrupted {
        run(number);
    }
    interrupted
}

/// Waits for the other threads, and then until both harts sleep for good.
///
/// Nothing but interrupts ends their sleep: what came in without one is never seen.
fn settle<const N: usize>(others: [Thread<()>; N]) {
    for other in others {
        other.join().unwrap();
    }
    while run_if_interrupted(0) || run_if_interrupted(1) {}
    become_hart(0);
}

/// What a task and its test share.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    waker: Option<Waker>,
    polls: usize,
    is_open: bool,
}

impl Gate {
    fn waker(&self) -> Waker {
        self.0.lock().unwrap().waker.clone().expect("it was polled")
    }

    fn polls(&self) -> usize {
        self.0.lock().unwrap().polls
    }

    /// The next poll passes. Not ordered with anything: only for tests that wake from here.
    fn open(&self) {
        self.0.lock().unwrap().is_open = true;
    }

    /// Takes note of a poll. Returns whether it is open.
    fn polled(&self, context: &Context<'_>) -> bool {
        let mut gate = self.0.lock().unwrap();
        gate.waker = Some(context.waker().clone());
        gate.polls += 1;
        gate.is_open
    }
}

/// Starts a task that is done when `is_done` says so.
fn try_spawn(
    home: usize,
    gate: &Gate,
    is_done: impl Fn() -> bool + Send + 'static,
) -> Result<Handle, SpawnError> {
    let gate = gate.clone();
    let owned = Tracked::new();
    let work: Work = Box::pin(poll_fn(move |context| {
        let _ = &owned;
        let is_open = gate.polled(context);
        if is_open || is_done() { Poll::Ready(Tracked::new()) } else { Poll::Pending }
    }));
    Builder::<P>::new().hart(home).spawn(work)
}

fn spawn(home: usize, gate: &Gate, is_done: impl Fn() -> bool + Send + 'static) -> Handle {
    try_spawn(home, gate, is_done).expect("there is a slot")
}

fn dropped() -> usize {
    machine().dropped.load(std::sync::atomic::Ordering::Relaxed)
}

/// A waker of another executor.
#[derive(Default)]
struct Foreign(AtomicUsize);

impl Foreign {
    fn count(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Wake for Foreign {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

fn poll(handle: &mut Handle, waker: &Waker) -> Poll<Result<Tracked, JoinError>> {
    Pin::new(handle).poll(&mut Context::from_waker(waker))
}

/// What was written before a wake is seen by a later poll: two wakes from outside, while the hart polls.
#[test]
fn loom_wakes_from_outside_are_not_lost() {
    model(1, || {
        let gate = Gate::default();
        let data = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let seen = Arc::clone(&data);
        let handle = spawn(0, &gate, move || seen.iter().all(|word| word.load(Relaxed) == 1));
        run(0);
        let others = [0, 1].map(|word| {
            let (data, waker) = (Arc::clone(&data), gate.waker());
            thread::spawn(move || {
                data[word].store(1, Relaxed);
                waker.wake();
            })
        });
        run_if_interrupted(0);
        settle(others);
        assert!(handle.is_finished(), "a wake is lost");
        drop(handle);
        assert_eq!(dropped(), 2);
    });
}

/// The same with a task that is in the hart's own queue, or being polled, when the wake comes.
#[test]
fn loom_wakes_during_a_poll_are_not_lost() {
    bounded_model(1, Some(3), || {
        let gate = Gate::default();
        let data = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let seen = Arc::clone(&data);
        let handle = spawn(0, &gate, move || seen.iter().all(|word| word.load(Relaxed) == 1));
        run(0);
        let others = [0, 1].map(|word| {
            let (data, waker) = (Arc::clone(&data), gate.waker());
            thread::spawn(move || {
                data[word].store(1, Relaxed);
                waker.wake();
            })
        });
        gate.waker().wake();
        run(0);
        gate.waker().wake();
        run(0);
        settle(others);
        assert!(handle.is_finished(), "a wake is lost");
        drop(handle);
        assert_eq!(dropped(), 2);
    });
}

/// The same between two harts.
#[test]
fn loom_wakes_between_harts_are_not_lost() {
    model(2, || {
        let (here, there) = (Gate::default(), Gate::default());
        let data = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let tasks = [(0, &here), (1, &there)].map(|(home, gate)| {
            let seen = Arc::clone(&data);
            spawn(home, gate, move || seen[home].load(Relaxed) == 1)
        });
        run(0);
        run(1);
        become_hart(0);
        let (wake_here, wake_there) = (here.waker(), there.waker());
        let words = Arc::clone(&data);
        let other = thread::spawn(move || {
            become_hart(1);
            words[0].store(1, Relaxed);
            wake_here.wake();
            run_if_interrupted(1);
        });
        data[1].store(1, Relaxed);
        wake_there.wake();
        run_if_interrupted(0);
        settle([other]);
        assert!(tasks.iter().all(JoinHandle::is_finished), "a wake is lost");
        drop(tasks);
        assert_eq!(dropped(), 4);
    });
}

/// Wakers that come while a task ends without handle.
#[test]
fn loom_wake_as_the_task_ends() {
    bounded_model(1, Some(3), || {
        let gate = Gate::default();
        spawn(0, &gate, || false).detach();
        run(0);
        let waker = gate.waker();
        let others = [waker.clone(), waker].map(|waker| thread::spawn(move || waker.wake()));
        gate.open();
        gate.waker().wake();
        run(0);
        settle(others);
        assert_eq!(gate.polls(), 2);
        assert_eq!(dropped(), 2);
    });
}

/// The same with a handle, which is dropped meanwhile.
#[test]
fn loom_wake_as_handle_and_task_end() {
    bounded_model(1, Some(3), || {
        let gate = Gate::default();
        let handle = spawn(0, &gate, || false);
        run(0);
        let waker = gate.waker();
        let others = [waker.clone(), waker].map(|waker| thread::spawn(move || waker.wake()));
        gate.open();
        gate.waker().wake();
        run(0);
        drop(handle);
        run_if_interrupted(0);
        settle(others);
        assert_eq!(gate.polls(), 2);
        assert_eq!(dropped(), 2);
    });
}

/// Waits at a handle by the wakers of these numbers, one after the other.
fn join_by_turns(
    mut handle: Handle,
    wakers: &[Arc<Foreign>; 2],
    turns: &[usize],
    result: &Mutex<Option<Handle>>,
) {
    let wakers = wakers.clone().map(Waker::from);
    if turns.iter().all(|&turn| poll(&mut handle, &wakers[turn]).is_pending()) {
        *result.lock().unwrap() = Some(handle);
    }
}

/// A wake, an abort, and a handle that is asked by one waker and then another.
#[test]
fn loom_abort_and_join() {
    bounded_model(1, Some(2), || {
        let gate = Gate::default();
        let handle = spawn(0, &gate, || false);
        run(0);
        let task = handle.task();
        let wakers = [(); 2].map(|()| Arc::new(Foreign::default()));
        let waiting = Arc::new(Mutex::new(None));
        let (given, result) = (wakers.clone(), Arc::clone(&waiting));
        let join = thread::spawn(move || join_by_turns(handle, &given, &[0, 1], &result));
        let abort = thread::spawn(move || task.abort());
        gate.open();
        gate.waker().wake();
        run(0);
        settle([join, abort]);
        check_join(&waiting, &wakers);
    });
}

/// The same, where the task does not end but by the abort.
#[test]
fn loom_aborted_while_joined() {
    bounded_model(1, Some(3), || {
        let gate = Gate::default();
        let handle = spawn(0, &gate, || false);
        run(0);
        let task = handle.task();
        let wakers = [(); 2].map(|()| Arc::new(Foreign::default()));
        let waiting = Arc::new(Mutex::new(None));
        let (given, result) = (wakers.clone(), Arc::clone(&waiting));
        let join = thread::spawn(move || join_by_turns(handle, &given, &[0, 1, 1], &result));
        task.abort();
        run(0);
        settle([join]);
        check_join(&waiting, &wakers);
        assert_eq!(dropped(), 1);
    });
}

/// Whoever was told to wait has been woken, and nobody's waker is left behind.
fn check_join(waiting: &Mutex<Option<Handle>>, wakers: &[Arc<Foreign>; 2]) {
    if let Some(mut handle) = waiting.lock().unwrap().take() {
        assert_eq!(wakers[1].count(), 1, "who waited last was not woken");
        assert!(poll(&mut handle, Waker::noop()).is_ready());
    }
    assert!(wakers.iter().map(|waker| waker.count()).sum::<usize>() <= 1);
    for waker in wakers {
        assert_eq!(Arc::strong_count(waker), 1, "a waker was not dropped");
    }
    // The handle went outside, maybe: the slot comes back through the inbox.
    settle([]);
}

/// A task waits for another on another hart, which is woken from outside.
#[test]
fn loom_join_across_harts() {
    bounded_model(2, Some(3), || {
        let (inner, outer) = (Gate::default(), Gate::default());
        let data = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&data);
        let mut handle = spawn(1, &inner, move || seen.load(Relaxed) == 1);
        let gate = outer.clone();
        let work: Work = Box::pin(poll_fn(move |context| {
            gate.polled(context);
            Pin::new(&mut handle).poll(context).map(Result::unwrap)
        }));
        let outer_handle = Builder::<P>::new().hart(0).spawn(work).unwrap();
        run(1);
        let waker = inner.waker();
        let other = thread::spawn(move || {
            become_hart(1);
            data.store(1, Relaxed);
            waker.wake();
            run(1);
        });
        run(0);
        run_if_interrupted(0);
        settle([other]);
        assert!(outer_handle.is_finished(), "a wake is lost");
        drop(outer_handle);
        assert_eq!(dropped(), 2);
    });
}

/// A handle is dropped where `place` says, while the task ends.
fn handle_goes_as_the_task_ends(place: usize, waits: bool, aborts: bool) {
    let gate = Gate::default();
    let mut handle = spawn(0, &gate, || false);
    run(0);
    let waker = Arc::new(Foreign::default());
    if waits {
        assert!(poll(&mut handle, &Waker::from(Arc::clone(&waker))).is_pending());
    }
    gate.open();
    if aborts {
        handle.abort();
    } else {
        gate.waker().wake();
    }
    let other = thread::spawn(move || {
        be(place);
        drop(handle);
    });
    run(0);
    settle([other]);
    assert_eq!(dropped(), if aborts { 1 } else { 2 });
    assert!(waker.count() <= 1);
    assert_eq!(Arc::strong_count(&waker), 1, "a waker was not dropped");
}

#[test]
fn loom_handle_goes_on_another_hart() {
    model(1, || handle_goes_as_the_task_ends(1, false, false));
    model(1, || handle_goes_as_the_task_ends(1, true, false));
}

#[test]
fn loom_handle_goes_outside() {
    model(1, || handle_goes_as_the_task_ends(OUTSIDE, false, false));
    model(1, || handle_goes_as_the_task_ends(OUTSIDE, true, false));
}

#[test]
fn loom_handle_goes_as_the_task_is_aborted() {
    model(1, || handle_goes_as_the_task_ends(1, true, true));
    model(1, || handle_goes_as_the_task_ends(OUTSIDE, true, true));
}

/// Starts a task that gives up in its second poll, as if it had panicked there. Its slot and its future are
/// lost, and the model does not miss them.
fn spawn_doomed(gate: &Gate) -> Handle {
    let polled = gate.clone();
    spawn(0, gate, move || {
        if polled.polls() == 2 {
            machine().abandoned.set(hart(0).current());
            machine().made.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            // SAFETY: of this poll nothing is left but that it returns.
            unsafe { hart(0).abandon_current() }.expect("in a task").bury();
        }
        false
    })
}

/// A handle is dropped where `place` says, while the task is given up, and others wake it.
fn handle_goes_as_the_task_is_abandoned(place: usize, waits: bool) {
    let gate = Gate::default();
    let mut handle = spawn_doomed(&gate);
    run(0);
    let waker = Arc::new(Foreign::default());
    if waits {
        assert!(poll(&mut handle, &Waker::from(Arc::clone(&waker))).is_pending());
    }
    gate.waker().wake();
    let late = gate.waker();
    let other = thread::spawn(move || {
        be(place);
        drop(handle);
        late.wake();
    });
    run(0);
    settle([other]);
    assert_eq!((gate.polls(), dropped()), (2, 0));
    assert!(waker.count() <= 1);
    assert_eq!(Arc::strong_count(&waker), 1, "a waker was not dropped");
}

#[test]
fn loom_handle_goes_as_the_task_is_abandoned() {
    bounded_model(1, Some(3), || handle_goes_as_the_task_is_abandoned(1, false));
    bounded_model(1, Some(3), || handle_goes_as_the_task_is_abandoned(1, true));
    bounded_model(1, Some(3), || handle_goes_as_the_task_is_abandoned(OUTSIDE, true));
}

/// Whoever waits for a task that is given up is woken, and told.
#[test]
fn loom_abandoned_while_joined() {
    bounded_model(1, Some(3), || {
        let gate = Gate::default();
        let handle = spawn_doomed(&gate);
        run(0);
        let task = handle.task();
        let wakers = [(); 2].map(|()| Arc::new(Foreign::default()));
        let waiting = Arc::new(Mutex::new(None));
        let (given, result) = (wakers.clone(), Arc::clone(&waiting));
        let join = thread::spawn(move || join_by_turns(handle, &given, &[0, 1, 1], &result));
        gate.waker().wake();
        run(0);
        task.abort(); // in vain
        settle([join]);
        if let Some(handle) = &mut *waiting.lock().unwrap() {
            assert_eq!(wakers[1].count(), 1, "who waited last was not woken");
            let result = poll(handle, Waker::noop()).map(|result| result.map(drop));
            assert_eq!(result, Poll::Ready(Err(JoinError::Panicked)));
        }
        waiting.lock().unwrap().take();
        assert_eq!(dropped(), 0);
    });
}

/// A handle takes the result on another hart while late wakers come.
#[test]
fn loom_result_is_taken_elsewhere() {
    bounded_model(1, Some(3), || {
        let gate = Gate::default();
        let mut handle = spawn(0, &gate, || false);
        run(0);
        let waker = Arc::new(Foreign::default());
        assert!(poll(&mut handle, &Waker::from(Arc::clone(&waker))).is_pending());
        let own = Waker::from(Arc::clone(&waker));
        let slot = Arc::new(Mutex::new(None));
        let rest = Arc::clone(&slot);
        let join = thread::spawn(move || {
            become_hart(1);
            if poll(&mut handle, &own).is_pending() {
                *rest.lock().unwrap() = Some(handle);
            }
        });
        let late = gate.waker();
        let wake = thread::spawn(move || late.wake());
        gate.open();
        gate.waker().wake();
        run(0);
        settle([join, wake]);
        if let Some(mut handle) = slot.lock().unwrap().take() {
            assert_eq!(waker.count(), 1, "who waited was not woken");
            assert!(poll(&mut handle, Waker::noop()).is_ready());
        }
        assert_eq!(dropped(), 2);
        assert_eq!(Arc::strong_count(&waker), 1, "a waker was not dropped");
    });
}

/// A hart that sleeps with something in its inbox has been interrupted, and nothing is taken out twice.
#[test]
fn loom_inbox_and_sleep() {
    model(1, || {
        let inbox = Arc::new(Inbox::new());
        let tasks = [(); 2].map(|()| {
            let header = Header::new(0, CLASS_STATIC, nothing);
            NonNull::from(Box::leak(Box::new(header))).as_ptr() as usize
        });
        let of = |task: usize| NonNull::new(task as *mut Header).unwrap();
        let interrupted = Arc::new(AtomicU32::new(0));
        let others = tasks.map(|task| {
            let (inbox, interrupted) = (Arc::clone(&inbox), Arc::clone(&interrupted));
            thread::spawn(move || {
                // SAFETY: nobody else has this task.
                if unsafe { inbox.push(of(task)) } {
                    interrupted.swap(1, Relaxed);
                }
            })
        });
        let mut taken = Vec::new();
        inbox.take(|task| taken.push(task));
        let mut asleep = inbox.sleep();
        if asleep && interrupted.swap(0, Relaxed) == 1 {
            inbox.take(|task| taken.push(task));
            asleep = inbox.sleep();
        }
        for other in others {
            other.join().unwrap();
        }
        if !asleep || interrupted.swap(0, Relaxed) == 1 {
            inbox.take(|task| taken.push(task));
            assert!(inbox.sleep() && inbox.sleep(), "it may ask again");
        }
        assert!(inbox.sleep(), "it sleeps with something inside");
        assert_eq!(taken.len(), 2);
        assert!(tasks.iter().all(|&task| taken.contains(&of(task))));
        for task in taken {
            // SAFETY: leaked above.
            drop(unsafe { Box::from_raw(task.as_ptr()) });
        }
    });
}

/// Late wakers, while the only slot goes from one task to the next.
#[test]
fn loom_late_wakes_and_the_next_task() {
    bounded_model(1, Some(3), || {
        let (first, second) = (Gate::default(), Gate::default());
        let handle = spawn(0, &first, || true);
        run(0);
        let waker = first.waker();
        let others = [waker.clone(), waker].map(|waker| thread::spawn(move || waker.wake()));
        drop(handle);
        let next = try_spawn(0, &second, || true);
        run(0);
        let was_early = next.is_ok();
        let next = next.or_else(|_| try_spawn(0, &second, || true));
        run_if_interrupted(0);
        settle(others);
        let next = next.unwrap_or_else(|_| spawn(0, &second, || true));
        run(0);
        assert!(next.is_finished());
        assert!(!was_early || second.polls() == 1);
        drop(next);
    });
}

/// The same, where the slot changes harts: its next task is started by the hart that vacates it, and the
/// late wakers bring it to its old home.
#[test]
fn loom_late_wakes_while_the_slot_changes_harts() {
    bounded_model(1, Some(3), || {
        let (first, second) = (Gate::default(), Gate::default());
        let handle = spawn(0, &first, || true);
        run(0);
        let waker = first.waker();
        let late = waker.clone();
        let wake = thread::spawn(move || late.wake());
        let gate = second.clone();
        let next = thread::spawn(move || {
            become_hart(1);
            drop(handle);
            let next = try_spawn(1, &gate, || true);
            run(1);
            drop(next);
        });
        waker.wake();
        run(0);
        run_if_interrupted(0);
        settle([wake, next]);
        assert!(second.polls() <= 2);
    });
}

/// A slot in limbo is popped and woken again, while its hart wants it.
#[test]
fn loom_limbo_again_and_again() {
    bounded_model(2, Some(2), || {
        let (first, second) = (Gate::default(), Gate::default());
        let handles = [spawn(0, &first, || true), spawn(0, &second, || true)];
        run(0);
        let (one, other) = (first.waker(), second.waker());
        let others = [(one.clone(), other.clone()), (one, other)].map(|(one, other)| {
            thread::spawn(move || {
                one.wake();
                other.wake();
            })
        });
        drop(handles);
        let next = Gate::default();
        if let Ok(task) = try_spawn(0, &next, || true) {
            task.detach();
        }
        run(0);
        settle(others);
        let tasks = [(); 2].map(|()| spawn(0, &next, || true));
        run(0);
        drop(tasks);
    });
}

/// A wake that comes while the poll has been set aside with its stack.
#[test]
fn loom_wake_while_detached() {
    model(2, || {
        let gate = Gate::default();
        let data = Arc::new(AtomicU32::new(0));
        let is_detached = Arc::new(Mutex::new(false));
        let (seen, flag, polled) = (Arc::clone(&data), Arc::clone(&is_detached), gate.clone());
        let work: Work = Box::pin(poll_fn(move |context| {
            assert!(!*flag.lock().unwrap(), "polled in the middle of a poll");
            polled.polled(context);
            if seen.load(Relaxed) == 1 {
                return Poll::Ready(Tracked::new());
            }
            // The timer interrupt comes: this poll goes on when the stack gets its turn.
            let task = NonNull::new(context.waker().data().cast_mut().cast()).unwrap();
            detached::begin(task);
            *flag.lock().unwrap() = true;
            let stack =
                StackTurn { task: task.as_ptr() as usize, turns: 0, flag: Arc::clone(&flag) };
            let stack: Work = Box::pin(stack);
            Builder::<P>::new().hart(0).spawn(stack).expect("a slot").detach();
            Poll::Pending
        }));
        let handle = Builder::<P>::new().hart(0).spawn(work).unwrap();
        let hart = become_hart(0);
        hart.run_some(1);
        let waker = gate.waker();
        let other = thread::spawn(move || {
            data.store(1, Relaxed);
            waker.wake();
        });
        run(0);
        settle([other]);
        assert!(handle.is_finished(), "a wake is lost");
        drop(handle);
    });
}

/// The turns of a stack that was set aside: the second one ends the poll.
struct StackTurn {
    task: usize,
    turns: usize,
    flag: Arc<Mutex<bool>>,
}

impl Future for StackTurn {
    type Output = Tracked;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Tracked> {
        self.turns += 1;
        if self.turns < 2 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        *self.flag.lock().unwrap() = false;
        detached::end::<P>(NonNull::new(self.task as *mut Header).unwrap());
        Poll::Ready(Tracked::new())
    }
}

/// The task ends by an abort that comes while it is detached.
#[test]
fn loom_abort_while_detached() {
    bounded_model(1, Some(3), || {
        let gate = Gate::default();
        let handle = spawn(0, &gate, || false);
        run(0);
        let task = handle.task();
        // SAFETY: as of a waker.
        let header: NonNull<Header> = NonNull::new(gate.waker().data().cast_mut().cast()).unwrap();
        detached::begin(header);
        let late = gate.waker();
        let others = [thread::spawn(move || task.abort()), thread::spawn(move || late.wake())];
        run(0);
        assert_eq!(gate.polls(), 1, "polled in the middle of a poll");
        assert_eq!(dropped(), 0, "dropped in the middle of a poll");
        detached::end::<P>(header);
        run(0);
        settle(others);
        assert_eq!(dropped(), 1);
        assert!(handle.is_finished());
        drop(handle);
    });
}

/// The priority changes while wakes come.
#[test]
fn loom_priority_and_wakes() {
    bounded_model(1, Some(3), || {
        let gate = Gate::default();
        let data = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&data);
        let handle = spawn(0, &gate, move || seen.load(Relaxed) == 1);
        run(0);
        let (task, waker) = (handle.task(), gate.waker());
        let others = [
            thread::spawn(move || task.set_priority(Priority::HIGHEST)),
            thread::spawn(move || {
                data.store(1, Relaxed);
                waker.wake();
            }),
        ];
        handle.task().set_priority(Priority::LOWEST);
        gate.waker().wake();
        run(0);
        settle(others);
        assert!(handle.is_finished(), "a wake is lost");
        drop(handle);
    });
}

/// What is ordered of a task that has ended does not hit the next one in its slot.
#[test]
fn loom_orders_do_not_hit_the_next_task() {
    bounded_model(1, Some(3), || {
        let (first, second) = (Gate::default(), Gate::default());
        let handle = spawn(0, &first, || true);
        let task: Task<P> = handle.task();
        let others = [
            thread::spawn(move || task.abort()),
            thread::spawn(move || task.set_priority(Priority::HIGHEST)),
        ];
        run(0);
        drop(handle);
        let next = try_spawn(0, &second, || false);
        run(0);
        let next = next.or_else(|_| {
            run(0);
            try_spawn(0, &second, || false)
        });
        if let Ok(next) = &next {
            assert_eq!(next.task().priority(), Some(Priority::NORMAL));
            assert!(!next.is_finished(), "another was to be aborted");
        }
        settle(others);
        assert!(task.is_finished());
        let next = next.unwrap_or_else(|_| spawn(0, &second, || false));
        run(0);
        assert_eq!(next.task().priority(), Some(Priority::NORMAL));
        assert!(!next.is_finished(), "another was to be aborted");
        next.abort();
        run(0);
        assert!(next.is_finished());
        drop(next);
    });
}

/// A thread that is no hart drops the handle of a task that has ended, while a late waker comes.
#[test]
fn loom_slot_comes_back_from_outside() {
    bounded_model(1, Some(3), || {
        let (first, second) = (Gate::default(), Gate::default());
        let handle = spawn(0, &first, || true);
        run(0);
        let waker = first.waker();
        let others = [thread::spawn(move || drop(handle)), thread::spawn(move || waker.wake())];
        run_if_interrupted(0);
        let next = try_spawn(0, &second, || true);
        run(0);
        drop(next);
        run_if_interrupted(0);
        settle(others);
        let next = spawn(0, &second, || true);
        run(0);
        assert!(next.is_finished());
    });
}

/// Slots that are put back on other harts, while this one takes all of them and gives back what it does
/// not need, as an interrupt does.
#[test]
fn loom_slots_put_back_are_found_once() {
    model(1, || {
        let returns = Arc::new(Returns::new());
        let slots = [(); 3].map(|()| {
            let header = Header::new(VACANT, CLASS_STATIC, nothing);
            NonNull::from(Box::leak(Box::new(header))).as_ptr() as usize
        });
        let of = |slot: usize| NonNull::new(slot as *mut Header).unwrap();
        // SAFETY: nobody else has this slot.
        unsafe { returns.add(class(), of(slots[0]), of(slots[0])) };
        let others = [slots[1], slots[2]].map(|slot| {
            let returns = Arc::clone(&returns);
            // SAFETY: nobody else has this slot.
            thread::spawn(move || unsafe { returns.add(class(), of(slot), of(slot)) })
        });
        let mut found = Vec::new();
        // Takes the first of all.
        let mut take = || {
            let Some(first) = returns.take_all(class()) else { return false };
            // SAFETY: ours, and all that are linked behind.
            unsafe {
                if let Some(rest) = NonNull::new(first.as_ref().aux.get().cast()) {
                    returns.undo_take(class(), rest);
                }
            }
            found.push(first);
            true
        };
        take();
        for other in others {
            other.join().unwrap();
        }
        while take() {}
        found.sort_unstable();
        let mut all = slots.map(of);
        all.sort_unstable();
        assert_eq!(found, all, "a slot is lost or doubled");
        for slot in found {
            // SAFETY: leaked above.
            drop(unsafe { Box::from_raw(slot.as_ptr()) });
        }
    });
}
