//! The run queue of one hart: a FIFO of tasks for each level, and a bitmap of those in use.
//!
//! A level is said in eighths of a cache line everywhere: as its number times eight, which is at once the
//! distance of its word in the table and the number of its bit in the bitmap.

use core::{
    hint,
    ptr::{self, NonNull},
};

use crate::{atomic::Cell, state::LEVEL, task::Header};

/// Levels of urgency; 0 is the most urgent.
pub const LEVELS: usize = 8;

/// The last task of a level, or null. The tasks are a ring: the last one's link is the first one. So one
/// word is enough for both ends, and the bitmap changes only with the first and the last task.
type Level = Cell<*mut Header>;

pub(crate) struct Queue {
    levels: [Level; LEVELS],
    /// The bit of a level is set if it has tasks.
    ready: Cell<u64>,
}

impl Queue {
    /// A queue without tasks.
    pub(crate) const fn new() -> Self {
        Self { levels: [const { Cell::new(ptr::null_mut()) }; LEVELS], ready: Cell::new(0) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready.get() == 0
    }

    /// # Safety
    ///
    /// The level is a multiple of eight below 64.
    #[inline(always)]
    unsafe fn level(&self, level: u32) -> &Level {
        debug_assert!(level & !LEVEL == 0);
        // SAFETY: by the caller's promise it is one of the table.
        unsafe { &*(&raw const self.levels).byte_add(level as usize).cast() }
    }

    /// Appends a task to the level that `state` says.
    ///
    /// # Safety
    ///
    /// The queue's hart calls; the caller owns the task's link (has set `QUEUED`).
    #[inline(always)]
    pub(crate) unsafe fn push(&self, task: NonNull<Header>, state: u32) {
        let level = state & LEVEL;
        // SAFETY: three bits are below eight. The task is in no queue: its link is ours; those of tasks
        // in the queue are the queue's.
        unsafe {
            let queue = self.level(level);
            let last = queue.replace(task.as_ptr());
            match NonNull::new(last) {
                Some(last) => {
                    task.as_ref().next.set(last.as_ref().next.get());
                    last.as_ref().next.set(task.as_ptr());
                }
                None => {
                    task.as_ref().next.set(task.as_ptr());
                    self.ready.set(self.ready.get() | 1 << level);
                }
            }
        }
    }

    /// Takes out the task that has been waiting longest of the most urgent ones. It stays `QUEUED`.
    ///
    /// # Safety
    ///
    /// The queue's hart calls, and `best` was made for this queue.
    #[inline(always)]
    pub(crate) unsafe fn pop(&self, best: &mut Best) -> Option<NonNull<Header>> {
        let ready = self.ready.get();
        if ready == 0 {
            return None;
        }
        // SAFETY: the bits of `ready` are those of levels that have tasks, whose links are the queue's.
        // The lowest bit of a bitmap is always that of the same level.
        unsafe {
            if ready != best.ready {
                *best = Best { ready, level: self.level(lowest(ready)) };
            }
            let level = &*best.level;
            let last = NonNull::new_unchecked(level.get());
            let first = NonNull::new_unchecked(last.as_ref().next.get());
            if first == last {
                hint::cold_path(); // one jump less for those who are many
                level.set(ptr::null_mut());
                self.ready.set(ready & (ready - 1));
            } else {
                last.as_ref().next.set(first.as_ref().next.get());
            }
            Some(first)
        }
    }
}

/// The most urgent level for one value of the bitmap: mostly that has not changed since the last pop, and
/// the level need not be found again.
pub(crate) struct Best {
    ready: u64,
    level: *const Level,
}

impl Best {
    pub(crate) const UNKNOWN: Self = Self { ready: 0, level: ptr::null() };
}

/// The number of the lowest bit that is set.
#[cfg(any(not(target_arch = "riscv64"), target_feature = "zbb"))]
#[inline(always)]
fn lowest(bits: u64) -> u32 {
    bits.trailing_zeros()
}

/// The number of the lowest bit that is set, of those whose number is a multiple of eight.
///
/// Without the Zbb extension there is no instruction for it. The product moves one byte of the factor
/// into the highest: for bit 8 n, byte 7 - n.
#[cfg(all(target_arch = "riscv64", not(target_feature = "zbb")))]
#[inline(always)]
fn lowest(bits: u64) -> u32 {
    ((bits & bits.wrapping_neg()).wrapping_mul(0x00_08_10_18_20_28_30_38) >> 56) as u32
}

#[cfg(test)]
mod tests {
    /// The formula of the other `lowest`, which is for a target that runs no tests.
    #[test]
    fn product_finds_the_lowest_bit() {
        for bits in 1..=255_u64 {
            let spread = (0..8).map(|n| (bits >> n & 1) << (8 * n)).sum::<u64>();
            let lowest = spread & spread.wrapping_neg();
            let number = lowest.wrapping_mul(0x00_08_10_18_20_28_30_38) >> 56;
            assert_eq!(number, u64::from(spread.trailing_zeros()));
        }
    }
}
