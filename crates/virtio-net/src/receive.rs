//! Frames in.

#![expect(unsafe_code, reason = "buffers are shared with a device")]

use core::{fmt, ops::Deref, ptr, ptr::NonNull, slice};

use virtio_drivers::transport::Transport;
use wakeful_virtio::Ring;

use crate::{
    Counters, Doorbell, Fault, RECEIVE, SIZE,
    features::{GUEST_CSUM, MRG_RXBUF},
    header::{self, DATA_VALID, NEEDS_CSUM},
    memory::{BEHIND, BUFFER, BUFFERS, FRAME_AT, Pool},
};

/// The longest frame with several buffers: a packet of 65,536 bytes (Virtio 1.2 §5.1.6.3.1).
const LONGEST: usize = 14 + 65_536;

/// Bytes behind the last buffer if there are such frames: one of them, placed as in buffers.
const ROOM_BEHIND: usize = (FRAME_AT + LONGEST).next_multiple_of(BUFFER);

/// Buffers that are given back before the device is told, unless the card rests or runs dry.
const BATCH: u16 = 32;

/// The device has few buffers if it has fewer than these: about two of the longest frames.
const FEW: u16 = SIZE as u16 / 2;

/// A frame that was received, without the device's header.
///
/// Owns its buffers, and can be kept and sent to other harts; a restart of the card does not matter to it.
/// It has to be given to [`Card::release`](crate::Card::release): the buffers of a frame that is
/// dropped are lost to the card.
#[must_use = "its buffers are lost unless it is released"]
pub struct Frame {
    start: NonNull<u8>,
    len: u32,
    /// Where it begins: a buffer, or [`BEHIND`].
    first: u8,
    /// How many buffers it owns, from the first on and round the end.
    count: u8,
    is_checked: bool,
}

// SAFETY: it owns what it points to.
unsafe impl Send for Frame {}
// SAFETY: shared, it can only be read.
unsafe impl Sync for Frame {}

impl Frame {
    /// Whether nobody need look at the checksum of TCP or UDP: the device did, or the frame never was on a
    /// wire and the checksum was not even calculated.
    #[inline]
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.is_checked
    }
}

impl Deref for Frame {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `Receiver` checked that this lies within its buffers, or what is behind them, which are
        // ours.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame of {} bytes", self.len)
    }
}

/// Who has a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Device,
    /// A frame, or we.
    Frame,
    /// It waits for its turn to be given to the device.
    Nobody,
}

/// The queue of buffers to be filled.
pub(crate) struct Receiver<B> {
    ring: Ring<B>,
    pool: Pool,
    /// Bytes of the device's header.
    header: u16,
    /// Bytes of a buffer that the device has, header included.
    space: u16,
    /// Flags that say that a frame's checksum is of no interest.
    checked: u8,
    /// A frame may have several buffers.
    merges: bool,
    /// The place behind the last buffer is not a frame's.
    is_free_behind: bool,
    /// The device may be told.
    is_live: bool,
    /// Buffers given back that the device may not know of.
    unannounced: u16,
    /// The buffer that is to be given to the device next, and how many wait.
    next: u8,
    waiting: u8,
    owners: [Owner; SIZE],
    pub(crate) pieces: Counters,
}

/// Bytes of memory for buffers to receive.
pub(crate) fn memory_for(agreed: u64) -> usize {
    match agreed & MRG_RXBUF {
        0 => BUFFERS,
        // The last buffer goes on a little behind the others.
        _ => BUFFERS + ROOM_BEHIND,
    }
}

impl<B: Doorbell> Receiver<B> {
    /// The pool is for these features.
    pub(crate) fn new(ring: Ring<B>, pool: Pool, agreed: u64, header: usize) -> Self {
        let merges = agreed & MRG_RXBUF != 0;
        Self {
            ring,
            pool,
            header: header as u16,
            // Adjacent without a gap if a frame may go on in the next one.
            space: if merges { BUFFER } else { BUFFER - FRAME_AT + header } as u16,
            checked: if agreed & GUEST_CSUM != 0 { NEEDS_CSUM | DATA_VALID } else { 0 },
            merges,
            is_free_behind: merges,
            is_live: false,
            unannounced: 0,
            next: 0,
            waiting: 0,
            owners: [Owner::Device; SIZE],
            pieces: Counters::default(),
        }
    }

    /// Begins with a device that was reset: gives it all buffers that are not a frame's.
    pub(crate) fn start(&mut self, transport: &mut impl Transport) {
        self.ring.start(transport, RECEIVE);
        (self.next, self.waiting) = (0, 0);
        for (buffer, owner) in (0..).zip(&mut self.owners) {
            let address = self.pool.address(buffer, self.header.into());
            self.ring.describe_empty(buffer, address, self.space.into());
            if *owner != Owner::Frame {
                *owner = Owner::Nobody;
                self.waiting += 1;
            }
        }
        self.post();
    }

    /// The device works from now on.
    pub(crate) fn begin(&mut self) {
        self.is_live = true;
        self.announce();
    }

    /// The device is stopped, and is told nothing before it is restarted.
    pub(crate) fn stop(&mut self) {
        self.is_live = false;
    }

    pub(crate) fn ring(&self) -> &Ring<B> {
        &self.ring
    }

    /// Takes the next frame.
    #[inline]
    pub(crate) fn receive(&mut self) -> Result<Option<Frame>, Fault> {
        let Some((buffer, written)) = self.take()? else { return Ok(None) };
        let header = self.pool.header(buffer, self.header.into());
        // SAFETY: within the buffer, which is ours now, and initialised as all of them. Only a header
        // with `num_buffers` is that long, and its place is even.
        let (flags, count) = unsafe {
            let flags = header.byte_add(header::FLAGS).read_volatile();
            let count = match self.merges {
                true => header.byte_add(header::NUM_BUFFERS).cast::<u16>().read_volatile(),
                false => 1,
            };
            (flags, count)
        };
        // Not even a header, or more than there was room for?
        let len = written.wrapping_sub(self.header.into());
        if len > usize::from(self.space - self.header) {
            self.give_back(buffer);
            return Err(Fault::Length);
        }
        let is_checked = flags & self.checked != 0;
        if count != 1 {
            return self.receive_long(Run::new(buffer, written), count, is_checked);
        }
        let start = self.pool.frame(buffer);
        Ok(Some(Frame { start, len: len as u32, first: buffer, count: 1, is_checked }))
    }

    /// Takes the next buffer that was filled, and how much the device says that it wrote.
    #[inline]
    fn take(&mut self) -> Result<Option<(u8, usize)>, Fault> {
        let Some((id, written)) = self.ring.take()? else { return Ok(None) };
        match self.owners.get_mut(id) {
            Some(owner @ Owner::Device) => *owner = Owner::Frame,
            _ => return Err(Fault::Buffer),
        }
        Ok(Some((id as u8, written)))
    }

    /// Takes a frame of `count` buffers, of which one is taken already.
    #[inline(never)]
    fn receive_long(
        &mut self,
        mut run: Run,
        count: u16,
        is_checked: bool,
    ) -> Result<Option<Frame>, Fault> {
        if let Err(fault) = self.complete(&mut run, usize::from(count)) {
            self.give_back_all(&run);
            return Err(fault);
        }
        self.pieces.long += 1;
        let ends_before_the_end = usize::from(run.first()) + run.count <= SIZE;
        let (first, count) = if run.is_adjacent && ends_before_the_end {
            (run.first(), run.count)
        } else if !self.is_free_behind {
            self.pieces.dropped += 1;
            self.give_back_all(&run);
            return Ok(None);
        } else if run.is_adjacent {
            self.pieces.wrapped += 1;
            self.copy_rest(&run);
            (run.first(), run.count)
        } else {
            self.pieces.scattered += 1;
            self.copy_all(&run);
            self.give_back_all(&run);
            (BEHIND, 0)
        };
        let (start, len) = (self.pool.frame(first), run.bytes - usize::from(self.header));
        Ok(Some(Frame { start, len: len as u32, first, count: count as u8, is_checked }))
    }

    /// Takes the buffers of a frame that are missing. In any case `run` has those that were taken.
    fn complete(&mut self, run: &mut Run, count: usize) -> Result<(), Fault> {
        if count == 0 || count > SIZE {
            return Err(Fault::Count);
        }
        while run.count < count {
            // All buffers of a frame are returned at once (§5.1.6.4).
            let (buffer, written) = self.take()?.ok_or(Fault::Count)?;
            run.push(buffer, written);
            if written == 0 || written > BUFFER {
                return Err(Fault::Length);
            }
        }
        if run.bytes - usize::from(self.header) > LONGEST {
            return Err(Fault::Length);
        }
        Ok(())
    }

    /// Copies what a frame has in the first buffers behind the last one, where it goes on.
    fn copy_rest(&mut self, run: &Run) {
        self.is_free_behind = false;
        let before = (SIZE - usize::from(run.first())) * BUFFER;
        let (from, to) = (self.space(0), self.space(BEHIND));
        // SAFETY: the frame is complete, so that it has these buffers, all full but the last, and not more
        // than the longest frame's bytes. Nobody else has the place behind.
        unsafe {
            ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), run.bytes - before);
        }
    }

    /// Copies a frame behind the last buffer.
    fn copy_all(&mut self, run: &Run) {
        self.is_free_behind = false;
        let mut to = self.space(BEHIND);
        for &(buffer, written) in run.pieces() {
            let from = self.space(buffer);
            // SAFETY: as above: each piece is within its buffer, and all of them are not more than the
            // longest frame and its header.
            unsafe {
                ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), usize::from(written));
                to = to.byte_add(usize::from(written));
            }
        }
    }

    /// Where what the device has of a buffer begins.
    fn space(&self, buffer: u8) -> NonNull<u8> {
        self.pool.header(buffer, self.header.into())
    }

    /// Takes a frame back, and gives its buffers to the device.
    #[inline]
    pub(crate) fn release(&mut self, frame: Frame) {
        let Frame { start, first, count, .. } = frame;
        // A frame of another card is lost.
        if self.pool.frame(first) == start {
            match count {
                1 => self.give_back(first),
                _ => self.release_long(first, usize::from(count)),
            }
        }
    }

    #[inline(never)]
    fn release_long(&mut self, first: u8, count: usize) {
        let end = usize::from(first) + count;
        // It was copied, or went round the end.
        if first == BEHIND || end > SIZE {
            self.is_free_behind = true;
        }
        for buffer in usize::from(first)..end {
            self.give_back((buffer % SIZE) as u8);
        }
    }

    #[inline(never)]
    fn give_back_all(&mut self, run: &Run) {
        for &(buffer, _) in run.pieces() {
            self.give_back(buffer);
        }
    }

    /// Nobody has the buffer any more.
    #[inline]
    fn give_back(&mut self, buffer: u8) {
        if let Some(owner) = self.owners.get_mut(usize::from(buffer)) {
            *owner = Owner::Nobody;
            self.waiting += 1;
        }
        if buffer == self.next || self.ring.given() < FEW {
            self.post();
            if self.unannounced >= BATCH {
                self.announce();
            }
        }
    }

    /// Gives the device the buffers that wait, in their order: as far as the next one that does not, or on
    /// if the device has few.
    #[inline(never)]
    fn post(&mut self) {
        while self.waiting > 0 {
            match self.owners.get_mut(usize::from(self.next)) {
                Some(owner @ Owner::Nobody) => {
                    *owner = Owner::Device;
                    // SAFETY: it describes that buffer, which was nobody's and is the device's now.
                    unsafe { self.ring.give(self.next) };
                    self.waiting -= 1;
                    self.unannounced += 1;
                }
                _ if self.ring.given() < FEW => {}
                _ => break,
            }
            self.next = (self.next + 1) % SIZE as u8;
        }
    }

    /// Tells the device of the buffers that were given back.
    #[inline(never)]
    pub(crate) fn announce(&mut self) {
        // It may have used up what it had, without anything being given back.
        self.post();
        if self.unannounced > 0 && self.is_live {
            self.unannounced = 0;
            self.ring.announce();
        }
    }
}

/// The buffers of a frame that has several, and how many bytes are in each, the header included.
struct Run {
    pieces: [(u8, u16); SIZE],
    count: usize,
    bytes: usize,
    /// Each follows the one before it, round the end, and all but the last are full.
    is_adjacent: bool,
}

impl Run {
    fn new(buffer: u8, written: usize) -> Self {
        let mut pieces = [(0, 0); SIZE];
        pieces[0] = (buffer, written as u16);
        Self { pieces, count: 1, bytes: written, is_adjacent: true }
    }

    fn push(&mut self, buffer: u8, written: usize) {
        let (before, filled) = self.pieces[self.count - 1];
        let follows = usize::from(buffer) == (usize::from(before) + 1) % SIZE;
        self.is_adjacent &= follows && usize::from(filled) == BUFFER;
        self.pieces[self.count] = (buffer, written as u16);
        self.count += 1;
        self.bytes += written;
    }

    fn pieces(&self) -> &[(u8, u16)] {
        &self.pieces[..self.count]
    }

    fn first(&self) -> u8 {
        self.pieces[0].0
    }
}
