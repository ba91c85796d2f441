//! Ours: the machine's own executor, as applications use it.
//!
//! `main`, which runs the rows, is one of its tasks: of the lowest priority, so that it has its next
//! turn when no other task is ready, and takes no part in what is measured.

use alloc::{rc::Rc, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    hint::black_box,
    task::Poll,
};

use wakeful::task::{self, Priority};

use crate::{
    executor::Executor,
    measure::{ITERATIONS, Shape, mark, row},
};

#[derive(Clone, Copy)]
pub(crate) struct Wakeful;

impl Executor for Wakeful {
    const NAME: &'static str = "wakeful";

    fn new() -> Self {
        task::current().expect("`main` is a task").set_priority(Priority::LOWEST);
        Self
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        drop(task::spawn_local(future));
    }

    type Slot<F: Future<Output = ()> + 'static> = ();

    fn slot<F: Future<Output = ()> + 'static>() {}

    fn spawn_in<F: Future<Output = ()> + 'static>(&self, (): (), future: F) {
        self.spawn(future);
    }

    async fn run_until(&self, done: &Cell<bool>) {
        while !done.get() {
            task::yield_now().await;
        }
    }

    /// From slot to slot, of tasks that lie side by side.
    async fn bytes_per_task() -> usize {
        const FUTURE: usize = 64;
        const TASKS: usize = 16;
        let places = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..TASKS {
            let (places, ballast) = (places.clone(), [0_u64; 7]);
            let future = poll_fn(move |_| {
                places.borrow_mut().push(black_box(&ballast).as_ptr().addr());
                Poll::Ready(())
            });
            assert_eq!(size_of_val(&future), FUTURE);
            Self.spawn(future);
        }
        while places.borrow().len() < TASKS {
            task::yield_now().await;
        }
        let mut places = places.take();
        places.sort_unstable();
        let strides = places.windows(2).map(|pair| pair[1] - pair[0]);
        strides.min().expect("there are several") - FUTURE
    }
}

/// What the peer has not got: somebody who waits for the end of a task.
pub(crate) async fn rows() {
    row(Wakeful::NAME, "spawn-join", Shape::AROUND, async || {
        let joining = task::spawn_local(async {
            mark();
            for _ in 0..ITERATIONS {
                _ = task::spawn_local(async {}).await;
            }
            mark();
        });
        _ = joining.await;
    })
    .await;
}
