//! The device as bytes, a part of which is remembered.

use alloc::vec::Vec;

use maitake_sync::Mutex;
use wakeful_block::BlockDevice;

use crate::{Error, zeros};

/// A device as bytes from 0 on. Small reads are of lines, of which the least recently used are forgotten; large
/// ones go from the device to where they are wanted.
#[derive(Debug)]
pub(crate) struct Cache<D> {
    device: D,
    /// In bytes, a power of two, and a multiple of the device's block.
    line_size: usize,
    max_lines: usize,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    /// In the order of their numbers.
    kept: Vec<Line>,
    /// Counts uses.
    now: u64,
}

#[derive(Debug)]
struct Line {
    number: u64,
    bytes: Vec<u8>,
    used: u64,
}

impl<D: BlockDevice> Cache<D> {
    /// Of so many bytes, but one line at least.
    pub(crate) fn new(device: D, line_size: usize, bytes: usize) -> Self {
        let block_size = device.geometry().block_size as usize;
        let line_size = line_size.next_power_of_two().max(block_size);
        Self { device, line_size, max_lines: (bytes / line_size).max(1), lines: Mutex::default() }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> u64 {
        self.device.geometry().bytes()
    }

    /// Reads metadata, and what is small.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost but the line that was being read.
    pub(crate) async fn read(&self, mut at: u64, mut into: &mut [u8]) -> Result<(), Error> {
        while !into.is_empty() {
            let number = at / self.line_size as u64;
            let offset = (at % self.line_size as u64) as usize;
            let len = into.len().min(self.line_size - offset);
            let (part, rest) = into.split_at_mut(len);
            if !self.recall(number, offset, part).await {
                let bytes = self.fetch(number).await?;
                part.copy_from_slice(bytes.get(offset..offset + len).ok_or(Error::Corrupt)?);
                self.keep(number, bytes).await;
            }
            into = rest;
            at += len as u64;
        }
        Ok(())
    }

    /// Reads what may be large: whole blocks of the device in one request, if they are as much as a line.
    ///
    /// # Cancellation
    ///
    /// As [`Cache::read`].
    pub(crate) async fn stream(&self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        let block_size = u64::from(self.device.geometry().block_size);
        let head = at.next_multiple_of(block_size) - at;
        let blocks = (into.len() as u64).saturating_sub(head) / block_size;
        if blocks * block_size < self.line_size as u64 {
            return self.read(at, into).await;
        }
        let (head, into) = into.split_at_mut(head as usize);
        let (middle, tail) = into.split_at_mut((blocks * block_size) as usize);
        let start = at + head.len() as u64;
        let end = start + middle.len() as u64;
        self.read(at, head).await?;
        self.device.read(start / block_size, middle).await?;
        self.read(end, tail).await
    }

    /// Copies from a line that is remembered.
    async fn recall(&self, number: u64, offset: usize, into: &mut [u8]) -> bool {
        let mut lines = self.lines.lock().await;
        lines.now += 1;
        let now = lines.now;
        let Ok(at) = lines.find(number) else { return false };
        let line = &mut lines.kept[at];
        let Some(bytes) = line.bytes.get(offset..offset + into.len()) else { return false };
        into.copy_from_slice(bytes);
        line.used = now;
        true
    }

    /// The bytes of a line: fewer at the end of the device.
    async fn fetch(&self, number: u64) -> Result<Vec<u8>, Error> {
        let start = number.checked_mul(self.line_size as u64).ok_or(Error::Corrupt)?;
        let left = self.len().checked_sub(start).ok_or(Error::Corrupt)?;
        let mut bytes = zeros(left.min(self.line_size as u64) as usize)?;
        self.device.read(start / u64::from(self.device.geometry().block_size), &mut bytes).await?;
        Ok(bytes)
    }

    /// Remembers a line, if nobody else has read it in the meantime.
    async fn keep(&self, number: u64, bytes: Vec<u8>) {
        let mut lines = self.lines.lock().await;
        if lines.kept.len() >= self.max_lines {
            let oldest = (0..lines.kept.len()).min_by_key(|at| lines.kept[*at].used);
            oldest.map(|at| lines.kept.remove(at));
        }
        let used = lines.now;
        if let Err(at) = lines.find(number)
            && lines.kept.try_reserve(1).is_ok()
        {
            lines.kept.insert(at, Line { number, bytes, used });
        }
    }
}

impl Lines {
    /// Where a line is, or would be.
    fn find(&self, number: u64) -> Result<usize, usize> {
        self.kept.binary_search_by_key(&number, |line| line.number)
    }
}
