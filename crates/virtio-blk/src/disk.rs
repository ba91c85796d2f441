//! The disk: what is under the lock, and what the task does that serves it.

#![expect(unsafe_code, reason = "requests are touched under the lock")]

use core::{
    fmt,
    mem::{self, ManuallyDrop},
    ops::RangeBounds,
    sync::atomic::{Ordering, fence},
    task::Waker,
};

use spin::Mutex;
use virtio_drivers::transport::{DeviceStatus, Transport};
use wakeful_virtio::{
    Doorbell, Error as SetupError, Machine, Ring, SIZE, agree, begin, check_queue, offered, reset,
    stop,
};

use crate::{
    Buffer, Error, Fault, Flush, Geometry, REQUESTS, Request,
    geometry::{Place, WANTED},
    node::{Kind, Link, Node, Queue, Stage},
    slots::{self, Slots},
};

/// Requests that are ended in one turn of the task, before others have theirs.
const TURN: usize = 64;

/// A virtio disk. All of it may be used by any task on any hart.
///
/// It is for good: to drop it does not stop the device, and drops neither its transport nor what the device has of
/// buffers.
pub struct Disk<T: Transport, B: Doorbell, M: Buffer> {
    geometry: Geometry,
    /// Features.
    agreed: u64,
    /// Locked before `inner`, if both are.
    transport: Mutex<ManuallyDrop<T>>,
    inner: Mutex<Inner<B, M>>,
}

/// What is under the lock, by which requests are touched as well.
pub(crate) struct Inner<B, M> {
    slots: Slots<B, M>,
    waiting: Queue<M>,
    condition: Condition,
    /// The device is to interrupt when it returns something.
    is_resting: bool,
    /// The device may not know of all that it was given.
    is_unannounced: bool,
}

/// What can be expected of the device. Unless it works it is given nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Works,
    /// It has not begun, or is being reset.
    Waits,
    /// It is stopped, as it has done what cannot be.
    Failed(Fault),
    /// Nobody is going to restart it.
    GivenUp,
}

/// What has become of a turn of the task that serves a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "there may be more to do"]
pub enum Served {
    /// There is nothing to do until the device interrupts, or [begins](Disk::begin) again.
    Resting,
    /// There may be more, but it is the turn of others.
    More,
    /// The device is stopped, as it broke the rules. It is to be [restarted](Disk::restart), or
    /// [given up](Disk::give_up).
    Stopped(Fault),
}

impl<T: Transport, B: Doorbell, M: Buffer> fmt::Debug for Disk<T, B, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

impl<T: Transport, B: Doorbell, M: Buffer> Disk<T, B, M> {
    /// Sets a disk up: resets it, agrees on features, reads what it is like. It does not work before it
    /// [begins](Self::begin), and requests wait until then. `patience` is asked whether to wait on, for as long as the
    /// reset takes.
    ///
    /// # Errors
    ///
    /// Why it cannot be used. It is told to stop then.
    pub fn new(
        transport: T,
        machine: &mut impl Machine<Doorbell = B>,
        patience: &mut dyn FnMut() -> bool,
    ) -> Result<Self, SetupError> {
        let mut transport = ManuallyDrop::new(transport);
        let set_up = Self::set_up(&mut transport, machine, patience);
        let (agreed, geometry, slots) = set_up.inspect_err(|_| stop(&mut *transport))?;
        let inner = Inner {
            slots,
            waiting: Queue::new(),
            condition: Condition::Waits,
            is_resting: false,
            is_unannounced: false,
        };
        Ok(Self { geometry, agreed, transport: Mutex::new(transport), inner: Mutex::new(inner) })
    }

    fn set_up(
        transport: &mut T,
        machine: &mut impl Machine<Doorbell = B>,
        patience: &mut dyn FnMut() -> bool,
    ) -> Result<(u64, Geometry, Slots<B, M>), SetupError> {
        reset(transport, patience)?;
        let agreed = offered(transport)? & WANTED;
        agree(transport, agreed)?;
        check_queue(transport, REQUESTS, SIZE as u16)?;
        let geometry = Geometry::read(transport, agreed)?;
        let doorbell = machine.doorbell(REQUESTS).ok_or(SetupError::NoDoorbell)?;
        let memory = machine.memory(wakeful_virtio::BYTES + slots::BYTES);
        // SAFETY: so many bytes in all; the first are pages.
        let slots = unsafe {
            let (ring, rest) = memory.ok_or(SetupError::NoMemory)?.split(wakeful_virtio::BYTES);
            Slots::new(Ring::new(ring, doorbell), rest)
        };
        Ok((agreed, geometry, slots))
    }

    /// The disk works from now on, and may interrupt.
    pub fn begin(&self) {
        self.begin_with(&mut self.transport.lock());
        self.begin_others();
    }

    /// Begins with a device that has agreed on features and has no request.
    fn begin_with(&self, transport: &mut T) {
        let mut inner = self.inner.lock();
        inner.slots.start(transport);
        begin(transport);
        inner.condition = Condition::Works;
        inner.rest();
    }

    /// What it is like.
    #[inline]
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Reads blocks from `block` on into the buffer, or into a part of it.
    ///
    /// # Errors
    ///
    /// Any [`Error`] but [`Error::ReadOnly`]; the buffer comes with it.
    ///
    /// # Cancellation
    ///
    /// A request that the device does not have is forgotten. One that it has goes on: its buffer and its slot, one of
    /// 42, are free again when it is done.
    #[inline]
    pub fn read(
        &self,
        block: u64,
        buffer: M,
        range: impl RangeBounds<usize>,
    ) -> Request<'_, T, B, M> {
        let place = self.geometry.place(block, range, buffer.len());
        Request::new(self, Kind::Read, place, Some(buffer))
    }

    /// Writes the buffer, or a part of it, to blocks from `block` on. If the disk [flushes](Geometry::flushes), they
    /// may be lost when power is, until [`flush`](Self::flush) says otherwise.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; the buffer comes with it.
    ///
    /// # Cancellation
    ///
    /// As for [`read`](Self::read): a write that the device has is done.
    #[inline]
    pub fn write(
        &self,
        block: u64,
        buffer: M,
        range: impl RangeBounds<usize>,
    ) -> Request<'_, T, B, M> {
        let place = match self.geometry.read_only {
            true => Err(Error::ReadOnly),
            false => self.geometry.place(block, range, buffer.len()),
        };
        Request::new(self, Kind::Write, place, Some(buffer))
    }

    /// Has all blocks stay that were written before: by requests that were done when this one was first polled
    /// (Virtio 1.2 §5.2.6.2), and by those that were dropped before. It waits for these, and whoever comes later waits
    /// with it; also if the disk keeps nothing in memory, and it is nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::Device`], [`Error::Unsupported`], [`Error::Reset`], [`Error::Gone`].
    ///
    /// # Cancellation
    ///
    /// As for [`read`](Self::read): one that the device has goes on.
    #[inline]
    pub fn flush(&self) -> Flush<'_, T, B, M> {
        Flush::new(Request::new(self, Kind::Flush, Ok(Place::NOWHERE), None))
    }

    /// Takes what the device has returned, wakes those who wait for it, and gives the device what waits: for one
    /// task, which the disk's interrupt wakes. In between there are no interrupts.
    ///
    /// Wakers are called without a lock, and buffers that nobody waits for are dropped so.
    pub fn serve(&self) -> Served {
        for _ in 0..TURN {
            let mut inner = self.inner.lock();
            match inner.condition {
                Condition::Works => {}
                Condition::Waits | Condition::GivenUp => return Served::Resting,
                Condition::Failed(fault) => return Served::Stopped(fault),
            }
            inner.wake_up();
            match inner.end_next() {
                Ok(Some(ended)) => {
                    // SAFETY: this is the lock, and there is no reference to a request.
                    let another = unsafe { inner.begin_others(&self.geometry) };
                    drop(inner);
                    ended.tell();
                    if let Some(another) = another {
                        another.tell();
                        self.begin_others();
                    }
                }
                Ok(None) => {
                    if inner.rest() {
                        return Served::Resting;
                    }
                }
                Err(fault) => {
                    drop(inner);
                    self.fail(&mut self.transport.lock(), fault);
                }
            }
        }
        Served::More
    }

    /// Looks whether the device asks for a reset (§2.1.1), which it does with an interrupt for a change of
    /// its configuration. That takes a register. If so, it is stopped.
    pub fn look_at_status(&self) {
        let mut transport = self.transport.lock();
        if transport.get_status().contains(DeviceStatus::DEVICE_NEEDS_RESET) {
            self.fail(&mut transport, Fault::NeedsReset);
        }
    }

    /// What it did that cannot be. It is stopped then, and requests wait until it is [restarted](Self::restart).
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        match self.inner.lock().condition {
            Condition::Failed(fault) => Some(fault),
            Condition::Works | Condition::Waits | Condition::GivenUp => None,
        }
    }

    /// The device broke the rules: stops it, once.
    #[cold]
    fn fail(&self, transport: &mut T, fault: Fault) {
        let mut inner = self.inner.lock();
        if inner.condition == Condition::Works {
            inner.condition = Condition::Failed(fault);
            drop(inner);
            stop(transport);
        }
    }

    /// Resets the device, and begins anew with the same features, whatever it was doing. What it had fails with
    /// [`Error::Reset`]; what waits is done. `patience` is as for [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// Why it cannot be used. It has the [fault](Self::fault) [`Fault::NeedsReset`] then, and requests wait. If it does
    /// not come out of its reset, it keeps their buffers until another restart succeeds.
    pub fn restart(&self, patience: &mut dyn FnMut() -> bool) -> Result<(), SetupError> {
        let mut transport = self.transport.lock();
        let agreed = self.reset(&mut transport, patience).and_then(|()| self.agree(&mut transport));
        if let Err(error) = agreed {
            stop(&mut **transport);
            self.inner.lock().condition = Condition::Failed(Fault::NeedsReset);
            return Err(error);
        }
        self.begin_with(&mut transport);
        drop(transport);
        self.begin_others();
        Ok(())
    }

    /// The same features as before.
    fn agree(&self, transport: &mut T) -> Result<(), SetupError> {
        if self.agreed & !offered(transport)? != 0 {
            return Err(SetupError::FeaturesRefused);
        }
        agree(transport, self.agreed)?;
        check_queue(transport, REQUESTS, SIZE as u16)
    }

    /// Stops the device for good: all requests fail, those that wait and those to come with [`Error::Gone`].
    /// (Another [restart](Self::restart) may be tried all the same.) `patience` is as for [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// It does not come out of its reset: then it keeps the buffers that it has.
    pub fn give_up(&self, patience: &mut dyn FnMut() -> bool) -> Result<(), SetupError> {
        let mut transport = self.transport.lock();
        let result = self.reset(&mut transport, patience);
        self.inner.lock().condition = Condition::GivenUp;
        loop {
            let mut inner = self.inner.lock();
            // SAFETY: this is the lock, and there is no reference to a request.
            let Some(link) = (unsafe { inner.waiting.pop() }) else { return result };
            // SAFETY: as above.
            let ended = unsafe { Ended::of(link, Err(Error::Gone)) };
            drop(inner);
            ended.tell();
        }
    }

    /// Resets the device, and ends all that it had.
    fn reset(
        &self,
        transport: &mut T,
        patience: &mut dyn FnMut() -> bool,
    ) -> Result<(), SetupError> {
        self.inner.lock().condition = Condition::Waits;
        let result = reset(transport, patience);
        while let Some(ended) = self.end_any(result.is_ok()) {
            ended.tell();
        }
        result
    }

    /// Ends a request that the device had, which is stopped. It keeps its buffer if the device has not come out of its
    /// reset.
    fn end_any(&self, has_come_out: bool) -> Option<Ended<M>> {
        let mut inner = self.inner.lock();
        if !has_come_out {
            let link = inner.slots.abandon_any()?;
            // SAFETY: this is the lock, and this was the last link.
            return Some(unsafe { Ended::of(link, Err(Error::Reset)) });
        }
        let slot = inner.slots.taken()?;
        // SAFETY: this is the lock, and it has come out.
        Some(unsafe { inner.end(slot, Err(Error::Reset)) })
    }

    /// Takes up a request that is new. Whether there is something to wait for.
    ///
    /// # Safety
    ///
    /// The node is pinned, and [forgotten](Self::forget) before it goes unless it is done.
    #[inline]
    pub(crate) unsafe fn take_up(&self, node: &Node<M>) -> bool {
        let mut inner = self.inner.lock();
        // SAFETY: by this function's contract. This is the lock.
        unsafe {
            if inner.condition == Condition::GivenUp {
                node.state().stage = Stage::Done(Err(Error::Gone));
                return false;
            }
            let link = Link::new(node);
            if inner.waiting.first().is_some() || !inner.may_begin(link) {
                inner.waiting.push(link);
            } else if self.geometry.has(node.state().kind) {
                inner.slots.submit(link);
                inner.slots.ring().announce();
            } else {
                node.state().stage = Stage::Done(Ok(()));
                return false;
            }
        }
        true
    }

    /// What has become of a request, if it is done. If not, whom it wakes from now on.
    #[inline]
    pub(crate) fn look_after(&self, node: &Node<M>, waker: &Waker) -> Option<Outcome<M>> {
        let mut clone = None;
        loop {
            let lock = self.inner.lock();
            // SAFETY: this is the lock.
            let state = unsafe { node.state() };
            if let Stage::Done(result) = state.stage {
                return Some((state.buffer.take(), result));
            }
            if state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                return None;
            }
            // Wakers are other people's code, which is called without the lock.
            let old = clone.take().and_then(|clone| state.waker.replace(clone));
            drop(lock);
            if old.is_some() {
                return None;
            }
            clone = Some(waker.clone());
        }
    }

    /// Nobody waits for a request any more.
    pub(crate) fn forget(&self, node: &Node<M>) {
        let mut inner = self.inner.lock();
        // SAFETY: this is the lock. Who is in stage `Waiting` is in the queue. The future goes, and nobody has a link
        // to its node after this.
        let (waker, held_others_up) = unsafe {
            let stage = node.state().stage;
            match stage {
                Stage::Waiting => inner.waiting.remove(Link::new(node)),
                Stage::InFlight(slot) => inner.slots.abandon(slot),
                Stage::New | Stage::Done(_) => {}
            }
            (node.state().waker.take(), stage == Stage::Waiting && node.state().kind == Kind::Flush)
        };
        drop(inner);
        drop(waker);
        if held_others_up {
            self.begin_others();
        }
    }

    /// Begins all that waits and need not.
    #[cold]
    fn begin_others(&self) {
        loop {
            let mut inner = self.inner.lock();
            // SAFETY: this is the lock, and there is no reference to a request.
            let ended = unsafe { inner.begin_others(&self.geometry) };
            if inner.condition == Condition::Works && mem::take(&mut inner.is_unannounced) {
                inner.slots.ring().announce();
            }
            drop(inner);
            match ended {
                Some(ended) => ended.tell(),
                None => return,
            }
        }
    }
}

/// What a request comes to: its buffer, if it has one, and how it ended.
pub(crate) type Outcome<M> = (Option<M>, Result<(), Error>);

impl<B: Doorbell, M: Buffer> Inner<B, M> {
    /// There is something to do: no interrupts from now on.
    #[inline]
    fn wake_up(&mut self) {
        if self.is_resting {
            self.is_resting = false;
            self.slots.ring().set_interrupts(false);
        }
    }

    /// Has the device interrupt when it returns something. Unless it has: then there is something to do.
    #[inline]
    fn rest(&mut self) -> bool {
        if self.is_unannounced {
            self.is_unannounced = false;
            self.slots.ring().announce();
        }
        self.is_resting = true;
        self.slots.ring().set_interrupts(true);
        // Either the device sees that, or what it did before is seen here.
        fence(Ordering::SeqCst);
        let has_returned = self.slots.ring().has_returned();
        if has_returned {
            self.wake_up();
        }
        !has_returned
    }

    /// Ends the next request that the device has returned, and gives it the next one that waits.
    #[inline]
    fn end_next(&mut self) -> Result<Option<Ended<M>>, Fault> {
        let Some((slot, result)) = self.slots.take()? else { return Ok(None) };
        // SAFETY: the device has returned it. Who calls has the lock, as this is what is under it, and there is no
        // reference to a request.
        Ok(Some(unsafe { self.end(slot, result) }))
    }

    /// Ends a request.
    ///
    /// # Safety
    ///
    /// As for [`Slots::free`], and the caller has the lock and a reference to no state.
    #[inline]
    unsafe fn end(&mut self, slot: u8, result: Result<(), Error>) -> Ended<M> {
        // SAFETY: by this function's contract.
        unsafe {
            match self.slots.free(slot) {
                (Some(owner), buffer) => {
                    owner.state().buffer = buffer;
                    Ended::of(owner, result)
                }
                (None, orphan) => Ended { waker: None, orphan },
            }
        }
    }

    /// Whether a request can begin. A flush is for what was written before, also by those that are gone: so
    /// it comes after the requests that they have left behind.
    ///
    /// # Safety
    ///
    /// The caller has the lock and a reference to no state.
    #[inline]
    unsafe fn may_begin(&self, link: Link<M>) -> bool {
        // SAFETY: by this function's contract.
        let is_flush = unsafe { link.state() }.kind == Kind::Flush;
        self.condition == Condition::Works
            && self.slots.has_free()
            && !(is_flush && self.slots.has_orphans())
    }

    /// Gives the device what waits, as far as that can begin; up to one with which the device has nothing to do, and
    /// which is done. There may be more behind it.
    ///
    /// # Safety
    ///
    /// The caller has the lock and a reference to no state.
    #[inline]
    unsafe fn begin_others(&mut self, geometry: &Geometry) -> Option<Ended<M>> {
        // SAFETY: by this function's contract, and one after the other. There is a free slot.
        unsafe {
            while let Some(link) = self.waiting.first()
                && self.may_begin(link)
            {
                self.waiting.remove(link);
                if !geometry.has(link.state().kind) {
                    return Some(Ended::of(link, Ok(())));
                }
                self.slots.submit(link);
                self.is_unannounced = true;
            }
        }
        None
    }
}

/// What is to be done without the lock for a request that ended.
#[must_use = "somebody waits"]
struct Ended<M> {
    waker: Option<Waker>,
    /// A buffer that nobody waits for.
    orphan: Option<M>,
}

impl<M> Ended<M> {
    /// A request is done. It may go as soon as the lock is open.
    ///
    /// # Safety
    ///
    /// The caller has the lock and a reference to no state, and this is the last link to the node.
    #[inline]
    unsafe fn of(link: Link<M>, result: Result<(), Error>) -> Self {
        // SAFETY: by this function's contract.
        let state = unsafe { link.state() };
        state.stage = Stage::Done(result);
        Self { waker: state.waker.take(), orphan: None }
    }

    #[inline]
    fn tell(self) {
        if let Some(waker) = self.waker {
            waker.wake();
        }
        drop(self.orphan);
    }
}
