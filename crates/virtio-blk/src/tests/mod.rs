//! A disk and a device that keeps to the rules, or does not.

mod drops;
mod hostile;
mod order;
mod plain;
mod restart;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use wakeful_virtio::fake::{Bell, Registers};

use crate::{
    Error, Failed, Flush, Request, Served,
    fake::{Bytes, Pair},
};

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

type Of<'a> = Request<'a, Registers, Bell, Bytes>;
type FlushOf<'a> = Flush<'a, Registers, Bell, Bytes>;

/// A future in a task of its own.
struct Task<F> {
    future: Pin<Box<F>>,
    count: Arc<Count>,
}

impl<F: Future> Task<F> {
    /// It has been polled once, and is not done.
    fn begun(future: F) -> Self {
        let mut task = Self::new(future);
        assert!(task.poll().is_pending());
        task
    }

    fn new(future: F) -> Self {
        Self { future: Box::pin(future), count: Arc::default() }
    }

    fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(self.count.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn woken(&self) -> u32 {
        self.count.0.load(Ordering::Relaxed)
    }

    /// It was woken once, and is done.
    fn result(mut self) -> F::Output {
        assert_eq!(self.woken(), 1);
        match self.poll() {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("woken for nothing"),
        }
    }
}

/// What comes of a request at once.
fn at_once<F: Future>(future: F) -> F::Output {
    match Task::new(future).poll() {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it waits"),
    }
}

/// Why it failed. The buffer is there.
fn error(result: Result<Bytes, Failed<Bytes>>) -> Error {
    let failed = result.unwrap_err();
    assert!(failed.buffer.is_some());
    failed.error
}

impl Pair {
    /// Its task finds that there is no more to do.
    fn serve(&self) {
        assert_eq!(self.disk.serve(), Served::Resting);
        assert!(self.device.borrow().interrupts(0));
    }
}
