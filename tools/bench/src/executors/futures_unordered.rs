//! `FuturesUnordered` of futures-util: a set of futures in one task, with wakers of their own.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::Stream;
use futures_util::stream::FuturesUnordered;

use super::Executor;
use crate::workload::{Finish, Shared, work};

/// The set is polled by hand, with a waker that does nothing.
pub(super) struct Unordered;

fn set_of<F: Future>(count: usize, make: impl Fn(usize) -> F) -> FuturesUnordered<F> {
    (0..count).map(make).collect()
}

impl Executor for Unordered {
    const NAME: &'static str = "Unordered";
    const HAS_HANDLES: bool = false;

    fn new() -> Self {
        Self
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
        let mut set = pin!(set_of(count, make));
        let mut cx = Context::from_waker(Waker::noop());
        let begin = Instant::now();
        while !finish.reached() {
            _ = set.as_mut().poll_next(&mut cx);
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
        let mut set = pin!(set_of(count, make));
        let mut cx = Context::from_waker(Waker::noop());
        _ = set.as_mut().poll_next(&mut cx); // One call polls each future once.
        let begin = Instant::now();
        for turn in 0..times {
            wake(turn);
            _ = set.as_mut().poll_next(&mut cx);
        }
        Some(begin.elapsed())
    }

    fn spawn_and_join(&mut self, times: usize, group: usize) -> Duration {
        let mut set = pin!(FuturesUnordered::new());
        let mut cx = Context::from_waker(Waker::noop());
        let sum = Cell::new(0);
        let begin = Instant::now();
        for _ in 0..times {
            for number in 0..group as u64 {
                set.push(work(number));
            }
            while let Poll::Ready(Some(result)) = set.as_mut().poll_next(&mut cx) {
                sum.set(sum.get() + result);
            }
        }
        let taken = begin.elapsed();
        let group = group as u64;
        assert_eq!(sum.get(), times as u64 * group * (group + 1) / 2);
        taken
    }
}
