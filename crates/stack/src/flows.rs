//! Who has which ends: one table for all, so that one look finds whom a packet is for.

use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use smoltcp::wire::{IpAddress, IpEndpoint};

use crate::{classify::Flow, places::FEW};

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// A connection: the number of its endpoint.
    Connection(u32),
    /// A handshake.
    Handshake(u32),
    /// A connection that has ended.
    Ended(u32),
    /// A socket for datagrams: the number of its endpoint.
    Datagrams(u32),
}

/// All of them, by their ends.
pub(crate) struct Flows {
    table: HashTable<(Flow, Who)>,
    /// Keyed, so that nobody outside can choose ports that all meet in one bucket.
    hasher: FixedState,
    connections: usize,
    /// The most entries there were since memory was given back.
    most: usize,
}

/// The ends of all datagrams to a port.
pub(crate) fn port(port: u16) -> Flow {
    let anybody = |port| IpEndpoint::new(IpAddress::v4(0, 0, 0, 0), port);
    Flow { local: anybody(port), remote: anybody(0) }
}

/// One closure for all calls of hashbrown, which would otherwise be there as often as there are closures.
fn hashing(hasher: &FixedState) -> impl Fn(&(Flow, Who)) -> u64 {
    |(flow, _)| hasher.hash_one(flow)
}

impl Flows {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            table: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            connections: 0,
            most: 0,
        }
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    #[inline]
    pub(crate) fn find(&self, flow: &Flow) -> Option<Who> {
        let hash = self.hasher.hash_one(flow);
        self.table.find(hash, |(key, _)| key == flow).map(|&(_, who)| who)
    }

    /// Whether there is memory for one more.
    #[must_use]
    pub(crate) fn reserve(&mut self) -> bool {
        self.table.try_reserve(1, hashing(&self.hasher)).is_ok()
    }

    /// Adds ends that nobody has, after [`reserve`](Self::reserve).
    pub(crate) fn insert(&mut self, flow: Flow, who: Who) {
        self.count(who, 1);
        let hash = self.hasher.hash_one(flow);
        self.table.insert_unique(hash, (flow, who), hashing(&self.hasher));
        self.most = self.most.max(self.table.len());
    }

    /// Gives ends to somebody else. Whether `from` had them.
    pub(crate) fn pass(&mut self, flow: &Flow, from: Who, to: Who) -> bool {
        let hash = self.hasher.hash_one(flow);
        let Some((_, who)) = self.table.find_mut(hash, |it| *it == (*flow, from)) else {
            return false;
        };
        *who = to;
        self.count(from, -1);
        self.count(to, 1);
        true
    }

    /// Forgets ends, unless somebody else has them by now. Whether it was so.
    pub(crate) fn remove(&mut self, flow: &Flow, who: Who) -> bool {
        let hash = self.hasher.hash_one(flow);
        let Ok(entry) = self.table.find_entry(hash, |it| *it == (*flow, who)) else { return false };
        entry.remove();
        self.count(who, -1);
        if self.most > FEW && self.table.len() <= self.most / 8 {
            self.trim();
        }
        true
    }

    /// Gives back the memory of a flood.
    #[cold]
    fn trim(&mut self) {
        self.most = self.table.len();
        let mut smaller = HashTable::new();
        if smaller.try_reserve(FEW.max(2 * self.most), hashing(&self.hasher)).is_ok() {
            for entry in self.table.drain() {
                smaller.insert_unique(self.hasher.hash_one(entry.0), entry, hashing(&self.hasher));
            }
            self.table = smaller;
        }
    }

    fn count(&mut self, who: Who, by: isize) {
        if let Who::Connection(_) = who {
            self.connections = self.connections.saturating_add_signed(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_have_one_owner_and_memory_is_given_back() {
        let mut flows = Flows::new(1);
        for number in 0..10_000 {
            assert!(flows.reserve());
            flows.insert(port(number), Who::Connection(number.into()));
        }
        assert_eq!(
            (flows.connections(), flows.find(&port(77))),
            (10_000, Some(Who::Connection(77)))
        );
        assert!(flows.pass(&port(77), Who::Connection(77), Who::Ended(1)));
        assert!(!flows.pass(&port(77), Who::Connection(77), Who::Ended(1)));
        assert_eq!((flows.connections(), flows.find(&port(77))), (9_999, Some(Who::Ended(1))));
        assert!(!flows.remove(&port(77), Who::Connection(77)));
        let many = flows.table.capacity();
        for number in 0..10_000 {
            assert_eq!(flows.remove(&port(number), Who::Connection(number.into())), number != 77);
        }
        assert_eq!((flows.connections(), flows.find(&port(77))), (0, Some(Who::Ended(1))));
        assert!(flows.table.capacity() < many / 50);
    }
}
