//! Frame allocator and growing heaps, as plain data structures over memory that the caller gives.
//!
//! - [`Frames`] hands out runs of 4 KiB frames from the RAM that is free at boot.
//! - [`LinkedList`] and [`Talc`] are heaps that start empty and take chunks from a [`Chunks`] (in a
//!   machine: from the frames) when they are full. Which of them an application uses is its choice;
//!   the numbers that help to choose are in their documentation.
//!
//! No globals and no locks: whoever owns one of these decides how it is shared. The algorithms are
//! those of [`linked_list_allocator`] and of `talc`; what is ours is growth, several regions, and
//! counting. Nothing here panics for want of memory.

#![cfg_attr(not(test), no_std)]
#![expect(unsafe_code, reason = "allocators hand out raw memory")]

mod frames;
mod heap;
mod linked_list;
#[cfg(feature = "talc")]
mod talc_heap;

pub use frames::Frames;
pub use heap::{Chunks, Counted, Heap, Statistics};
pub use linked_list::LinkedList;
#[cfg(feature = "talc")]
pub use talc_heap::Talc;

/// Size of a frame, in bytes.
pub const FRAME_SIZE: usize = 4096;
