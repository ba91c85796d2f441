//! Tasks, wakers and run queues: one executor for a bare machine's harts, as a library without an OS.
//!
//! A task is a future in a slot of type-stable memory, behind a header of 32 bytes. A waker is the
//! header's address: waking is one `fetch_or`, taking a task out of the queue one `fetch_sub`, and
//! cloning or dropping a waker nothing. Each hart has its own queue in eight levels of urgency, without
//! locks, and an inbox where interrupts and other harts put what they wake. A hart that sleeps is
//! interrupted, one that runs is not. README.md tells why it is built like this.
//!
//! - [`Platform`] is what it needs from the machine, implemented once by a unit type.
//! - [`Hart`] is the scheduler of one hart: [`run`](Hart::run), then [`sleep`](Hart::sleep).
//! - [`Builder`] starts tasks: on the heap of slots, or in a [`Pool`] in a static.
//! - [`JoinHandle`] waits for a task's result, [`Task`] talks of it from anywhere.
//!
//! There is one feature, `counters`: what each task and hart did. Off, it costs nothing.

#![cfg_attr(not(any(test, loom)), no_std)]
#![expect(unsafe_code, reason = "task cells, wakers and intrusive queues are raw memory")]

mod atomic;
mod budget;
mod counters;
mod handle;
mod hart;
mod inbox;
#[cfg(all(test, loom))]
#[path = "tests/loom.rs"]
mod loom_tests;
mod platform;
mod pool;
mod priority;
mod queue;
mod slab;
mod spawn;
mod state;
mod task;
#[cfg(all(test, not(loom)))]
mod tests;
mod thin;
mod waker;
mod yield_now;

pub use budget::poll_proceed;
#[cfg(feature = "counters")]
pub use counters::{HartUsage, TaskUsage};
pub use handle::{JoinError, JoinHandle, Task, TaskId};
pub use hart::{Abandoned, Hart};
pub use platform::{OUTSIDE, Platform};
pub use pool::Pool;
pub use priority::Priority;
pub use queue::LEVELS;
pub use spawn::{Builder, SpawnError};
pub use task::Guarded;
pub use thin::ThinWaker;
pub use waker::waker_vtable;
pub use yield_now::{YieldNow, yield_now};
