//! Disks: what is the machine's of them. The disk itself is [`wakeful_virtio_blk`].
//!
//! Requests are futures, of any task on any hart. They are done only while a task runs [`Disk::serve`], one for each
//! disk: the disk's interrupt wakes it, and it wakes those who wait.
//!
//! A device that breaks the rules, or asks for a reset, is restarted: that is a line on the console, and what it had
//! fails with [`Error::Reset`]. If it does that again and again it is left alone, and all requests fail with
//! [`Error::Gone`].

#![expect(unsafe_code, reason = "futures are pinned within others")]

mod buffer;

use core::{
    fmt::{self, Display},
    mem::ManuallyDrop,
    ops::RangeBounds,
    pin::Pin,
    task::{Context, Poll},
};

use virtio_drivers::transport::SomeTransport;
use wakeful_hal::{console, sync::IrqLock, timer};
pub use wakeful_virtio_blk::{Error, Geometry, IN_FLIGHT};
use wakeful_virtio_blk::{Fault, Restarts, Served, SetupError};

pub use self::buffer::Buffer;
use crate::{
    interrupt::{self, Endpoint},
    memory::{self, Here},
    registers::Doorbell,
    virtio::{Device, Error as StartError, patience},
};

/// Disks that one image can have.
pub const MAX: usize = 4;

/// A request that failed, with its buffer.
pub type Failed = wakeful_virtio_blk::Failed<Buffer>;

type Registers = SomeTransport<'static>;

/// A disk that is started. It lives until power off; this is a handle, and all copies are alike.
#[derive(Clone, Copy)]
pub struct Disk(&'static Parts);

struct Parts {
    disk: wakeful_virtio_blk::Disk<Registers, Doorbell, Buffer>,
    endpoint: &'static Endpoint,
    /// Which of the machine's disks it is.
    number: usize,
    restarts: IrqLock<Restarts>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.disk.fmt(f)
    }
}

impl Disk {
    /// Starts a disk.
    pub(crate) fn start(device: Device, number: usize) -> Result<Self, StartError> {
        let Device { transport, interrupt, status, doorbells } = device;
        let source = interrupt.ok_or(StartError::NoInterrupt)?;
        let transport = ManuallyDrop::into_inner(transport);
        let mut here = Here(doorbells);
        let disk = wakeful_virtio_blk::Disk::new(transport, &mut here, &mut patience())?;
        // SAFETY: `Device` has the register of a device, and nobody else acknowledges its interrupts.
        let endpoint = unsafe { interrupt::attach(source, status)? };
        let parts = Parts { disk, endpoint, number, restarts: IrqLock::new(Restarts::new()) };
        let parts = memory::keep(parts).ok_or(SetupError::NoMemory)?;
        parts.disk.begin();
        Ok(Self(parts))
    }

    /// Which of the machine's disks it is, from 0 on, in the order in which they were found.
    #[must_use]
    pub fn number(&self) -> usize {
        self.0.number
    }

    /// What it is like. Always the same.
    #[inline]
    #[must_use]
    pub fn geometry(&self) -> &'static Geometry {
        self.0.disk.geometry()
    }

    /// How often it was restarted because it broke the rules.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.0.restarts.lock().count()
    }

    /// Reads blocks from `block` on into the buffer, or into the part of it that `range` says, in bytes: a multiple of the
    /// [block size](Geometry::block_size), and not more than the [longest](Geometry::longest) request.
    ///
    /// # Errors
    ///
    /// Any [`Error`] but [`Error::ReadOnly`]; the buffer comes with it.
    ///
    /// # Cancellation
    ///
    /// A request that the device does not have is forgotten. One that it has goes on: its buffer is dropped, and its
    /// place among [`IN_FLIGHT`] is free, when it is done.
    #[inline]
    pub fn read(&self, block: u64, buffer: Buffer, range: impl RangeBounds<usize>) -> Request {
        Request(self.0.disk.read(block, buffer, range))
    }

    /// Writes the buffer, or a part of it, to blocks from `block` on: else as [`read`](Self::read). If the disk
    /// [flushes](Geometry::flushes), they may be lost when power is, until [`flush`](Self::flush) says otherwise.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; the buffer comes with it.
    ///
    /// # Cancellation
    ///
    /// As for [`read`](Self::read): a write that the device has is done.
    #[inline]
    pub fn write(&self, block: u64, buffer: Buffer, range: impl RangeBounds<usize>) -> Request {
        Request(self.0.disk.write(block, buffer, range))
    }

    /// Has all blocks stay that were written by requests that are done by now.
    ///
    /// # Errors
    ///
    /// [`Error::Device`], [`Error::Unsupported`], [`Error::Reset`], [`Error::Gone`].
    ///
    /// # Cancellation
    ///
    /// As for [`read`](Self::read): one that the device has goes on.
    #[inline]
    pub fn flush(&self) -> Flush {
        Flush(self.0.disk.flush())
    }

    /// Serves the disk, for ever: for one task.
    ///
    /// # Cancellation
    ///
    /// Without it requests wait; nothing is lost, and another may go on.
    pub fn serve(self) -> Serve {
        Serve(self.0)
    }

    /// Resets the device and begins anew, whatever it was doing. What it had fails with [`Error::Reset`], what waits is
    /// done. Whether it works.
    pub fn restart(&self) -> bool {
        self.0.restart()
    }
}

/// A request that reads or writes. It begins when it is polled first, and comes to the buffer, or to why it
/// [failed](Failed).
///
/// # Cancellation
///
/// As [`Disk::read`] says.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Request(wakeful_virtio_blk::Request<'static, Registers, Doorbell, Buffer>);

impl Future for Request {
    type Output = Result<Buffer, Failed>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: what is within does not move, as there is no other way to it.
        unsafe { self.map_unchecked_mut(|this| &mut this.0) }.poll(context)
    }
}

/// The request of [`Disk::flush`].
///
/// # Cancellation
///
/// As [`Disk::flush`] says.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Flush(wakeful_virtio_blk::Flush<'static, Registers, Doorbell, Buffer>);

impl Future for Flush {
    type Output = Result<(), Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: as above.
        unsafe { self.map_unchecked_mut(|this| &mut this.0) }.poll(context)
    }
}

/// What [`Disk::serve`] is. It is never ready.
///
/// # Cancellation
///
/// As [`Disk::serve`] says.
#[must_use = "futures do nothing unless polled"]
pub struct Serve(&'static Parts);

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serve of disk {}", self.0.number)
    }
}

impl Future for Serve {
    type Output = core::convert::Infallible;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let parts = self.0;
        // Before the disk rests: an interrupt wakes once.
        parts.endpoint.waker.register(context.waker());
        if parts.endpoint.has_changed() {
            parts.disk.look_at_status();
        }
        match parts.disk.serve() {
            Served::Resting => {}
            Served::More => context.waker().wake_by_ref(),
            Served::Stopped(fault) => parts.recover(fault),
        }
        Poll::Pending
    }
}

impl Parts {
    /// Restarts a device that broke the rules, if it did not too often.
    #[cold]
    fn recover(&self, fault: Fault) {
        if !self.restarts.lock().begin(timer::now() / timer::frequency()) {
            return self.give_up(&fault);
        }
        let number = self.number;
        console::print(format_args!("wakeful: virtio-blk {number} is restarted: {fault}\n"));
        self.restart();
    }

    fn restart(&self) -> bool {
        if let Err(error) = self.disk.restart(&mut patience()) {
            self.give_up(&error);
            return false;
        }
        // Whatever comes interrupts; but who serves may have been waiting for something else.
        self.endpoint.waker.wake();
        true
    }

    fn give_up(&self, why: &dyn Display) {
        let number = self.number;
        console::print(format_args!("wakeful: virtio-blk {number} is not used any more: {why}\n"));
        // If it does not come out of its reset, it keeps what it has.
        let _ = self.disk.give_up(&mut patience());
    }
}
