//! The executors, and what each must be able to do to take part.

use std::future::Future;
use std::time::Duration;

use crate::race::Entrant;
use crate::rows::Row;
use crate::workload::{Finish, Shared};

mod async_executor;
mod edge_executor;
mod embassy;
mod futures_unordered;
mod tokio;
mod wakeful;

use self::async_executor::AsyncExecutor;
use self::edge_executor::EdgeExecutor;
use self::embassy::Embassy;
use self::futures_unordered::Unordered;
use self::tokio::Tokio;
use self::wakeful::Wakeful;

/// An executor under test. The workloads are written once, over this; a contender only says how
/// tasks are spawned and run.
pub(crate) trait Executor: Sized {
    /// What it is called in the table.
    const NAME: &'static str;

    /// Whether a task can await the result of another that it spawned.
    const HAS_HANDLES: bool = true;

    /// A fresh one. Takes no part in any measurement.
    fn new() -> Self;

    /// Spawns `make(0)`, `make(1)`, … `make(count - 1)`, all detached, then runs them until `finish`
    /// is reached. Returns the time of the running alone.
    fn run<F>(
        &mut self,
        count: usize,
        make: impl Fn(usize) -> F,
        finish: &Shared<Finish>,
    ) -> Duration
    where
        F: Future<Output = ()> + Send + 'static;

    /// Spawns tasks as [`run`](Self::run) does and runs them until none is ready; then calls
    /// `wake(0)`, `wake(1)`, … `wake(times - 1)`, and runs until none is ready after each.
    /// Returns the time of the waking and running, or none if it cannot be left when idle.
    fn run_from_outside<F>(
        &mut self,
        count: usize,
        make: impl Fn(usize) -> F,
        times: usize,
        wake: impl Fn(usize),
    ) -> Option<Duration>
    where
        F: Future<Output = ()> + Send + 'static;

    /// Calls `handler` as an interrupt handler is called, if that makes a difference to wakers.
    #[inline]
    fn interrupt(handler: impl FnOnce()) {
        handler();
    }

    /// In a task: `times` times spawns `group` of [`work`](crate::workload::work), then joins them
    /// in the order in which they were spawned. Returns the time of that.
    fn spawn_and_join(&mut self, times: usize, group: usize) -> Duration;
}

/// All who have an executor, in `row`.
pub(crate) fn entrants(row: Row, operations: usize) -> Vec<Entrant<'static>> {
    fn entrant<E: Executor>(row: Row, operations: usize) -> Entrant<'static> {
        let batch = move || row.measure::<E>(operations).map(|figure| vec![figure]);
        let compared = E::HAS_HANDLES || !row.joins();
        Entrant { name: E::NAME, compared, batch: Box::new(batch) }
    }
    vec![
        entrant::<Wakeful>(row, operations),
        entrant::<Embassy>(row, operations),
        entrant::<Tokio>(row, operations),
        entrant::<AsyncExecutor>(row, operations),
        entrant::<EdgeExecutor>(row, operations),
        entrant::<Unordered>(row, operations),
    ]
}
