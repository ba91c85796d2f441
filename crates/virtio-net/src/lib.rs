//! A virtio network card (Virtio 1.2 §5.1): its queues, its buffers, and what it does instead of us.
//!
//! One queue in, one out, of 128 entries each. A frame is not copied and nothing is allocated for it: it lies
//! in one buffer behind the device's header, or in several that are adjacent.
//!
//! - **In**: all buffers are the device's from the start. [`Card::receive`] takes the next frame as a
//!   [`Frame`], [`Card::release`] gives its buffers back.
//! - **Out**: [`Card::transmit`] has a frame written into free buffers and hands those over. Buffers
//!   that were sent are looked for only when too few are free.
//! - **Asleep**: the card is polled, and its interrupts are off, until [`Card::rest`] says that there
//!   is nothing to do. Who is woken then is the owner's matter.
//! - **Instead of us** ([`Offload`], [`Wanted`]): checksums are completed and checked, long TCP segments are
//!   cut for the wire and received in one piece, where the device can.
//!
//! Needs its registers ([`virtio_drivers::transport::Transport`]), of the machine what [`Machine`] says: one
//! piece of memory that the device sees as we do, and doorbells; and a random number. No globals, no locks, no
//! allocator. What was decided, and against what, is in the README of this crate.
//!
//! # A device that breaks the rules
//!
//! Nothing that a device says is trusted: not which buffer it returns, not how many, not how much it has
//! written, not how many buffers a frame has. What cannot be is a [`Fault`]: the device is stopped, there is
//! no frame and no room, and [`Card::restart`] begins anew with it. Frames that were received stay valid
//! meanwhile, and no buffer is lost. (What a device writes where is another matter: without an IOMMU it reaches
//! all memory.)
//!
//! # Frames of several buffers
//!
//! A received frame longer than a buffer goes on in the next ones that the device has, and only the first
//! has a header. Buffers lie side by side without a gap, and are given to the device in their order,
//! so such a frame is in one piece. Two cases are left: a frame that goes round the end has its rest copied
//! behind the last buffer, where there is room for one; and where a buffer was missing, as its frame is
//! kept, the frame is copied there as a whole. [`Counters`] says how often that happens.
//!
//! The other way a frame takes as many adjacent buffers as it needs, and one descriptor. They are
//! taken and become free in the order of a ring, in whatever order the device returns them, so they never
//! fragment. A frame that would go round the end begins at the start, and what is left at the end is free
//! when that frame is reached.

#![cfg_attr(not(test), no_std)]

mod card;
#[cfg(test)]
mod fake;
mod features;
mod header;
mod memory;
mod receive;
mod setup;
#[cfg(test)]
mod tests;
mod transmit;

pub use card::{Card, Counters, Fault};
pub use features::{Offload, Wanted};
pub use header::{PartialChecksum, Segments, Work};
pub use receive::Frame;
use wakeful_virtio::{Doorbell, SIZE};
pub use wakeful_virtio::{Error, Machine, Restarts};

/// The longest frame that is sent as it is: an IP packet of 1500 bytes behind an Ethernet header.
pub const MAX_FRAME: usize = ETHERNET_HEADER + MAX_MTU;

const ETHERNET_HEADER: usize = 14;
const MAX_MTU: usize = 1500;

/// Queues (Virtio 1.2 §5.1.2).
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
