//! The machine's memory: frames, the heap, buffers for devices.
//!
//! Owns all RAM that is free after boot. [`frames`] hands it out; the heaps ([`LinkedList`], and
//! `Talc` with that feature) grow by taking frames; [`DmaBuffer`] is memory that a device may write.
//! Everything may be called on any hart and in any context, interrupts included: the locks inside
//! turn interrupts off for the time of one operation.
//!
//! Out of memory is an answer here (`None`, [`OutOfMemory`], a null pointer to `GlobalAlloc`'s
//! caller). Code that cannot take it, such as `Vec::push`, panics with the size that was asked, and
//! the panic report adds [`last_refusal`] and what the heap held.

#![no_std]
#![expect(unsafe_code, reason = "allocators hand out raw memory")]

#[cfg(feature = "heap")]
mod dma;
pub mod frames;
#[cfg(feature = "heap")]
mod heap;

#[cfg(feature = "heap")]
pub use dma::{DmaBuffer, OutOfMemory};
#[cfg(feature = "talc")]
pub use heap::Talc;
#[cfg(feature = "heap")]
pub use heap::{LinkedList, last_refusal, statistics};
pub use wakeful_memory::{FRAME_SIZE, Statistics};
