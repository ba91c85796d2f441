//! Where the contents of a file are: in trees of extents, or in block maps.

use wakeful_block::BlockDevice;

use crate::{
    Error, Shared,
    bytes::{u16_at, u32_at, u64_of},
    inode::Inode,
    superblock::checksum,
    zeros,
};

/// Blocks of a file that follow each other on the volume, or a hole.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Run {
    /// The first one, counted from the beginning of the file.
    pub(crate) first: u64,
    pub(crate) blocks: u64,
    /// Where that is on the volume; `None` for a hole.
    pub(crate) start: Option<u64>,
}

impl Run {
    fn hole(first: u64, blocks: u64) -> Self {
        Self { first, blocks, start: None }
    }

    pub(crate) fn contains(&self, block: u64) -> bool {
        block.checked_sub(self.first).is_some_and(|index| index < self.blocks)
    }
}

/// The magic number of a node, the size of its head and of each entry, and the greatest depth ("Extent Tree").
const EXTENT_MAGIC: u16 = 0xf30a;
const EXTENT_SIZE: usize = 12;
const MAX_DEPTH: u16 = 5;
/// An extent that is longer says that its blocks, so many less, have never been written.
const MAX_WRITTEN: u16 = 32768;

/// Block numbers in the inode itself, before the three that lead to maps ("Direct/Indirect Block Addressing").
const DIRECT: u64 = 12;
/// How many numbers of a map are looked at together. A run of more blocks is found in pieces.
const POINTERS_AT_ONCE: usize = 64;

impl<D: BlockDevice> Shared<D> {
    /// The run in which a block of a file is, from that block on.
    pub(crate) async fn run(&self, inode: &Inode, block: u64) -> Result<Run, Error> {
        inode.check_readable()?;
        let mut run = if inode.has_extents {
            self.run_of_extents(inode, block).await?
        } else {
            self.run_of_map(inode, block).await?
        };
        if let Some(start) = run.start {
            let end = start.checked_add(run.blocks).ok_or(Error::Corrupt)?;
            if start == 0 || end > self.layout.blocks {
                return Err(Error::Corrupt);
            }
            let (start, blocks) = self.journal.redirect(start, run.blocks);
            (run.start, run.blocks) = (Some(start), blocks);
        }
        Ok(run)
    }

    async fn run_of_extents(&self, inode: &Inode, block: u64) -> Result<Run, Error> {
        let mut node = zeros(inode.root.len())?;
        node.copy_from_slice(&inode.root);
        let mut depth = u16_at(&node, 6)?;
        if depth > MAX_DEPTH {
            return Err(Error::Corrupt);
        }
        // Where the part of the file ends of which this node knows.
        let mut end = u64::MAX;
        loop {
            let (entry, next) = find_entry(&node, depth, block)?;
            end = end.min(next.unwrap_or(u64::MAX));
            let until_end = end.checked_sub(block).filter(|blocks| *blocks > 0);
            let hole = Run::hole(block, until_end.ok_or(Error::Corrupt)?);
            let Some(entry) = entry else { return Ok(hole) };
            if depth == 0 {
                return extent_at(entry, block, hole);
            }
            depth -= 1;
            let child = u64_of(u16_at(entry, 8)?.into(), u32_at(entry, 4)?);
            node = zeros(self.layout.block_size as usize)?;
            self.read_block(child, 0, &mut node).await?;
            if self.layout.has_checksums && !is_whole(&node, inode.checksum_seed)? {
                return Err(Error::Corrupt);
            }
        }
    }

    async fn run_of_map(&self, inode: &Inode, block: u64) -> Result<Run, Error> {
        if block < DIRECT {
            return merge(&inode.root[..DIRECT as usize * 4], block as usize, block);
        }
        let per_map = self.layout.block_size / 4;
        let mut index = block - DIRECT;
        let mut span = per_map;
        let mut level = 1;
        while index >= span {
            index -= span;
            span *= per_map;
            level += 1;
            if level > 3 {
                return Err(Error::Corrupt);
            }
        }
        let mut map = u32_at(&inode.root, (DIRECT as usize + level - 1) * 4)?;
        // `index` counts from where this map begins, which knows of `span` blocks.
        while map != 0 {
            span /= per_map;
            let mut pointers = [0; POINTERS_AT_ONCE * 4];
            let at = index / span;
            index %= span;
            let count = if span == 1 { (per_map - at).min(POINTERS_AT_ONCE as u64) } else { 1 };
            let pointers = &mut pointers[..count as usize * 4];
            self.read_block(map.into(), at * 4, pointers).await?;
            if span == 1 {
                return merge(pointers, 0, block);
            }
            map = u32_at(pointers, 0)?;
        }
        Ok(Run::hole(block, span - index))
    }
}

/// The last entry that begins at the block or before it, if any, and where the next one begins.
fn find_entry(node: &[u8], depth: u16, block: u64) -> Result<(Option<&[u8]>, Option<u64>), Error> {
    let entries: usize = u16_at(node, 2)?.into();
    let max: usize = u16_at(node, 4)?.into();
    let fits = (max + 1) * EXTENT_SIZE <= node.len() && entries <= max;
    if u16_at(node, 0)? != EXTENT_MAGIC || u16_at(node, 6)? != depth || !fits {
        return Err(Error::Corrupt);
    }
    let entries = &node[EXTENT_SIZE..][..entries * EXTENT_SIZE];
    let (mut left, mut right) = (0, entries.len() / EXTENT_SIZE);
    while left < right {
        let middle = (left + right) / 2;
        if u64::from(u32_at(entries, middle * EXTENT_SIZE)?) <= block {
            left = middle + 1;
        } else {
            right = middle;
        }
    }
    let next = u32_at(entries, left * EXTENT_SIZE).ok().map(u64::from);
    let entry = left.checked_sub(1).map(|last| &entries[last * EXTENT_SIZE..][..EXTENT_SIZE]);
    Ok((entry, next))
}

/// What is left of an extent, or the hole after it.
fn extent_at(extent: &[u8], block: u64, hole: Run) -> Result<Run, Error> {
    let index = block - u64::from(u32_at(extent, 0)?);
    let len = u16_at(extent, 4)?;
    let is_written = len <= MAX_WRITTEN;
    let len = u64::from(if is_written { len } else { len - MAX_WRITTEN });
    if index >= len {
        return Ok(hole);
    }
    let blocks = (len - index).min(hole.blocks);
    let start = u64_of(u16_at(extent, 6)?.into(), u32_at(extent, 8)?) + index;
    Ok(Run { first: block, blocks, start: is_written.then_some(start) })
}

/// Whether a node of extents has the checksum that follows its last possible entry.
fn is_whole(node: &[u8], seed: u32) -> Result<bool, Error> {
    let end = (usize::from(u16_at(node, 4)?) + 1) * EXTENT_SIZE;
    let covered = node.get(..end).ok_or(Error::Corrupt)?;
    Ok(u32_at(node, end)? == checksum(seed, &[covered]))
}

/// The run of equal or of ascending numbers from one on.
fn merge(pointers: &[u8], index: usize, first: u64) -> Result<Run, Error> {
    let start = u32_at(pointers, index * 4)?;
    let mut blocks = 1;
    while let Ok(pointer) = u32_at(pointers, (index + blocks as usize) * 4) {
        let expected = if start == 0 { 0 } else { u64::from(start) + blocks };
        if u64::from(pointer) != expected {
            break;
        }
        blocks += 1;
    }
    Ok(Run { first, blocks, start: (start != 0).then_some(start.into()) })
}
