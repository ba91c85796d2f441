//! What virtio drivers have in common (Virtio 1.2 §2, §3): the first steps with a device, memory, rings, restarts.
//!
//! - **The first steps** are functions, in this order: [`reset`], [`offered`], [`agree`], [`check_queue`], and
//!   [`begin`] in the end. A device that cannot be used is an [`Error`].
//! - **[`Ring`]**: a split queue of [`SIZE`] entries. Who has a buffer has a descriptor of the same number, so that
//!   nothing is looked for: what never changes is written once, and a request is a few stores.
//! - **[`Region`]**: memory that a device sees, for good. [`Machine`] has it, and the [`Doorbell`]s.
//! - **[`Restarts`]**: how often a device that broke the rules gets another chance.
//!
//! Legacy devices and those of today are driven alike. Needs [`Transport`](virtio_drivers::transport::Transport)s of
//! `virtio-drivers`; no globals, no locks, no allocator. It wakes nobody and knows no interrupts. What was decided, and
//! against what, is in the READMEs of the drivers: `wakeful-virtio-net` and `wakeful-virtio-blk`.
//!
//! # Features
//!
//! `fake`: a machine and a device for the tests of drivers, on computers that have `std`.

#![cfg_attr(any(target_os = "none", not(any(test, feature = "fake"))), no_std)]

#[cfg(all(feature = "fake", not(target_os = "none")))]
pub mod fake;
mod handshake;
mod machine;
mod restarts;
mod ring;

pub use handshake::{Error, VERSION_1, agree, begin, check_queue, offered, reset, stop};
pub use machine::{Doorbell, Machine, Region};
pub use restarts::Restarts;
pub use ring::{BYTES, Overrun, Ring, SIZE};
