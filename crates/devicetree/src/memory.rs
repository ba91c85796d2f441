//! Ranges of memory: what is there, what is taken, what is left.

use core::ops::Range;

use arrayvec::ArrayVec;

use crate::machine::Machine;

/// The smallest page of RISC-V's address translation, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// The list has no place for one more range.
pub(crate) struct Full;

/// Adds a range to a sorted list of ranges that neither overlap nor touch, and keeps it so.
pub(crate) fn insert<const N: usize>(
    list: &mut ArrayVec<Range<u64>, N>,
    range: Range<u64>,
) -> Result<(), Full> {
    if range.is_empty() {
        return Ok(());
    }
    // Take out what it touches.
    let mut all = range;
    let mut kept = 0;
    for at in 0..list.len() {
        let other = list[at].clone();
        if other.start <= all.end && all.start <= other.end {
            all = all.start.min(other.start)..all.end.max(other.end);
        } else {
            list[kept] = other;
            kept += 1;
        }
    }
    list.truncate(kept);
    // Put it in its place.
    list.try_push(all).map_err(|_| Full)?;
    while kept > 0 && list[kept - 1].start > list[kept].start {
        list.swap(kept - 1, kept);
        kept -= 1;
    }
    Ok(())
}

impl Machine<'_> {
    /// The RAM that belongs to nobody, in whole pages.
    ///
    /// That is [`memory`](Self::memory) without [`reserved`](Self::reserved),
    /// [`initrd`](Self::initrd) and `extra`, where `extra` is what the caller knows to be taken:
    /// first the running image, then anything else, such as the device tree itself, in any order.
    /// Each gap between them is rounded inward to multiples of [`PAGE_SIZE`]. The result is
    /// sorted and disjoint and has no empty range. If there are more than 64, the lowest 64 are
    /// returned; that costs RAM, nothing else.
    ///
    /// Firmware sits at the start of the RAM that the image runs in, and old firmware does not
    /// reserve itself. So unless some reservation covers that start, everything from there to
    /// the image is left out too.
    #[must_use]
    pub fn free_memory(&self, extra: &[Range<u64>]) -> ArrayVec<Range<u64>, 64> {
        let image = extra.first().map_or(0, |image| image.start);
        let mut free = ArrayVec::new();
        for ram in &self.memory {
            let firmware = if ram.contains(&image)
                && !self.reserved.iter().any(|r| r.contains(&ram.start))
                && !extra.is_empty()
            {
                ram.start..image
            } else {
                0..0
            };

            let mut start = ram.start;
            while start < ram.end {
                // The first taken range that ends behind `start` bounds the gap that starts here.
                // `start` moves to its end, so there is a round per taken range at most.
                let mut stop = ram.end;
                let mut next = ram.end;
                let taken = self.reserved.iter().chain(extra).chain(&self.initrd);
                for taken in taken.chain([&firmware]) {
                    if !taken.is_empty() && taken.end > start && taken.start < stop {
                        stop = taken.start.max(start);
                        next = taken.end;
                    }
                }
                let gap = pages(start..stop);
                if !gap.is_empty() && free.try_push(gap).is_err() {
                    return free;
                }
                start = next;
            }
        }
        free
    }
}

/// The whole pages of a range; empty if there are none.
fn pages(range: Range<u64>) -> Range<u64> {
    let end = range.end - range.end % PAGE_SIZE;
    match range.start.checked_next_multiple_of(PAGE_SIZE) {
        Some(start) if start < end => start..end,
        _ => 0..0,
    }
}
