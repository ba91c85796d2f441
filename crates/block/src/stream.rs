//! A device as a stream of bytes.

use alloc::vec::Vec;

use embedded_io_async::{ErrorType, Read, Seek, SeekFrom, Write};

use crate::{BlockDevice, Error};

/// A device as a stream of bytes, with a position, for code that knows the traits of `embedded-io-async`.
///
/// What is no whole block goes through one block in memory: it is read, changed there, and written when another one is
/// needed, or at a `flush`. Whole blocks go directly. One read or write does one of the two, so it may do less than was
/// asked; `read_exact` and `write_all` do the rest.
///
/// **Without a `flush`, what was written last may never reach the device**; dropping does not write. A write of the
/// block in memory that fails is reported once, by what caused it, and its bytes are lost.
///
/// # Cancellation
///
/// A read, a write or a flush that is dropped has not moved the position, and what was written before is not lost: it is
/// written later. What was to be written may be on the device all the same.
#[derive(Debug)]
pub struct Stream<D> {
    device: D,
    len: u64,
    position: u64,
    block: Vec<u8>,
    /// Which block is in memory.
    held: Option<u64>,
    /// The block in memory is newer than that of the device.
    is_dirty: bool,
    /// A write was dropped in the middle, and may happen later.
    is_astray: bool,
}

impl<D: BlockDevice> Stream<D> {
    /// A stream at the first byte of a device.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if there is no room for a block.
    pub fn new(device: D) -> Result<Self, Error> {
        let geometry = device.geometry();
        let block = crate::zeros(geometry.block_size as usize)?;
        let len = geometry.bytes();
        Ok(Self { device, len, position: 0, block, held: None, is_dirty: false, is_astray: false })
    }

    /// Bytes from the beginning.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Gives the device back. What was not flushed is lost.
    #[must_use]
    pub fn into_device(self) -> D {
        self.device
    }

    /// Which block the position is in, and how far.
    fn place(&self) -> (u64, usize) {
        let size = self.block.len() as u64;
        (self.position / size, (self.position % size) as usize)
    }

    /// How many bytes of so many can be done at once, in whole blocks, if any.
    fn whole(&self, len: usize) -> Option<usize> {
        let (_, offset) = self.place();
        let size = self.block.len();
        let left = usize::try_from(self.len - self.position).unwrap_or(usize::MAX);
        let whole = len.min(left) / size * size;
        (offset == 0 && whole != 0).then_some(whole)
    }

    /// Brings a block into memory.
    async fn hold(&mut self, block: u64) -> Result<(), Error> {
        if self.held == Some(block) {
            return Ok(());
        }
        self.write_back().await?;
        self.settle().await?;
        self.held = None;
        self.device.read(block, &mut self.block).await?;
        self.held = Some(block);
        Ok(())
    }

    /// Writes the block in memory, if it has to be.
    async fn write_back(&mut self) -> Result<(), Error> {
        let Some(block) = self.held.filter(|_| self.is_dirty) else { return Ok(()) };
        self.settle().await?;
        self.is_astray = true;
        let written = self.device.write(block, &self.block).await;
        self.is_astray = false;
        self.is_dirty = false;
        if written.is_err() {
            self.held = None;
        }
        written
    }

    /// Waits for a write that was dropped: before the next one, and before a read, as what is read may change yet.
    async fn settle(&mut self) -> Result<(), Error> {
        if self.is_astray {
            self.device.flush().await?;
            self.is_astray = false;
        }
        Ok(())
    }

    fn is_held_within(&self, block: u64, len: usize) -> bool {
        let end = block + (len / self.block.len()) as u64;
        self.held.is_some_and(|held| (block..end).contains(&held))
    }
}

impl<D> ErrorType for Stream<D> {
    type Error = Error;
}

impl<D: BlockDevice> Read for Stream<D> {
    /// At the end of the device it reads 0 bytes.
    ///
    /// # Cancellation
    ///
    /// The buffer is in any state; nothing else has changed.
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        if into.is_empty() || self.position == self.len {
            return Ok(0);
        }
        let (block, offset) = self.place();
        let done = if let Some(whole) = self.whole(into.len()) {
            if self.is_held_within(block, whole) {
                self.write_back().await?;
            }
            self.settle().await?;
            self.device.read(block, &mut into[..whole]).await?;
            whole
        } else {
            self.hold(block).await?;
            let done = into.len().min(self.block.len() - offset);
            into[..done].copy_from_slice(&self.block[offset..][..done]);
            done
        };
        self.position += done as u64;
        Ok(done)
    }
}

impl<D: BlockDevice> Write for Stream<D> {
    /// At the end of the device there is [`Error::Full`].
    ///
    /// # Cancellation
    ///
    /// The position has not moved. Whole blocks may have been written.
    async fn write(&mut self, from: &[u8]) -> Result<usize, Error> {
        if from.is_empty() {
            return Ok(0);
        }
        if self.device.geometry().is_read_only {
            return Err(Error::ReadOnly);
        }
        if self.position == self.len {
            return Err(Error::Full);
        }
        let (block, offset) = self.place();
        let done = if let Some(whole) = self.whole(from.len()) {
            self.settle().await?;
            self.is_astray = true;
            let written = self.device.write(block, &from[..whole]).await;
            self.is_astray = false;
            written?;
            if self.is_held_within(block, whole) {
                self.held = None;
                self.is_dirty = false;
            }
            whole
        } else {
            self.hold(block).await?;
            let done = from.len().min(self.block.len() - offset);
            self.block[offset..][..done].copy_from_slice(&from[..done]);
            self.is_dirty = true;
            done
        };
        self.position += done as u64;
        Ok(done)
    }

    /// Makes all durable that was written.
    ///
    /// # Cancellation
    ///
    /// It may have happened, or in part.
    async fn flush(&mut self) -> Result<(), Error> {
        self.write_back().await?;
        self.device.flush().await?;
        self.is_astray = false;
        Ok(())
    }
}

impl<D: BlockDevice> Seek for Stream<D> {
    /// Positions are from 0 to the end; others are [`Error::OutOfRange`], and the position stays.
    ///
    /// # Cancellation
    ///
    /// It is ready at once.
    async fn seek(&mut self, to: SeekFrom) -> Result<u64, Error> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        match position {
            Some(position) if position <= self.len => {
                self.position = position;
                Ok(position)
            }
            _ => Err(Error::OutOfRange),
        }
    }
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

    #[derive(Debug, Clone)]
    enum Step {
        Read(usize),
        Write(usize),
        Seek(u64),
        Flush,
    }

    fn step() -> impl Strategy<Value = Step> {
        let len = prop_oneof![0_usize..20, 0_usize..3000, Just(512), Just(1024)];
        let at = prop_oneof![0_u64..5200, (0_u64..11).prop_map(|block| block * 512)];
        prop_oneof![
            len.clone().prop_map(Step::Read),
            len.prop_map(Step::Write),
            at.prop_map(Step::Seek),
            Just(Step::Flush),
        ]
    }

    /// A stream and a `Vec` agree, step by step, also if futures are dropped at any of their polls and tried again: then
    /// what was written before must be there.
    fn agree(steps: &[Step], polls: impl Fn(&mut Random) -> u32, seed: u64) {
        let disk = Disk::new(512, 10, seed);
        let mut random = Random::new(seed);
        let mut stream = Stream::new(&disk).unwrap();
        let mut model = vec![0; 5120];
        let mut position = 0;
        for (number, step) in (1_u8..).zip(steps) {
            match *step {
                Step::Read(len) => {
                    let mut into = vec![0xee; len];
                    let done = loop {
                        if let Some(done) = run_for(stream.read(&mut into), polls(&mut random)) {
                            break done.unwrap();
                        }
                    };
                    assert_eq!(into[..done], model[position..][..done], "step {number}");
                    assert_eq!(done == 0, len == 0 || position == model.len());
                    position += done;
                }
                Step::Write(len) => {
                    let from = vec![number; len];
                    let done = loop {
                        if let Some(done) = run_for(stream.write(&from), polls(&mut random)) {
                            break done;
                        }
                    };
                    match done {
                        Ok(done) => {
                            model[position..][..done].fill(number);
                            position += done;
                        }
                        Err(error) => {
                            assert_eq!((error, position), (Error::Full, model.len()));
                        }
                    }
                }
                Step::Seek(at) => {
                    let sought = run(stream.seek(SeekFrom::Start(at)));
                    assert_eq!(sought.is_ok(), at <= 5120);
                    position = if at <= 5120 { at as usize } else { position };
                }
                Step::Flush => {
                    while run_for(stream.flush(), polls(&mut random)).is_none() {}
                    assert!(disk.contents() == model, "step {number}");
                }
            }
            assert_eq!(stream.position(), position as u64);
        }
        run(stream.flush()).unwrap();
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
            agree(&steps, |random| 1 + random.below(8) as u32, seed);
        }
    }

    /// What is read after a write that was dropped is what is there from then on.
    #[test]
    fn read_after_a_drop() {
        for seed in 0..200 {
            let disk = Disk::new(512, 4, seed);
            let mut stream = Stream::new(&disk).unwrap();
            assert_eq!(run_for(stream.write(&[1; 1024]), 1), None);
            let mut read = [0; 1024];
            let len = if seed % 2 == 0 { 100 } else { 1024 };
            run(stream.read(&mut read[..len])).unwrap();
            run(stream.flush()).unwrap();
            run(disk.read(3, &mut [0; 512])).unwrap();
            assert!(disk.contents()[..len] == read[..len], "seed {seed}");
        }
    }

    #[test]
    fn seeking() {
        let mut stream = Stream::new(RamDisk::new(512, 2).unwrap()).unwrap();
        assert_eq!(run(stream.seek(SeekFrom::End(-24))), Ok(1000));
        assert_eq!(run(stream.seek(SeekFrom::Current(24))), Ok(1024));
        for beyond in [SeekFrom::End(1), SeekFrom::Current(-1025), SeekFrom::Start(u64::MAX)] {
            assert_eq!(run(stream.seek(beyond)), Err(Error::OutOfRange));
            assert_eq!(stream.position(), 1024);
        }
        assert_eq!(run(stream.read(&mut [0; 10])), Ok(0));
        assert_eq!(run(stream.write(&[0; 10])), Err(Error::Full));
    }

    #[test]
    fn read_only_and_broken_disks() {
        let mut stream = Stream::new(RamDisk::new(512, 2).unwrap().read_only()).unwrap();
        assert_eq!(run(stream.write(&[0; 10])), Err(Error::ReadOnly));
        let disk = Disk::new(512, 4, 1);
        let mut stream = Stream::new(&disk).unwrap();
        assert_eq!(run(stream.write(&[1; 10])), Ok(10));
        disk.damage(0..1);
        assert_eq!(run(stream.flush()), Err(Error::Device));
        // It was said once; the rest of the disk can be used.
        run(stream.seek(SeekFrom::Start(512))).unwrap();
        assert_eq!(run(stream.write(&[1; 10])), Ok(10));
        assert_eq!(run(stream.flush()), Ok(()));
    }

    /// A run of small reads reads each block once.
    #[test]
    fn blocks_are_read_once() {
        let disk = Disk::new(512, 8, 1);
        let mut stream = Stream::new(&disk).unwrap();
        let mut bytes = Vec::new();
        while let Ok(7) = run(stream.read(&mut [0; 7])) {
            bytes.push(7);
        }
        assert!(disk.counts().blocks_read <= 8);
    }
}
