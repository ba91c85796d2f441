//! The network card: what is the machine's of it. The card itself is [`wakeful_virtio_net`].
//!
//! Its buffers and rings are frames of ours, its interrupt wakes who is [registered](Card::register),
//! once. The card is polled, and its interrupts are off, until [`Card::rest`] says that there is nothing to
//! do: then the next frame (or the next free buffer, if one is wanted) interrupts. So a busy card
//! interrupts nobody:
//!
//! ```ignore
//! poll_fn(|context| {
//!     card.busy();
//!     card.register(context.waker());
//!     loop {
//!         while let Some(frame) = card.receive() {
//!             handle(&frame);
//!             card.release(frame);
//!         }
//!         if !card.rest(false) {
//!             return Poll::Pending;
//!         }
//!     }
//! })
//! ```
//!
//! A device that breaks the rules, or asks for a reset, is restarted: that is a line on the console, and
//! a loss of frames, nothing else. If it does that again and again it is left alone: nothing is
//! received any more, and there is no room.

#![expect(unsafe_code, reason = "buffers are shared with a device")]

use core::{
    fmt::{self, Display},
    mem::ManuallyDrop,
    task::Waker,
};

use virtio_drivers::transport::SomeTransport;
use wakeful_hal::{console, timer};
pub use wakeful_virtio_net::{
    Counters, Frame, MAX_FRAME, Offload, PartialChecksum, Segments, Work,
};
use wakeful_virtio_net::{Error as Setup, Fault, Restarts, Wanted};

use crate::{
    interrupt::{self, Endpoint},
    memory,
    memory::Here,
    random_u64,
    registers::Doorbell,
    virtio::{Device, Error, patience},
};

/// What is agreed on with a device that offers it.
const WANTED: Wanted = Wanted::ALL;

/// A network card that is started. It lives until power off.
///
/// It can be polled by one task at a time: its methods take `&mut self`, and [`register`] names one
/// waker.
///
/// [`register`]: Self::register
pub struct Card(&'static mut Parts);

struct Parts {
    card: wakeful_virtio_net::Card<SomeTransport<'static>, Doorbell>,
    endpoint: &'static Endpoint,
    restarts: Restarts,
    /// It was restarted too often, or cannot be.
    is_given_up: bool,
}

// SAFETY: the pointers lead to memory and registers that are this card's alone.
unsafe impl Send for Parts {}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.card.fmt(f)
    }
}

impl Card {
    /// Starts a card. Its interrupts are off.
    pub(crate) fn start(device: Device) -> Result<Self, Error> {
        let Device { transport, interrupt, status, doorbells } = device;
        let source = interrupt.ok_or(Error::NoInterrupt)?;
        let transport = ManuallyDrop::into_inner(transport);
        let mut here = Here(doorbells);
        let card = wakeful_virtio_net::Card::new(
            transport,
            &mut here,
            WANTED,
            random_u64,
            &mut patience(),
        )?;
        // SAFETY: `Device` has the register of a device, and nobody else acknowledges its interrupts.
        let endpoint = unsafe { interrupt::attach(source, status)? };
        let parts = Parts { card, endpoint, restarts: Restarts::new(), is_given_up: false };
        let parts = memory::keep(parts).ok_or(Setup::NoMemory)?;
        parts.card.begin();
        Ok(Self(parts))
    }

    /// Its hardware address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.0.card.mac()
    }

    /// The longest IP packet that its network carries, in bytes: at most 1500.
    #[inline]
    #[must_use]
    pub fn mtu(&self) -> usize {
        self.0.card.mtu()
    }

    /// What it does instead of us; always the same.
    #[inline]
    #[must_use]
    pub fn offload(&self) -> Offload {
        self.0.card.offload()
    }

    /// What happened to received frames of several buffers.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.card.counters()
    }

    /// How often it was restarted because it broke the rules.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.0.restarts.count()
    }

    /// Sets whom an interrupt wakes: instead of who was set before, and once. Before
    /// [`rest`](Self::rest), and again for each wake.
    #[inline]
    pub fn register(&self, waker: &Waker) {
        self.0.endpoint.waker.register(waker);
    }

    /// Takes the next frame that was received. `None` means for now: [`rest`](Self::rest) knows more.
    #[inline]
    pub fn receive(&mut self) -> Option<Frame> {
        let frame = self.0.card.receive();
        if frame.is_none() && self.0.card.fault().is_some() {
            self.0.recover();
        }
        frame
    }

    /// Gives a frame's buffers back to the device.
    ///
    /// The device is told at the latest when the card [rests](Self::rest), when
    /// [`receive`](Self::receive) finds nothing, and after 32 of them.
    #[inline]
    pub fn release(&mut self, frame: Frame) {
        self.0.card.release(frame);
    }

    /// Whether a frame can be sent now, the longest as well.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        self.0.card.has_room()
            || self.0.card.fault().is_some() && self.0.recover() && self.0.card.has_room()
    }

    /// Sends a frame of `len` bytes, which `fill` writes (all of them: they are those of an older frame
    /// before). It says what the card is to do with it, and what is returned.
    ///
    /// # Panics
    ///
    /// If `len` is more than the [longest](Offload::longest), or if there is no
    /// [room](Self::has_room).
    #[inline]
    pub fn transmit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> (Work, R)) -> R {
        self.0.card.transmit(len, fill)
    }

    /// Turns its interrupts off: from now on it is polled. (It is like that at first.)
    #[inline]
    pub fn busy(&mut self) {
        self.0.card.busy();
    }

    /// Turns its interrupts on, for the next frame, or, if `want_room`, for the next frame that is sent and
    /// for nothing else. Whether there is something to do already: then they are off.
    #[inline]
    pub fn rest(&mut self, want_room: bool) -> bool {
        let work = self.0.card.rest(want_room);
        work || self.0.endpoint.has_changed() && self.0.look()
    }

    /// Resets the device and begins anew, whatever it was doing. Frames that were received stay valid, and
    /// are to be released as ever; what was to be sent may be lost. Whether it works.
    pub fn restart(&mut self) -> bool {
        self.0.restart()
    }
}

impl Parts {
    /// The device has changed its configuration. Whether there is something to do.
    #[cold]
    fn look(&mut self) -> bool {
        self.card.look_at_status();
        self.card.fault().is_some() && self.recover()
    }

    /// Restarts a device that broke the rules, if it did not too often. Whether it works.
    #[cold]
    fn recover(&mut self) -> bool {
        if self.is_given_up {
            return false;
        }
        let fault = self.card.fault().unwrap_or(Fault::NeedsReset);
        if !self.restarts.begin(timer::now() / timer::frequency()) {
            return self.give_up(&fault);
        }
        console::print(format_args!("wakeful: virtio-net is restarted: {fault}\n"));
        self.restart()
    }

    fn restart(&mut self) -> bool {
        if let Err(error) = self.card.restart(&mut patience()) {
            return self.give_up(&error);
        }
        self.is_given_up = false;
        // Whoever sleeps waits for an interrupt, and those are off now.
        self.endpoint.waker.wake();
        true
    }

    fn give_up(&mut self, why: &dyn Display) -> bool {
        self.is_given_up = true;
        console::print(format_args!("wakeful: virtio-net is not used any more: {why}\n"));
        false
    }
}
