//! What smoltcp is given when something is to be done: one socket, and whom it concerns.

use alloc::vec::Vec;
use core::task::Waker;

use crate::{classify::Flow, link::Expected, rings::Single};

/// One socket and what this crate knows of it.
pub(crate) struct Endpoint {
    pub(crate) single: Single,
    pub(crate) kind: Kind,
    /// Who waits to read.
    pub(crate) reader: Option<Waker>,
    /// Who waits to write, to connect, or until all is acknowledged.
    pub(crate) writer: Option<Waker>,
    /// What the peer said that it expects next, if this is a connection: a sequence number.
    pub(crate) expected: u32,
    /// The number behind the peer's FIN, once it was there.
    pub(crate) peer_end: u32,
    /// Tells connections of one number apart.
    pub(crate) serial: u32,
    /// The lists that it is in.
    pub(crate) dirty: bool,
    pub(crate) stalled: bool,
    pub(crate) in_acknowledgements: bool,
    /// It has been served since its handshake was done.
    pub(crate) established: bool,
    /// It is reset when the peer does not acknowledge for long.
    pub(crate) gives_up: bool,
    /// When it was begun from this side, or let go of, in microseconds.
    pub(crate) since: u64,
    /// Until when something that was received must be acknowledged, in microseconds.
    pub(crate) owes: Option<u64>,
}

/// What kind of socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp {
        flow: Flow,
        owner: Owner,
    },
    Udp {
        port: u16,
    },
    #[cfg(feature = "dns")]
    Dns,
    Dhcp,
}

/// Who has a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It waits in this listener's queue.
    Queue(u16),
    /// The application.
    Application,
    /// Nobody: it says goodbye.
    Nobody,
}

impl Endpoint {
    #[inline]
    pub(crate) fn expected(&self) -> Expected {
        // No limit for what has no rings, as it is no connection.
        Expected { number: self.expected, limit: self.single.sizes().1 }
    }

    pub(crate) fn new(kind: Kind, single: Single) -> Self {
        Self {
            single,
            kind,
            reader: None,
            writer: None,
            expected: 0,
            peer_end: 0,
            serial: 0,
            dirty: false,
            stalled: false,
            in_acknowledgements: false,
            established: false,
            gives_up: false,
            since: 0,
            owes: None,
        }
    }
}

/// Keeps `waker` in `place`. Returns one that is not needed any more: to be dropped without the lock.
#[inline]
#[must_use = "dropping a waker may run foreign code"]
pub(crate) fn keep(place: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    match place {
        Some(kept) if kept.will_wake(waker) => None,
        _ => place.replace(waker.clone()),
    }
}

/// Keeps `waker` in a list of those who wait for the same.
pub(crate) fn wait_in(waiters: &mut Vec<Waker>, waker: &Waker) {
    if waiters.iter().any(|waiter| waiter.will_wake(waker)) {
        return;
    }
    if waiters.try_reserve(1).is_ok() {
        waiters.push(waker.clone());
    } else {
        // Without memory it has to ask again and again.
        waker.wake_by_ref();
    }
}
