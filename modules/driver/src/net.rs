//! The network card: virtio-net (Virtio 1.2 §5.1), one queue in, one out.
//!
//! A frame is never copied and nothing is allocated for it. Each queue has as many buffers as
//! entries, and a frame is one descriptor: the device's header and the frame lie in one buffer.
//!
//! - **In**: all buffers are the device's from the start. [`Card::receive`] takes the next that it has
//!   filled as a [`Frame`], [`Card::release`] gives it back.
//! - **Out**: [`Card::transmit`] has a frame written into a free buffer and hands that over. Buffers
//!   that were sent are looked for only when none is free.
//! - **Asleep**: the card is polled, and its interrupts are off, until [`Card::rest`] says that there
//!   is nothing to do: then the next frame (or the next free buffer, if one is wanted) wakes who is
//!   [registered](Card::register), once. So a busy card interrupts nobody:
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
//! What is agreed on with the device: its address, its MTU, its status, nothing else. Checksums,
//! segments and merged buffers (`CSUM`, `GUEST_CSUM`, `HOST_TSO4`, `MRG_RXBUF`) would go into
//! `choose`, and into the header that is all zeros now.
//!
//! A device that breaks the rules (it returns a buffer that it does not have) is reset and left
//! alone: nothing is received any more, and there is no room.

#![expect(unsafe_code, reason = "buffers are shared with a device")]

use core::{
    fmt,
    mem::{self, ManuallyDrop},
    ops::Deref,
    ptr::NonNull,
    slice,
    sync::atomic::{Ordering, fence},
    task::Waker,
};

use virtio_drivers::{
    queue::VirtQueue,
    transport::{DeviceStatus, SomeTransport, Transport},
};
use wakeful_alloc::FRAME_SIZE;
use wakeful_hal::console;

use crate::{
    interrupt::{self, Endpoint},
    memory::{self, Memory},
    random_u64,
    registers::Doorbell,
    virtio::{Device, Error, VERSION_1},
};

/// The longest frame that is sent: an IP packet of 1500 bytes behind an Ethernet header.
pub const MAX_FRAME: usize = ETHERNET_HEADER + MAX_MTU;

const ETHERNET_HEADER: usize = 14;
const MAX_MTU: usize = 1500;

/// Entries of each queue, and buffers. QEMU offers 256 of each.
const SIZE: usize = 128;

/// Bytes of a buffer: two make a frame of memory.
const BUFFER: usize = 2048;

/// Where the Ethernet frame begins in a buffer. The device's header ends there. The IP header behind
/// the Ethernet header is aligned to 32, TCP's to 4: hardware that traps on misaligned loads exists.
const FRAME_AT: usize = 18;

/// Bytes of the device's header: without and with `num_buffers` (Virtio 1.2 §5.1.6, §5.1.6.1).
const LEGACY_HEADER: usize = 10;
const HEADER: usize = 12;

/// Queues (Virtio 1.2 §5.1.2).
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

/// Features (Virtio 1.2 §5.1.3).
const F_MTU: u64 = 1 << 3;
const F_MAC: u64 = 1 << 5;
const F_STATUS: u64 = 1 << 16;

/// Fields of the configuration (Virtio 1.2 §5.1.4), in bytes from its start.
const CONFIG_MAC: usize = 0;
const CONFIG_MTU: usize = 10;

/// The smallest MTU that a device may have (Virtio 1.2 §5.1.4.1), and the largest that a buffer holds.
const MTU_RANGE: core::ops::RangeInclusive<usize> = 68..=BUFFER - FRAME_AT - ETHERNET_HEADER;

/// Buffers that are given back before the device is told, unless the card rests or runs dry.
const BATCH: u16 = 32;

/// A network card that is started. It lives until power off.
///
/// It can be polled by one task at a time: its methods take `&mut self`, and [`register`] names one
/// waker.
///
/// [`register`]: Self::register
pub struct Card(&'static mut Parts);

struct Parts {
    receive: &'static mut Queue,
    transmit: &'static mut Queue,
    /// Bytes of the device's header.
    header: usize,
    /// Buffers given back that the device may not know of.
    unannounced: u16,
    /// It broke the rules.
    broken: bool,
    /// Transmit buffers that are free: the first `free` of the list.
    free: usize,
    free_list: [u8; SIZE],
    endpoint: &'static Endpoint,
    mac: [u8; 6],
    mtu: usize,
    transport: ManuallyDrop<SomeTransport<'static>>,
}

// SAFETY: the pointers lead to memory and registers that are this card's alone.
unsafe impl Send for Parts {}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Card").field("mac", &self.0.mac).finish_non_exhaustive()
    }
}

/// A frame that was received, without the device's header.
///
/// Owns its buffer, and can be kept and sent to other harts. It has to be given to
/// [`Card::release`]: the buffer of a frame that is dropped is lost to the card.
#[must_use = "its buffer is lost unless it is released"]
pub struct Frame {
    start: NonNull<u8>,
    len: u16,
    buffer: u8,
}

// SAFETY: it owns what it points to.
unsafe impl Send for Frame {}
// SAFETY: shared, it can only be read.
unsafe impl Sync for Frame {}

impl Deref for Frame {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `receive` checked that this lies within the buffer, which is ours.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), usize::from(self.len)) }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame of {} bytes", self.len)
    }
}

impl Card {
    /// Starts a card. Its interrupts are off.
    pub(crate) fn start(mut device: Device) -> Result<Self, Error> {
        let Settings { receive, transmit, header, endpoint, mac, mtu } = set_up(&mut device)
            .inspect_err(|_| {
                // The error is what there is to say.
                let _ = device.reset();
            })?;
        device.finish();
        receive.announce();
        let parts = Parts {
            receive,
            transmit,
            header,
            unannounced: 0,
            broken: false,
            free: SIZE,
            free_list: core::array::from_fn(|index| index as u8),
            endpoint,
            mac,
            mtu,
            transport: device.transport,
        };
        memory::keep(parts).map(Self).ok_or(Error::NoMemory)
    }

    /// Its hardware address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.0.mac
    }

    /// The longest IP packet that its network carries, in bytes: at most 1500.
    #[must_use]
    pub fn mtu(&self) -> usize {
        self.0.mtu
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
        let card = &mut *self.0;
        let Some((buffer, written)) = card.receive.take_filled(card.header) else {
            card.found_nothing();
            return None;
        };
        let len = (written as usize).wrapping_sub(card.header);
        // Not even a header, or more than there was room for?
        if len > BUFFER - FRAME_AT {
            card.refuse(buffer);
            return None;
        }
        Some(Frame { start: card.receive.pool.frame(buffer), len: len as u16, buffer })
    }

    /// Gives a frame's buffer back to the device.
    ///
    /// The device is told at the latest when the card [rests](Self::rest), when
    /// [`receive`](Self::receive) finds nothing, and after 32 of them.
    #[inline]
    pub fn release(&mut self, frame: Frame) {
        let Frame { start, len: _, buffer } = frame;
        // A frame of another card is lost.
        if start == self.0.receive.pool.frame(buffer) {
            self.0.give_back(buffer);
        }
    }

    /// Whether a frame can be sent now.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        self.0.free > 0 || self.0.reclaim()
    }

    /// Sends a frame of `len` bytes, which `fill` writes (all of them: they are those of an older frame
    /// before). Returns what `fill` returns.
    ///
    /// # Panics
    ///
    /// If `len` is more than [`MAX_FRAME`], or if there is no [room](Self::has_room).
    #[inline]
    pub fn transmit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        assert!(len <= MAX_FRAME, "a frame longer than 1514 bytes");
        assert!(self.has_room(), "no room for a frame");
        let card = &mut *self.0;
        card.free -= 1;
        let buffer = card.free_list[card.free];
        // SAFETY: the buffer is free, so it is ours.
        let result = fill(unsafe {
            slice::from_raw_parts_mut(card.transmit.pool.frame(buffer).as_ptr(), len)
        });
        card.transmit.post_filled(buffer, card.header, len);
        card.transmit.announce();
        result
    }

    /// Turns its interrupts off: from now on it is polled. (It is like that at first.)
    #[inline]
    pub fn busy(&mut self) {
        self.0.receive.ring.set_dev_notify(false);
        self.0.transmit.ring.set_dev_notify(false);
    }

    /// Turns its interrupts on, for the next frame, or, if `want_room`, for the next buffer that is free and for
    /// nothing else. Whether there is one already: then they are off.
    #[inline]
    pub fn rest(&mut self, want_room: bool) -> bool {
        let card = &mut *self.0;
        if want_room && card.free > 0 {
            self.busy();
            return true;
        }
        card.receive.ring.set_dev_notify(!want_room);
        card.transmit.ring.set_dev_notify(want_room);
        // Either the device sees that, or what it did before is seen here. (The fence in `announce`
        // does it as well.)
        fence(Ordering::SeqCst);
        card.announce_given_back();
        // Who has no room does not look at frames, so that they are no work then.
        let work =
            if want_room { card.transmit.ring.can_pop() } else { card.receive.ring.can_pop() };
        let work = work && !card.broken;
        if work {
            self.busy();
        }
        work
    }
}

impl Parts {
    #[inline]
    fn give_back(&mut self, buffer: u8) {
        self.receive.post_empty(buffer, self.header);
        self.unannounced += 1;
        if self.unannounced >= BATCH {
            self.announce_given_back();
        }
    }

    #[inline(never)]
    fn announce_given_back(&mut self) {
        if self.unannounced > 0 {
            self.unannounced = 0;
            self.receive.announce();
        }
    }

    /// The device has nothing for us: perhaps because it has no buffer left.
    #[inline(never)]
    fn found_nothing(&mut self) {
        if self.receive.broken {
            self.give_up();
        } else {
            self.announce_given_back();
        }
    }

    /// What the device put there is no frame.
    #[cold]
    fn refuse(&mut self, buffer: u8) {
        self.give_back(buffer);
    }

    /// Takes back the buffers that were sent. Whether one is free.
    fn reclaim(&mut self) -> bool {
        while let Some(buffer) = self.transmit.take_sent(self.header) {
            // There is room: it is not in the list, and the list has room for all.
            if let Some(place) = self.free_list.get_mut(self.free) {
                *place = buffer;
                self.free += 1;
            }
        }
        if self.transmit.broken || self.broken {
            self.give_up();
        }
        self.free > 0
    }

    /// The device broke the rules: stops it, once.
    #[cold]
    fn give_up(&mut self) {
        if !self.broken {
            self.broken = true;
            self.transport.set_status(DeviceStatus::empty());
            console::print(format_args!(
                "wakeful: virtio-net is not used any more: it returned a buffer that it did not have\n"
            ));
        }
        self.free = 0;
    }
}

/// What is found out and set up before a card works.
struct Settings {
    receive: &'static mut Queue,
    transmit: &'static mut Queue,
    header: usize,
    endpoint: &'static Endpoint,
    mac: [u8; 6],
    mtu: usize,
}

fn set_up(device: &mut Device) -> Result<Settings, Error> {
    let agreed = device.negotiate(choose)?;
    let header = if agreed & VERSION_1 != 0 { HEADER } else { LEGACY_HEADER };
    let mac = match agreed & F_MAC {
        0 => random_mac(),
        _ => device.transport.read_config_space(CONFIG_MAC)?,
    };
    let mtu = match agreed & F_MTU {
        0 => MAX_MTU,
        _ => read_mtu(&device.transport).unwrap_or(MAX_MTU).min(MAX_MTU),
    };
    let source = device.interrupt.ok_or(Error::NoInterrupt)?;
    let receive = Queue::new(device, RECEIVE)?;
    let transmit = Queue::new(device, TRANSMIT)?;
    transmit.pool.clear_headers();
    receive.ring.set_dev_notify(false);
    transmit.ring.set_dev_notify(false);
    for buffer in 0..SIZE as u8 {
        receive.post_empty(buffer, header);
    }
    // SAFETY: `Device` has the register of a device, and nobody else acknowledges its interrupts.
    let endpoint = unsafe { interrupt::attach(source, device.status)? };
    Ok(Settings { receive, transmit, header, endpoint, mac, mtu })
}

/// The features that we take of those that are offered.
fn choose(transport: &SomeTransport<'static>, offered: u64) -> u64 {
    let mut wanted = F_MAC | F_STATUS;
    if offered & F_MTU != 0 && read_mtu(transport).is_some() {
        wanted |= F_MTU;
    }
    wanted
}

/// The device's MTU, if frames of that size fit into our buffers.
fn read_mtu(transport: &SomeTransport<'static>) -> Option<usize> {
    let mtu = transport.read_config_space::<u16>(CONFIG_MTU).ok()?;
    Some(usize::from(mtu)).filter(|mtu| MTU_RANGE.contains(mtu))
}

/// An address for a card without one: for one machine, not a group, assigned locally (IEEE 802).
fn random_mac() -> [u8; 6] {
    let [a, b, c, d, e, f, ..] = random_u64().to_ne_bytes();
    [a & !1 | 2, b, c, d, e, f]
}

/// A queue, its buffers, and who has which.
struct Queue {
    ring: VirtQueue<Memory, SIZE>,
    doorbell: Doorbell,
    pool: Pool,
    /// The buffer of each descriptor that the device has; [`NOBODY`] where it has none.
    given: [u8; SIZE],
    /// The device returned what it did not have.
    broken: bool,
}

const NOBODY: u8 = u8::MAX;
const _: () = assert!(SIZE <= NOBODY as usize);

impl Queue {
    /// A queue in memory of its own: it has kilobytes, and is not moved about on the stack.
    fn new(device: &mut Device, number: u16) -> Result<&'static mut Self, Error> {
        let doorbell = device.doorbell(number)?;
        let pool = Pool::new()?;
        let ring = device.queue(number)?;
        let queue = Self { ring, doorbell, pool, given: [NOBODY; SIZE], broken: false };
        memory::keep(queue).ok_or(Error::NoMemory)
    }

    /// Tells the device of what was posted, if it wants to be told.
    #[inline]
    fn announce(&self) {
        // It looks at what is posted after it has said that it wants to be told: one of both sees the
        // other's.
        fence(Ordering::SeqCst);
        if self.ring.should_notify() {
            self.doorbell.ring();
        }
    }

    /// Gives the device a buffer to fill.
    #[inline]
    fn post_empty(&mut self, buffer: u8, header: usize) {
        // SAFETY: the buffer is not the device's: it is new, or was returned, or was a frame's. Nobody
        // looks at it until it is returned.
        let posted = unsafe {
            let space = slice::from_raw_parts_mut(
                self.pool.header(buffer, header).as_ptr(),
                BUFFER - FRAME_AT + header,
            );
            self.ring.add(&[], &mut [space])
        };
        self.note(posted, buffer);
    }

    /// Gives the device a buffer to send.
    #[inline]
    fn post_filled(&mut self, buffer: u8, header: usize, len: usize) {
        // SAFETY: as above.
        let posted = unsafe {
            let data =
                slice::from_raw_parts(self.pool.header(buffer, header).as_ptr(), header + len);
            self.ring.add(&[data], &mut [])
        };
        self.note(posted, buffer);
    }

    #[inline]
    fn note(&mut self, posted: virtio_drivers::Result<u16>, buffer: u8) {
        // There are as many descriptors as buffers: it is posted.
        if let Ok(token) = posted
            && let Some(given) = self.given.get_mut(usize::from(token))
        {
            *given = buffer;
        }
    }

    /// The next descriptor that the device is done with, and its buffer.
    #[inline]
    fn peek(&mut self) -> Option<(u16, u8)> {
        let token = self.ring.peek_used()?;
        match self.given.get_mut(usize::from(token)) {
            Some(given) if *given != NOBODY => Some((token, mem::replace(given, NOBODY))),
            _ => {
                self.broken = true;
                None
            }
        }
    }

    /// Takes the next buffer that was filled, and how many bytes the device says that it wrote.
    #[inline]
    fn take_filled(&mut self, header: usize) -> Option<(u8, u32)> {
        let (token, buffer) = self.peek()?;
        // SAFETY: this is what was posted with that token.
        let written = unsafe {
            let space = slice::from_raw_parts_mut(
                self.pool.header(buffer, header).as_ptr(),
                BUFFER - FRAME_AT + header,
            );
            self.ring.pop_used(token, &[], &mut [space])
        };
        match written {
            Ok(written) => Some((buffer, written)),
            // It changed its mind about the token.
            Err(_) => {
                self.broken = true;
                None
            }
        }
    }

    /// Takes the next buffer that was sent.
    #[inline]
    fn take_sent(&mut self, header: usize) -> Option<u8> {
        let (token, buffer) = self.peek()?;
        // SAFETY: as above; how long it was does not matter.
        let popped = unsafe {
            let data = slice::from_raw_parts(self.pool.header(buffer, header).as_ptr(), header);
            self.ring.pop_used(token, &[data], &mut [])
        };
        self.broken |= popped.is_err();
        popped.is_ok().then_some(buffer)
    }
}

/// [`SIZE`] buffers in one piece. What is in them at first is arbitrary: clearing them would take as
/// long as a whole boot.
#[derive(Clone, Copy)]
struct Pool(NonNull<u8>);

impl Pool {
    fn new() -> Result<Self, Error> {
        let (_, start) = memory::allocate(SIZE * BUFFER / FRAME_SIZE).ok_or(Error::NoMemory)?;
        Ok(Self(start))
    }

    /// Fills all headers with zeros, as they stay: nothing is left to the device.
    fn clear_headers(&self) {
        for buffer in 0..SIZE as u8 {
            // SAFETY: within the buffer, which nobody else has yet.
            unsafe { self.header(buffer, HEADER).write_bytes(0, HEADER) };
        }
    }

    /// Where the Ethernet frame begins in a buffer.
    #[inline]
    fn frame(&self, buffer: u8) -> NonNull<u8> {
        debug_assert!(usize::from(buffer) < SIZE);
        // SAFETY: numbers of buffers are below `SIZE`: they come from `free_list` and `start`.
        unsafe { self.0.byte_add(usize::from(buffer) * BUFFER + FRAME_AT) }
    }

    /// Where the device's header begins.
    #[inline]
    fn header(&self, buffer: u8, header: usize) -> NonNull<u8> {
        // SAFETY: still in the buffer: a header is at most `HEADER` bytes.
        unsafe { self.frame(buffer).byte_sub(header) }
    }
}

const _: () = assert!(HEADER <= FRAME_AT && FRAME_AT + MAX_FRAME <= BUFFER);
