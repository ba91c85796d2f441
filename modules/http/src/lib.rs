//! An HTTP server: [picoserve] on Wakeful's sockets.
//!
//! ```ignore
//! let app = Router::new()
//!     .route("/", get(|| async { "Hello" }))
//!     .route("/sum", get(|Query(Pair { a, b })| async move { Json(a + b) }));
//! http::serve(80, app).await
//! ```
//!
//! Routers, extractors, responses, server-sent events and WebSockets are picoserve's, and found here under
//! their own names. Beside them this module owns:
//!
//! - [`serve`] and [`Server`]: a task for each connection, keep-alive, timeouts, and an end with grace.
//!   [`serve_on_all_harts`] has a server on each hart.
//! - [`Router`], [`Page`], [`events`] and their like, which are OS-free: `crates/web`. With the feature `files`, also
//!   `Files`: those of a FAT volume.
//! - The socket: a response is put together in one piece and handed to the TCP ring in one, so that the lock
//!   of the stack is taken once for it and no application code runs under it. Longer ones go in pieces.
//! - The way a connection ends: what the peer is still sending is read and dropped for a while, so that it
//!   gets the answer and not a reset.
//!
//! A handler that panics costs its connection, which is reset, and what it takes.
//!
//! A connection takes some 6 KiB while something is asked on it, with the buffers for that, and 1.3 KiB when nothing
//! has been asked for a second: its socket, its task, its timeout. No more are talked with at the same time than go
//! into a quarter of the memory that was free when the server began, reckoned at 8 KiB each; others get a "503", and
//! [`refused`] counts them, as it does those for which there was no memory. Long before that, at a quarter of their
//! number, nobody keeps a future who is asked nothing.
//!
//! A server runs on the hart on which it was begun. [`serve_on_all_harts`] is for answers that cost much.
//!
//! Who reads a body by [`request::RequestBody::reader`] has to read all of it: picoserve 0.20 takes what is
//! left for the next request.

#![no_std]

extern crate alloc;

mod connection;
mod harts;
mod server;
mod socket;
mod timer;

pub use harts::serve_on_all_harts;
#[doc(no_inline)]
pub use picoserve::{
    self, KeepAlive, Timeouts, extract, io, request, response, routing, time::Duration, url_encoded,
};
pub use server::{Server, refused, serve};
#[cfg(feature = "files")]
#[doc(inline)]
pub use wakeful_web::Files;
#[cfg(feature = "json")]
#[doc(inline)]
pub use wakeful_web::json;
#[doc(inline)]
pub use wakeful_web::{Page, Router, bytes, events, html, text};
