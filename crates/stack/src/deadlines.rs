//! When each endpoint wants to be looked after: a node in a wheel for each.

#![expect(
    unsafe_code,
    reason = "the wheel links nodes, which are kept here as long as the wheel is"
)]

use alloc::{boxed::Box, vec::Vec};
use core::{pin::Pin, ptr::NonNull};

use wakeful_timer::{Node, Wheel, coarse};

use crate::places::try_box;

/// Deadlines of endpoints by their number, in microseconds.
pub(crate) struct Deadlines {
    // Invariant: a node is in no wheel but this one, and nodes are dropped by `drop` and `truncate` alone, which
    // take them out first.
    wheel: Pin<Box<Wheel<u32>>>,
    #[expect(clippy::vec_box, reason = "nodes must not move when there are more")]
    nodes: Vec<Box<Node<u32>>>,
    /// Until when somebody sleeps who was told [`Deadlines::next`].
    planned: u64,
    /// There is an earlier one since.
    earlier: bool,
}

// SAFETY: the pointers lead from the wheel to the nodes and between them, and both move together.
unsafe impl Send for Deadlines {}

impl Deadlines {
    pub(crate) fn new() -> Self {
        Self { wheel: Box::pin(Wheel::new()), nodes: Vec::new(), planned: u64::MAX, earlier: false }
    }

    /// Whether there is memory for the deadline of an endpoint.
    #[must_use]
    pub(crate) fn reserve(&mut self, endpoint: u32) -> bool {
        while self.nodes.len() <= endpoint as usize {
            let node = match self.nodes.try_reserve(1) {
                Ok(()) => try_box(Node::new()),
                Err(_) => None,
            };
            let Some(node) = node else { return false };
            self.nodes.push(node);
        }
        true
    }

    /// There are no endpoints from this number on: gives their memory back.
    #[inline]
    pub(crate) fn truncate(&mut self, end: usize) {
        if end < self.nodes.len() {
            (end..self.nodes.len()).for_each(|endpoint| self.clear(endpoint as u32));
            self.nodes.truncate(end);
        }
    }

    /// Asks for the endpoint's turn at `deadline`, or up to an eighth later, so that many share a moment.
    /// An earlier deadline that it has stays: its turn will then ask again. After [`reserve`](Self::reserve).
    #[inline]
    pub(crate) fn set(&mut self, now: u64, endpoint: u32, deadline: u64) {
        let Some(node) = self.nodes.get(endpoint as usize) else { return };
        if node.is_linked() {
            if node.deadline() <= deadline {
                return;
            }
            self.clear(endpoint);
        }
        let deadline = coarse(now, deadline);
        self.earlier |= deadline < self.planned;
        let node = NonNull::from(&*self.nodes[endpoint as usize]);
        // SAFETY: in no wheel now; boxed, so it stays where it is, by the invariant as long as the wheel.
        unsafe { self.wheel.as_ref().insert(node, deadline, endpoint) };
    }

    /// Forgets the endpoint's deadline.
    pub(crate) fn clear(&mut self, endpoint: u32) {
        if let Some(node) = self.nodes.get(endpoint as usize) {
            // SAFETY: by the invariant it is in no other wheel.
            unsafe { self.wheel.as_ref().remove(NonNull::from(&**node)) };
        }
    }

    /// An endpoint whose deadline has come, and which has none any more.
    pub(crate) fn expired(&mut self, now: u64) -> Option<u32> {
        let wheel = self.wheel.as_ref();
        wheel.advance(now);
        wheel.pop_expired()
    }

    /// Somebody sleeps until then.
    pub(crate) fn plan(&mut self, until: u64) {
        (self.planned, self.earlier) = (until, false);
    }

    /// Whether there is a deadline that is earlier than what was planned.
    #[inline]
    pub(crate) fn is_earlier(&self) -> bool {
        self.earlier
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<u64> {
        self.wheel.next_deadline()
    }
}

impl Drop for Deadlines {
    fn drop(&mut self) {
        for endpoint in 0..self.nodes.len() as u32 {
            self.clear(endpoint);
        }
    }
}
