//! A disk for tests that is slow, fails as it is told, and loses power; and what runs futures in tests.
//!
//! A [`Disk`] has a cache that forgets. After a [cut](Disk::cut_after), each block has what it had at the last flush or
//! any version that was written since, chosen by a die with a seed, whatever the others have. Writes whose futures were
//! dropped may happen at any time until the next flush, as [`BlockDevice`] has it. Each request takes some polls, so
//! that a future can be dropped in the middle, with [`run_for`].

use alloc::{vec, vec::Vec};
use core::{
    future::poll_fn,
    ops::Range,
    pin::pin,
    task::{Context, Poll, Waker},
};

use spin::Mutex;

use crate::{BlockDevice, Error, Geometry};

/// A disk in memory that fails as it is told. What it does is said in [this module](self).
#[derive(Debug)]
pub struct Disk {
    geometry: Geometry,
    state: Mutex<State>,
}

/// What was asked of a disk, whether it succeeded or not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Reads, of any number of blocks.
    pub reads: u64,
    /// Writes, of any number of blocks.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Blocks that were read.
    pub blocks_read: u64,
    /// Blocks that were written.
    pub blocks_written: u64,
}

#[derive(Debug)]
struct State {
    random: Random,
    /// What is read.
    now: Vec<u8>,
    /// What is there after power failed, at least.
    durable: Vec<u8>,
    /// Blocks that were written since the last flush, in their order.
    cached: Vec<Block>,
    /// Blocks that were to be written when the future was dropped.
    stray: Vec<Block>,
    /// Writes and flushes until power fails.
    until_cut: Option<u64>,
    is_off: bool,
    broken: Vec<Range<u64>>,
    /// How often a request is pending.
    polls: u32,
    counts: Counts,
}

#[derive(Debug)]
struct Block {
    number: u64,
    bytes: Vec<u8>,
}

impl Disk {
    /// A disk of zeros. Each request is pending once.
    ///
    /// # Panics
    ///
    /// If [`Geometry::new`] refuses these sizes.
    #[must_use]
    pub fn new(block_size: u32, blocks: u64, seed: u64) -> Self {
        let geometry = Geometry::new(block_size, blocks).expect("sizes that can be");
        Self::from_bytes(block_size, vec![0; geometry.bytes() as usize], seed)
    }

    /// A disk that is these bytes, as far as they are whole blocks.
    ///
    /// # Panics
    ///
    /// If [`Geometry::new`] refuses this block size.
    #[must_use]
    pub fn from_bytes(block_size: u32, mut bytes: Vec<u8>, seed: u64) -> Self {
        let blocks = bytes.len() as u64 / u64::from(block_size);
        let geometry = Geometry::new(block_size, blocks).expect("sizes that can be");
        bytes.truncate(geometry.bytes() as usize);
        let state = State {
            random: Random::new(seed),
            durable: bytes.clone(),
            now: bytes,
            cached: Vec::new(),
            stray: Vec::new(),
            until_cut: None,
            is_off: false,
            broken: Vec::new(),
            polls: 1,
            counts: Counts::default(),
        };
        Self { geometry, state: Mutex::new(state) }
    }

    /// The same disk, with requests that are pending so many times.
    #[must_use]
    pub fn with_polls(self, polls: u32) -> Self {
        self.state.lock().polls = polls;
        self
    }

    /// Power fails at the write or flush that comes after so many more, and it does not return. From then on all
    /// that is asked gives [`Error::Gone`].
    pub fn cut_after(&self, requests: u64) {
        self.state.lock().until_cut = Some(requests);
    }

    /// Power fails, now.
    pub fn cut(&self) {
        self.state.lock().cut();
    }

    /// Power is there again: with what is left, and without what was to happen.
    pub fn restore(&self) {
        let mut state = self.state.lock();
        state.until_cut = None;
        state.is_off = false;
    }

    /// Whether power has failed.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state.lock().is_off
    }

    /// These blocks can be neither read nor written any more: [`Error::Device`].
    pub fn damage(&self, blocks: Range<u64>) {
        self.state.lock().broken.push(blocks);
    }

    /// All blocks are fine again.
    pub fn mend(&self) {
        self.state.lock().broken.clear();
    }

    /// What a reader would see.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        self.state.lock().now.clone()
    }

    /// What was asked so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    /// Is pending as often as requests are.
    async fn wait(&self) {
        let mut left = self.state.lock().polls;
        poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl BlockDevice for Disk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// # Cancellation
    ///
    /// `into` is not touched.
    async fn read(&self, block: u64, into: &mut [u8]) -> Result<(), Error> {
        self.geometry.check_read(block, into.len())?;
        self.wait().await;
        let mut state = self.state.lock();
        let blocks = into.len() as u64 / u64::from(self.geometry.block_size);
        state.counts.reads += 1;
        state.counts.blocks_read += blocks;
        state.begin()?;
        if (block..block + blocks).any(|block| state.is_broken(block)) {
            return Err(Error::Device);
        }
        let start = (block * u64::from(self.geometry.block_size)) as usize;
        into.copy_from_slice(&state.now[start..][..into.len()]);
        Ok(())
    }

    /// # Cancellation
    ///
    /// Its blocks are written at any time until the next flush, or never.
    async fn write(&self, block: u64, from: &[u8]) -> Result<(), Error> {
        self.geometry.check_write(block, from.len())?;
        let mut request = Request { disk: self, block, from, is_done: false };
        self.wait().await;
        request.is_done = true;
        let mut state = self.state.lock();
        state.counts.writes += 1;
        state.counts.blocks_written += from.len() as u64 / u64::from(self.geometry.block_size);
        state.begin()?;
        let is_cut = state.is_cut_now();
        for block in request.blocks() {
            if state.is_broken(block.number) {
                return Err(Error::Device);
            }
            state.write(block);
        }
        if is_cut {
            state.cut();
            return Err(Error::Gone);
        }
        Ok(())
    }

    /// # Cancellation
    ///
    /// Nothing has happened.
    async fn flush(&self) -> Result<(), Error> {
        self.wait().await;
        let mut state = self.state.lock();
        state.counts.flushes += 1;
        state.begin()?;
        if state.is_cut_now() {
            state.cut();
            return Err(Error::Gone);
        }
        for block in core::mem::take(&mut state.stray) {
            if state.random.below(2) == 0 {
                state.write(block);
            }
        }
        for block in core::mem::take(&mut state.cached) {
            let start = block.start();
            state.durable[start..][..block.bytes.len()].copy_from_slice(&block.bytes);
        }
        Ok(())
    }
}

/// A write that was asked for. Dropped in the middle, it is a stray one.
struct Request<'a> {
    disk: &'a Disk,
    block: u64,
    from: &'a [u8],
    is_done: bool,
}

impl Request<'_> {
    fn blocks(&self) -> impl Iterator<Item = Block> {
        let chunks = self.from.chunks(self.disk.geometry.block_size as usize);
        (self.block..).zip(chunks).map(|(number, bytes)| Block { number, bytes: bytes.to_vec() })
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.disk.state.lock().stray.extend(self.blocks());
        }
    }
}

impl State {
    /// What comes first in each request: stray writes may happen now.
    fn begin(&mut self) -> Result<(), Error> {
        if self.is_off {
            return Err(Error::Gone);
        }
        let mut at = 0;
        while at < self.stray.len() {
            if self.random.below(4) == 0 {
                let block = self.stray.swap_remove(at);
                self.write(block);
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    fn is_cut_now(&mut self) -> bool {
        match &mut self.until_cut {
            None => false,
            Some(0) => true,
            Some(requests) => {
                *requests -= 1;
                false
            }
        }
    }

    fn write(&mut self, block: Block) {
        let start = block.start();
        self.now[start..][..block.bytes.len()].copy_from_slice(&block.bytes);
        self.cached.push(block);
    }

    /// Each block keeps what was flushed, or gets a version of those that came after: in some cuts hardly
    /// any do, in others nearly all.
    fn cut(&mut self) {
        if self.is_off {
            return;
        }
        self.cached.append(&mut self.stray);
        let quarters = self.random.below(5);
        for block in core::mem::take(&mut self.cached) {
            if self.random.below(4) < quarters {
                let start = block.start();
                self.durable[start..][..block.bytes.len()].copy_from_slice(&block.bytes);
            }
        }
        self.now.copy_from_slice(&self.durable);
        self.is_off = true;
    }

    fn is_broken(&self, block: u64) -> bool {
        self.broken.iter().any(|blocks| blocks.contains(&block))
    }
}

impl Block {
    fn start(&self) -> usize {
        self.number as usize * self.bytes.len()
    }
}

/// A die with a seed: SplitMix64, of G. Steele, D. Lea and C. Flood, "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Another seed, other numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number less than `end`, or 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end.max(1)
    }
}

/// Polls a future until it is ready.
pub fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

/// Polls a future at most so many times, and drops it.
pub fn run_for<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(output);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_bytes(disk: &Disk) -> Vec<u8> {
        disk.contents().chunks(512).map(|block| block[0]).collect()
    }

    #[test]
    fn what_is_flushed_stays() {
        let disk = Disk::new(512, 4, 1);
        run(disk.write(0, &[1; 2048])).unwrap();
        run(disk.flush()).unwrap();
        disk.cut();
        assert_eq!(run(disk.read(0, &mut [0; 512])), Err(Error::Gone));
        assert_eq!(run(disk.flush()), Err(Error::Gone));
        disk.restore();
        assert_eq!(first_bytes(&disk), [1; 4]);
        let counts = disk.counts();
        assert_eq!((counts.writes, counts.blocks_written, counts.flushes), (1, 4, 2));
    }

    /// Of two writes of the same four blocks, all 3⁴ outcomes are seen, and no other.
    #[test]
    fn what_is_not_flushed_is_any_version() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..4000 {
            let disk = Disk::new(512, 4, seed);
            run(disk.write(0, &[1; 2048])).unwrap();
            disk.cut_after(0);
            assert_eq!(run(disk.write(0, &[2; 2048])), Err(Error::Gone));
            assert!(disk.is_off());
            disk.restore();
            let bytes = disk.contents();
            assert!(bytes.chunks(512).all(|block| block.iter().all(|byte| *byte == block[0])));
            seen.insert(first_bytes(&disk));
        }
        assert_eq!(seen.len(), 81);
    }

    /// A write that was dropped happens at once, later, over what was written afterwards, or never; a flush ends that.
    #[test]
    fn dropped_writes_stray() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let disk = Disk::new(512, 1, seed);
            assert_eq!(run_for(disk.write(0, &[1; 512]), 1), None);
            run(disk.write(0, &[2; 512])).unwrap();
            let before = first_bytes(&disk)[0];
            run(disk.flush()).unwrap();
            let after = first_bytes(&disk)[0];
            seen.insert((before, after));
            for _ in 0..10 {
                run(disk.read(0, &mut [0; 512])).unwrap();
            }
            assert_eq!(first_bytes(&disk)[0], after);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(2, 1), (2, 2)]);
    }

    #[test]
    fn bad_blocks() {
        let disk = Disk::new(512, 4, 1);
        disk.damage(2..3);
        assert_eq!(run(disk.write(1, &[1; 1024])), Err(Error::Device));
        assert_eq!(run(disk.read(2, &mut [0; 512])), Err(Error::Device));
        assert_eq!(first_bytes(&disk), [0, 1, 0, 0]);
        disk.mend();
        run(disk.write(1, &[1; 1024])).unwrap();
    }
}
