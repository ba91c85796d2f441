//! Single operations and their edges, and what every test stands on: a wheel with its nodes, whose
//! invariants can be checked.

use std::{pin::Pin, ptr::NonNull};

use super::{LEVELS, Link, Node, SLOT_BITS, Wheel, highest_digit, highest_digit_by_comparing};

/// A wheel and the nodes that may be in it. A node's target is its number.
pub(super) struct Bed {
    wheel: Pin<Box<Wheel<usize>>>,
    nodes: Vec<Pin<Box<Node<usize>>>>,
}

impl Bed {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            wheel: Box::pin(Wheel::new()),
            nodes: (0..nodes).map(|_| Box::pin(Node::new())).collect(),
        }
    }

    /// A bed with a wheel whose `elapsed` is `time`.
    pub(super) fn at(time: u64, nodes: usize) -> Self {
        let bed = Self::new(nodes.max(1));
        bed.insert(0, time);
        assert_eq!(bed.fire(time), [0]);
        assert_eq!(bed.wheel.elapsed.get(), time);
        bed
    }

    pub(super) fn insert(&self, number: usize, deadline: u64) {
        // SAFETY: everything is pinned, and `drop` removes what is linked.
        unsafe { self.wheel.insert(NonNull::from(&*self.nodes[number]), deadline, number) }
    }

    pub(super) fn remove(&self, number: usize) {
        let was_linked = self.is_linked(number);
        // SAFETY: it is in this wheel or in none.
        let removed = unsafe { self.wheel.remove(NonNull::from(&*self.nodes[number])) };
        assert_eq!(removed, was_linked);
        assert!(!self.is_linked(number));
    }

    pub(super) fn is_linked(&self, number: usize) -> bool {
        self.nodes[number].is_linked()
    }

    pub(super) fn advance(&self, now: u64) {
        self.wheel.advance(now);
    }

    pub(super) fn pop(&self) -> Option<usize> {
        let popped = self.wheel.pop_expired()?;
        assert!(!self.nodes[popped].is_linked());
        Some(popped)
    }

    /// Advances to `now` and pops everything.
    pub(super) fn fire(&self, now: u64) -> Vec<usize> {
        self.advance(now);
        core::iter::from_fn(|| self.pop()).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.wheel.next_deadline()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wheel.is_empty()
    }

    pub(super) fn moves(&self) -> u64 {
        self.wheel.moves.get()
    }

    /// The numbers in a list, in order, after a check of its links.
    fn list(&self, start: &Link<usize>) -> Vec<usize> {
        let mut numbers = vec![];
        let mut link = NonNull::from(start);
        // SAFETY: `start`, or the `next` of a node that this bed owns.
        while let Some(node) = unsafe { link.as_ref() }.get() {
            // SAFETY: linked nodes are valid and were set.
            let (node, target) = unsafe { (node.as_ref(), node.as_ref().target()) };
            assert_eq!(node.previous.get(), Some(link), "a link back is wrong");
            numbers.push(target);
            link = NonNull::from(&node.next);
        }
        numbers
    }

    /// The nodes that can be popped, in order.
    pub(super) fn expired(&self) -> Vec<usize> {
        self.list(&self.wheel.expired)
    }

    /// Checks all invariants of the wheel, and returns the nodes of each slot, in the order of the
    /// slots.
    pub(super) fn check(&self) -> Vec<Vec<usize>> {
        let wheel = &*self.wheel;
        let elapsed = wheel.elapsed.get();
        let next = !wheel.next_complement.get();
        assert!(elapsed < next || next == u64::MAX);
        let mut slots = vec![];
        for level in 0..LEVELS {
            let mut occupied = wheel.occupied[level].get();
            // Nodes in a slot whose bit is clear are missed here, and by the count below.
            while occupied != 0 {
                let digit = occupied.trailing_zeros() as usize;
                occupied &= occupied - 1;
                let slot = &wheel.slots[level][digit];
                let numbers = self.list(&slot.nodes);
                for &number in &numbers {
                    let deadline = self.nodes[number].deadline();
                    let shift = level * SLOT_BITS;
                    let above = |time: u64| time.unbounded_shr((shift + SLOT_BITS) as u32);
                    assert!(elapsed < deadline);
                    assert_eq!(above(elapsed), above(deadline), "too low a level");
                    assert_ne!(elapsed >> shift, deadline >> shift, "too high a level");
                    assert_eq!((deadline >> shift) % 64, digit as u64, "the wrong slot");
                    let earliest = slot.earliest.get();
                    assert!(earliest <= deadline, "not the slot's earliest");
                    assert_eq!(earliest >> shift, deadline >> shift, "not a time of the slot");
                    assert!(next <= deadline, "not the next");
                }
                if !numbers.is_empty() {
                    slots.push(numbers);
                }
            }
        }
        let expired = self.expired();
        if let Some(&last) = expired.last() {
            let end = wheel.expired_end.get();
            assert_eq!(end, Some(NonNull::from(&self.nodes[last].next)), "not the end");
        }
        let linked = self.nodes.iter().filter(|node| node.is_linked()).count();
        assert_eq!(
            linked,
            expired.len() + slots.iter().map(Vec::len).sum::<usize>(),
            "one is missing"
        );
        assert_eq!(linked == 0, wheel.is_empty());
        slots
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for number in 0..self.nodes.len() {
            self.remove(number);
        }
    }
}

#[test]
fn an_empty_wheel() {
    let bed = Bed::new(0);
    assert!(bed.is_empty());
    assert_eq!(bed.next_deadline(), None);
    assert_eq!(bed.fire(0), []);
    assert_eq!(bed.fire(1), []);
    assert_eq!(bed.fire(u64::MAX), []);
    assert_eq!(bed.fire(u64::MAX), []);
    assert_eq!(bed.next_deadline(), None);
}

#[test]
fn a_new_wheel_is_all_zeros() {
    // So that a static one lies in `.bss`.
    let wheel = Wheel::<usize>::default();
    assert_eq!(wheel.next_complement.get(), 0);
    assert_eq!(wheel.elapsed.get(), 0);
    assert_eq!(size_of_val(&wheel), 11_264 + 120 + size_of_val(&wheel.moves));
}

#[test]
fn both_ways_to_find_the_highest_digit() {
    for bit in 0..64 {
        for number in [1 << bit, u64::MAX >> bit, (1 << bit) + 1, (1_u64 << bit) - 1] {
            let slowly = (0..LEVELS).rev().find(|digit| number >> (digit * 6) != 0).unwrap_or(0);
            assert_eq!(highest_digit(number), slowly, "{number:#x}");
            assert_eq!(highest_digit_by_comparing(number), slowly, "{number:#x}");
        }
    }
}

#[test]
fn fires_at_its_deadline_and_not_before() {
    // Miri is slow: fewer combinations for it.
    let (steps, digits) =
        if cfg!(miri) { (5, [7].as_slice()) } else { (1, [1, 2, 7, 8, 15].as_slice()) };
    for level in (0..LEVELS as u32).step_by(steps) {
        for digit in digits {
            for rest in [0, 1, (1 << (6 * level)) - 1] {
                let deadline = (digit << (6 * level)) | (rest & ((1 << (6 * level)) - 1));
                let bed = Bed::new(1);
                bed.insert(0, deadline);
                assert_eq!(bed.next_deadline(), Some(deadline).filter(|&at| at != u64::MAX));
                bed.check();
                assert_eq!(bed.fire(deadline - 1), [], "{deadline:#x}");
                bed.check();
                assert_eq!(bed.fire(deadline), [0], "{deadline:#x}");
                bed.check();
                assert_eq!(bed.next_deadline(), None);
            }
        }
    }
}

#[test]
fn a_deadline_that_has_passed_is_due_at_once() {
    let bed = Bed::at(1000, 4);
    for (number, deadline) in [(0, 0), (1, 999), (2, 1000), (3, 1001)] {
        bed.insert(number, deadline);
    }
    bed.check();
    assert!(bed.next_deadline().is_some_and(|next| next <= 1000));
    assert_eq!([bed.pop(), bed.pop(), bed.pop(), bed.pop()], [Some(0), Some(1), Some(2), None]);
    assert_eq!(bed.next_deadline(), Some(1001));
    assert_eq!(bed.fire(1001), [3]);
}

#[test]
fn a_deadline_between_two_wake_ups_is_due_with_the_next_advance() {
    let bed = Bed::new(2);
    bed.insert(0, 1_000_000);
    assert_eq!(bed.fire(500), []);
    bed.insert(1, 400);
    assert_eq!(bed.next_deadline(), Some(400));
    assert_eq!(bed.fire(500), [1]);
    assert_eq!(bed.next_deadline(), Some(1_000_000));
}

#[test]
fn deadline_zero_at_time_zero() {
    let bed = Bed::new(1);
    bed.insert(0, 0);
    assert_eq!(bed.next_deadline(), Some(0));
    assert!(!bed.is_empty());
    assert_eq!(bed.pop(), Some(0));
    assert_eq!(bed.next_deadline(), None);
}

#[test]
fn the_end_of_time_means_never_but_is_reached() {
    let bed = Bed::new(3);
    bed.insert(0, u64::MAX);
    assert_eq!(bed.next_deadline(), None);
    assert!(!bed.is_empty());
    bed.insert(1, u64::MAX - 1);
    assert_eq!(bed.next_deadline(), Some(u64::MAX - 1));
    assert_eq!(bed.fire(u64::MAX - 1), [1]);
    assert_eq!(bed.next_deadline(), None);
    bed.check();
    assert_eq!(bed.fire(u64::MAX), [0]);
    bed.insert(2, u64::MAX);
    assert_eq!(bed.fire(u64::MAX), [2]);
    assert!(bed.is_empty());
}

#[test]
fn time_does_not_go_back() {
    let bed = Bed::at(1000, 2);
    bed.insert(0, 2000);
    bed.insert(1, 1500);
    assert_eq!(bed.fire(1600), [1]);
    assert_eq!(bed.fire(10), []);
    assert_eq!(bed.next_deadline(), Some(2000));
    assert_eq!(bed.fire(2000), [0]);
}

#[test]
fn crossing_into_the_next_group_of_each_level() {
    for level in (1..LEVELS as u32).step_by(if cfg!(miri) { 4 } else { 1 }) {
        let border = 1_u64 << (6 * level);
        let bed = Bed::at(border - 1, 5);
        for (number, deadline) in
            [border, border + 1, border + 63, border + 64, 2 * border - 1].into_iter().enumerate()
        {
            bed.insert(number, deadline);
        }
        bed.check();
        assert_eq!(bed.next_deadline(), Some(border));
        assert_eq!(bed.fire(border), [0]);
        bed.check();
        assert_eq!(bed.fire(border + 1), [1]);
        assert_eq!(bed.fire(border + 62), []);
        let mut rest = bed.fire(2 * border);
        rest.sort_unstable();
        assert_eq!(rest, [2, 3, 4]);
    }
}

#[test]
fn slots_come_in_the_order_of_time() {
    let bed = Bed::at(100, 9);
    let deadlines = [1 << 40, 70_000, 101, 1 << 20, 127, 128, 5000, 110, 1 << 21];
    for (number, &deadline) in deadlines.iter().enumerate() {
        bed.insert(number, deadline);
    }
    let fired = bed.fire(1 << 41);
    assert!(fired.is_sorted_by_key(|&number| deadlines[number]), "{fired:?}");
    assert_eq!(fired.len(), 9);
}

#[test]
fn what_became_due_earlier_comes_first() {
    let bed = Bed::at(100, 4);
    bed.insert(0, 200);
    bed.insert(1, 300);
    bed.insert(2, 400);
    bed.advance(200);
    bed.insert(3, 50); // due at once, behind what is due already
    bed.advance(300);
    bed.check();
    assert_eq!(bed.fire(400), [0, 3, 1, 2]);
}

#[test]
fn inserted_while_others_are_due() {
    let bed = Bed::at(100, 3);
    bed.insert(0, 150);
    bed.insert(1, 150);
    bed.advance(150);
    let first = bed.pop().expect("two are due");
    bed.insert(first, 160); // as a periodic one does
    bed.insert(2, 155);
    bed.check();
    assert_eq!(bed.pop(), Some(1 - first));
    assert_eq!(bed.pop(), None);
    assert_eq!(bed.next_deadline(), Some(155));
    assert_eq!(bed.fire(160), [2, first]);
}

#[test]
fn removed_while_waiting() {
    for removed in 0..3 {
        for level in (0..LEVELS as u32).step_by(if cfg!(miri) { 5 } else { 1 }) {
            let bed = Bed::new(3);
            let deadline = 1 << (6 * level);
            (0..3).for_each(|number| bed.insert(number, deadline));
            bed.remove(removed);
            bed.remove(removed); // does nothing
            bed.check();
            let mut fired = bed.fire(deadline);
            fired.sort_unstable();
            assert_eq!(fired, (0..3).filter(|&number| number != removed).collect::<Vec<_>>());
        }
    }
}

#[test]
fn removed_while_due() {
    for removed in 0..4 {
        let bed = Bed::new(6); // the first, two in the middle, the last
        (0..4).for_each(|number| bed.insert(number, 10 + number as u64));
        bed.advance(20);
        bed.remove(removed);
        bed.check();
        // The end of the list is still its end.
        bed.insert(4, 0);
        bed.insert(5, 30);
        bed.check();
        bed.advance(30);
        bed.check();
        let mut expected: Vec<_> = (0..6).collect();
        expected.retain(|&number| number != removed);
        assert_eq!(bed.fire(30), expected);
    }
}

#[test]
fn all_removed_while_due() {
    let bed = Bed::new(3);
    (0..3).for_each(|number| bed.insert(number, 10));
    bed.advance(10);
    (0..3).for_each(|number| bed.remove(number));
    assert_eq!(bed.pop(), None);
    assert!(bed.is_empty());
    assert_eq!(bed.next_deadline(), None);
    bed.insert(1, 5);
    bed.insert(0, 6);
    assert_eq!(bed.fire(10), [1, 0]);
}

#[test]
fn the_last_due_one_waits_again_and_is_removed() {
    // It is then the last of another list than that of the due ones.
    let bed = Bed::new(3);
    bed.insert(0, 10);
    assert_eq!(bed.fire(10), [0]);
    bed.insert(0, 20);
    bed.remove(0);
    bed.check();
    bed.insert(1, 5);
    bed.insert(2, 6);
    bed.check();
    assert_eq!(bed.fire(10), [1, 2]);
}

#[test]
fn a_removed_deadline_costs_one_wake_up_at_most() {
    for level in (0..LEVELS as u32).step_by(if cfg!(miri) { 5 } else { 1 }) {
        let bed = Bed::new(2);
        let (early, late) = (1 << (6 * level), (1 << (6 * level)) | (1 << (6 * level)) >> 1);
        bed.insert(0, early);
        bed.insert(1, late + 1);
        bed.remove(0);
        assert!(bed.next_deadline().is_some_and(|next| next <= late + 1));
        assert_eq!(bed.fire(early), []);
        assert_eq!(bed.next_deadline(), Some(late + 1));
        bed.remove(1);
        assert!(bed.is_empty());
        assert_eq!(bed.fire(late + 1), []);
        assert_eq!(bed.next_deadline(), None);
    }
}

#[test]
fn timeouts_that_never_fire_are_never_moved() {
    let nodes = if cfg!(miri) { 20 } else { 1000 };
    let bed = Bed::new(nodes);
    for now in 0..if cfg!(miri) { 40 } else { 100_000 } {
        let number = now as usize % nodes;
        bed.remove(number);
        bed.insert(number, crate::coarse(now, now + 300_000));
    }
    assert_eq!(bed.moves(), 0);
    (0..nodes).for_each(|number| bed.remove(number));
    assert_eq!(bed.fire(300_000), []);
    assert!(bed.is_empty());
}

#[test]
fn a_short_timer_does_not_disturb_a_crowd_that_waits() {
    let (crowd, period) = if cfg!(miri) { (20, 1 << 36) } else { (1_000_000, 1 << 20) };
    let start = 5 << 36;
    let bed = Bed::at(start, crowd + 1);
    // All in one slot, and one by one earlier than those before, which makes `earliest` work.
    let parked = (start + (8 << 36)) | (1 << 35);
    for number in 0..crowd {
        bed.insert(number, parked - number as u64);
    }
    assert_eq!(bed.check().len(), 1);
    let mut fired = 0;
    let mut now = start;
    while now + period < parked - crowd as u64 {
        bed.insert(crowd, now + period);
        assert_eq!(bed.next_deadline(), Some(now + period));
        now += period;
        assert_eq!(bed.fire(now), [crowd]);
        assert_eq!(bed.next_deadline(), Some(parked - (crowd as u64 - 1)));
        fired += 1;
    }
    // The crowd moves once, when time reaches its slot. Each short timer is looked at a few times.
    assert!(bed.moves() <= crowd as u64 + 11 * fired, "{}", bed.moves());
    assert!(bed.moves() >= crowd as u64, "time has reached the slot");
    assert_eq!(bed.fire(parked - (crowd as u64 - 1)), [crowd - 1]);
    assert_eq!(bed.fire(parked).len(), crowd - 1);
}

#[test]
#[cfg(all(debug_assertions, not(miri)))]
#[should_panic = "a node was dropped while it was in a wheel"]
fn a_linked_node_must_not_be_dropped() {
    let bed = Bed::new(0);
    let node = Box::pin(Node::new());
    // SAFETY: not sound, which is found out below, before anything follows the link.
    unsafe { bed.wheel.insert(NonNull::from(&*node), 5, 0) };
    drop(node);
}

#[test]
fn a_removed_or_popped_node_may_be_dropped() {
    let mut bed = Bed::new(3);
    (0..3).for_each(|number| bed.insert(number, 5));
    bed.remove(1);
    bed.nodes[1] = Box::pin(Node::new());
    assert_eq!(bed.fire(5).len(), 2);
    bed.nodes.clear();
    assert!(bed.is_empty());
}

#[test]
fn a_wheel_can_go_to_another_thread() {
    let bed = Bed::new(2);
    bed.insert(0, 5);
    let Bed { wheel, nodes } = &bed;
    fn is_send<T: Send>(_: &T) {}
    is_send(wheel);
    is_send(nodes);
}
