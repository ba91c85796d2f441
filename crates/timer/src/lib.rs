//! Tickless hierarchical timer wheel over nodes that the waiters own.
//!
//! A [`Wheel`] keeps what waits for a moment: any number of [`Node`]s, each with a deadline and a
//! target to be told about it. Filing a node and taking it out again cost the same few dozen
//! instructions whether ten nodes wait or a million, and [`Wheel::next_deadline`] is the moment
//! itself, not the next turn of some wheel, so that a hart sleeps until there is work.
//!
//! The wheel needs nothing: no allocator, no globals, no clock. A node lies in its owner, pinned, such as
//! the future that waits. Time is an argument, in ticks of whatever clock the caller reads, and all
//! 64 bits of it may be used. A wheel is for one hart, or for whoever holds the caller's lock: no
//! operation is atomic.
//!
//! On it stand [`Timers`], the wheel of one hart behind its lock, and [`Sleep`], the future that owns a node:
//! generic over a [`Clock`], they run on this computer as on a machine.
//!
//! The algorithm is the hierarchical timing wheel of G. Varghese and T. Lauck, "Hashed and
//! Hierarchical Timing Wheels: Data Structures for the Efficient Implementation of a Timer
//! Facility", SOSP 1987, scheme 7, with the bitmaps of occupied slots that implementations since
//! have added. What was weighed against it is in the README of this crate.
//!
//! ```
//! use std::{pin::pin, ptr::NonNull};
//! use wakeful_timer::{Node, Wheel};
//!
//! let wheel = pin!(Wheel::new());
//! let wheel = wheel.as_ref();
//! let (tea, egg) = (pin!(Node::new()), pin!(Node::new()));
//!
//! // SAFETY: the nodes and the wheel are pinned, and the nodes leave the wheel below.
//! unsafe {
//!     wheel.insert(NonNull::from(&*tea), 300, "tea");
//!     wheel.insert(NonNull::from(&*egg), 240, "egg");
//! }
//! assert_eq!(wheel.next_deadline(), Some(240));
//!
//! wheel.advance(250); // the hart slept, and this is what its clock says now
//! assert_eq!(wheel.pop_expired(), Some("egg"));
//! assert_eq!(wheel.pop_expired(), None);
//!
//! assert_eq!(wheel.next_deadline(), Some(300));
//! // SAFETY: the node is in no other wheel.
//! unsafe { wheel.remove(NonNull::from(&*tea)) };
//! assert!(wheel.is_empty());
//! ```

#![cfg_attr(not(test), no_std)]
#![expect(unsafe_code, reason = "the lists link nodes that the waiters own")]

mod coarse;
mod node;
mod sleep;
mod ticks;
mod wheel;

pub use coarse::coarse;
pub use node::Node;
pub use sleep::{Clock, NEVER, Sleep, Timers};
pub use ticks::{duration_of, skip_missed, ticks_in};
pub use wheel::Wheel;
