//! The card: both queues, and what they have in common.

#![expect(unsafe_code, reason = "memory is divided among the queues")]

use core::{
    fmt,
    mem::ManuallyDrop,
    sync::atomic::{Ordering, fence},
};

use virtio_drivers::transport::{DeviceStatus, Transport};
use wakeful_virtio::{BYTES, Machine, Overrun, Ring, begin, stop};

use crate::{
    Doorbell, Error, Frame, Offload, RECEIVE, TRANSMIT, Wanted, Work,
    features::{CSUM, GUEST_CSUM, HOST_TSO4, HOST_TSO6, MRG_RXBUF, VERSION_1},
    header,
    memory::{BUFFERS, Pool},
    receive::{self, Receiver},
    setup,
    transmit::Sender,
};

/// A virtio network card.
///
/// It can be polled by one task at a time. It is for good: to drop it does not stop the device, and does not
/// drop its transport (that of PCI then waits for a reset, however long it takes).
pub struct Card<T: Transport, B: Doorbell> {
    receiver: Receiver<B>,
    sender: Sender<B>,
    transport: ManuallyDrop<T>,
    /// What the device has done that cannot be. It is stopped then.
    fault: Option<Fault>,
    /// Features.
    agreed: u64,
    mac: [u8; 6],
    mtu: u16,
}

/// What a device did that the rules forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It returned a buffer that it did not have.
    Buffer,
    /// It wrote less than a header, or more than there was room for.
    Length,
    /// It returned other buffers of a frame than it said.
    Count,
    /// It asked for a reset.
    NeedsReset,
}

impl From<Overrun> for Fault {
    #[inline]
    fn from(_: Overrun) -> Self {
        Self::Buffer
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Buffer => "it returned a buffer that it did not have",
            Self::Length => "it wrote less or more than can be",
            Self::Count => "it returned other buffers of a frame than it said",
            Self::NeedsReset => "it asked for a reset",
        })
    }
}

/// What happened to received frames of several buffers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// So many were received.
    pub long: u64,
    /// Of these: the part beyond the last buffer was copied.
    pub wrapped: u64,
    /// Of these: copied as a whole, as the buffers did not follow each other.
    pub scattered: u64,
    /// Of these: dropped, as another frame was in the place where such are copied to.
    pub dropped: u64,
}

impl<T: Transport, B: Doorbell> fmt::Debug for Card<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Card")
            .field("mac", &self.mac)
            .field("mtu", &self.mtu)
            .finish_non_exhaustive()
    }
}

impl<T: Transport, B: Doorbell> Card<T, B> {
    /// Sets a card up: resets it, agrees on features, gives it buffers. It does not work before it
    /// [begins](Self::begin). `random` is a number that nobody can guess, for a card that has no address;
    /// `patience` is asked whether to wait on, for as long as the reset takes.
    ///
    /// # Errors
    ///
    /// Why it cannot be used. It is told to stop then.
    pub fn new(
        transport: T,
        machine: &mut impl Machine<Doorbell = B>,
        wanted: Wanted,
        random: fn() -> u64,
        patience: &mut dyn FnMut() -> bool,
    ) -> Result<Self, Error> {
        let mut transport = ManuallyDrop::new(transport);
        let set_up = Self::set_up(&mut transport, machine, wanted, random, patience);
        let (agreed, mac, mut receiver, mut sender) =
            set_up.inspect_err(|_| stop(&mut *transport))?;
        receiver.start(&mut *transport);
        sender.start(&mut *transport);
        let mtu = setup::mtu(&*transport, agreed) as u16;
        Ok(Self { receiver, sender, transport, fault: None, agreed, mac, mtu })
    }

    #[expect(clippy::type_complexity, reason = "parts of a card, named once")]
    fn set_up(
        transport: &mut T,
        machine: &mut impl Machine<Doorbell = B>,
        wanted: Wanted,
        random: fn() -> u64,
        patience: &mut dyn FnMut() -> bool,
    ) -> Result<(u64, [u8; 6], Receiver<B>, Sender<B>), Error> {
        let agreed = setup::start(transport, wanted, None, patience)?;
        let mac = setup::address(transport, agreed, random)?;
        let mut bell = |queue| machine.doorbell(queue).ok_or(Error::NoDoorbell);
        let (bell_in, bell_out) = (bell(RECEIVE)?, bell(TRANSMIT)?);
        let bytes = 2 * BYTES + BUFFERS + receive::memory_for(agreed);
        let memory = machine.memory(bytes).ok_or(Error::NoMemory)?;
        let header =
            if agreed & (VERSION_1 | MRG_RXBUF) != 0 { header::LONG } else { header::SHORT };
        let cuts = agreed & (HOST_TSO4 | HOST_TSO6) != 0;
        // SAFETY: so many bytes in all.
        unsafe {
            let (ring_in, rest) = memory.split(BYTES);
            let (ring_out, rest) = rest.split(BYTES);
            let (buffers_out, buffers_in) = rest.split(BUFFERS);
            let (ring_in, ring_out) = (Ring::new(ring_in, bell_in), Ring::new(ring_out, bell_out));
            let receiver = Receiver::new(ring_in, Pool::new(buffers_in), agreed, header);
            let sender = Sender::new(ring_out, Pool::new(buffers_out), header, cuts);
            Ok((agreed, mac, receiver, sender))
        }
    }

    /// The card works from now on, and may interrupt if its state changes. (For frames not before it
    /// [rests](Self::rest).)
    pub fn begin(&mut self) {
        begin(&mut *self.transport);
        self.receiver.begin();
    }

    /// Its hardware address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The longest IP packet that its network carries, in bytes: at most 1500.
    #[inline]
    #[must_use]
    pub fn mtu(&self) -> usize {
        self.mtu.into()
    }

    /// What it does instead of us; always the same.
    #[inline]
    #[must_use]
    pub fn offload(&self) -> Offload {
        Offload {
            checksums: self.agreed & CSUM != 0,
            received_checksums: self.agreed & GUEST_CSUM != 0,
            segments_ipv4: self.agreed & HOST_TSO4 != 0,
            segments_ipv6: self.agreed & HOST_TSO6 != 0,
            longest: self.sender.longest(),
        }
    }

    /// What it did that cannot be. There is no frame and no room then, until it is
    /// [restarted](Self::restart).
    #[inline]
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// What happened to long frames.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.receiver.pieces
    }

    /// Takes the next frame that was received. `None` means for now: [`rest`](Self::rest) knows more.
    #[inline]
    pub fn receive(&mut self) -> Option<Frame> {
        if self.fault.is_some() {
            return None;
        }
        match self.receiver.receive() {
            Ok(Some(frame)) => Some(frame),
            other => self.found_nothing(other.err()),
        }
    }

    /// The device has nothing for us: perhaps because it has no buffer left.
    #[inline(never)]
    fn found_nothing(&mut self, fault: Option<Fault>) -> Option<Frame> {
        match fault {
            Some(fault) => self.fail(fault),
            None => self.receiver.announce(),
        }
        None
    }

    /// Gives a frame's buffers back to the device.
    ///
    /// The device is told at the latest when the card [rests](Self::rest), when
    /// [`receive`](Self::receive) finds nothing, and after 32 of them.
    #[inline]
    pub fn release(&mut self, frame: Frame) {
        self.receiver.release(frame);
    }

    /// Whether a frame can be sent now, the longest as well.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        self.sender.has_room() || self.reclaim()
    }

    #[inline(never)]
    fn reclaim(&mut self) -> bool {
        if self.fault.is_some() {
            return false;
        }
        self.sender.reclaim().unwrap_or_else(|fault| {
            self.fail(fault);
            false
        })
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
        if !self.sender.has_room() {
            self.reclaim();
        }
        self.sender.transmit(len, fill)
    }

    /// Turns its interrupts off: from now on it is polled. (It is like that at first.)
    #[inline]
    pub fn busy(&mut self) {
        self.receiver.ring().set_interrupts(false);
        self.sender.ring().set_interrupts(false);
    }

    /// Turns its interrupts on, for the next frame, or, if `want_room`, for the next frame that is sent and
    /// for nothing else. Whether there is one already: then they are off.
    #[inline]
    pub fn rest(&mut self, want_room: bool) -> bool {
        if want_room && self.sender.has_room() {
            self.busy();
            return true;
        }
        self.receiver.ring().set_interrupts(!want_room);
        self.sender.ring().set_interrupts(want_room);
        // Either the device sees that, or what it did before is seen here. (The fence in `announce`
        // does it as well.)
        fence(Ordering::SeqCst);
        self.receiver.announce();
        // Who has no room does not look at frames, so that they are no work then.
        let work = match want_room {
            true => self.sender.ring().has_returned(),
            false => self.receiver.ring().has_returned(),
        };
        let work = work && self.fault.is_none();
        if work {
            self.busy();
        }
        work
    }

    /// Looks whether the device asks for a reset (§2.1.1), which it does with an interrupt for a change of
    /// its configuration. That takes a register.
    pub fn look_at_status(&mut self) {
        if self.transport.get_status().contains(DeviceStatus::DEVICE_NEEDS_RESET) {
            self.fail(Fault::NeedsReset);
        }
    }

    /// The device broke the rules: stops it, once.
    #[cold]
    fn fail(&mut self, fault: Fault) {
        if self.fault.is_none() {
            self.fault = Some(fault);
            stop(&mut *self.transport);
            self.receiver.stop();
            self.sender.stop();
        }
    }

    /// Resets the device, and begins anew with the same features and address, whatever it was doing. Its
    /// interrupts are off then.
    ///
    /// Frames that were received stay valid, and are to be released as ever. What was to be sent may be
    /// lost. `patience` is as for [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// Why it cannot be used any more. It has its [fault](Self::fault) then, or [`Fault::NeedsReset`].
    pub fn restart(&mut self, patience: &mut dyn FnMut() -> bool) -> Result<(), Error> {
        // Until all is done.
        self.fail(Fault::NeedsReset);
        let agreed = Some(self.agreed);
        if let Err(error) = setup::start(&mut *self.transport, Wanted::default(), agreed, patience)
        {
            stop(&mut *self.transport);
            return Err(error);
        }
        self.receiver.start(&mut *self.transport);
        self.sender.start(&mut *self.transport);
        self.fault = None;
        self.begin();
        Ok(())
    }
}
