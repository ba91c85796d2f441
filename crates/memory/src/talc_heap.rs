//! The heap for many live blocks.

use core::{alloc::Layout, ptr::NonNull};

use talc::{
    base::{
        Talc as Inner,
        binning::{Binning, DefaultBinning},
    },
    source::Source,
};

use crate::heap::{Chunks, Heap, take_chunk};

/// A growing heap on top of `talc`: free blocks in bins by size.
///
/// Its speed hardly depends on how many blocks there are; it takes about 4 KiB more code and 2 KiB
/// more memory than [`LinkedList`](crate::LinkedList).
///
/// Known: talc 5.1.1 looks for a block by computing an address that may lie behind its chunk and
/// comparing it with the end. Miri calls that undefined, so this heap is not among what it checks.
pub struct Talc<C: Chunks>(Inner<Growing<C>, DefaultBinning>);

/// Gives talc a chunk when it asks.
#[derive(Debug)]
struct Growing<C> {
    chunks: C,
    capacity: usize,
}

// SAFETY: `acquire` and what it calls never use the allocator that they feed.
unsafe impl<C: Chunks> Source for Growing<C> {
    fn acquire<B: Binning>(talc: &mut Inner<Self, B>, layout: Layout) -> Result<(), ()> {
        // Talc keeps its bins in the first chunk and tags around every block.
        let overhead = 4096;
        let Self { chunks, capacity } = &mut talc.source;
        let chunk = take_chunk(chunks, layout, overhead, *capacity).ok_or(())?;
        *capacity += chunk.len();
        // SAFETY: the chunk is ours for good.
        unsafe { talc.claim(chunk.cast().as_ptr(), chunk.len()) }.map(drop).ok_or(())
    }
}

impl<C: Chunks> Talc<C> {
    /// An empty heap. It takes its first chunk with the first allocation.
    pub const fn new(chunks: C) -> Self {
        Self(Inner::new(Growing { chunks, capacity: 0 }))
    }
}

// SAFETY: talc keeps the contract for what it was given.
unsafe impl<C: Chunks> Heap for Talc<C> {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the size is not 0, by the trait's contract.
        unsafe { self.0.allocate(layout) }
    }

    fn allocate_in_place(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: as above.
        unsafe { self.0.try_allocate(layout) }
    }

    unsafe fn deallocate(&mut self, start: NonNull<u8>, layout: Layout) {
        // SAFETY: by the caller's contract.
        unsafe { self.0.deallocate(start.as_ptr(), layout) };
    }

    fn capacity(&self) -> usize {
        self.0.source.capacity
    }
}
