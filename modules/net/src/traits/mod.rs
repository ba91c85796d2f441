//! The traits of other people's crates.
//!
//! Nothing but glue: what a trait asks for and the stack has not is said where it is refused.

#[cfg(feature = "edge-nal")]
mod edge;
mod io;
#[cfg(feature = "embedded-nal")]
mod nal;
#[cfg(any(feature = "embedded-nal", feature = "edge-nal"))]
mod network;

#[cfg(any(feature = "embedded-nal", feature = "edge-nal"))]
pub use network::{ConnectedUdp, Network};
