//! embassy-executor, raw: tasks in static storage, polled by hand.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use embassy_executor::raw::{Executor as Raw, TaskStorage};

use super::Executor;
use crate::workload::{Finish, Mailbox, Shared, work};

/// Embassy asks for a poll through this function. There is nothing to wake up here, but something
/// must be done, as a store is the least that an interrupt-driven machine does.
#[expect(unsafe_code, reason = "embassy-executor links to this symbol")]
// SAFETY: it has the signature that embassy-executor documents, and no one else has this name.
#[unsafe(export_name = "__pender")]
fn pender(_context: *mut ()) {
    static PENDED: AtomicBool = AtomicBool::new(false);
    PENDED.store(true, Ordering::Relaxed);
}

/// Storage for tasks must live for ever; embassy's users put it in a `static`.
fn storage<F: Future + 'static>(count: usize) -> &'static [TaskStorage<F>] {
    Vec::leak((0..count).map(|_| TaskStorage::new()).collect())
}

pub(super) struct Embassy {
    raw: &'static Raw,
}

impl Embassy {
    #[inline]
    fn poll(&self) {
        #[expect(unsafe_code, reason = "raw executors are polled by hand")]
        // SAFETY: never polled from within a poll: no task knows this executor but as a spawner.
        unsafe {
            self.raw.poll();
        }
    }

    fn spawn_all<F>(&self, count: usize, make: impl Fn(usize) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        for (index, task) in storage(count).iter().enumerate() {
            self.raw.spawner().spawn(task.spawn(|| make(index)).expect("a fresh task"));
        }
    }
}

impl Executor for Embassy {
    const NAME: &'static str = "embassy";
    const HAS_HANDLES: bool = false;

    fn new() -> Self {
        Self { raw: Box::leak(Box::new(Raw::new(std::ptr::null_mut()))) }
    }

    fn run<F>(
        &mut self,
        count: usize,
        make: impl Fn(usize) -> F,
        finish: &Shared<Finish>,
    ) -> Duration
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_all(count, make);
        let begin = Instant::now();
        while !finish.reached() {
            self.poll();
        }
        begin.elapsed()
    }

    fn run_from_outside<F>(
        &mut self,
        count: usize,
        make: impl Fn(usize) -> F,
        times: usize,
        wake: impl Fn(usize),
    ) -> Option<Duration>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_all(count, make);
        self.poll();
        let begin = Instant::now();
        for turn in 0..times {
            wake(turn);
            self.poll();
        }
        Some(begin.elapsed())
    }

    /// There are no join handles: each task sends its result to a mailbox of its own.
    fn spawn_and_join(&mut self, times: usize, group: usize) -> Duration {
        async fn send_work(number: u64, result: Shared<Mailbox>) {
            result.send(work(number).await);
        }
        let tasks = storage(group);
        let results: Vec<_> = (0..group).map(|_| Mailbox::new()).collect();
        let spawner = self.raw.spawner();
        let taken = Rc::new(Cell::new(None));
        let joiner = {
            let taken = taken.clone();
            async move {
                let begin = Instant::now();
                for _ in 0..times {
                    for (number, (task, result)) in (0..).zip(tasks.iter().zip(&results)) {
                        let token = task.spawn(|| send_work(number, result.clone()));
                        spawner.spawn(token.expect("a task that was joined"));
                    }
                    for (number, result) in (0..).zip(&results) {
                        assert_eq!(result.receive().await, number + 1);
                    }
                }
                taken.set(Some(begin.elapsed()));
            }
        };
        let joiner = Cell::new(Some(joiner));
        self.spawn_all(1, |_| joiner.take().expect("one joiner"));
        loop {
            if let Some(taken) = taken.get() {
                return taken;
            }
            self.poll();
        }
    }
}
