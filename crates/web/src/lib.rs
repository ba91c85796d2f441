//! What a web server says, without the sockets over which it says it: on top of [picoserve], for
//! `modules/http`.
//!
//! - [`Router`]: picoserve's, with the future of each handler in a box. It refuses what proxies would
//!   understand otherwise, and says nothing more on a connection on which it has.
//! - [`Spare`]: memory for futures, if there is some. [`Shortage`] tells of requests without, and of answers that
//!   cannot be finished.
//! - [`Silence`]: when picoserve may be dropped, as nothing is being asked.
//! - [`Page`]: bodies of one type, whatever is in them. [`events`]: a stream of them that ends.
//! - `Files`: the files of a FAT volume. The README says why they are as they are.
//!
//! It needs a heap. `tests/conversations.rs` talks to it over a wire in memory, in words that are broken in
//! all ways; `fuzz/` has libFuzzer think of them.
//!
//! Features: `json`, `files`.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod end;
mod events;
#[cfg(feature = "files")]
mod files;
mod page;
mod place;
#[cfg(test)]
mod ration;
mod router;
mod silence;
#[cfg(all(test, feature = "files"))]
mod testing;

pub use events::events;
#[cfg(feature = "files")]
pub use files::Files;
#[cfg(feature = "json")]
pub use page::json;
pub use page::{Page, bytes, html, text};
pub use place::{Placed, Spare};
pub use router::{Lack, Router, Shortage};
pub use silence::Silence;
