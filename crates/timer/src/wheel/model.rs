//! The wheel against a sorted map: random operations, at times of all magnitudes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{LEVELS, tests::Bed};

const NODES: usize = if cfg!(miri) { 8 } else { 48 };

/// 2048 times 512 or more: a million operations.
const CASES: u32 = if cfg!(miri) { 4 } else { 2048 };
const OPERATIONS: core::ops::Range<usize> = if cfg!(miri) { 12..18 } else { 512..768 };

/// A distance in time, or a moment.
#[derive(Clone, Copy, Debug)]
enum Time {
    After(u64),
    Before(u64),
    At(u64),
    /// The end of the group of 64^n ticks that it is now, and so many ticks more.
    Group(u32, i64),
    /// The deadline of another node, and so many ticks more.
    Beside(usize, i64),
    /// What `next_deadline` says, and so many ticks more.
    Next(i64),
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Insert(usize, Time),
    InsertCoarse(usize, Time),
    Remove(usize),
    /// Removes the node that is due first.
    RemoveFirst,
    Advance(Time),
    /// Advances and pops everything.
    Fire(Time),
    Pop,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let choices = prop::collection::vec(any::<(u32, u64)>(), OPERATIONS);
    choices.prop_map(|choices| {
        choices.into_iter().map(|(choice, magnitude)| operation(choice, magnitude)).collect()
    })
}

/// Turns random bits into an operation. Done here because generators of proptest's, one for each
/// alternative, take ten times as long as the operations themselves.
fn operation(choice: u32, magnitude: u64) -> Operation {
    let [what, when, node, near] = choice.to_le_bytes();
    let node = node as usize % NODES;
    let to = Time::random(when, near, magnitude);
    match what % 22 {
        0..8 => Operation::Insert(node, to),
        8..10 => Operation::InsertCoarse(node, to),
        10..13 => Operation::Remove(node),
        13 => Operation::RemoveFirst,
        14..16 => Operation::Advance(to.without_leaps()),
        16..20 => Operation::Fire(to.without_leaps()),
        _ => Operation::Pop,
    }
}

impl Time {
    fn random(when: u8, near: u8, magnitude: u64) -> Self {
        let (number, shift) = (magnitude >> 6, magnitude % 64);
        let delta = i64::from(near % 5) - 2;
        match when % 25 {
            0..4 => Self::After(number % 130),
            // All magnitudes, the smaller ones more often: time only goes forward.
            4..10 => Self::After(number >> (shift % 40 + 18)),
            10 => Self::After(magnitude.rotate_right(6) >> shift),
            11..14 => Self::Group(1 + (number % 6) as u32, delta),
            14..18 => Self::Beside(number as usize % NODES, delta),
            18..22 => Self::Next(delta),
            22..24 => Self::Before(number % 1000),
            _ => Self::At(u64::MAX - number % 3),
        }
    }

    /// Not to where everything ends.
    fn without_leaps(self) -> Self {
        match self {
            Self::At(_) => Self::Next(0),
            Self::After(delta) => Self::After(delta % (1 << 50)),
            time => time,
        }
    }
}

struct Model {
    now: u64,
    bed: Bed,
    /// What is in the wheel: number and deadline.
    waiting: BTreeMap<usize, u64>,
    /// Deadlines of removed nodes, which the wheel may still believe in.
    removed: BTreeSet<u64>,
    inserted: u64,
}

impl Model {
    fn new() -> Self {
        Self {
            now: 0,
            bed: Bed::new(NODES),
            waiting: BTreeMap::new(),
            removed: BTreeSet::new(),
            inserted: 0,
        }
    }

    fn time(&self, time: Time) -> u64 {
        let (from, delta) = match time {
            Time::After(delta) => (self.now, delta.cast_signed()),
            Time::Before(delta) => return self.now.saturating_sub(delta),
            Time::At(time) => return time,
            Time::Group(level, delta) => (self.now | ((1 << (6 * level)) - 1), delta),
            Time::Beside(node, delta) => (*self.waiting.get(&node).unwrap_or(&self.now), delta),
            Time::Next(delta) => (self.bed.next_deadline().unwrap_or(self.now), delta),
        };
        match time {
            Time::After(delta) => from.saturating_add(delta),
            _ => from.saturating_add_signed(delta),
        }
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Insert(node, time) => self.insert(node, self.time(time)),
            Operation::InsertCoarse(node, time) => {
                self.insert(node, crate::coarse(self.now, self.time(time)));
            }
            Operation::Remove(node) => self.remove(node),
            Operation::RemoveFirst => {
                if let Some((&node, _)) = self.waiting.iter().min_by_key(|&(_, deadline)| deadline)
                {
                    self.remove(node);
                }
            }
            Operation::Advance(time) => self.advance(self.time(time)),
            Operation::Fire(time) => {
                let now = self.time(time);
                self.advance(now);
                while self.pop() {}
                assert!(
                    self.waiting.values().all(|&deadline| deadline > now),
                    "one was due and did not fire"
                );
            }
            Operation::Pop => {
                self.pop();
            }
        }
        self.check_next_deadline();
    }

    fn insert(&mut self, node: usize, deadline: u64) {
        self.remove(node); // as one does to set a timer anew
        self.bed.insert(node, deadline);
        assert!(self.bed.is_linked(node));
        self.waiting.insert(node, deadline);
        self.inserted += 1;
    }

    fn remove(&mut self, node: usize) {
        self.bed.remove(node);
        self.removed.extend(self.waiting.remove(&node));
    }

    fn advance(&mut self, to: u64) {
        let before = self.bed.expired();
        let slots = self.bed.check();
        self.bed.advance(to);
        self.now = self.now.max(to);
        self.removed.retain(|&deadline| deadline > to);
        self.bed.check();

        // First what was due already, then slot by slot.
        let expired = self.bed.expired();
        assert_eq!(expired[..before.len()], before);
        let slot = |node| slots.iter().position(|slot| slot.contains(node));
        assert!(expired[before.len()..].iter().is_sorted_by_key(slot), "not in order of slots");
    }

    fn pop(&mut self) -> bool {
        let first_due = self.bed.expired().first().copied();
        let popped = self.bed.pop();
        assert_eq!(popped, first_due);
        if let Some(node) = popped {
            let deadline = self.waiting.remove(&node).expect("removed or popped before");
            assert!(deadline <= self.now, "{deadline} fired at {}", self.now);
        }
        popped.is_some()
    }

    fn check_next_deadline(&self) {
        let first = self.waiting.values().min().copied();
        let next = self.bed.next_deadline();
        if first.is_some_and(|first| first <= self.now) {
            let next = next.expect("something is due");
            assert!(next <= self.now, "{next}, but something is due at {}", self.now);
        } else if next != first.filter(|&first| first != u64::MAX) {
            let next = next.expect("earlier, not never");
            assert!(first.is_none_or(|first| next < first), "{next} is after {first:?}");
            assert!(self.removed.contains(&next), "{next} was never a deadline, {first:?} is");
        }
    }

    /// Whatever happens in between, a node moves down a level each time.
    fn check_moves(&self) {
        assert!(self.bed.moves() <= LEVELS as u64 * self.inserted);
    }

    /// Sleeps as a hart does until nothing is left, and counts wake-ups for nothing.
    fn run_out(&mut self) {
        let mut removed = self.removed.len();
        while let Some(next) = self.bed.next_deadline() {
            self.advance(next);
            let mut idle = true;
            while self.pop() {
                idle = false;
            }
            if idle {
                assert!(self.removed.len() < removed, "a second wake-up for nothing at {next}");
            }
            removed = self.removed.len();
            self.check_next_deadline();
        }
        assert!(self.waiting.values().all(|&deadline| deadline == u64::MAX));
        self.advance(u64::MAX);
        while self.pop() {}
        assert!(self.bed.is_empty() && self.waiting.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn agrees_with_a_sorted_map(operations in operations()) {
        let mut model = Model::new();
        for operation in operations {
            model.apply(operation);
        }
        assert_eq!(model.bed.is_empty(), model.waiting.is_empty());
        model.run_out();
        model.check_moves();
    }
}
