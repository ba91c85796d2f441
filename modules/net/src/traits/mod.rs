//! The traits of other people's crates.

#[cfg(feature = "edge-nal")]
pub mod edge;
mod io;
#[cfg(feature = "embedded-nal")]
pub mod nal;
