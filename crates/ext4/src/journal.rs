//! The journal of a volume that was not unmounted: blocks that are newer there than in their places.

use alloc::vec::Vec;

use wakeful_block::BlockDevice;

use crate::{
    Error, Shared,
    bytes::{be32_at, u64_of},
    inode::Inode,
    map::Run,
    superblock::checksum,
    zeros,
};

/// How many blocks of the log are kept track of, in 24 bytes each: those of a journal of 256 MiB, more or less. A log
/// that has more is for `e2fsck`.
const MAX_RECORDS: usize = 65_536;

/// "Journal (jbd2)", "Block Header" and "Super Block". Numbers are big-endian here.
const MAGIC: u32 = 0xc03b_3998;
const HEADER: usize = 12;
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const SUPERBLOCK: u32 = 4;
const REVOKE: u32 = 5;

const INCOMPAT_REVOKE: u32 = 0x1;
const INCOMPAT_64BIT: u32 = 0x2;
const INCOMPAT_CSUM_V2: u32 = 0x8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_KNOWN: u32 = INCOMPAT_REVOKE | INCOMPAT_64BIT | INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3;

/// Of the blocks that a descriptor names ("Descriptor Block").
const FLAG_ESCAPED: u32 = 0x1;
const FLAG_SAME_UUID: u32 = 0x2;
const FLAG_LAST: u32 = 0x8;
const UUID: usize = 16;

/// Where blocks are of which the journal has a newer version.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// One for each block, in their order.
    newer: Vec<Record>,
}

/// What the log says of a block.
#[derive(Debug, Clone, Copy)]
struct Record {
    block: u64,
    /// Where its contents are on the volume; `None` if the block is not to be written, by this transaction or by
    /// those before it.
    place: Option<u32>,
    /// Where this is in the log, counted in transactions and then in records.
    transaction: u32,
    number: u32,
}

impl Journal {
    /// What is to be written of all that was committed.
    fn new(mut records: Vec<Record>) -> Self {
        records.sort_unstable_by_key(|record| {
            (record.block, record.transaction, record.place.is_none(), record.number)
        });
        // The last of a block stays.
        records.dedup_by(|later, kept| {
            let is_same = later.block == kept.block;
            if is_same {
                *kept = *later;
            }
            is_same
        });
        records.retain(|record| record.place.is_some());
        Self { newer: records }
    }

    /// Where blocks are to be read from, and how many of them: as many as lie together.
    pub(crate) fn redirect(&self, start: u64, blocks: u64) -> (u64, u64) {
        let next = self.newer.partition_point(|record| record.block < start);
        match self.newer.get(next) {
            Some(Record { block, place: Some(place), .. }) if *block == start => {
                ((*place).into(), blocks.min(1))
            }
            Some(record) => (start, blocks.min(record.block - start)),
            None => (start, blocks),
        }
    }
}

/// The log, while it is read from its beginning to its end.
struct Log<'a, D> {
    shared: &'a Shared<D>,
    inode: Inode,
    run: Run,
    features: u32,
    seed: u32,
    /// The part of the journal in which the log goes in circles.
    first: u32,
    end: u32,
    /// The next block, and how many may come until it goes in circles.
    at: u32,
    left: u32,
    /// What was found, and how many transactions were committed.
    records: Vec<Record>,
    transactions: u32,
}

impl<D: BlockDevice> Shared<D> {
    /// What the journal says, by transactions that were committed. Nothing is written.
    ///
    /// # Errors
    ///
    /// [`Error::NeedsRecovery`] if it is one that only others can replay.
    pub(crate) async fn replay(&self, journal: u32) -> Result<Journal, Error> {
        let inode = self.inode(journal).await?;
        let mut log = Log {
            shared: self,
            inode,
            run: Run::default(),
            features: 0,
            seed: 0,
            first: 0,
            end: 1,
            at: 0,
            left: 1,
            records: Vec::new(),
            transactions: 0,
        };
        let mut block = zeros(self.layout.block_size as usize)?;
        log.next(&mut block).await?;
        if be32_at(&block, 0)? != MAGIC || be32_at(&block, 4)? != SUPERBLOCK {
            return Err(Error::NeedsRecovery);
        }
        log.features = be32_at(&block, 0x28)?;
        log.seed = checksum(!0, &[&block[0x30..0x40]]);
        let is_whole = !log.has_checksums()
            || checksum(!0, &[&block[..0xfc], &[0; 4], &block[0x100..1024]])
                == be32_at(&block, 0xfc)?;
        if log.features & !INCOMPAT_KNOWN != 0 || !is_whole {
            return Err(Error::NeedsRecovery);
        }
        (log.end, log.first) = (be32_at(&block, 0x10)?, be32_at(&block, 0x14)?);
        let mut sequence = be32_at(&block, 0x18)?;
        log.at = be32_at(&block, 0x1c)?;
        if log.at == 0 {
            return Ok(Journal::default());
        }
        let is_inside = 0 < log.first && log.first <= log.at && log.at < log.end;
        if !is_inside || u64::from(log.end) > self.layout.blocks {
            return Err(Error::NeedsRecovery);
        }
        log.left = log.end - log.first;

        let mut committed = 0;
        while log.transaction(sequence, &mut block).await? {
            committed = log.records.len();
            sequence = sequence.wrapping_add(1);
            log.transactions += 1;
        }
        log.records.truncate(committed);
        Ok(Journal::new(log.records))
    }
}

impl<D: BlockDevice> Log<'_, D> {
    fn has_checksums(&self) -> bool {
        self.features & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3) != 0
    }

    /// Reads the next block; returns where on the volume it is.
    async fn next(&mut self, block: &mut [u8]) -> Result<u64, Error> {
        self.left = self.left.checked_sub(1).ok_or(Error::NeedsRecovery)?;
        let at = u64::from(self.at);
        if !self.run.contains(at) {
            self.run = self.shared.run(&self.inode, at).await?;
        }
        let start = self.run.start.ok_or(Error::NeedsRecovery)? + at - self.run.first;
        self.shared.cache.stream(start * self.shared.layout.block_size, block).await?;
        self.at = if self.at + 1 == self.end { self.first } else { self.at + 1 };
        Ok(start)
    }

    /// Reads the transaction of this number, if it was committed: else this is the end of the log.
    async fn transaction(&mut self, sequence: u32, block: &mut [u8]) -> Result<bool, Error> {
        while self.left > 0 {
            self.next(block).await?;
            if be32_at(block, 0)? != MAGIC || be32_at(block, 8)? != sequence {
                return Ok(false);
            }
            match be32_at(block, 4)? {
                DESCRIPTOR if self.is_tail_whole(block)? => {
                    if !self.descriptor(sequence, block).await? {
                        return Ok(false);
                    }
                }
                REVOKE if self.is_tail_whole(block)? => self.revocations(block)?,
                COMMIT => return self.is_commit_whole(block),
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// The blocks that follow a descriptor, which names their places. Whether they are whole.
    async fn descriptor(&mut self, sequence: u32, descriptor: &[u8]) -> Result<bool, Error> {
        let has_64bit = self.features & INCOMPAT_64BIT != 0;
        let is_v3 = self.features & INCOMPAT_CSUM_V3 != 0;
        let tag = match (is_v3, has_64bit) {
            (true, _) => 16,
            (false, true) => 12,
            (false, false) => 8,
        } + if self.features & INCOMPAT_CSUM_V2 != 0 { 2 } else { 0 };
        let mut data = zeros(descriptor.len())?;
        let mut at = HEADER;
        loop {
            let low = be32_at(descriptor, at)?;
            let flags = be32_at(descriptor, at + 4)?;
            let high = if has_64bit { be32_at(descriptor, at + 8)? } else { 0 };
            // Without version 3, 16 bits of it are in front of the flags.
            let (sum, mask) = if is_v3 {
                (be32_at(descriptor, at + 12)?, u32::MAX)
            } else {
                (flags >> 16, 0xffff)
            };
            if self.left == 0 {
                return Ok(false);
            }
            let place = self.next(&mut data).await?;
            let actual = checksum(self.seed, &[&sequence.to_be_bytes(), &data]);
            if self.has_checksums() && actual & mask != sum {
                return Ok(false);
            }
            // Its first bytes were those of a header, and are elsewhere; or it is beyond what a record holds.
            let place = u32::try_from(place).ok().filter(|_| flags & FLAG_ESCAPED == 0);
            self.record(u64_of(high, low), Some(place.ok_or(Error::NeedsRecovery)?))?;
            if flags & FLAG_LAST != 0 {
                return Ok(true);
            }
            at += tag + if flags & FLAG_SAME_UUID != 0 { 0 } else { UUID };
        }
    }

    /// The blocks that are not to be written.
    fn revocations(&mut self, block: &[u8]) -> Result<(), Error> {
        let len = be32_at(block, HEADER)? as usize;
        let size = if self.features & INCOMPAT_64BIT != 0 { 8 } else { 4 };
        for record in block.get(HEADER + 4..len).ok_or(Error::NeedsRecovery)?.chunks_exact(size) {
            let (high, low) = record.split_at(size - 4);
            self.record(u64_of(be32_at(high, 0).unwrap_or(0), be32_at(low, 0)?), None)?;
        }
        Ok(())
    }

    fn record(&mut self, block: u64, place: Option<u32>) -> Result<(), Error> {
        if self.records.len() == MAX_RECORDS {
            return Err(Error::NeedsRecovery);
        }
        self.records.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        let number = self.records.len() as u32;
        self.records.push(Record { block, place, transaction: self.transactions, number });
        Ok(())
    }

    /// Whether a descriptor or a revocation has the checksum at its end.
    fn is_tail_whole(&self, block: &[u8]) -> Result<bool, Error> {
        let end = block.len() - 4;
        let sum = checksum(self.seed, &[&block[..end], &[0; 4]]);
        Ok(!self.has_checksums() || sum == be32_at(block, end)?)
    }

    fn is_commit_whole(&self, block: &[u8]) -> Result<bool, Error> {
        let sum = checksum(self.seed, &[&block[..0x10], &[0; 4], &block[0x14..]]);
        Ok(!self.has_checksums() || sum == be32_at(block, 0x10)?)
    }
}
