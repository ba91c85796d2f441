//! A device as flash memory.

use alloc::vec::Vec;
use core::ops::Range;

use embedded_storage_async::nor_flash::{ErrorType, MultiwriteNorFlash, NorFlash, ReadNorFlash};

use crate::{BlockDevice, Error, Geometry};

/// A device as flash memory, for crates that know the traits of `embedded-storage-async`.
///
/// A page is `PAGE` bytes, one block or several. Erasing writes 0xFF, and writing clears bits, as in flash memory, in
/// words of `WORD` bytes, for crates that ask for smaller ones than the usual; that a word may be written twice is said
/// by [`MultiwriteNorFlash`]. Up to 4 GiB of the device are used, as addresses have 32 bits.
///
/// Two pages are kept in memory: the one that is written, and the one that was read last.
///
/// # What is durable, and in which order
///
/// Nothing is, before [`Flash::flush`] has returned. Power may fail at any time, and then:
///
/// - What was written earlier is there, if anything is there that was written later. The exceptions are words that one
///   call writes, and words of later calls in the same blocks: there, each block is there or not.
/// - What lies in one block is there as a whole or not at all: several words, one after the other, too.
/// - A page that was being erased has lost its first block first and its last block last. So who marks a page at both
///   ends can tell that it is half erased.
///
/// It takes a flush of the device whenever another block is reached, and three for a page that is erased.
///
/// # Cancellation
///
/// What was dropped in the middle may have happened in part, in that order. Everything before is still known, and is
/// written with the next flush.
#[derive(Debug)]
pub struct Flash<D, const PAGE: usize = 4096, const WORD: usize = 8> {
    device: D,
    geometry: Geometry,
    capacity: usize,
    /// The page that is written, and one that is read. Never the same.
    written: Page,
    read: Page,
    /// Blocks of the page that is written which are newer than those of the device.
    dirty: Range<usize>,
    /// The device was written, or may be yet, since it was flushed.
    is_unsettled: bool,
    /// A write was dropped in the middle: what is read may change yet.
    is_astray: bool,
}

#[derive(Debug)]
struct Page {
    number: Option<usize>,
    bytes: Vec<u8>,
}

impl<D: BlockDevice, const PAGE: usize, const WORD: usize> Flash<D, PAGE, WORD> {
    /// The device, as far as it is whole pages.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if a page is no whole number of blocks or of words; [`Error::OutOfMemory`] if there is none for
    /// two pages.
    pub fn new(device: D) -> Result<Self, Error> {
        let geometry = device.geometry();
        let is_whole = |part: usize| PAGE != 0 && part != 0 && PAGE.is_multiple_of(part);
        if !is_whole(geometry.block_size as usize) || !is_whole(WORD) {
            return Err(Error::Unsupported);
        }
        let capacity = geometry.bytes().min(u32::MAX.into()) as usize / PAGE * PAGE;
        let page = || Ok(Page { number: None, bytes: crate::zeros(PAGE)? });
        Ok(Self {
            device,
            geometry,
            capacity,
            written: page()?,
            read: page()?,
            dirty: 0..0,
            // Somebody else's write may have been dropped.
            is_unsettled: true,
            is_astray: true,
        })
    }

    /// Makes all durable that was written and erased.
    ///
    /// # Errors
    ///
    /// What the device says. All is kept, and tried again with the next flush.
    ///
    /// # Cancellation
    ///
    /// It may have happened, or in part.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.write_back().await?;
        self.settle().await
    }

    /// Gives the device back. What was not flushed is lost.
    #[must_use]
    pub fn into_device(self) -> D {
        self.device
    }

    fn check(&self, offset: u32, len: usize, unit: usize) -> Result<(), Error> {
        let offset = offset as usize;
        if offset > self.capacity || len > self.capacity - offset {
            Err(Error::OutOfRange)
        } else if !offset.is_multiple_of(unit) || !len.is_multiple_of(unit) {
            Err(Error::Misaligned)
        } else {
            Ok(())
        }
    }

    fn check_write(&self, offset: u32, len: usize, unit: usize) -> Result<(), Error> {
        if self.geometry.is_read_only {
            Err(Error::ReadOnly)
        } else {
            self.check(offset, len, unit)
        }
    }

    fn block_size(&self) -> usize {
        self.geometry.block_size as usize
    }

    fn first_block(&self, page: usize) -> u64 {
        (page * (PAGE / self.block_size())) as u64
    }

    /// Waits until all that was written is durable: between two writes that are in order.
    async fn settle(&mut self) -> Result<(), Error> {
        if self.is_unsettled {
            self.device.flush().await?;
            self.is_unsettled = false;
            self.is_astray = false;
        }
        Ok(())
    }

    /// Writes what is newer than the device.
    async fn write_back(&mut self) -> Result<(), Error> {
        let Some(page) = self.written.number.filter(|_| !self.dirty.is_empty()) else {
            return Ok(());
        };
        self.settle().await?;
        let bytes = self.dirty.start * self.block_size()..self.dirty.end * self.block_size();
        let block = self.first_block(page) + self.dirty.start as u64;
        (self.is_unsettled, self.is_astray) = (true, true);
        let written = self.device.write(block, &self.written.bytes[bytes]).await;
        self.is_astray = false;
        written?;
        self.dirty = 0..0;
        Ok(())
    }

    /// Brings a page into memory, to be read.
    async fn page(&mut self, page: usize) -> Result<&[u8], Error> {
        if self.written.number == Some(page) {
            return Ok(&self.written.bytes);
        }
        if self.read.number != Some(page) {
            if self.is_astray {
                self.settle().await?;
            }
            self.read.number = None;
            let block = self.first_block(page);
            self.device.read(block, &mut self.read.bytes).await?;
            self.read.number = Some(page);
        }
        Ok(&self.read.bytes)
    }

    /// Brings a page into memory, to be written, with blocks that do not wait for others.
    async fn page_to_write(&mut self, page: usize, blocks: Range<usize>) -> Result<(), Error> {
        let is_here = self.written.number == Some(page);
        let is_within = self.dirty.start <= blocks.start && blocks.end <= self.dirty.end;
        if !is_here || !is_within {
            self.write_back().await?;
        }
        if !is_here {
            self.page(page).await?;
            core::mem::swap(&mut self.written, &mut self.read);
        }
        if self.dirty.is_empty() {
            self.dirty = blocks;
        }
        Ok(())
    }

    /// Erases a page: its first block, then what is between, then its last.
    async fn erase_page(&mut self, page: usize) -> Result<(), Error> {
        self.write_back().await?;
        if self.written.number == Some(page) {
            self.written.number = None;
        }
        self.read.number = None;
        self.read.bytes.fill(0xff);
        let blocks = PAGE / self.block_size();
        for step in [0..1, 1..blocks.max(2) - 1, blocks.max(2) - 1..blocks] {
            if !step.is_empty() {
                self.settle().await?;
                let block = self.first_block(page) + step.start as u64;
                let bytes = step.start * self.block_size()..step.end * self.block_size();
                (self.is_unsettled, self.is_astray) = (true, true);
                let written = self.device.write(block, &self.read.bytes[bytes]).await;
                self.is_astray = false;
                written?;
            }
        }
        self.read.number = Some(page);
        Ok(())
    }
}

impl<D, const PAGE: usize, const WORD: usize> ErrorType for Flash<D, PAGE, WORD> {
    type Error = Error;
}

/// The parts of a range of bytes that lie in one page each: which, and where in it.
fn pages<const PAGE: usize>(
    offset: u32,
    len: usize,
) -> impl Iterator<Item = (usize, Range<usize>)> {
    let (start, end) = (offset as usize, offset as usize + len);
    (start / PAGE..end.div_ceil(PAGE)).map(move |page| {
        let within = |at: usize| at.clamp(page * PAGE, (page + 1) * PAGE) - page * PAGE;
        (page, within(start)..within(end))
    })
}

impl<D: BlockDevice, const PAGE: usize, const WORD: usize> ReadNorFlash for Flash<D, PAGE, WORD> {
    const READ_SIZE: usize = 1;

    /// # Cancellation
    ///
    /// The buffer is in any state.
    async fn read(&mut self, offset: u32, mut into: &mut [u8]) -> Result<(), Error> {
        self.check(offset, into.len(), Self::READ_SIZE)?;
        for (page, range) in pages::<PAGE>(offset, into.len()) {
            let (part, rest) = into.split_at_mut(range.len());
            part.copy_from_slice(&self.page(page).await?[range]);
            into = rest;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.capacity
    }
}

impl<D: BlockDevice, const PAGE: usize, const WORD: usize> NorFlash for Flash<D, PAGE, WORD> {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    /// # Cancellation
    ///
    /// Pages may be erased, or half erased as [`Flash`] has it.
    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        let len = to.checked_sub(from).ok_or(Error::OutOfRange)?;
        self.check_write(from, len as usize, PAGE)?;
        for page in from as usize / PAGE..to as usize / PAGE {
            self.erase_page(page).await?;
        }
        Ok(())
    }

    /// # Cancellation
    ///
    /// What lies in one page is written or not.
    async fn write(&mut self, offset: u32, mut from: &[u8]) -> Result<(), Error> {
        self.check_write(offset, from.len(), Self::WRITE_SIZE)?;
        for (page, range) in pages::<PAGE>(offset, from.len()) {
            let blocks = range.start / self.block_size()..range.end.div_ceil(self.block_size());
            self.page_to_write(page, blocks).await?;
            let (part, rest) = from.split_at(range.len());
            for (byte, bits) in self.written.bytes[range].iter_mut().zip(part) {
                *byte &= bits;
            }
            from = rest;
        }
        Ok(())
    }
}

impl<D: BlockDevice, const PAGE: usize, const WORD: usize> MultiwriteNorFlash
    for Flash<D, PAGE, WORD>
{
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use proptest::{collection::vec as vec_of, prelude::*};

    use super::*;
    use crate::{
        RamDisk,
        fake::{Disk, Random, run, run_for},
    };

    /// Four pages of eight blocks.
    const LEN: usize = 4 * 4096;

    fn erased(seed: u64) -> Disk {
        Disk::from_bytes(512, vec![0xff; LEN], seed)
    }

    #[derive(Debug, Clone)]
    enum Step {
        Read(u32, usize),
        Write(u32, usize),
        Erase(u32, u32),
        Flush,
    }

    fn step() -> impl Strategy<Value = Step> {
        let end = LEN as u32;
        let word = (0..end / 8).prop_map(|word| word * 8);
        let len = prop_oneof![0_usize..5, 0_usize..600].prop_map(|words| words * 8);
        prop_oneof![
            (0..end, 0_usize..9000).prop_map(|(at, len)| Step::Read(at, len)),
            (word, len).prop_map(|(at, len)| Step::Write(at, len)),
            (0_u32..4, 0_u32..3)
                .prop_map(|(page, pages)| Step::Erase(page * 4096, (page + pages) * 4096)),
            Just(Step::Flush),
        ]
    }

    /// Flash and a `Vec` agree, also if futures are dropped and tried again.
    fn agree(steps: &[Step], polls: impl Fn(&mut Random) -> u32, seed: u64) {
        let disk = erased(seed);
        let mut random = Random::new(seed);
        let mut flash: Flash<_> = Flash::new(&disk).unwrap();
        let mut model = vec![0xff; LEN];
        for (number, step) in steps.iter().enumerate() {
            match *step {
                Step::Read(at, len) => {
                    let mut into = vec![0; len];
                    let result = loop {
                        if let Some(result) = run_for(flash.read(at, &mut into), polls(&mut random))
                        {
                            break result;
                        }
                    };
                    match model.get(at as usize..at as usize + len) {
                        Some(bytes) => assert!(result.is_ok() && into == bytes, "step {number}"),
                        None => assert_eq!(result, Err(Error::OutOfRange)),
                    }
                }
                Step::Write(at, len) => {
                    let from: Vec<u8> = (0..len).map(|_| random.number() as u8).collect();
                    let result = loop {
                        if let Some(result) = run_for(flash.write(at, &from), polls(&mut random)) {
                            break result;
                        }
                    };
                    match model.get_mut(at as usize..at as usize + len) {
                        Some(bytes) => {
                            assert_eq!(result, Ok(()));
                            bytes.iter_mut().zip(from).for_each(|(byte, bits)| *byte &= bits);
                        }
                        None => assert_eq!(result, Err(Error::OutOfRange)),
                    }
                }
                Step::Erase(from, to) => {
                    let result = loop {
                        if let Some(result) = run_for(flash.erase(from, to), polls(&mut random)) {
                            break result;
                        }
                    };
                    match model.get_mut(from as usize..to as usize) {
                        Some(bytes) => {
                            assert_eq!(result, Ok(()));
                            bytes.fill(0xff);
                        }
                        None => assert_eq!(result, Err(Error::OutOfRange)),
                    }
                }
                Step::Flush => {
                    while run_for(flash.flush(), polls(&mut random)).is_none() {}
                    assert!(disk.contents() == model, "step {number}");
                }
            }
        }
        run(flash.flush()).unwrap();
        disk.cut();
        assert!(disk.contents() == model);
    }

    proptest! {
        #[test]
        fn as_a_vec(steps in vec_of(step(), 1..60)) {
            agree(&steps, |_| u32::MAX, 1);
        }

        #[test]
        fn dropped_and_tried_again(steps in vec_of(step(), 1..60), seed: u64) {
            agree(&steps, |random| 1 + random.below(30) as u32, seed);
        }

        /// Words are written over all pages, in any order, and power fails: those that are there are the first ones.
        #[test]
        fn power_fails_between_words(seed: u64, cut in 0_u64..60, flush in 0_usize..40) {
            let disk = erased(seed);
            let mut random = Random::new(seed);
            let mut flash: Flash<_> = Flash::new(&disk).unwrap();
            disk.cut_after(cut);
            let mut places = Vec::new();
            let mut durable = 0;
            for number in 0..40 {
                let at = random.below(LEN as u64 / 8) as u32 * 8;
                if places.contains(&at) {
                    continue;
                }
                places.push(at);
                if run(flash.write(at, &[0; 8])).is_err() {
                    break;
                }
                if number == flush && run(flash.flush()).is_ok() {
                    durable = places.len();
                }
            }
            disk.cut();
            let left = disk.contents();
            let is_there = |at: &u32| left[*at as usize] == 0;
            let there = places.iter().take_while(|at| is_there(at)).count();
            prop_assert!(there >= durable);
            prop_assert!(!places[there..].iter().any(is_there));
        }
    }

    /// Which blocks of an erased page are left, for all cuts: the first one is never, when another is gone, and the last one
    /// is if any is.
    #[test]
    fn power_fails_while_erasing() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..30_000 {
            let disk = Disk::from_bytes(512, vec![0; LEN], seed);
            let mut flash: Flash<_> = Flash::new(&disk).unwrap();
            disk.cut_after(seed % 8);
            let is_erased = run(flash.erase(4096, 8192)).and_then(|()| run(flash.flush())).is_ok();
            disk.cut();
            let left: Vec<bool> =
                disk.contents()[4096..8192].chunks(512).map(|block| block[0] == 0).collect();
            if left[0] {
                assert_eq!(left, [true; 8]);
            }
            if left.contains(&true) {
                assert!(left[7] && !is_erased, "{left:?}");
            }
            seen.insert(left);
        }
        assert_eq!(seen.len(), 1 + 64 + 1);
    }

    /// What is read after an erasure that was dropped is what is there from then on.
    #[test]
    fn read_after_a_drop() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..400 {
            let disk = Disk::from_bytes(512, vec![0; LEN], seed);
            let mut flash: Flash<_> = Flash::new(&disk).unwrap();
            run_for(flash.erase(0, 4096), (seed % 16) as u32);
            let mut read = vec![0; 4096];
            run(flash.read(0, &mut read)).unwrap();
            run(flash.write(8192, &[0; 8])).unwrap();
            run(flash.flush()).unwrap();
            assert!(disk.contents()[..4096] == read, "seed {seed}");
            seen.insert(read.chunks(512).filter(|block| block[0] == 0).count());
        }
        // A page of which nothing is erased, its first block, all but its last one, or some between.
        assert!(seen.contains(&8) && seen.contains(&7) && seen.contains(&1) && seen.contains(&0));
    }

    #[test]
    fn pages_of_one_and_of_two_blocks() {
        for (block_size, cost) in [(4096, 1), (2048, 2)] {
            let disk = Disk::from_bytes(block_size, vec![0; LEN], 1);
            let mut flash: Flash<_> = Flash::new(&disk).unwrap();
            run(flash.erase(4096, 8192)).unwrap();
            assert_eq!(disk.counts().writes, cost);
            let bytes = disk.contents();
            assert!(bytes[4096..8192].iter().all(|byte| *byte == 0xff));
            assert!(bytes[..4096].iter().chain(&bytes[8192..]).all(|byte| *byte == 0));
        }
    }

    #[test]
    fn what_does_not_fit() {
        let disk = RamDisk::new(8192, 4).unwrap();
        assert_eq!(Flash::<_, 4096>::new(&disk).err(), Some(Error::Unsupported));
        assert_eq!(Flash::<_, 0>::new(&disk).err(), Some(Error::Unsupported));
        let mut flash: Flash<_, 8192> = Flash::new(&disk).unwrap();
        assert_eq!(flash.capacity(), 32768);
        assert_eq!(run(flash.write(4, &[0; 8])), Err(Error::Misaligned));
        assert_eq!(run(flash.write(0, &[0; 4])), Err(Error::Misaligned));
        assert_eq!(run(flash.erase(4096, 8192)), Err(Error::Misaligned));
        assert_eq!(run(flash.erase(8192, 0)), Err(Error::OutOfRange));
        assert_eq!(run(flash.read(32768, &mut [0])), Err(Error::OutOfRange));
        let mut flash: Flash<_, 8192> = Flash::new(disk.read_only()).unwrap();
        assert_eq!(run(flash.write(0, &[0; 8])), Err(Error::ReadOnly));
        assert_eq!(run(flash.erase(0, 8192)), Err(Error::ReadOnly));
    }

    /// After an error all is still there to be written.
    #[test]
    fn bad_blocks_that_recover() {
        let disk = erased(1);
        let mut flash: Flash<_> = Flash::new(&disk).unwrap();
        run(flash.write(0, &[0; 8])).unwrap();
        disk.damage(0..1);
        assert_eq!(run(flash.flush()), Err(Error::Device));
        assert_eq!(run(flash.write(4096, &[0; 8])), Err(Error::Device));
        disk.mend();
        run(flash.flush()).unwrap();
        assert_eq!(disk.contents()[..9], [0, 0, 0, 0, 0, 0, 0, 0, 0xff]);
    }
}
