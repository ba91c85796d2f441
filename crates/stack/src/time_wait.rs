//! Connections that have ended, and whose last word the peer may not have heard (RFC 9293 §3.6.1, TIME-WAIT).
//!
//! A record of some 60 bytes each: nothing is left to be done but to repeat the last acknowledgement, and to
//! keep what belongs to the old connection from a new one. The oldest is forgotten when there are too many.

use alloc::collections::VecDeque;

use crate::{
    classify::{Flow, Segment},
    flows::{Flows, Who},
    places::FEW,
};

/// How long, in microseconds: twice what a segment lives. Linux has the same (`TCP_TIMEWAIT_LEN`).
const TIME: u64 = 60_000_000;

/// The numbers of a connection that has ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    flow: Flow,
    /// Ours, behind our FIN.
    number: u32,
    /// The peer's, behind its FIN.
    expected: u32,
    until: u64,
}

/// All of them. Whose they are is in the [`Flows`].
pub(crate) struct TimeWait {
    /// The oldest first. Those that were forgotten earlier are still there.
    queue: VecDeque<Ended>,
    /// The number of the oldest.
    first: u32,
    /// Those that were not forgotten.
    len: usize,
    limit: usize,
}

/// What to do with a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The peer begins a new connection.
    Open,
    /// It is acknowledged with these numbers: ours, and the one expected.
    Acknowledge(u32, u32),
    Nothing,
}

impl TimeWait {
    pub(crate) fn new(limit: usize) -> Self {
        Self { queue: VecDeque::new(), first: 0, len: 0, limit }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Remembers a connection that has ended. Without memory for it, it is forgotten at once.
    pub(crate) fn insert(
        &mut self,
        now: u64,
        flows: &mut Flows,
        flow: Flow,
        connection: u32,
        (number, expected): (u32, u32),
    ) {
        if self.queue.len() >= self.limit {
            self.forget_first(flows);
        }
        if self.queue.try_reserve(1).is_err() {
            return;
        }
        let last = self.first.wrapping_add(self.queue.len() as u32);
        if flows.pass(&flow, Who::Connection(connection), Who::Ended(last)) {
            self.queue.push_back(Ended { flow, number, expected, until: now + TIME });
            self.len += 1;
        }
    }

    /// What a segment asks for (RFC 9293 §3.10.7.4).
    pub(crate) fn receive(&self, number: u32, segment: Segment) -> Answer {
        let Some(ended) = self.queue.get(number.wrapping_sub(self.first) as usize) else {
            return Answer::Nothing;
        };
        let ahead = segment.number.wrapping_sub(ended.expected).cast_signed() >= 0;
        if segment.opens() && ahead {
            // RFC 9293 §3.6.1: a SYN with numbers behind those of the old connection begins a new one.
            return Answer::Open;
        }
        // A reset would end the wait, which a segment that is late can do by chance (RFC 1337 §3).
        if segment.resets() || segment.is_bare() {
            return Answer::Nothing;
        }
        Answer::Acknowledge(ended.number, ended.expected)
    }

    /// Forgets one, as the peer begins anew.
    pub(crate) fn forget(&mut self, flows: &mut Flows, flow: &Flow, number: u32) {
        self.len -= usize::from(flows.remove(flow, Who::Ended(number)));
    }

    fn forget_first(&mut self, flows: &mut Flows) {
        if let Some(ended) = self.queue.pop_front() {
            self.forget(flows, &ended.flow, self.first);
            self.first = self.first.wrapping_add(1);
        }
    }

    /// Forgets what is over.
    pub(crate) fn advance(&mut self, now: u64, flows: &mut Flows) {
        while self.queue.front().is_some_and(|ended| ended.until <= now) {
            self.forget_first(flows);
        }
        if self.queue.is_empty() && self.queue.capacity() > FEW {
            self.queue = VecDeque::new();
        }
    }

    /// When to call [`advance`](Self::advance) next: rarely, for many at a time.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        Some(self.queue.front()?.until + TIME / 8)
    }
}
