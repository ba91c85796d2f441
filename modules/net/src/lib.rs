//! TCP, UDP and names on the machine's network card.
//!
//! ```ignore
//! let listener = TcpListener::bind(7)?;
//! loop {
//!     let (mut stream, peer) = listener.accept().await?;
//!     task::spawn(async move {
//!         let mut buffer = [0; 512];
//!         while let Ok(count @ 1..) = stream.read(&mut buffer).await {
//!             stream.write_all(&buffer[..count]).await?;
//!         }
//!         Ok::<_, net::Error>(())
//!     })
//!     .detach();
//! }
//! ```
//!
//! Addresses come by DHCP and from IPv6 routers, or from the boot arguments `ip=`, `gw=` and `dns=`
//! ([`Settings`]). Nothing has to be started or polled: a task of this module sleeps until the card or a
//! deadline wakes it. What an application writes and flushes goes out in its own turn.
//!
//! Owns the one stack ([`wakeful_stack`]) behind its lock, and that task. Needs the card from
//! `wakeful-driver`, tasks, timers and a heap. The lock is held for one packet or one copy, never across an
//! `await`, and no interrupt takes it: interrupts only wake the task.
//!
//! Features: `embedded-nal` and `edge-nal` implement the traits of embedded-nal-async and edge-nal, for
//! `Network` and for the sockets themselves. Those of embedded-io-async are always there.

#![no_std]

extern crate alloc;

mod card;
mod error;
#[cfg(feature = "dns")]
mod names;
mod settings;
mod state;
mod tcp;
mod traits;
mod udp;

pub use error::Error;
#[cfg(feature = "dns")]
pub use names::{lookup, to_address};
pub use settings::Settings;
pub use state::{
    Counters, addresses, buffered, configured, connections, counters, ended, endpoint, handshakes,
    has_card, is_unlocked, random, reset, start,
};
pub use tcp::{
    ConnectionId, Local, OwnedReadHalf, OwnedWriteHalf, ReadHalf, TcpListener, TcpOptions,
    TcpStream, WriteHalf, reset_lost,
};
#[cfg(any(feature = "embedded-nal", feature = "edge-nal"))]
pub use traits::{ConnectedUdp, Network};
pub use udp::UdpSocket;
