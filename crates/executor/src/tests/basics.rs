//! What a user of the executor notices.

use core::{
    cell::{Cell, RefCell},
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};
use std::{
    rc::Rc,
    sync::{Arc, Mutex},
};

use super::platform;
use crate::{Builder, JoinError, JoinHandle, Pool, Priority, SpawnError, Task, yield_now};

/// Polls a future of the test's own once.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A future that leaves its waker and waits until it is told that it is done.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<(bool, Option<Waker>, usize)>>);

impl Gate {
    fn waker(&self) -> Waker {
        self.0.lock().unwrap().1.clone().expect("it was polled")
    }

    fn open(&self) {
        self.0.lock().unwrap().0 = true;
        self.waker().wake();
    }

    fn polls(&self) -> usize {
        self.0.lock().unwrap().2
    }
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut gate = self.0.lock().unwrap();
        gate.1 = Some(context.waker().clone());
        gate.2 += 1;
        if gate.0 { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[test]
fn result_comes_through_the_handle() {
    platform!(P, 1);
    let hart = P::start();
    let mut handle = Builder::<P>::new().spawn(async { String::from("result") }).unwrap();
    assert!(!handle.is_finished() && poll_once(&mut handle).is_pending());
    hart.run();
    assert!(handle.is_finished());
    assert_eq!(poll_once(&mut handle), Poll::Ready(Ok("result".into())));
    assert_eq!(hart.tasks(), 0);
}

#[test]
fn who_waits_at_the_handle_is_woken() {
    platform!(P, 1);
    let hart = P::start();
    let gate = Gate::default();
    let task = gate.clone();
    let inner = Builder::<P>::new()
        .spawn(async move {
            task.await;
            7
        })
        .unwrap();
    let outer = Builder::<P>::new().spawn(async move { inner.await.unwrap() + 1 }).unwrap();
    hart.run();
    assert!(!outer.is_finished());
    gate.open();
    hart.run();
    let mut outer = outer;
    assert_eq!(poll_once(&mut outer), Poll::Ready(Ok(8)));
}

/// A waker of no task of ours, and how often it was woken.
fn foreign() -> (Waker, Arc<Count>) {
    let count = Arc::new(Count::default());
    (Waker::from(Arc::clone(&count)), count)
}

#[derive(Default)]
struct Count(std::sync::atomic::AtomicUsize);

impl Count {
    fn get(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl std::task::Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn another_executor_may_wait_at_the_handle() {
    platform!(P, 1);
    let hart = P::start();
    let (waker, count) = foreign();
    let gate = Gate::default();
    let mut handle = Builder::<P>::new().spawn(gate.clone()).unwrap();
    let mut context = Context::from_waker(&waker);
    for _ in 0..3 {
        assert!(Pin::new(&mut handle).poll(&mut context).is_pending());
        hart.run();
    }
    assert_eq!((count.get(), hart.tasks()), (0, 2), "the task, and one for the waker");
    gate.open();
    hart.run();
    assert_eq!((count.get(), hart.tasks()), (1, 0));
    assert!(Pin::new(&mut handle).poll(&mut context).is_ready());
    // Going away in the middle wakes nobody and leaves nothing.
    let mut handle = Builder::<P>::new().spawn(pending::<()>()).unwrap();
    let task = handle.task();
    assert!(Pin::new(&mut handle).poll(&mut context).is_pending());
    hart.run();
    drop(handle);
    task.abort();
    hart.run();
    assert_eq!((count.get(), hart.tasks(), Arc::strong_count(&count)), (1, 0, 2));
}

#[test]
fn thin_wakers_keep_their_word() {
    platform!(P, 1);
    let hart = P::start();
    let (waker, count) = foreign();
    let (other, _) = foreign();
    let thin = crate::ThinWaker::<P>::new(&waker).unwrap();
    // Under Miri the tables of a waker and its clone may lie in different places.
    assert!(cfg!(miri) || thin.will_wake(&waker));
    assert!(!thin.will_wake(&other) && !thin.will_wake(Waker::noop()));
    hart.run();
    assert_eq!(count.get(), 0);
    thin.wake_by_ref();
    thin.wake_by_ref();
    assert_eq!(count.get(), 0, "not where the wake comes from");
    hart.run();
    assert_eq!(count.get(), 1);
    thin.wake_by_ref();
    drop(thin);
    hart.run();
    assert_eq!((count.get(), hart.tasks(), Arc::strong_count(&count)), (2, 0, 2));
}

#[test]
fn abort_drops_the_future_at_home() {
    platform!(P, 1);
    let hart = P::start();
    let alive = Rc::new(());
    let held = Rc::clone(&alive);
    let mut handle = Builder::<P>::new()
        .spawn_local(async move {
            pending::<()>().await;
            drop(held);
        })
        .unwrap();
    hart.run();
    handle.abort();
    handle.abort();
    assert_eq!(Rc::strong_count(&alive), 2, "not before its hart does");
    hart.run();
    assert_eq!(Rc::strong_count(&alive), 1);
    assert_eq!(poll_once(&mut handle), Poll::Ready(Err(JoinError::Aborted)));
    assert_eq!(hart.tasks(), 0);
}

#[test]
fn abort_of_a_finished_task_leaves_the_result() {
    platform!(P, 1);
    let hart = P::start();
    let mut handle = Builder::<P>::new().spawn(async { 5 }).unwrap();
    let task = handle.task();
    hart.run();
    handle.abort();
    hart.run();
    assert_eq!(poll_once(&mut handle), Poll::Ready(Ok(5)));
    let other = Builder::<P>::new().spawn(async { pending::<()>().await }).unwrap();
    task.abort();
    hart.run();
    assert!(!other.is_finished(), "its slot may be another's by now");
    assert!(task.is_finished() && task.priority().is_none() && task != other.task());
    other.abort();
    hart.run();
}

#[test]
fn detached_tasks_go_on_and_drop_their_result() {
    platform!(P, 1);
    let hart = P::start();
    let result = Arc::new(());
    let gate = Gate::default();
    let (task, output) = (gate.clone(), Arc::clone(&result));
    Builder::<P>::new()
        .spawn(async move {
            task.await;
            output
        })
        .unwrap()
        .detach();
    hart.run();
    assert_eq!(hart.tasks(), 1);
    gate.open();
    hart.run();
    assert_eq!((hart.tasks(), Arc::strong_count(&result)), (0, 1));
    // And when the handle goes after the end.
    let output = Arc::clone(&result);
    let handle = Builder::<P>::new().spawn(async move { output }).unwrap();
    hart.run();
    assert_eq!(Arc::strong_count(&result), 2);
    drop(handle);
    assert_eq!(Arc::strong_count(&result), 1);
}

#[test]
fn wakers_never_fail() {
    platform!(P, 1);
    let hart = P::start();
    let gate = Gate::default();
    let handle = Builder::<P>::new().spawn(gate.clone()).unwrap();
    hart.run();
    let waker = gate.waker();
    for _ in 0..if cfg!(miri) { 50 } else { 1000 } {
        waker.wake_by_ref();
    }
    hart.run();
    assert_eq!(gate.polls(), 2, "woken often, polled once");
    gate.open();
    hart.run();
    assert!(handle.is_finished());
    waker.wake_by_ref(); // ended
    hart.run();
    drop(handle);
    waker.wake_by_ref(); // gone
    // The slot cannot be used while the late waker has it in the queue.
    let next = Gate::default();
    let _next = Builder::<P>::new().spawn(next.clone()).unwrap();
    hart.run();
    waker.wake(); // another's
    hart.run();
    assert!(next.polls() <= 2);
}

#[test]
fn slots_are_used_again() {
    platform!(P, 1);
    let hart = P::start();
    let address = |handle: &JoinHandle<P, ()>| {
        let id = handle.task().id().to_string();
        id.split('.').next().unwrap().to_owned()
    };
    let first = Builder::<P>::new().spawn(async {}).unwrap();
    let (slot, task) = (address(&first), first.task());
    hart.run();
    drop(first);
    let second = Builder::<P>::new().spawn(async {}).unwrap();
    assert_eq!(address(&second), slot);
    assert_ne!(second.task(), task);
    assert_ne!(second.task().id(), task.id());
    hart.run();
}

#[test]
fn late_wakers_keep_slots_from_nobody() {
    platform!(P, 1);
    let hart = P::start();
    // As many rounds as a chunk has slots, and more: each leaves one in limbo for a while.
    let mut slots = std::collections::HashSet::new();
    for _ in 0..if cfg!(miri) { 100 } else { 1000 } {
        let gate = Gate::default();
        let handle = Builder::<P>::new().spawn(gate.clone()).unwrap();
        slots.insert(handle.task().id().to_string().split('.').next().unwrap().to_owned());
        hart.run();
        let waker = gate.waker();
        gate.open();
        hart.run();
        drop(handle);
        waker.wake();
    }
    hart.run();
    // Those of the first chunk in turn, and then these again.
    assert!(slots.len() <= 4096 / 48, "{} slots for one task at a time", slots.len());
}

#[test]
fn the_most_urgent_comes_first_and_equals_in_turn() {
    platform!(P, 1);
    let hart = P::start();
    let order = Rc::new(RefCell::new(Vec::new()));
    let spawn = |name: &'static str, priority| {
        let order = Rc::clone(&order);
        Builder::<P>::new()
            .priority(priority)
            .spawn_local(async move {
                for _ in 0..2 {
                    order.borrow_mut().push(name);
                    yield_now().await;
                }
            })
            .unwrap()
            .detach();
    };
    spawn("low", Priority::LOW);
    spawn("a", Priority::NORMAL);
    spawn("b", Priority::NORMAL);
    spawn("high", Priority::HIGHEST);
    hart.run();
    assert_eq!(*order.borrow(), ["high", "high", "a", "b", "a", "b", "low", "low"]);
}

#[test]
fn priority_changes_at_run_time() {
    platform!(P, 1);
    let hart = P::start();
    let order = Rc::new(RefCell::new(Vec::new()));
    let (gates, tasks): (Vec<_>, Vec<_>) = ["a", "b"]
        .into_iter()
        .map(|name| {
            let (gate, order) = (Gate::default(), Rc::clone(&order));
            let task = gate.clone();
            let future = async move {
                task.await;
                order.borrow_mut().push(name);
            };
            let handle = Builder::<P>::new().spawn_local(future).unwrap();
            (gate, handle)
        })
        .unzip();
    hart.run();
    let task = tasks[1].task();
    assert_eq!(task.priority(), Some(Priority::NORMAL));
    task.set_priority(Priority::HIGH);
    assert_eq!(task.priority(), Some(Priority::HIGH));
    gates.iter().for_each(Gate::open);
    hart.run();
    assert_eq!(*order.borrow(), ["b", "a"]);
}

#[test]
fn tasks_know_themselves() {
    platform!(P, 1);
    let hart = P::start();
    assert!(Task::<P>::current().is_none());
    assert!(Task::<P>::current_name().is_none());
    let handle = Builder::<P>::new().name("me").spawn(async {
        assert_eq!(Task::<P>::current_name(), Some("me"));
        Task::<P>::current()
    });
    let handle = handle.unwrap();
    let task = handle.task();
    assert_eq!(handle.name(), Some("me"));
    hart.run();
    let mut handle = handle;
    assert_eq!(poll_once(&mut handle), Poll::Ready(Ok(Some(task))));
    assert!(Task::<P>::current().is_none());
    let nameless = Builder::<P>::new().spawn(async {}).unwrap();
    assert_eq!(nameless.name(), None);
    hart.run();
}

#[test]
fn pools_have_as_many_tasks_as_slots() {
    platform!(P, 1);
    static POOL: Pool<P, 64, 2> = Pool::new();
    let hart = P::start();
    let gate = Gate::default();
    let mut one = Builder::<P>::new().spawn_in(&POOL, gate.clone()).unwrap();
    let two = Builder::<P>::new().name("two").spawn_local_in(&POOL, pending::<()>()).unwrap();
    let refused = Builder::<P>::new().spawn_in(&POOL, async {});
    assert_eq!(refused.unwrap_err(), SpawnError::NoMemory);
    hart.run();
    gate.open();
    hart.run();
    assert_eq!(poll_once(&mut one), Poll::Ready(Ok(())));
    let three = Builder::<P>::new().spawn_in(&POOL, async { 3 }).unwrap();
    two.abort();
    hart.run();
    drop((two, three));
    for _ in 0..10 {
        Builder::<P>::new().spawn_in(&POOL, async {}).unwrap().detach();
        Builder::<P>::new().spawn_in(&POOL, async {}).unwrap().detach();
        hart.run();
    }
    assert_eq!(hart.tasks(), 0);
}

#[test]
fn memory_may_end() {
    struct P;
    static HART: crate::Hart<P> = crate::Hart::new();
    // SAFETY: one hart, one thread.
    unsafe impl crate::Platform for P {
        fn here() -> usize {
            super::HERE.get()
        }
        unsafe fn local() -> &'static crate::Hart<Self> {
            &HART
        }
        unsafe fn hart(_: usize) -> &'static crate::Hart<Self> {
            &HART
        }
        fn harts() -> usize {
            1
        }
        fn interrupt(_: usize) {}
        fn vtable() -> &'static core::task::RawWakerVTable {
            static VTABLE: core::task::RawWakerVTable = crate::waker_vtable::<P>();
            &VTABLE
        }
        fn allocate(_: core::alloc::Layout) -> *mut u8 {
            core::ptr::null_mut()
        }
    }
    // SAFETY: once.
    unsafe { HART.start(0) };
    super::HERE.set(0);
    let dropped = Arc::new(());
    let held = Arc::clone(&dropped);
    let refused = Builder::<P>::new().spawn(async move { drop(held) });
    assert_eq!(refused.unwrap_err(), SpawnError::NoMemory);
    assert_eq!(Arc::strong_count(&dropped), 1);
    let nowhere = Builder::<P>::new().hart(1).spawn(async {});
    assert_eq!(nowhere.unwrap_err(), SpawnError::NoHart);
}

#[test]
fn budget_gives_others_a_turn() {
    platform!(P, 1);
    let hart = P::start();
    let spent = Rc::new(Cell::new(0));
    let other = Rc::new(Cell::new(0));
    let (counted, seen) = (Rc::clone(&spent), Rc::clone(&other));
    Builder::<P>::new()
        .spawn_local(async move {
            for _ in 0..1000 {
                poll_fn(crate::poll_proceed::<P>).await;
                counted.set(counted.get() + 1);
            }
        })
        .unwrap()
        .detach();
    let counted = Rc::clone(&spent);
    Builder::<P>::new().spawn_local(async move { seen.set(counted.get()) }).unwrap().detach();
    hart.run();
    assert_eq!((other.get(), spent.get()), (128, 1000));
    // Outside of tasks nothing is rationed.
    let mut outside = pin!(poll_fn(crate::poll_proceed::<P>));
    for _ in 0..200 {
        let mut context = Context::from_waker(Waker::noop());
        assert!(outside.as_mut().poll(&mut context).is_ready());
    }
}

#[test]
fn a_task_cannot_run_the_loop() {
    platform!(P, 1);
    let hart = P::start();
    let caught = Rc::new(Cell::new(false));
    let seen = Rc::clone(&caught);
    Builder::<P>::new()
        .spawn_local(async move {
            let nested = std::panic::catch_unwind(|| P::harts()[0].run());
            seen.set(nested.is_err());
        })
        .unwrap()
        .detach();
    hart.run();
    assert!(caught.get());
}

#[test]
fn wakes_from_outside_come_in_order_and_end_the_sleep() {
    platform!(P, 1);
    let hart = P::start();
    let order = Arc::new(Mutex::new(Vec::new()));
    let gates: Vec<Gate> = (0..10).map(|_| Gate::default()).collect();
    for (number, gate) in gates.iter().cloned().enumerate() {
        let order = Arc::clone(&order);
        let task = async move {
            gate.await;
            order.lock().unwrap().push(number);
        };
        Builder::<P>::new().spawn(task).unwrap().detach();
    }
    hart.run();
    assert!(hart.sleep() && hart.sleep(), "it may ask again");
    let outside = gates.clone();
    std::thread::spawn(move || outside.iter().for_each(Gate::open)).join().unwrap();
    P::interrupts()[0].wait();
    assert!(!hart.sleep());
    hart.run();
    assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
}

#[test]
fn handles_may_go_outside() {
    platform!(P, 1);
    let hart = P::start();
    for _ in 0..if cfg!(miri) { 10 } else { 100 } {
        let handle = Builder::<P>::new().spawn(async { vec![1, 2, 3] }).unwrap();
        hart.run();
        std::thread::spawn(move || drop(handle)).join().unwrap();
    }
    // The slot came back through the inbox.
    hart.run();
    let spawned = std::thread::spawn(|| Builder::<P>::new().hart(0).spawn(async { 9 }).unwrap());
    let mut handle = spawned.join().unwrap();
    assert_eq!(hart.tasks(), 1);
    hart.run();
    assert_eq!(poll_once(&mut handle), Poll::Ready(Ok(9)));
    let local = std::thread::spawn(|| Builder::<P>::new().spawn_local(async {}).map(drop));
    assert_eq!(local.join().unwrap().unwrap_err(), SpawnError::NoHart);
}

#[test]
fn the_alarm_comes_first() {
    platform!(P, 1);
    let hart = P::start();
    let ran = Rc::new(Cell::new(false));
    let seen = Rc::clone(&ran);
    Builder::<P>::new().spawn_local(async move { seen.set(true) }).unwrap().detach();
    hart.ring();
    assert!(!hart.run_some(1), "the task is left");
    assert!(!ran.get());
    assert!(hart.run_some(2));
    assert!(ran.get());
}

#[test]
fn header_is_small() {
    #[cfg(not(feature = "counters"))]
    assert_eq!(size_of::<crate::task::Header>(), 32);
}

/// Slots that were vacated elsewhere are used again by whoever spawns next.
#[test]
fn tasks_for_other_harts_take_no_more_memory_than_lives() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    platform!(P, 2);
    let hart = P::start();
    static SPAWNED: AtomicUsize = AtomicUsize::new(0);
    let count = |handle: &JoinHandle<P, ()>| {
        static SLOTS: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let id = handle.task().id().to_string();
        let slot = id.split('.').next().unwrap().to_owned();
        let mut slots = SLOTS.lock().unwrap();
        if !slots.contains(&slot) {
            slots.push(slot);
        }
        SPAWNED.fetch_add(1, SeqCst);
        slots.len()
    };
    let rounds = if cfg!(miri) { 60 } else { 3000 };
    let mut slots = 0;
    for round in 0..rounds {
        // By turns: spawned for the other hart, from outside, and joined elsewhere.
        let handle = match round % 3 {
            0 => Builder::<P>::new().hart(1).spawn(async {}).unwrap(),
            1 => {
                super::HERE.set(crate::OUTSIDE);
                let handle = Builder::<P>::new().hart(1).spawn(async {}).unwrap();
                super::HERE.set(0);
                handle
            }
            _ => Builder::<P>::new().hart(0).spawn(async {}).unwrap(),
        };
        slots = count(&handle);
        if round % 2 == 0 {
            drop(handle);
            hart.run();
            super::HERE.set(1);
            P::harts()[1].run();
        } else {
            hart.run();
            super::HERE.set(1);
            P::harts()[1].run();
            drop(handle); // on the other hart
        }
        super::HERE.set(0);
    }
    assert_eq!(SPAWNED.load(SeqCst), rounds);
    // A chunk for each hart, and a few.
    assert!(slots <= 2 * 4096 / 32 + 8, "{slots} slots for one task at a time");
}

#[test]
fn pool_takes_futures_up_to_its_size() {
    platform!(P, 1);
    static POOL: Pool<P, 24, 1> = Pool::new();
    let hart = P::start();
    let full = [1_u64, 2, 3];
    let future = core::future::ready(full);
    assert_eq!(size_of_val(&future), 32, "too large: a flag beside");
    let held = std::hint::black_box(7_u64);
    let task = poll_fn(move |_| Poll::Ready(held));
    let mut handle = Builder::<P>::new().spawn_in(&POOL, task).unwrap();
    hart.run();
    assert_eq!(poll_once(&mut handle), Poll::Ready(Ok(7)));
    let mut words = [1_u64, 2, 3];
    let task = poll_fn(move |_| {
        words[2] += 1;
        Poll::Ready(words.iter().sum::<u64>())
    });
    assert_eq!(size_of_val(&task), 24);
    let mut handle = Builder::<P>::new().spawn_in(&POOL, task).unwrap();
    hart.run();
    assert_eq!(poll_once(&mut handle), Poll::Ready(Ok(7)));
}

/// A foreign waker's task is at least as urgent as whom it wakes.
#[test]
fn foreign_wakes_are_passed_on_at_once() {
    platform!(P, 1);
    let hart = P::start();
    let (waker, count) = foreign();
    let thin = crate::ThinWaker::<P>::new(&waker).unwrap();
    hart.run();
    let seen = Arc::clone(&count);
    let others = Builder::<P>::new().priority(Priority::HIGH).spawn_local(async move {
        for _ in 0..3 {
            yield_now().await;
        }
        seen.get()
    });
    let mut others = others.unwrap();
    thin.wake_by_ref();
    hart.run();
    assert_eq!(poll_once(&mut others), Poll::Ready(Ok(1)));
    drop(thin);
    hart.run();
}

/// What a foreign waker calls is in no task: it cannot abort the one that stands for it.
#[test]
fn foreign_wakes_are_in_no_task() {
    struct Look(std::sync::Mutex<Vec<bool>>);

    impl std::task::Wake for Look {
        fn wake(self: Arc<Self>) {
            self.0.lock().unwrap().push(Task::<L>::current().is_none());
        }
    }
    platform!(L, 1);
    let hart = L::start();
    let look = Arc::new(Look(Mutex::new(Vec::new())));
    let thin = crate::ThinWaker::<L>::new(&Waker::from(Arc::clone(&look))).unwrap();
    hart.run();
    thin.wake_by_ref();
    hart.run();
    thin.wake_by_ref();
    drop(thin);
    hart.run();
    assert_eq!(*look.0.lock().unwrap(), [true, true]);
}

#[test]
fn a_hart_that_was_not_started_does_nothing() {
    platform!(P, 1);
    super::HERE.set(crate::OUTSIDE);
    assert!(std::panic::catch_unwind(|| P::harts()[0].run()).is_err());
    assert!(std::panic::catch_unwind(|| P::harts()[0].sleep()).is_err());
    P::start().run();
}
