//! The default heap: small, and quick while few blocks are free.

use core::{alloc::Layout, ptr::NonNull};

use arrayvec::ArrayVec;
use linked_list_allocator::Heap as Arena;

use crate::heap::{Chunks, Heap, take_chunk};

/// The most separate chunks. A heap grows by a quarter each time, and joins a chunk that lies next
/// to an arena to it, so memory runs out first.
const MAX_ARENAS: usize = 64;

/// A growing heap on top of [`linked_list_allocator`].
///
/// One list of free blocks, sorted by address, searched from the start: least code (about 1.5 KiB),
/// and as fast as any while there are up to a hundred free blocks; with ten thousand live blocks of
/// mixed sizes an allocation takes a hundred times as long as with [`Talc`](crate::Talc).
pub struct LinkedList<C> {
    arenas: ArrayVec<Arena, MAX_ARENAS>,
    chunks: C,
}

// SAFETY: the arenas are memory that `chunks` gave for good, reached through `&mut self` only.
unsafe impl<C: Send> Send for LinkedList<C> {}

impl<C: Chunks> LinkedList<C> {
    /// An empty heap. It takes its first chunk with the first allocation.
    pub const fn new(chunks: C) -> Self {
        Self { arenas: ArrayVec::new_const(), chunks }
    }

    /// Adds memory that `layout` fits in.
    fn grow(&mut self, layout: Layout) -> Option<()> {
        if self.arenas.is_full() {
            return None; // a chunk that cannot be kept must not be taken
        }
        // A free block keeps its size and a link (16 bytes) and is aligned to 8.
        let overhead = 32;
        let capacity = self.capacity();
        let chunk = take_chunk(&mut self.chunks, layout, overhead, capacity)?;
        let (start, len) = (chunk.cast::<u8>().as_ptr(), chunk.len());
        match self.arenas.iter_mut().find(|arena| arena.top() == start) {
            // SAFETY: the chunk follows the arena and is ours.
            Some(arena) => unsafe { arena.extend(len) },
            // SAFETY: the chunk is ours for good.
            None => self.arenas.try_push(unsafe { Arena::new(start, len) }).ok()?,
        }
        Some(())
    }
}

// SAFETY: `Arena` keeps the contract for what lies in it, and `grow` gives it memory of its own.
unsafe impl<C: Chunks> Heap for LinkedList<C> {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.allocate_in_place(layout).or_else(|| {
            self.grow(layout)?;
            self.allocate_in_place(layout)
        })
    }

    fn allocate_in_place(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.arenas.iter_mut().find_map(|arena| arena.allocate_first_fit(layout).ok())
    }

    unsafe fn deallocate(&mut self, start: NonNull<u8>, layout: Layout) {
        let address = start.as_ptr();
        let owner =
            self.arenas.iter_mut().find(|arena| (arena.bottom()..arena.top()).contains(&address));
        match owner {
            // SAFETY: by the caller's contract.
            Some(arena) => unsafe { arena.deallocate(start, layout) },
            None => debug_assert!(false, "not from this heap"),
        }
    }

    fn capacity(&self) -> usize {
        self.arenas.iter().map(Arena::size).sum()
    }
}
