//! The peer: embassy-executor's raw executor.
//!
//! As fast as it can be: `__pender` does nothing, and the loop around `poll` asks only whether the
//! row is done, never whether it may sleep.

#![expect(unsafe_code, reason = "its raw interface, and the one symbol that it wants, are unsafe")]

use alloc::boxed::Box;
use core::{cell::Cell, future::Future, mem::size_of, ptr};

use embassy_executor::raw::{self, TaskStorage};

use crate::executor::Executor;

#[derive(Clone, Copy)]
pub(crate) struct Embassy(&'static raw::Executor);

/// Called when the first task of an empty queue becomes ready.
#[unsafe(export_name = "__pender")]
fn pender(_context: *mut ()) {}

impl Executor for Embassy {
    const NAME: &'static str = "embassy";

    fn new() -> Self {
        Self(Box::leak(Box::new(raw::Executor::new(ptr::null_mut()))))
    }

    /// Its tasks are static: this one stays for ever.
    fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.spawn_in(Self::slot(), future);
    }

    type Slot<F: Future<Output = ()> + 'static> = &'static TaskStorage<F>;

    fn slot<F: Future<Output = ()> + 'static>() -> Self::Slot<F> {
        Box::leak(Box::new(TaskStorage::new()))
    }

    /// Quicker than the pool that its macro makes, which looks for a place.
    fn spawn_in<F: Future<Output = ()> + 'static>(&self, slot: Self::Slot<F>, future: F) {
        let task = slot.spawn(|| future).expect("the task before has ended");
        self.0.spawner().spawn(task);
    }

    async fn run_until(&self, done: &Cell<bool>) {
        poll_until(self.0, done);
    }

    async fn bytes_per_task() -> usize {
        type Future = core::future::Ready<[u64; 8]>;
        size_of::<TaskStorage<Future>>() - size_of::<Future>()
    }
}

/// A function of its own, so that the loop has all registers to itself.
#[inline(never)]
fn poll_until(executor: &'static raw::Executor, done: &Cell<bool>) {
    while !done.get() {
        // SAFETY: called here alone, on the hart that made it, and never by one of its tasks.
        unsafe { executor.poll() };
    }
}
