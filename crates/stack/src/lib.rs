//! TCP/IP on smoltcp, with each connection in a socket set of its own.
//!
//! smoltcp walks all sockets of the set that it is given, for each packet and each timer. So it is given a
//! set of one: a frame is read just far enough to say whose it is (`classify.rs`), the connection is found
//! in a hash table, and smoltcp sees that connection alone. What a packet costs does not depend on how many
//! connections there are.
//!
//! ```text
//!   frame ──► classify ──► flow table ──► one set: the connection ─┐
//!                │            └─ SYN for a listener: a new set ────┤
//!                ├──► UDP port table ──► one set: the socket ──────┼──► Interface (addresses,
//!                ├──► DHCP, DNS: a set each ───────────────────────┤    routes, neighbours)
//!                └──► everything else: an empty set ───────────────┘
//! ```
//!
//! Beside smoltcp's own, a [`Stack`] owns four things:
//!
//! - **Listeners with a backlog.** A SYN makes a socket that listens, and feeds it the SYN. A connection is
//!   handed out when its handshake is done.
//! - **Deadlines**: one node for each endpoint in a wheel. It is moved only to an earlier moment: an
//!   acknowledgement does not take the retransmission timer out, which finds nothing to do if nothing is
//!   there to be sent again.
//! - **What waits**: endpoints that have something to send but no room in the card's ring, or nobody's
//!   hardware address, are remembered and served when that changes.
//! - **Wakers.** Those that are due are collected, and called by [`Stack::take_woken`]'s caller when it has
//!   let go of its lock: what a foreign waker does, or drops, may come back here.
//!
//! Feature: `ipv6` (both families instead of IPv4 alone).
//!
//! It needs a heap, a source of moments (microseconds, passed with each call) and a [`Link`] to send by. It
//! has no globals, no lock and no task: `modules/net` adds those.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod address;
mod checksum;
mod classify;
mod conflicts;
mod deadlines;
mod dhcp;
#[cfg(feature = "dns")]
mod dns;
#[cfg(not(feature = "dns"))]
#[path = "no_dns.rs"]
mod dns;
mod endpoint;
mod error;
mod flows;
mod handshakes;
#[cfg(feature = "ipv6")]
mod ipv6;
#[cfg(not(feature = "ipv6"))]
#[path = "no_ipv6.rs"]
mod ipv6;
mod link;
mod opening;
mod places;
mod rings;
mod segment;
mod stack;
mod tcp;
#[cfg(all(test, feature = "ipv6"))] // they are about both families
mod tests;
mod time_wait;
mod udp;

pub use address::{address, parse as parse_address, standard};
pub use conflicts::Conflict;
#[cfg(feature = "dns")]
pub use dns::Lookup;
pub use error::Error;
pub use link::{Link, Offload, PartialChecksum, Segments, Work};
pub use smoltcp::wire::{IpAddress, IpCidr, IpEndpoint, IpListenEndpoint, Ipv4Address};
pub use stack::{Config, Counters, Stack, Woken};
pub use tcp::{Connection, ConnectionId, Listener, TcpOptions};
pub use udp::Udp;
