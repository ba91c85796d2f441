//! What a web server says, without the sockets over which it says it: on top of [picoserve], for
//! `modules/http`.
//!
//! - [`Router`]: picoserve's, with the future of each handler in a box. It refuses what proxies would
//!   understand otherwise, and says nothing more on a connection on which it has.
//! - [`Spare`]: memory for futures, if there is some. [`Shortage`] tells of requests without.
//! - [`Silence`]: when picoserve may be dropped, as nothing is being asked.
//! - [`Page`]: bodies of one type, whatever is in them. [`events`]: a stream of them that ends.
//!
//! It needs a heap. `tests/conversations.rs` talks to it over a wire in memory, in words that are broken in
//! all ways; `fuzz/` has libFuzzer think of them.
//!
//! Feature: `json`.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod end;
mod events;
mod page;
mod place;
#[cfg(test)]
mod ration;
mod router;
mod silence;

pub use events::events;
#[cfg(feature = "json")]
pub use page::json;
pub use page::{Page, bytes, html, text};
pub use place::{Placed, Spare};
pub use router::{Router, Shortage};
pub use silence::Silence;
