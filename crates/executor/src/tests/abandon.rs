//! Tasks that are given up in the middle of a poll, as after a panic.
//!
//! Here the poll ends all the same, by unwinding: otherwise so would no test. That drops what the frames of
//! the poll own, which nobody else knows of.

use core::{
    cell::Cell,
    future::{Future, pending, poll_fn},
    pin::Pin,
    task::{Context, Poll, Waker},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
};

use super::platform;
use crate::{Builder, Hart, JoinError, Platform, Pool, yield_now};

/// What unwinds.
struct Died;

/// Gives up the task that calls, goes on with the others, and ends.
fn die<P: Platform>() -> ! {
    // SAFETY: a task calls, and its poll does not go on, but for unwinding.
    unsafe { P::local().abandon_current() }.expect("a task calls").bury();
    // SAFETY: on a hart.
    unsafe { P::local() }.run();
    resume_unwind(Box::new(Died))
}

/// Runs tasks until one has died and all others wait.
fn run_until_one_died<P: Platform>(hart: &'static Hart<P>) {
    let died = catch_unwind(AssertUnwindSafe(|| hart.run())).expect_err("one dies");
    assert!(died.is::<Died>());
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Dies when it is dropped.
struct Bomb<P: Platform>(core::marker::PhantomData<fn() -> P>);

impl<P: Platform> Bomb<P> {
    fn new() -> Self {
        Self(core::marker::PhantomData)
    }
}

impl<P: Platform> Drop for Bomb<P> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            die::<P>();
        }
    }
}

#[test]
fn others_go_on_and_the_handle_says_so() {
    platform!(P, 1);
    let hart = P::start();
    let turns = Rc::new(Cell::new(0));
    let counted = Rc::clone(&turns);
    let other = Builder::<P>::new()
        .spawn_local(async move {
            for _ in 0..3 {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        })
        .unwrap();
    let mut doomed = Builder::<P>::new()
        .name("doomed")
        .spawn_local(async {
            yield_now().await;
            die::<P>()
        })
        .unwrap();
    let waiting = Builder::<P>::new()
        .spawn_local({
            let doomed = doomed.task();
            async move {
                while !doomed.is_finished() {
                    yield_now().await;
                }
            }
        })
        .unwrap();
    run_until_one_died(hart);
    assert_eq!(turns.get(), 3);
    assert!(other.is_finished() && waiting.is_finished() && doomed.is_finished());
    assert_eq!(doomed.name(), Some("doomed"));
    assert_eq!(poll_once(&mut doomed), Poll::Ready(Err(JoinError::Panicked)));
    assert_eq!(hart.tasks(), 0);
    assert!(hart.run_some(10) && hart.sleep());
}

#[test]
fn who_waits_is_woken() {
    platform!(P, 1);
    let hart = P::start();
    let doomed = Builder::<P>::new().spawn_local(async { die::<P>() }).unwrap();
    let mut waits = Builder::<P>::new().spawn_local(async { doomed.await.err() }).unwrap();
    run_until_one_died(hart);
    assert_eq!(poll_once(&mut waits), Poll::Ready(Ok(Some(JoinError::Panicked))));
}

#[test]
fn wakers_of_the_dead_do_nothing_and_its_slot_is_lost() {
    platform!(P, 1);
    static POOL: Pool<P, 64, 2> = Pool::new();
    let hart = P::start();
    let waker = Rc::new(Cell::new(None));
    let left = Rc::clone(&waker);
    let doomed = Builder::<P>::new()
        .spawn_local_in(
            &POOL,
            poll_fn(move |context| -> Poll<()> {
                left.set(Some(context.waker().clone()));
                context.waker().wake_by_ref(); // it dies queued
                die::<P>()
            }),
        )
        .unwrap();
    let task = doomed.task();
    run_until_one_died(hart);
    let waker = waker.take().expect("it was polled");
    drop(doomed);
    for _ in 0..3 {
        waker.wake_by_ref();
        task.abort();
        hart.run();
    }
    let next = || Builder::<P>::new().spawn_local_in(&POOL, pending::<()>());
    let next = [next(), next()];
    assert!(next[0].is_ok() && next[1].is_err(), "one of two slots is left");
    next[0].as_ref().unwrap().abort();
    hart.run();
    assert_eq!(hart.tasks(), 0);
}

#[test]
fn what_was_to_be_done_is_done_once() {
    platform!(P, 1);
    let hart = P::start();
    let (called, held) = (Rc::new(Cell::new(0)), Rc::new(()));
    let spawn = |future: Pin<Box<dyn Future<Output = ()>>>| {
        let (called, held) = (Rc::clone(&called), Rc::clone(&held));
        let last = move || {
            let _held = held;
            // SAFETY: on a hart.
            assert!(!unsafe { P::local() }.can_abandon(), "in no task's turn");
            called.set(called.get() + 1);
        };
        Builder::<P>::new().name("guarded").on_panic(last).spawn_local(future).unwrap()
    };
    let ends = spawn(Box::pin(async {}));
    let waits = spawn(Box::pin(pending()));
    spawn(Box::pin(async {})).detach();
    hart.run();
    waits.abort();
    hart.run();
    drop(ends);
    assert_eq!((called.get(), Rc::strong_count(&held)), (0, 1), "dropped, and not called");
    let dies = spawn(Box::pin(async { die::<P>() }));
    run_until_one_died(hart);
    assert_eq!((called.get(), Rc::strong_count(&held)), (1, 1), "called, and dropped");
    drop((waits, dies));
    assert_eq!(hart.tasks(), 0);
}

#[test]
fn what_was_to_be_done_is_dropped_without_a_task() {
    platform!(P, 1);
    static POOL: Pool<P, 64, 1> = Pool::new();
    let hart = P::start();
    let held = Rc::new(());
    for _ in 0..2 {
        let held = Rc::clone(&held);
        let builder = Builder::<P>::new().name("guarded").on_panic(move || drop(held));
        builder.spawn_local_in(&POOL, pending::<()>()).map(crate::JoinHandle::detach).ok();
    }
    hart.run();
    assert_eq!(Rc::strong_count(&held), 2, "there is one task");
}

#[test]
fn essential_tasks_are_not_given_up() {
    platform!(P, 1);
    let hart = P::start();
    assert!(!hart.can_abandon(), "no task");
    let essential = async {
        // SAFETY: on a hart; and nothing is done.
        unsafe {
            assert!(!P::local().can_abandon());
            assert!(P::local().abandon_current().is_none());
        }
        [7; 8] // the output is where it is looked for
    };
    let mut handle =
        Builder::<P>::new().name("essential").essential().spawn_local(essential).unwrap();
    assert_eq!(handle.name(), Some("essential"));
    hart.run();
    assert_eq!(poll_once(&mut handle), Poll::Ready(Ok([7; 8])));
}

/// In the drop of a future that was aborted, of one that is done, and of an output, with and without a handle.
#[test]
fn in_the_middle_of_an_end() {
    platform!(P, 1);
    let hart = P::start();
    let holding = |bomb: Bomb<P>| async move {
        pending::<()>().await;
        drop(bomb);
    };
    let mut aborted = Builder::<P>::new().spawn_local(holding(Bomb::new())).unwrap();
    hart.run();
    aborted.abort();
    run_until_one_died(hart);
    assert_eq!(poll_once(&mut aborted), Poll::Ready(Err(JoinError::Panicked)));

    let bomb = Bomb::<P>::new();
    let is_done = poll_fn(move |_| {
        let _ = &bomb;
        Poll::Ready(5)
    });
    let mut done = Builder::<P>::new().spawn_local(is_done).unwrap();
    run_until_one_died(hart);
    assert_eq!(poll_once(&mut done), Poll::Ready(Err(JoinError::Panicked)));

    Builder::<P>::new().spawn_local(async { Bomb::<P>::new() }).unwrap().detach();
    run_until_one_died(hart);
    assert_eq!(hart.tasks(), 0);

    // What is done if it panics does so itself.
    let bomb = Bomb::<P>::new();
    let last = move || drop(bomb);
    let mut guarded = Builder::<P>::new().name("").on_panic(last).spawn_local(async {}).unwrap();
    run_until_one_died(hart);
    assert_eq!(poll_once(&mut guarded), Poll::Ready(Err(JoinError::Panicked)));
    assert_eq!(hart.tasks(), 0);
    assert!(hart.run_some(10) && hart.sleep());
}
