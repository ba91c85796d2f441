//! What a request's future and its disk share, and the queue of those that wait for their turn.
//!
//! A node lies in its future, pinned. The disk has a pointer to it while it [waits](Stage::Waiting) or is
//! [in flight](Stage::InFlight), and the future takes that away before it goes.

#![expect(unsafe_code, reason = "the list links nodes that lie in futures")]

use core::{cell::UnsafeCell, marker::PhantomPinned, ptr::NonNull, task::Waker};

use crate::{Error, geometry::Place};

/// What a request asks for. By its number in the header (Virtio 1.2 §5.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    Read = 0,
    Write = 1,
    Flush = 4,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nobody knows of it but its future.
    New,
    /// It has no slot yet, and is in the queue.
    Waiting,
    /// The device has it, and the slot of that number its buffer.
    InFlight(u8),
    /// The disk has forgotten it.
    Done(Result<(), Error>),
}

pub(crate) struct State<M> {
    pub(crate) stage: Stage,
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    /// Not while it is in flight, nor for a flush.
    pub(crate) buffer: Option<M>,
    /// Whom to wake when it is done.
    pub(crate) waker: Option<Waker>,
    previous: Option<Link<M>>,
    next: Option<Link<M>>,
}

/// A request's state. It is touched under the lock of its disk, unless it is [`Stage::New`].
pub(crate) struct Node<M> {
    state: UnsafeCell<State<M>>,
    /// The disk points to it.
    _pinned: PhantomPinned,
}

impl<M> Node<M> {
    #[inline]
    pub(crate) fn new(stage: Stage, kind: Kind, place: Place, buffer: Option<M>) -> Self {
        let (waker, previous, next) = (None, None, None);
        let state = State { stage, kind, place, buffer, waker, previous, next };
        Self { state: UnsafeCell::new(state), _pinned: PhantomPinned }
    }

    /// # Safety
    ///
    /// The caller has the disk's lock, or nobody else knows of the node; and has no other reference like this one
    /// to this node.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "what keeps others away is a lock")]
    pub(crate) unsafe fn state(&self) -> &mut State<M> {
        // SAFETY: by this function's contract.
        unsafe { &mut *self.state.get() }
    }
}

/// A pointer to a node, of somebody who has the lock.
pub(crate) struct Link<M>(NonNull<Node<M>>);

// SAFETY: whoever uses it has the lock, and what it leads to may be used on any hart: a buffer, and a waker.
unsafe impl<M: Send> Send for Link<M> {}

impl<M> Clone for Link<M> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Link<M> {}

impl<M> PartialEq for Link<M> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<M> Link<M> {
    /// # Safety
    ///
    /// The node is pinned, and stays where it is until nobody has a link to it.
    #[inline]
    pub(crate) unsafe fn new(node: &Node<M>) -> Self {
        Self(NonNull::from(node))
    }

    /// # Safety
    ///
    /// As for [`Node::state`].
    #[inline]
    pub(crate) unsafe fn state<'a>(self) -> &'a mut State<M> {
        // SAFETY: the node is there, by the contract of `new`; and by this function's.
        unsafe { self.0.as_ref().state() }
    }
}

/// Requests that wait for their turn, the first to come first.
pub(crate) struct Queue<M> {
    first: Option<Link<M>>,
    last: Option<Link<M>>,
}

impl<M> Queue<M> {
    pub(crate) const fn new() -> Self {
        Self { first: None, last: None }
    }

    /// Puts a request at the end.
    ///
    /// # Safety
    ///
    /// The caller has the disk's lock, and a reference to no state. The node is in no queue.
    pub(crate) unsafe fn push(&mut self, link: Link<M>) {
        let last = self.last.replace(link);
        // SAFETY: one after the other.
        unsafe {
            let state = link.state();
            state.stage = Stage::Waiting;
            (state.previous, state.next) = (last, None);
            match last {
                Some(last) => last.state().next = Some(link),
                None => self.first = Some(link),
            }
        }
    }

    /// Takes the first request.
    ///
    /// # Safety
    ///
    /// The caller has the disk's lock, and a reference to no state.
    #[inline]
    pub(crate) unsafe fn pop(&mut self) -> Option<Link<M>> {
        let first = self.first?;
        // SAFETY: by this function's contract; it is in this queue.
        unsafe { self.remove(first) };
        Some(first)
    }

    /// Takes a request out, wherever it is.
    ///
    /// # Safety
    ///
    /// The caller has the disk's lock, and a reference to no state. The node is in this queue.
    pub(crate) unsafe fn remove(&mut self, link: Link<M>) {
        // SAFETY: one after the other; neighbours are other nodes.
        unsafe {
            let state = link.state();
            let (previous, next) = (state.previous.take(), state.next.take());
            match previous {
                Some(previous) => previous.state().next = next,
                None => self.first = next,
            }
            match next {
                Some(next) => next.state().previous = previous,
                None => self.last = previous,
            }
        }
    }
}
