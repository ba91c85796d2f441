//! Embassy on Wakeful: its tasks in one of ours, its clock and timers on each hart's own.
//!
//! Two parts, each of use without the other. [`run`] hosts an `embassy-executor` in a Wakeful task.
//! The time driver lets `embassy-time` work in every task, hosted or not, on every hart, and inside
//! of combinators that make their own wakers. What needs neither, such as `embassy-sync`,
//! `embassy-futures` and `futures-util`, works in any task as it is.
//!
//! ```ignore
//! use embassy_executor::Spawner;
//! use embassy_time::{Duration, Timer};
//! use wakeful::{embassy, println, task};
//!
//! #[embassy_executor::task]
//! async fn blink(times: u32) {
//!     for _ in 0..times {
//!         Timer::after(Duration::from_millis(250)).await;
//!         println!("blink");
//!     }
//! }
//!
//! #[wakeful::main]
//! async fn main() {
//!     // On this hart, beside our own tasks. Another hart may host others, and so may another task.
//!     task::spawn_local(embassy::run(|spawner| spawner.spawn(blink(8).unwrap()))).detach();
//!     // `embassy-time` in a task of Wakeful.
//!     Timer::after_secs(3).await;
//! }
//! ```
//!
//! The application names the crates of Embassy itself, as it would elsewhere: `embassy-executor` 0.10
//! without a `platform-*` feature, `embassy-time` 0.5 without a queue (`generic-queue-*`), and if it
//! likes a tick rate (`tick-hz-*`), which is a million ticks in a second otherwise. The machine's own
//! counter is converted: timers round up and the clock down, so no timer is early.
//!
//! Owns the symbols `__pender` and `_embassy_time_*`, one task of highest urgency on each hart where
//! an Embassy timer was waited for, and 11 KiB of heap for it. Needs the scheduler, the timers and a
//! heap.
//!
//! # Limits
//!
//! - Embassy's timers cannot be cancelled: a driver is told of a waker and a time and never hears that
//!   nobody waits any more. So there is one deadline for each waker, the earliest, however many timers
//!   its task began; it goes when it has come, and wakes the task, perhaps for nothing.
//! - The waker is kept until then. For a task that is nothing. `FuturesUnordered` and its like make a
//!   waker for each future, and those of dropped futures stay (about 60 bytes here, and what they
//!   hold) until their deadlines. For timeouts of an hour in there, use
//!   [`wakeful_time::timeout`], which leaves nothing behind.
//! - [`wakeful_time::sleep`] is cheaper: no heap, no look-up, and the task is woken by the timer
//!   itself, not by a task in between.
//! - Embassy has one `__pender` in a program, and it is ours: an application must not make a
//!   `raw::Executor` with a context of its own.
//! - The priorities and deadlines of Embassy's scheduler features order the tasks of one host; among
//!   our tasks they have together the urgency of the task that hosts them.

#![no_std]

extern crate alloc;

mod driver;
#[expect(unsafe_code, reason = "embassy's raw executor, and the symbol that it calls")]
mod host;
#[expect(unsafe_code, reason = "entries are linked into a wheel and found through a pointer")]
mod queue;

pub use host::run;

/// How many deadlines of Embassy's timers wait on this hart: one at most for each waker. 0 in an
/// interrupt.
pub fn pending() -> usize {
    queue::Queue::pending()
}
