//! Tasks: the executor of `wakeful-executor`, bound to the machine's harts.
//!
//! Each hart has a run queue of its own in eight levels of urgency. A task is polled by one hart, its
//! home, all its life; only what is [`Send`] may choose one. A hart without anything to do sleeps until
//! an interrupt, and no clock ticks meanwhile. Wakers may be called from everywhere.
//!
//! ```ignore
//! let answer = task::spawn(async { 42 });
//! assert_eq!(answer.await, Ok(42));
//! ```
//!
//! Owns the schedulers of all harts, and their sleep. Needs frames for the slots of tasks: no heap.
//!
//! Feature: `counters` (what each task and hart did).

#![no_std]

mod abandon;
mod machine;
mod run;

use core::future::Future;

pub use abandon::{Abandoned, Doomed, doomed, panicked};
pub use machine::{Machine, ring, set_alarm};
pub use run::{enter_and_run, prepare_hart, run, start};
use wakeful_executor::Platform;
#[cfg(feature = "counters")]
#[doc(inline)]
pub use wakeful_executor::{HartUsage, TaskUsage};
#[doc(inline)]
pub use wakeful_executor::{JoinError, LEVELS, Priority, SpawnError, TaskId, YieldNow, yield_now};

/// A task to be: its name, how urgent it is, and where it runs. See [`wakeful_executor::Builder`].
pub type Builder<L = ()> = wakeful_executor::Builder<Machine, L>;

/// Waits for a task's result; dropping it lets the task go on. See [`wakeful_executor::JoinHandle`].
pub type JoinHandle<T> = wakeful_executor::JoinHandle<Machine, T>;

/// Memory for `COUNT` tasks of up to `SIZE` bytes each, in a static. See [`wakeful_executor::Pool`].
pub type Pool<const SIZE: usize, const COUNT: usize> = wakeful_executor::Pool<Machine, SIZE, COUNT>;

/// A reference to a task, which may have ended. See [`wakeful_executor::Task`].
pub type Task = wakeful_executor::Task<Machine>;

/// Starts a task on the hart with the fewest tasks.
///
/// # Panics
///
/// If there is no memory for it. [`Builder::spawn`] gives an error instead.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    expect(Builder::new().spawn(future))
}

/// Starts a task on this hart. Its future need not be [`Send`].
///
/// # Panics
///
/// If there is no memory for it, and in an interrupt. [`Builder::spawn_local`] gives an error instead.
pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
{
    expect(Builder::new().spawn_local(future))
}

/// Starts a task on the hart of that number, below [`harts`].
///
/// # Panics
///
/// If there is no memory for it, or no such hart. [`Builder::spawn`] gives an error instead.
pub fn spawn_on<F>(hart: usize, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    expect(Builder::new().hart(hart).spawn(future))
}

fn expect<T>(spawned: Result<JoinHandle<T>, SpawnError>) -> JoinHandle<T> {
    spawned.unwrap_or_else(|error| panic!("cannot spawn: {error}"))
}

/// The task that is having its turn on this hart. `None` in an interrupt.
pub fn current() -> Option<Task> {
    Task::current()
}

/// The name of the task that is having its turn on this hart, if it has one.
pub fn current_name() -> Option<&'static str> {
    Task::current_name()
}

/// How many harts run tasks. They are numbered from 0, the one that booted.
pub fn harts() -> usize {
    Machine::harts()
}

/// How many tasks live on a hart: ready, waiting, or running.
///
/// # Panics
///
/// If there is no such hart.
pub fn tasks_on(hart: usize) -> usize {
    machine::existing(hart).tasks() as usize
}

/// What a hart did so far. Times are in ticks of the machine's counter.
///
/// # Panics
///
/// If there is no such hart.
#[cfg(feature = "counters")]
pub fn usage(hart: usize) -> HartUsage {
    machine::existing(hart).usage()
}

/// Spends one unit of this turn's budget. For futures that wait for an outside event: see
/// [`wakeful_executor::poll_proceed`].
pub fn poll_proceed(context: &mut core::task::Context<'_>) -> core::task::Poll<()> {
    wakeful_executor::poll_proceed::<Machine>(context)
}
