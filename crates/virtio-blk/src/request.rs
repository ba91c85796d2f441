//! Requests as futures.

#![expect(unsafe_code, reason = "the disk points to requests that are polled")]

use core::{
    cell::Cell,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use virtio_drivers::transport::Transport;
use wakeful_virtio::Doorbell;

use crate::{
    Buffer, Disk, Error, Failed,
    geometry::Place,
    node::{Kind, Node, Stage},
};

/// A request that reads or writes, of [`Disk::read`] or [`Disk::write`]. It comes to the buffer, and if it failed to the
/// reason and the buffer. It begins when it is polled first.
///
/// # Cancellation
///
/// It may be dropped at any time. If the device has the request, it is done all the same; the buffer is dropped when the
/// device has returned it.
#[must_use = "futures do nothing unless polled"]
pub struct Request<'a, T: Transport, B: Doorbell, M: Buffer> {
    disk: &'a Disk<T, B, M>,
    phase: Cell<Phase>,
    node: Node<M>,
}

/// What its future knows of a request without the disk's lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The disk does not know of it.
    New,
    /// The disk may point to it.
    Begun,
    /// It was handed out.
    Over,
}

impl<'a, T: Transport, B: Doorbell, M: Buffer> Request<'a, T, B, M> {
    /// A request that is done if it has no place.
    #[inline]
    pub(crate) fn new(
        disk: &'a Disk<T, B, M>,
        kind: Kind,
        place: Result<Place, Error>,
        buffer: Option<M>,
    ) -> Self {
        let (stage, place) = match place {
            Ok(place) => (Stage::New, place),
            Err(error) => (Stage::Done(Err(error)), Place::NOWHERE),
        };
        Self { disk, phase: Cell::new(Phase::New), node: Node::new(stage, kind, place, buffer) }
    }

    /// A flush of nothing.
    pub(crate) fn nothing(disk: &'a Disk<T, B, M>) -> Self {
        let node = Node::new(Stage::Done(Ok(())), Kind::Flush, Place::NOWHERE, None);
        Self { disk, phase: Cell::new(Phase::New), node }
    }

    /// What has become of it: its buffer, if it has one.
    #[inline]
    fn poll_outcome(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<M>, Failed<M>>> {
        let this = self.as_ref().get_ref();
        if this.phase.get() == Phase::New && this.begin(context) {
            return Poll::Pending;
        }
        assert!(this.phase.get() != Phase::Over, "a request that is polled after it was done");
        match this.disk.look_after(&this.node, context.waker()) {
            None => Poll::Pending,
            Some((buffer, result)) => {
                this.phase.set(Phase::Over);
                Poll::Ready(match result {
                    Ok(()) => Ok(buffer),
                    Err(error) => Err(Failed { error, buffer }),
                })
            }
        }
    }

    /// Gives it to the disk, unless it is done already. Whether there is something to wait for.
    #[inline]
    fn begin(&self, context: &Context<'_>) -> bool {
        // SAFETY: nobody else knows of it yet.
        let state = unsafe { self.node.state() };
        if state.stage != Stage::New {
            return false;
        }
        state.waker = Some(context.waker().clone());
        self.phase.set(Phase::Begun);
        // SAFETY: it is pinned, as it is polled; `drop` sees to the rest.
        unsafe { self.disk.take_up(&self.node) }
    }
}

impl<T: Transport, B: Doorbell, M: Buffer> Future for Request<'_, T, B, M> {
    type Output = Result<M, Failed<M>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_outcome(context).map(|outcome| match outcome {
            Ok(Some(buffer)) => Ok(buffer),
            // The device returned the request, and so its buffer.
            Ok(None) => Err(Failed { error: Error::Device, buffer: None }),
            Err(failed) => Err(failed),
        })
    }
}

impl<T: Transport, B: Doorbell, M: Buffer> Drop for Request<'_, T, B, M> {
    #[inline]
    fn drop(&mut self) {
        if self.phase.get() == Phase::Begun {
            self.disk.forget(&self.node);
        }
    }
}

impl<T: Transport, B: Doorbell, M: Buffer> fmt::Debug for Request<'_, T, B, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").finish_non_exhaustive()
    }
}

/// The request of [`Disk::flush`].
///
/// # Cancellation
///
/// As for [`Request`].
#[must_use = "futures do nothing unless polled"]
pub struct Flush<'a, T: Transport, B: Doorbell, M: Buffer>(Request<'a, T, B, M>);

impl<'a, T: Transport, B: Doorbell, M: Buffer> Flush<'a, T, B, M> {
    #[inline]
    pub(crate) fn new(request: Request<'a, T, B, M>) -> Self {
        Self(request)
    }
}

impl<T: Transport, B: Doorbell, M: Buffer> Future for Flush<'_, T, B, M> {
    type Output = Result<(), Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: it does not move: there is no other way to it.
        let request = unsafe { self.map_unchecked_mut(|this| &mut this.0) };
        request.poll_outcome(context).map(|outcome| outcome.map(drop).map_err(Error::from))
    }
}

impl<T: Transport, B: Doorbell, M: Buffer> fmt::Debug for Flush<'_, T, B, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush").finish_non_exhaustive()
    }
}
