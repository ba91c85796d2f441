//! A virtio disk (Virtio 1.2 §5.2): many requests in flight, each a future that owns its buffer.
//!
//! - **[`Disk::read`], [`Disk::write`], [`Disk::flush`]** are requests. Each begins when it is polled first, and is one
//!   command to the device, of one piece of memory. They are done in any order: who wants an order waits in between.
//! - **Buffers** ([`Buffer`]) go with the request and come back with the result. Nothing is copied, and nothing is allocated.
//! - **42 requests** at a time are the device's. Others wait, first come, first served, and are handed to it as soon
//!   as one ends, without their task being woken for that.
//! - **[`Disk::serve`]** is what one task does when the disk's interrupt wakes it: it wakes who waits for
//!   what is done. Interrupts are off meanwhile, so that many requests that end together are one interrupt.
//!
//! Who wakes whom: the interrupt the task that serves, that one the tasks whose requests are done, and nobody else
//! anybody.
//!
//! Needs its registers ([`virtio_drivers::transport::Transport`]), and of the machine what [`Machine`] says: 9 KB of memory
//! for rings and headers, for good, and a doorbell. No globals, no allocator. What was decided, and against
//! what, is in the README of this crate.
//!
//! # The lock
//!
//! All is under one spin lock, which is held for as long as a request is written down or taken back: some fifty stores, one of
//! them the doorbell's. It is never held across an `.await`; wakers are cloned, called and dropped without it, and buffers
//! too. Interrupts must not take it: what they do is to wake the task that serves. Another lock guards the
//! registers, which are used when something went wrong: by [`Disk::restart`] and the like, and for as long as they take.
//!
//! # A device that breaks the rules
//!
//! Nothing that a device says is trusted: not which request it returns, nor how often, nor how much it has
//! written. What cannot be is a [`Fault`]: the device is stopped, and [`Disk::restart`] begins anew with it.
//! What it had fails then, with [`Error::Reset`]; what waits is done. A buffer that it had comes back when it has come out of
//! its reset, and not before: one that never does so keeps it. What it wrote into a buffer is data, and whether
//! it wrote at all, nobody can tell.
//!
//! A device that says nothing more at all breaks no rule. Who waits for it may drop the request; its slot and its
//! buffer are the device's until a restart.

#![cfg_attr(not(test), no_std)]

mod buffer;
mod disk;
mod error;
#[cfg(test)]
mod fake;
mod geometry;
mod node;
mod request;
mod slots;
#[cfg(test)]
mod tests;

pub use buffer::Buffer;
pub use disk::{Disk, Served};
pub use error::{Error, Failed, Fault};
pub use geometry::Geometry;
pub use request::{Flush, Request};
pub use wakeful_virtio::{Error as SetupError, Machine, Restarts};

/// The most requests that a device has at a time: each takes three of the 128 descriptors of its queue.
pub const IN_FLIGHT: usize = slots::COUNT;

/// The queue (Virtio 1.2 §5.2.2). There may be more, which are not used.
const REQUESTS: u16 = 0;
