//! What heaps have in common: where memory comes from, and what is counted.

use core::{alloc::Layout, fmt::Debug, ptr::NonNull};

use crate::FRAME_SIZE;

/// Where a heap gets memory when it is full.
///
/// # Safety
///
/// What [`take`](Self::take) returns is valid for reads and writes for good, belongs to the caller,
/// and starts and ends at multiples of [`FRAME_SIZE`].
pub unsafe trait Chunks: Debug {
    /// Takes a chunk of at least `len` bytes (a multiple of [`FRAME_SIZE`]); `None` if there is none.
    fn take(&mut self, len: usize) -> Option<NonNull<[u8]>>;
}

/// A heap that grows.
///
/// # Safety
///
/// What [`allocate`](Self::allocate) returns is valid for the layout, and nobody else's until
/// [`deallocate`](Self::deallocate).
pub unsafe trait Heap {
    /// Memory for `layout`, whose size is not 0. `None` when no more is to be had.
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>>;

    /// Memory for `layout` out of what the heap has already: it does not grow.
    fn allocate_in_place(&mut self, layout: Layout) -> Option<NonNull<u8>>;

    /// Takes memory back.
    ///
    /// # Safety
    ///
    /// `start` came from an allocation with this layout and is given back for the first time.
    unsafe fn deallocate(&mut self, start: NonNull<u8>, layout: Layout);

    /// Bytes that the heap has taken from its chunks.
    fn capacity(&self) -> usize;
}

/// The smallest piece that a heap grows by, if there is that much.
const MIN_CHUNK: usize = 64 << 10;

/// Takes a chunk in which `layout` fits beside `overhead` bytes of bookkeeping.
///
/// A heap grows by a quarter of itself, so that it asks seldom; when memory is short it takes what
/// it needs.
pub(crate) fn take_chunk(
    chunks: &mut impl Chunks,
    layout: Layout,
    overhead: usize,
    capacity: usize,
) -> Option<NonNull<[u8]>> {
    let need = layout.size().checked_add(layout.align())?.checked_add(overhead)?;
    let need = need.checked_next_multiple_of(FRAME_SIZE)?;
    let wish = need.max(MIN_CHUNK).max((capacity / 4).next_multiple_of(FRAME_SIZE));
    chunks.take(wish).or_else(|| if need < wish { chunks.take(need) } else { None })
}

/// What a heap holds, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Allocated now, as asked for.
    pub used: usize,
    /// The most that was ever allocated at once.
    pub peak: usize,
    /// Taken from the machine's memory so far.
    pub capacity: usize,
    /// The largest block that could be had without growing, to 16 bytes.
    pub largest_free: usize,
}

/// A heap that counts.
pub struct Counted<H> {
    heap: H,
    used: usize,
    peak: usize,
}

impl<H: Heap> Counted<H> {
    /// Counts for `heap`, which is empty.
    pub const fn new(heap: H) -> Self {
        Self { heap, used: 0, peak: 0 }
    }

    /// Memory for `layout`, whose size is not 0. `None` when no more is to be had.
    pub fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let start = self.heap.allocate(layout)?;
        self.used += layout.size();
        self.peak = self.peak.max(self.used);
        Some(start)
    }

    /// Takes memory back.
    ///
    /// # Safety
    ///
    /// As [`Heap::deallocate`].
    pub unsafe fn deallocate(&mut self, start: NonNull<u8>, layout: Layout) {
        self.used -= layout.size();
        // SAFETY: by this function's contract.
        unsafe { self.heap.deallocate(start, layout) };
    }

    /// What there is. Looking for the largest block takes about thirty attempts.
    pub fn statistics(&mut self) -> Statistics {
        let capacity = self.heap.capacity();
        let fits = |heap: &mut H, size: usize| {
            let Ok(layout) = Layout::from_size_align(size, 16) else { return false };
            let start = heap.allocate_in_place(layout);
            if let Some(start) = start {
                // SAFETY: just allocated with this layout.
                unsafe { heap.deallocate(start, layout) };
            }
            start.is_some()
        };
        // In units of 16 bytes: `low` fits (0 always does), `high` does not.
        let (mut low, mut high) = (0, capacity / 16 + 1);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(&mut self.heap, middle * 16) {
                low = middle;
            } else {
                high = middle;
            }
        }
        Statistics { used: self.used, peak: self.peak, capacity, largest_free: low * 16 }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::alloc;

    use proptest::prelude::*;

    use super::*;

    /// Chunks from the host's heap, up to a limit; freed when dropped.
    #[derive(Debug)]
    pub(crate) struct HostChunks {
        taken: Vec<(NonNull<u8>, Layout)>,
        left: usize,
    }

    impl HostChunks {
        pub(crate) fn new(limit: usize) -> Self {
            Self { taken: Vec::new(), left: limit }
        }
    }

    // SAFETY: fresh memory of the right size and alignment, alive as long as the heap that owns us.
    unsafe impl Chunks for HostChunks {
        fn take(&mut self, len: usize) -> Option<NonNull<[u8]>> {
            self.left = self.left.checked_sub(len)?;
            let layout = Layout::from_size_align(len, FRAME_SIZE).unwrap();
            // SAFETY: `len` is not 0.
            let start = NonNull::new(unsafe { alloc::alloc(layout) }).unwrap();
            self.taken.push((start, layout));
            Some(NonNull::slice_from_raw_parts(start, len))
        }
    }

    impl Drop for HostChunks {
        fn drop(&mut self) {
            for (start, layout) in self.taken.drain(..) {
                // SAFETY: allocated with this layout.
                unsafe { alloc::dealloc(start.as_ptr(), layout) };
            }
        }
    }

    struct Block {
        start: NonNull<u8>,
        layout: Layout,
        pattern: u8,
    }

    impl Block {
        fn fill(&self) {
            // SAFETY: allocated with this size.
            unsafe { self.start.as_ptr().write_bytes(self.pattern, self.layout.size()) };
        }

        fn is_intact(&self) -> bool {
            // SAFETY: allocated with this size, and filled.
            let bytes =
                unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) };
            bytes.iter().all(|&byte| byte == self.pattern)
        }
    }

    /// Any order of allocations and frees keeps every block's contents, and all comes back.
    fn blocks_keep_their_contents<H: Heap>(heap: H, steps: &[(bool, usize, u32)]) {
        let mut heap = Counted::new(heap);
        let mut live = Vec::<Block>::new();
        for (step, &(free, size, align)) in steps.iter().enumerate() {
            if free && !live.is_empty() {
                let block = live.swap_remove(size % live.len());
                assert!(block.is_intact());
                // SAFETY: allocated with this layout, once.
                unsafe { heap.deallocate(block.start, block.layout) };
                continue;
            }
            let layout = Layout::from_size_align(size, 1 << align).unwrap();
            if let Some(start) = heap.allocate(layout) {
                assert!(start.addr().get().is_multiple_of(layout.align()));
                let block = Block { start, layout, pattern: step as u8 };
                block.fill();
                live.push(block);
            }
        }
        let used: usize = live.iter().map(|block| block.layout.size()).sum();
        assert_eq!(heap.statistics().used, used);
        for block in live {
            assert!(block.is_intact());
            // SAFETY: allocated with this layout, once.
            unsafe { heap.deallocate(block.start, block.layout) };
        }
        let end = heap.statistics();
        assert_eq!(end.used, 0);
        assert!(end.peak >= used && end.largest_free <= end.capacity);
    }

    /// Of the heaps that are filled.
    const LIMIT: usize = if cfg!(miri) { 32 << 10 } else { 256 << 10 };

    /// A full heap says so, and is as good as new when emptied.
    fn exhaustion_is_an_answer<H: Heap>(heap: H) {
        let mut heap = Counted::new(heap);
        let layout = Layout::from_size_align(LIMIT / 256, 8).unwrap();
        let blocks: Vec<_> = std::iter::from_fn(|| heap.allocate(layout)).collect();
        assert!(blocks.len() > 200, "{} of 256 blocks", blocks.len());
        assert_eq!(heap.allocate(Layout::from_size_align(1 << 40, 8).unwrap()), None);
        let huge = Layout::from_size_align(isize::MAX as usize - 4095, 4096).unwrap();
        assert_eq!(heap.allocate(huge), None);
        assert!(heap.statistics().largest_free < layout.size());
        let count = blocks.len();
        for block in blocks {
            // SAFETY: allocated with this layout, once.
            unsafe { heap.deallocate(block, layout) };
        }
        let again: Vec<_> = std::iter::from_fn(|| heap.allocate(layout)).collect();
        assert_eq!(again.len(), count);
    }

    /// Memory in crumbs, none beside another: every other frame of a run.
    #[derive(Debug)]
    struct Crumbs {
        run: HostChunks,
        next: Option<NonNull<u8>>,
        taken: std::rc::Rc<std::cell::Cell<usize>>,
    }

    // SAFETY: parts of fresh memory that do not overlap.
    unsafe impl Chunks for Crumbs {
        fn take(&mut self, len: usize) -> Option<NonNull<[u8]>> {
            if len > FRAME_SIZE {
                return None;
            }
            let run = &mut self.run;
            let next = self.next.or_else(|| run.take(400 * FRAME_SIZE).map(NonNull::cast))?;
            // SAFETY: at most 200 of these steps are taken below.
            self.next = Some(unsafe { next.add(2 * FRAME_SIZE) });
            self.taken.set(self.taken.get() + 1);
            (self.taken.get() <= 200).then(|| NonNull::slice_from_raw_parts(next, len))
        }
    }

    /// A heap that cannot keep another chunk takes none.
    #[test]
    fn linked_list_takes_only_what_it_keeps() {
        let taken = std::rc::Rc::default();
        let run = HostChunks::new(400 * FRAME_SIZE);
        let crumbs = Crumbs { run, next: None, taken: std::rc::Rc::clone(&taken) };
        let mut heap = Counted::new(crate::LinkedList::new(crumbs));
        let layout = Layout::from_size_align(3000, 8).unwrap();
        let blocks = std::iter::from_fn(|| heap.allocate(layout)).count();
        assert_eq!((blocks, taken.get()), (64, 64));
        assert_eq!(heap.allocate(layout), None);
        assert_eq!((heap.statistics().capacity, taken.get()), (64 * FRAME_SIZE, 64));
    }

    /// (Whether to free one if there is one, size or which one, alignment as a power of two.)
    fn steps() -> impl Strategy<Value = Vec<(bool, usize, u32)>> {
        let sizes = if cfg!(miri) { 1..300_usize } else { 1..5000 };
        prop::collection::vec((any::<bool>(), sizes, 0..8_u32), 1..120)
    }

    fn cases() -> ProptestConfig {
        ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 })
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn linked_list_keeps_contents(steps in steps()) {
            blocks_keep_their_contents(crate::LinkedList::new(HostChunks::new(1 << 20)), &steps);
        }
    }

    #[test]
    fn linked_list_exhaustion() {
        exhaustion_is_an_answer(crate::LinkedList::new(HostChunks::new(LIMIT)));
    }

    #[cfg(feature = "talc")]
    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn talc_keeps_contents(steps in steps()) {
            blocks_keep_their_contents(crate::Talc::new(HostChunks::new(1 << 20)), &steps);
        }
    }

    #[cfg(feature = "talc")]
    #[test]
    fn talc_exhaustion() {
        exhaustion_is_an_answer(crate::Talc::new(HostChunks::new(LIMIT)));
    }
}
