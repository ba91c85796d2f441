//! The heap on a real machine: several harts, interrupts, and the end of memory.

use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::{
    alloc::{GlobalAlloc, Layout},
    hint,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
};

use wakeful::{
    alloc::{DmaBuffer, LinkedList, Talc, frames, statistics},
    machine, println, task,
};
use wakeful_hal::{timer, trap};

use crate::{Outcome, ensure, run_on};

/// A block with its own description and a pattern behind it.
struct Block {
    start: *mut u64,
    words: usize,
    pattern: u64,
}

impl Block {
    fn layout(words: usize) -> Layout {
        Layout::array::<u64>(words).expect("small")
    }

    fn new(heap: &impl GlobalAlloc, words: usize, pattern: u64) -> Option<Self> {
        // SAFETY: not of size 0.
        let start = unsafe { heap.alloc(Self::layout(words)) }.cast::<u64>();
        if start.is_null() {
            return None;
        }
        for word in 0..words {
            // SAFETY: within the block.
            unsafe { start.add(word).write(pattern ^ word as u64) };
        }
        Some(Self { start, words, pattern })
    }

    /// Frees the block; panics if somebody else wrote to it.
    fn check_and_free(self, heap: &impl GlobalAlloc) {
        for word in 0..self.words {
            // SAFETY: within the block.
            let value = unsafe { self.start.add(word).read() };
            assert_eq!(value, self.pattern ^ word as u64, "word {word} of {}", self.words);
        }
        // SAFETY: allocated with this layout, once.
        unsafe { heap.dealloc(self.start.cast(), Self::layout(self.words)) };
    }
}

/// xorshift64*: a random sequence that a seed repeats.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

const ROUNDS: usize = 20_000;
const LIVE: usize = 64;

/// Every hart allocates and frees at random, hands blocks to the next hart to free, and is
/// interrupted by a timer whose handler allocates as well.
fn stress<H: GlobalAlloc + Default>() -> Outcome {
    static DONE: AtomicUsize = AtomicUsize::new(0);
    static TICKS: AtomicUsize = AtomicUsize::new(0);
    static HANDED: [AtomicPtr<Block>; 8] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 8];

    fn one_hart<H: GlobalAlloc + Default>(seed: usize) {
        let heap = &H::default();
        let me = machine::this_hart();
        let mut random = Random((seed as u64).wrapping_mul(me as u64 + 1) | 1);
        let mut live = Vec::<Block>::with_capacity(LIVE);
        timer::set(timer::now() + 1000);
        for round in 0..ROUNDS {
            if live.len() == LIVE || (!live.is_empty() && random.below(2) == 0) {
                let block = live.swap_remove(random.below(live.len()));
                if random.below(8) == 0 {
                    let next = &HANDED[(me + 1) % task::harts()];
                    let block = Box::into_raw(Box::new(block));
                    let before = next.swap(block, Ordering::AcqRel);
                    if !before.is_null() {
                        // SAFETY: boxed by somebody, and now ours alone.
                        unsafe { Box::from_raw(before) }.check_and_free(heap);
                    }
                } else {
                    block.check_and_free(heap);
                }
            } else {
                let most = if random.below(50) == 0 { 4000 } else { 100 };
                let words = 1 + random.below(most);
                let pattern = (me * ROUNDS + round) as u64;
                live.extend(Block::new(heap, words, pattern));
            }
        }
        timer::clear();
        live.into_iter().for_each(|block| block.check_and_free(heap));
        DONE.fetch_add(1, Ordering::AcqRel);
    }

    trap::set_timer_handler(|| {
        // The allocator must stand this in the middle of anything.
        let ticks = TICKS.fetch_add(1, Ordering::Relaxed);
        drop(alloc::vec![ticks; 1 + ticks % 37]);
        timer::set(timer::now() + 2000);
    });
    let seed = timer::now() as usize;
    println!("seed {seed}");
    ensure(task::harts() <= HANDED.len(), || String::from("too many harts for this case"))?;
    let before = statistics();
    let frames_before = frames::available();
    for hart in 1..task::harts() {
        run_on(hart, one_hart::<H>, seed);
    }
    one_hart::<H>(seed);
    while DONE.load(Ordering::Acquire) < task::harts() {
        hint::spin_loop();
    }
    timer::clear();
    for slot in &HANDED {
        let block = slot.swap(core::ptr::null_mut(), Ordering::AcqRel);
        if !block.is_null() {
            // SAFETY: boxed by somebody, and now ours alone.
            unsafe { Box::from_raw(block) }.check_and_free(&H::default());
        }
    }
    let after = statistics();
    let ticks = TICKS.load(Ordering::Relaxed);
    println!(
        "{} harts, {ROUNDS} rounds each, {ticks} interrupts; heap of {} KiB, {} bytes at most, {} \
         frames taken",
        task::harts(),
        after.capacity >> 10,
        after.peak,
        frames_before - frames::available(),
    );
    ensure(ticks > 10, || format!("only {ticks} timer interrupts"))?;
    ensure(after.used == before.used, || format!("{before:?} became {after:?}"))
}

pub(crate) fn stress_linked_list() -> Outcome {
    stress::<LinkedList>()
}

pub(crate) fn stress_talc() -> Outcome {
    stress::<Talc>()
}

/// All memory taken is an answer, not the end; all of it comes back.
pub(crate) fn exhaustion() -> Outcome {
    let frames_before = frames::available();
    let used_before = statistics().used;
    let mut blocks = Vec::<Vec<u8>>::new();
    ensure(blocks.try_reserve(1 << 16).is_ok(), || String::from("no room for the list"))?;
    let refused = loop {
        let mut block = Vec::new();
        match block.try_reserve_exact(100_000) {
            Ok(()) => blocks.push(block),
            Err(error) => break error,
        }
    };
    println!("{} blocks of 100000 bytes, then: {refused}", blocks.len());
    let taken = blocks.len() * 100_000;
    ensure(taken > frames_before * 4096 / 10 * 9, || format!("only {taken} bytes were had"))?;
    ensure(DmaBuffer::new(usize::MAX).is_err(), || String::from("a huge buffer was had"))?;
    let count = blocks.len();
    blocks.clear();
    for _ in 0..count {
        blocks.push(Vec::with_capacity(100_000));
    }
    drop(blocks);
    let after = statistics();
    println!("{after:?}");
    ensure(after.used == used_before, || format!("{} bytes stayed", after.used - used_before))?;
    ensure(after.largest_free > 100_000, || String::from("no large block is free"))
}

/// Code that cannot take an answer panics, with the size.
pub(crate) fn exhaustion_panic() -> Outcome {
    let mut all = Vec::<Vec<u8>>::new();
    loop {
        all.push(Vec::with_capacity(100_000));
    }
}

pub(crate) fn dma() -> Outcome {
    let before = frames::available();
    let mut buffer = DmaBuffer::new(3 * 4096 + 1).map_err(|error| format!("{error}"))?;
    ensure(buffer.len() == 4 * 4096, || format!("{} bytes", buffer.len()))?;
    ensure(buffer.iter().all(|&byte| byte == 0), || String::from("not zeroed"))?;
    let physical = buffer.physical().as_usize();
    ensure(physical.is_multiple_of(4096), || format!("at {physical:#x}"))?;
    buffer.fill(0xa5);
    drop(buffer);
    let again = DmaBuffer::new(4 * 4096).map_err(|error| format!("{error}"))?;
    ensure(again.iter().all(|&byte| byte == 0), || String::from("not zeroed again"))?;
    drop(again);
    ensure(DmaBuffer::new(0).is_err(), || String::from("an empty buffer was had"))?;
    ensure(frames::available() == before, || String::from("frames were lost"))
}
