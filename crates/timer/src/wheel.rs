//! The wheel: which list a node is in, and when it leaves it.

use core::{cell::Cell, marker::PhantomPinned, ptr::NonNull};

use crate::node::{self, Link, Node};

/// Binary digits of a deadline that select the slot of a level.
const SLOT_BITS: usize = 6;

/// Slots of a level: as many as a word has bits.
const SLOTS: usize = 1 << SLOT_BITS;

/// Levels that cover 64 bits of time.
const LEVELS: usize = 64_usize.div_ceil(SLOT_BITS);

/// A set of [`Node`]s, ordered by deadline as far as it has to be.
///
/// A deadline is a number of 11 digits to the base 64. A node is filed by the highest digit in which
/// its deadline differs from the time that has passed: which digit, that is the level, and its
/// value is the slot. So every slot of level 0 is one tick, and whatever is in a level is due before
/// everything in the levels above; the first node to fire is always in the first occupied slot of
/// the lowest occupied level. When time reaches a slot, the nodes in it that are not due yet now
/// agree with the time in that digit, and move to a level below. A node moves only then, and only
/// downwards: at most ten times in its life, however many other nodes come and go.
///
/// Each slot knows its earliest deadline, so that the hart need not wake up to have nodes moved,
/// and no list is ever searched.
///
/// Operations take `&self`: the nodes point into the wheel, and a `&mut Wheel` would claim that
/// nobody does. A wheel takes 11.1 KiB; a new one is all zeros, so that a static one takes no space
/// in an image.
///
/// # Exclusion
///
/// One operation at a time: the wheel is not [`Sync`]. Share it behind a lock, or give one to each
/// hart and keep interrupts that use it out.
///
/// # Cancellation
///
/// [`Wheel::remove`] takes a node out in any state. It does not look for what is now the earliest:
/// see [`Wheel::next_deadline`].
//
// Invariants, between operations:
// 1. A node in `slots[level][slot]` has a deadline after `elapsed`; `level` is the highest digit in
//    which the two differ, and `slot` is that digit of the deadline.
// 2. `earliest` of a slot that is not empty lies in the slot, and no node of it is earlier.
// 3. The bit of a slot that is not empty is set. That of an empty one may be: whoever finds it so
//    clears it.
// 4. The next deadline is after `elapsed`, or the end of time, and no node in a slot is earlier.
// 5. `expired_end` is the last link of `expired`, if that is not empty.
#[repr(C)] // what every operation needs comes first, in reach of the offset of a load
pub struct Wheel<T: Copy> {
    /// The time up to which nodes were moved. It may lag behind the time of the last `advance`.
    elapsed: Cell<u64>,
    /// The complement of the next deadline, or of what it was before a node was removed.
    next_complement: Cell<u64>,
    /// Nodes that are due, in the order in which they are popped.
    expired: Link<T>,
    expired_end: Cell<Option<NonNull<Link<T>>>>,
    /// A bit for each slot.
    occupied: [Cell<u64>; LEVELS],
    slots: [[Slot<T>; SLOTS]; LEVELS],
    /// Nodes that `advance` looked at.
    #[cfg(test)]
    moves: Cell<u64>,
    _pinned: PhantomPinned,
}

struct Slot<T: Copy> {
    nodes: Link<T>,
    earliest: Cell<u64>,
}

// SAFETY: whoever inserts a node promises that it is touched under the exclusion of its wheel only,
// and what the wheel hands out is `T`.
unsafe impl<T: Copy + Send> Send for Wheel<T> {}

impl<T: Copy> Wheel<T> {
    /// An empty wheel at time 0.
    pub const fn new() -> Self {
        Self {
            elapsed: Cell::new(0),
            next_complement: Cell::new(!u64::MAX),
            expired: Cell::new(None),
            expired_end: Cell::new(None),
            occupied: [const { Cell::new(0) }; LEVELS],
            slots: [const { [const { Slot { nodes: Cell::new(None), earliest: Cell::new(0) } }; SLOTS] };
                LEVELS],
            #[cfg(test)]
            moves: Cell::new(0),
            _pinned: PhantomPinned,
        }
    }

    /// Has `target` handed out when `deadline` (in ticks) has come: not before [`Wheel::advance`] is
    /// given that time or a later one, and then by [`Wheel::pop_expired`].
    ///
    /// A deadline that the wheel has already passed is due at once. One of [`u64::MAX`] means
    /// "never", as for a timer of SBI: the node waits, and no wake-up is planned for it.
    ///
    /// Constant time, and no memory but the node's, its slot's and that of one other node.
    ///
    /// # Safety
    ///
    /// - `node` is in no wheel.
    /// - Until it is popped, or removed from this wheel, `node` is valid, does not move, and is
    ///   touched only under the exclusion under which this wheel is.
    /// - The wheel does not move and is not dropped while a node is in it.
    #[inline]
    pub unsafe fn insert(&self, node: NonNull<Node<T>>, deadline: u64, target: T) {
        // SAFETY: valid by the caller's contract.
        let entry = unsafe { node.as_ref() };
        debug_assert!(!entry.is_linked(), "a node was inserted twice");
        entry.set(deadline, target);
        if deadline <= self.elapsed.get() {
            // SAFETY: valid and in no list, by the caller's contract.
            return unsafe { self.expire_at_once(node) };
        }
        if !deadline > self.next_complement.get() {
            self.next_complement.set(!deadline);
        }
        // SAFETY: valid and in no list, by the caller's contract.
        unsafe { self.file(node, deadline) };
    }

    /// Takes `node` out, whether it waits or is due and not popped yet, and says whether it did: not
    /// if it is in no wheel. Constant time.
    ///
    /// # Safety
    ///
    /// `node` is valid, and in no other wheel than this one.
    #[inline]
    pub unsafe fn remove(&self, node: NonNull<Node<T>>) -> bool {
        // SAFETY: valid by the caller's contract.
        if !unsafe { node.as_ref() }.is_linked() {
            return false;
        }
        // SAFETY: it is in a list of this wheel, whose nodes are valid by the contract of `insert`.
        if let Some(end) = unsafe { node::unlink(node) }
            && self.expired_end.get() == Some(node.cast())
        {
            self.expired_end.set(Some(end));
        }
        true
    }

    /// Moves time forward to `now` (in ticks): what is due by then can be popped.
    ///
    /// A `now` before the next deadline changes nothing and costs four instructions; so time cannot
    /// go back. Otherwise the cost is that of 11 levels, and of each node that is due or moves to a
    /// lower level.
    #[inline]
    pub fn advance(&self, now: u64) {
        if now >= !self.next_complement.get() {
            self.turn(now);
        }
    }

    /// Takes out the next node that is due, and returns its target.
    ///
    /// Nodes come in the order of the calls of [`Wheel::advance`] that made them due, and within
    /// one call in the order of their slots: a node comes after all that were due before its slot
    /// began. Nodes of one slot, so also those of equal deadlines, come in any order. A caller who
    /// advances to each [`Wheel::next_deadline`] in turn gets exact order.
    ///
    /// One at a time, so that the caller can let go of its lock before it wakes the target, and can
    /// insert and remove nodes between two of them.
    #[inline]
    pub fn pop_expired(&self) -> Option<T> {
        // SAFETY: what is in the list is valid, by the contract of `insert`.
        let node = unsafe { node::pop_first(&self.expired) }?;
        // SAFETY: valid, and set when it was inserted.
        Some(unsafe { node.as_ref().target() })
    }

    /// When to call [`Wheel::advance`] next, in ticks; `None` if there is nothing to wait for.
    ///
    /// Exact, unless the node with that deadline was removed: then it may be earlier than what is
    /// really next, and also than nothing at all. It is never later. Advancing to a deadline that
    /// was removed costs a wake-up that finds nothing due, and corrects this; so there is at most
    /// one such wake-up for each time that a hart has armed its timer with.
    ///
    /// While there are nodes to pop, it is a moment that has passed.
    #[inline]
    pub fn next_deadline(&self) -> Option<u64> {
        if self.expired.get().is_some() {
            return Some(self.elapsed.get());
        }
        match self.next_complement.get() {
            0 => None,
            complement => Some(!complement),
        }
    }

    /// Whether no node is in the wheel, neither waiting nor due.
    pub fn is_empty(&self) -> bool {
        self.expired.get().is_none() && (0..LEVELS).all(|level| self.first(level).is_none())
    }

    /// Makes everything due that has a deadline up to `now`, slot by slot, and finds out what is
    /// next.
    fn turn(&self, now: u64) {
        let mut level = 0;
        while level < LEVELS {
            let Some(slot) = self.first(level) else {
                level += 1;
                continue;
            };
            let earliest = slot.earliest.get();
            if earliest > now {
                self.next_complement.set(!earliest);
                return;
            }
            // Everything before this slot is gone. So time can pass up to its end, or up to `now`
            // within it, and what is in other slots still differs in the same digit.
            let end = earliest | ((1 << (level * SLOT_BITS)) - 1);
            self.elapsed.set(end.min(now));
            self.occupied[level].update(|occupied| occupied & (occupied - 1));
            if self.empty(slot, now) {
                level = 0; // or wherever the nodes moved to
            }
        }
        self.elapsed.set(now);
        self.next_complement.set(!u64::MAX);
    }

    /// The first slot of a level that has nodes in it.
    #[inline]
    fn first(&self, level: usize) -> Option<&Slot<T>> {
        let occupied = &self.occupied[level];
        while occupied.get() != 0 {
            let slot = &self.slots[level][occupied.get().trailing_zeros() as usize];
            if slot.nodes.get().is_some() {
                return Some(slot);
            }
            occupied.update(|occupied| occupied & (occupied - 1));
        }
        None
    }

    /// Moves the nodes of `slot` to where they belong, now that time has reached it; says whether
    /// some have to wait on, in lower levels.
    #[inline]
    fn empty(&self, slot: &Slot<T>, now: u64) -> bool {
        let mut some_wait = false;
        let mut end = self.expired_end();
        let mut rest = slot.nodes.take();
        while let Some(node) = rest {
            #[cfg(test)]
            self.moves.update(|moves| moves + 1);
            // SAFETY: valid because it was in the list, whose other nodes nobody looks for meanwhile.
            let entry = unsafe { node.as_ref() };
            rest = entry.next.get();
            let deadline = entry.deadline();
            if deadline <= now {
                // SAFETY: the node has left its list, and `end` is the end of `expired`.
                end = unsafe { node::push_last(end, node) };
            } else {
                // SAFETY: the node has left its list, and `elapsed` is `now`.
                unsafe { self.file(node, deadline) };
                some_wait = true;
            }
        }
        self.set_expired_end(end);
        some_wait
    }

    /// Puts a node into the slot of its deadline.
    ///
    /// # Safety
    ///
    /// The node is valid and in no list.
    #[inline]
    unsafe fn file(&self, node: NonNull<Node<T>>, deadline: u64) {
        debug_assert!(self.elapsed.get() < deadline);
        let level = highest_digit(self.elapsed.get() ^ deadline);
        let digit = (deadline >> (level * SLOT_BITS)) as usize % SLOTS;
        let slot = &self.slots[level][digit];
        // SAFETY: the node by the caller's contract; those in the slot are valid, and the wheel does
        // not move, by the contract of `insert`.
        if unsafe { node::push_first(&slot.nodes, node) } {
            slot.earliest.set(deadline);
            self.occupied[level].update(|occupied| occupied | 1 << digit);
        } else if deadline < slot.earliest.get() {
            slot.earliest.set(deadline);
        }
    }

    /// Has a node popped whose deadline had passed when it was inserted.
    ///
    /// # Safety
    ///
    /// The node is valid and in no list.
    #[cold]
    unsafe fn expire_at_once(&self, node: NonNull<Node<T>>) {
        // SAFETY: by the caller's contract.
        let end = unsafe { node::push_last(self.expired_end(), node) };
        self.set_expired_end(end);
    }

    /// The last link of `expired`.
    #[inline]
    fn expired_end(&self) -> NonNull<Link<T>> {
        match self.expired_end.get() {
            Some(end) if self.expired.get().is_some() => end,
            _ => NonNull::from(&self.expired),
        }
    }

    #[inline]
    fn set_expired_end(&self, end: NonNull<Link<T>>) {
        // SAFETY: a link of this wheel or of a node in its list.
        unsafe { end.as_ref() }.set(None);
        self.expired_end.set(Some(end));
    }
}

impl<T: Copy> Default for Wheel<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The position of the highest digit that is not zero; 0 if there is none.
#[inline]
const fn highest_digit(number: u64) -> usize {
    // Without Zbb, RISC-V needs 40 instructions to count leading zeros; comparing takes 8.
    if cfg!(all(target_arch = "riscv64", not(target_feature = "zbb"))) {
        highest_digit_by_comparing(number)
    } else {
        (number | 1).ilog2() as usize / SLOT_BITS
    }
}

#[inline]
const fn highest_digit_by_comparing(number: u64) -> usize {
    const fn reaches(number: u64, digit: usize) -> usize {
        (number >> (digit * SLOT_BITS) != 0) as usize
    }
    if number >> 24 == 0 {
        if number >> 12 == 0 { reaches(number, 1) } else { 2 + reaches(number, 3) }
    } else if number >> 48 == 0 {
        if number >> 36 == 0 { 4 + reaches(number, 5) } else { 6 + reaches(number, 7) }
    } else {
        8 + reaches(number, 9) + reaches(number, 10)
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
