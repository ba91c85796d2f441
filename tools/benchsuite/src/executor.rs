//! The rows that every executor runs, and what it must offer for that.
//!
//! The futures are the same for all, polled through the executor's own tasks and woken through
//! `core`'s `Waker`: what differs is the executor alone.

#![expect(unsafe_code, reason = "wakers are taken apart to keep them out of memory")]

use alloc::{boxed::Box, rc::Rc};
use core::{
    cell::{Cell, OnceCell},
    future::Future,
    mem::ManuallyDrop,
    pin::Pin,
    task::{Context, Poll, RawWakerVTable, Waker},
};

use crate::measure::{self, ITERATIONS, LOOP, Shape, mark, row};

/// An executor that takes part, on one hart.
pub(crate) trait Executor: Copy + 'static {
    /// As it is called in the table.
    const NAME: &'static str;

    /// One with no tasks.
    fn new() -> Self;

    /// A task that is ready to be polled.
    fn spawn(&self, future: impl Future<Output = ()> + 'static);

    /// Where tasks of one type live, one after the other.
    type Slot<F: Future<Output = ()> + 'static>: Copy;

    /// One that is free.
    fn slot<F: Future<Output = ()> + 'static>() -> Self::Slot<F>;

    /// As `spawn`, in a place of its own: whatever was spawned there before has ended.
    fn spawn_in<F: Future<Output = ()> + 'static>(&self, slot: Self::Slot<F>, future: F);

    /// Polls ready tasks at least until one of them has set `done`, at most until none is ready.
    /// There is always one ready until `done`.
    async fn run_until(&self, done: &Cell<bool>);

    /// What a task takes beyond a future of 64 bytes.
    async fn bytes_per_task() -> usize;
}

/// All rows of one executor.
pub(crate) async fn rows<E: Executor>() {
    let after_serving = Shape { skipped: 3, ..Shape::EACH };
    let less_loop = Shape { less: Some(LOOP), ..Shape::AROUND };
    row(E::NAME, "wake", after_serving, wake::<E, false>).await;
    row(E::NAME, "wake-can-end", after_serving, wake::<E, true>).await;
    row(E::NAME, "wake-again", less_loop, wake_again::<E>).await;
    row(E::NAME, "yield-8", Shape::AROUND, || yields::<E>(8)).await;
    row(E::NAME, "yield-1", Shape::AROUND, || yields::<E>(1)).await;
    row(E::NAME, "spawn", Shape::AROUND, spawns::<E>).await;
    measure::value(E::NAME, "bytes-per-task", E::bytes_per_task().await);
}

/// Lets it run until `done`, which the tasks share, says so.
async fn run<E: Executor>(tasks: impl FnOnce(&E, &'static Cell<bool>)) {
    let executor = E::new();
    let done = Box::leak(Box::new(Cell::new(false)));
    tasks(&executor, done);
    executor.run_until(done).await;
}

/// The waker of a poll that is under way, in two registers.
///
/// A reference would force the executor to lay out a waker and a context in memory for polls that do
/// not look at them.
#[derive(Clone, Copy)]
struct Borrowed {
    data: *const (),
    vtable: &'static RawWakerVTable,
}

impl Borrowed {
    #[inline(always)]
    fn new(cx: &Context<'_>) -> Self {
        Self { data: cx.waker().data(), vtable: cx.waker().vtable() }
    }

    fn to_owned(self) -> Waker {
        // SAFETY: of the waker of the poll that is still under way; that one drops it.
        let waker = ManuallyDrop::new(unsafe { Waker::new(self.data, self.vtable) });
        Waker::clone(&waker)
    }
}

/// Wake to first instruction of poll, while the executor runs: two tasks wake each other.
///
/// From the call of the waker on: waking, what is left of the poll that wakes, the executor's loop,
/// and the way to the future that has been woken. Tasks that can end cost more than those that never
/// do, and say so to the compiler: there are things to be looked at after the poll.
async fn wake<E: Executor, const CAN_END: bool>() {
    struct Player<const CAN_END: bool> {
        table: Rc<Table>,
        side: usize,
    }

    struct Table {
        wakers: [OnceCell<Waker>; 2],
        left: Cell<usize>,
        done: &'static Cell<bool>,
    }

    impl<const CAN_END: bool> Future for Player<CAN_END> {
        type Output = ();

        #[inline]
        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            mark();
            self.strike_back(Borrowed::new(cx))
        }
    }

    impl<const CAN_END: bool> Player<CAN_END> {
        /// Apart, so that the mark comes before everything; and without calls but the last, so that
        /// there are no registers to be restored after the second mark.
        #[inline(never)]
        fn strike_back(&self, waker: Borrowed) -> Poll<()> {
            let table = &*self.table;
            let left = table.left.get();
            let Some(other) = table.wakers[1 - self.side].get().filter(|_| left > 0) else {
                return self.begin_or_end(waker);
            };
            table.left.set(left - 1);
            mark();
            other.wake_by_ref();
            Poll::Pending
        }

        /// The second player to come wakes the first one to begin. In the end one stays asleep.
        #[cold]
        #[inline(never)]
        fn begin_or_end(&self, waker: Borrowed) -> Poll<()> {
            let table = &*self.table;
            if table.wakers[self.side].set(waker.to_owned()).is_err() {
                table.done.set(true);
                return if CAN_END { Poll::Ready(()) } else { Poll::Pending };
            }
            if let Some(other) = table.wakers[1 - self.side].get() {
                table.left.set(ITERATIONS);
                other.wake_by_ref();
            }
            Poll::Pending
        }
    }

    run::<E>(|executor, done| {
        let wakers = [const { OnceCell::new() }; 2];
        let table = Rc::new(Table { wakers, left: Cell::new(0), done });
        for side in 0..2 {
            executor.spawn(Player::<CAN_END> { table: table.clone(), side });
        }
    })
    .await;
}

/// Poll, wake itself, poll again: with `tasks` that all do so, and never end.
async fn yields<E: Executor>(tasks: usize) {
    struct Yielder(&'static Round);

    struct Round {
        /// Polls until something happens: the beginning of the row, or its end.
        left: Cell<usize>,
        begun: Cell<bool>,
        done: &'static Cell<bool>,
    }

    impl Future for Yielder {
        type Output = ();

        #[inline]
        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let left = self.0.left.get();
            if left == 0 && self.0.at_zero() {
                return Poll::Pending;
            }
            self.0.left.update(|left| left - 1);
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }

    impl Round {
        /// Whether this is the end, for all tasks. Merged into `poll`: a call would give that a frame.
        #[inline(always)]
        fn at_zero(&self) -> bool {
            if self.done.get() {
                return true;
            }
            let ends = self.begun.replace(true);
            if !ends {
                self.left.set(ITERATIONS);
            }
            self.done.set(ends);
            mark();
            ends
        }
    }

    run::<E>(|executor, done| {
        let round = Round { left: Cell::new(0), begun: Cell::new(false), done };
        let round = Box::leak(Box::new(round));
        for _ in 0..tasks {
            executor.spawn(Yielder(round));
        }
    })
    .await;
}

/// Spawn, run, end: each task spawns the next one and is done.
async fn spawns<E: Executor>() {
    struct Link<E: Executor>(&'static Chain<E>, usize);

    struct Chain<E: Executor> {
        executor: E,
        /// A task has not ended yet when it spawns the next one.
        slots: [E::Slot<Link<E>>; 2],
        /// Tasks until something happens: the beginning of the row, or its end.
        left: Cell<usize>,
        begun: Cell<bool>,
        done: &'static Cell<bool>,
    }

    impl<E: Executor> Future for Link<E> {
        type Output = ();

        #[inline]
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            let Self(chain, side) = *self;
            let left = chain.left.get();
            if left == 0 && chain.at_zero() {
                return Poll::Ready(());
            }
            chain.left.update(|left| left - 1);
            let next = 1 - side;
            chain.executor.spawn_in(chain.slots[next], Link(chain, next));
            Poll::Ready(())
        }
    }

    impl<E: Executor> Chain<E> {
        /// Whether this is the end.
        #[cold]
        #[inline(never)]
        fn at_zero(&self) -> bool {
            let ends = self.begun.replace(true);
            if !ends {
                self.left.set(ITERATIONS);
            }
            self.done.set(ends);
            mark();
            ends
        }
    }

    run::<E>(|&executor, done| {
        let slots = [E::slot(), E::slot()];
        let (left, begun) = (Cell::new(0), Cell::new(false));
        let chain = Box::leak(Box::new(Chain { executor, slots, left, begun, done }));
        executor.spawn_in(chain.slots[0], Link(chain, 0));
    })
    .await;
}

/// Wake of a task that has been woken already.
async fn wake_again<E: Executor>() {
    struct Restless(&'static Cell<bool>);

    impl Future for Restless {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            cx.waker().wake_by_ref();
            measure::repeat(cx.waker(), Waker::wake_by_ref);
            self.0.set(true);
            Poll::Ready(())
        }
    }

    run::<E>(|executor, done| executor.spawn(Restless(done))).await;
}
