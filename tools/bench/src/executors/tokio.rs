//! tokio's current-thread runtime, without drivers.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::Executor;
use crate::workload::{Finish, Shared, work};

pub(super) struct Tokio {
    runtime: Runtime,
}

impl Executor for Tokio {
    const NAME: &'static str = "tokio";

    fn new() -> Self {
        Self { runtime: Builder::new_current_thread().build().expect("a runtime") }
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
        self.runtime.block_on(async {
            for index in 0..count {
                drop(tokio::spawn(make(index)));
            }
            let begin = Instant::now();
            finish.wait().await;
            begin.elapsed()
        })
    }

    /// `block_on` polls its own future before the tasks, and sleeps when there is nothing to do:
    /// waking from there would be two polls for one wake.
    fn run_from_outside<F>(
        &mut self,
        _count: usize,
        _make: impl Fn(usize) -> F,
        _times: usize,
        _wake: impl Fn(usize),
    ) -> Option<Duration>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        None
    }

    fn spawn_and_join(&mut self, times: usize, group: usize) -> Duration {
        let joiner = async move {
            let mut handles = Vec::with_capacity(group);
            let begin = Instant::now();
            for _ in 0..times {
                handles.extend((0..group as u64).map(|number| tokio::spawn(work(number))));
                for (number, handle) in (0..).zip(handles.drain(..)) {
                    assert_eq!(handle.await.expect("no panic"), number + 1);
                }
            }
            begin.elapsed()
        };
        self.runtime.block_on(async { tokio::spawn(joiner).await.expect("no panic") })
    }
}
