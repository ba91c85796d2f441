//! edge-executor, its local one, with a queue that grows and has no lock.
//!
//! Run by `try_tick`, which was faster than `run` in every row.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use edge_executor::{LocalExecutor, UnboundQueue};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;

use super::Executor;
use crate::workload::{Finish, Shared, work};

pub(super) struct EdgeExecutor {
    executor: &'static LocalExecutor<'static, UnboundQueue<NoopRawMutex>>,
}

impl EdgeExecutor {
    fn spawn_all<F>(&self, count: usize, make: impl Fn(usize) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        for index in 0..count {
            self.executor.spawn(make(index)).detach();
        }
    }
}

impl Executor for EdgeExecutor {
    const NAME: &'static str = "edge";

    fn new() -> Self {
        Self { executor: Box::leak(Box::new(LocalExecutor::new())) }
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
            self.executor.try_tick();
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
        while self.executor.try_tick() {}
        let begin = Instant::now();
        for turn in 0..times {
            wake(turn);
            while self.executor.try_tick() {}
        }
        Some(begin.elapsed())
    }

    fn spawn_and_join(&mut self, times: usize, group: usize) -> Duration {
        let executor = self.executor;
        let taken = Rc::new(Cell::new(None));
        let joiner = {
            let taken = taken.clone();
            async move {
                let mut handles = Vec::with_capacity(group);
                let begin = Instant::now();
                for _ in 0..times {
                    handles.extend((0..group as u64).map(|number| executor.spawn(work(number))));
                    for (number, handle) in (0..).zip(handles.drain(..)) {
                        assert_eq!(handle.await, number + 1);
                    }
                }
                taken.set(Some(begin.elapsed()));
            }
        };
        executor.spawn(joiner).detach();
        loop {
            if let Some(taken) = taken.get() {
                return taken;
            }
            executor.try_tick();
        }
    }
}
