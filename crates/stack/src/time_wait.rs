//! Connections that have ended, and whose last word the peer may not have heard (RFC 9293 §3.6.1, TIME-WAIT).
//!
//! A record of some 50 bytes each: nothing is left to be done but to repeat the last acknowledgement, and to
//! keep what belongs to the old connection from a new one. The oldest is forgotten when there are too many.

use alloc::collections::VecDeque;
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::classify::{Flow, Segment};

/// How long, in microseconds: twice what a segment lives. Linux has the same (`TCP_TIMEWAIT_LEN`).
const TIME: u64 = 60_000_000;

/// The numbers of a connection that has ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    /// Ours, behind our FIN.
    number: u32,
    /// The peer's, behind its FIN.
    expected: u32,
    until: u64,
}

/// All of them.
pub(crate) struct TimeWait {
    table: HashTable<(Flow, Ended)>,
    hasher: FixedState,
    /// The oldest first. Those that were forgotten earlier are still there.
    queue: VecDeque<(u64, Flow)>,
    limit: usize,
}

/// What to do with a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is of no connection here.
    Unknown,
    /// The peer begins a new connection.
    Open,
    /// It is acknowledged with these numbers: ours, and the one expected.
    Acknowledge(u32, u32),
    Nothing,
}

impl TimeWait {
    pub(crate) fn new(limit: usize, hasher: FixedState) -> Self {
        Self { table: HashTable::new(), hasher, queue: VecDeque::new(), limit }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Remembers a connection that has ended. Without memory for it, it is forgotten at once.
    pub(crate) fn insert(&mut self, now: u64, flow: Flow, number: u32, expected: u32) {
        while self.queue.len() >= self.limit
            && let Some((until, flow)) = self.queue.pop_front()
        {
            self.remove(&flow, until);
        }
        let hasher = &self.hasher;
        let has_place = self.queue.try_reserve(1).is_ok()
            && self.table.try_reserve(1, |(flow, _)| hasher.hash_one(flow)).is_ok();
        if !has_place {
            return;
        }
        let until = now + TIME;
        let hash = hasher.hash_one(flow);
        if let Ok(entry) = self.table.find_entry(hash, |(key, _)| *key == flow) {
            entry.remove();
        }
        let ended = Ended { number, expected, until };
        self.table.insert_unique(hash, (flow, ended), |(flow, _)| hasher.hash_one(flow));
        self.queue.push_back((until, flow));
    }

    fn remove(&mut self, flow: &Flow, until: u64) {
        let hash = self.hasher.hash_one(flow);
        let is_it = |it: &(Flow, Ended)| it.0 == *flow && it.1.until == until;
        if let Ok(entry) = self.table.find_entry(hash, is_it) {
            entry.remove();
        }
    }

    /// What a segment asks for (RFC 9293 §3.10.7.4).
    pub(crate) fn receive(&mut self, flow: &Flow, segment: Segment) -> Answer {
        if self.table.is_empty() {
            return Answer::Unknown;
        }
        let hash = self.hasher.hash_one(flow);
        let Ok(entry) = self.table.find_entry(hash, |(key, _)| key == flow) else {
            return Answer::Unknown;
        };
        let ended = entry.get().1;
        let ahead = segment.number.wrapping_sub(ended.expected).cast_signed() >= 0;
        if segment.opens() && ahead {
            // RFC 9293 §3.6.1: a SYN with numbers behind those of the old connection begins a new one.
            entry.remove();
            return Answer::Open;
        }
        // A reset would end the wait, which a segment that is late can do by chance (RFC 1337 §3).
        if segment.resets() || segment.is_bare() {
            return Answer::Nothing;
        }
        Answer::Acknowledge(ended.number, ended.expected)
    }

    /// Whether a connection from here may have these ends.
    pub(crate) fn contains(&self, flow: &Flow) -> bool {
        let hash = self.hasher.hash_one(flow);
        self.table.find(hash, |(key, _)| key == flow).is_some()
    }

    /// Forgets what is over.
    pub(crate) fn advance(&mut self, now: u64) {
        while let Some(&(until, flow)) = self.queue.front()
            && until <= now
        {
            self.queue.pop_front();
            self.remove(&flow, until);
        }
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            (self.queue, self.table) = (VecDeque::new(), HashTable::new());
        }
    }

    /// When to call [`advance`](Self::advance) next: rarely, for many at a time.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.queue.front().map(|&(until, _)| until + TIME / 8)
    }
}
