//! Frames out.

#![expect(unsafe_code, reason = "buffers are shared with a device")]

use core::{ptr::NonNull, slice};

use virtio_drivers::transport::Transport;
use wakeful_virtio::Ring;

use crate::{
    Doorbell, Fault, MAX_FRAME, SIZE, TRANSMIT, Work, header,
    memory::{BUFFER, FRAME_AT, Pool},
};

/// The most buffers of one frame, where frames may be longer than the wire's: an eighth of all, so that
/// there is room for others while some are on their way.
const MOST: usize = 16;

/// The longest frame that they hold.
const LONGEST: usize = MOST * BUFFER - FRAME_AT;

/// Adjacent buffers that are handed out together, noted at the first of them.
#[derive(Clone, Copy, Default)]
struct Taken {
    /// How many, or 0: no such thing begins here.
    count: u8,
    /// The device does not have them (any more).
    is_done: bool,
}

/// The queue of buffers to be sent.
pub(crate) struct Sender<B> {
    ring: Ring<B>,
    pool: Pool,
    /// Bytes of the device's header.
    header: u16,
    /// Bytes of the longest frame.
    longest: u16,
    /// There is room for the longest frame, wherever it begins, if fewer buffers than that are taken. 0
    /// while the device is stopped.
    limit: u16,
    /// How many are taken, from `oldest` on and round the end, up to `next`.
    used: u16,
    oldest: u8,
    next: u8,
    taken: [Taken; SIZE],
}

impl<B: Doorbell> Sender<B> {
    pub(crate) fn new(ring: Ring<B>, pool: Pool, header: usize, cuts: bool) -> Self {
        Self {
            ring,
            pool,
            header: header as u16,
            longest: if cuts { LONGEST } else { MAX_FRAME } as u16,
            limit: 0,
            used: 0,
            oldest: 0,
            next: 0,
            taken: [Taken::default(); SIZE],
        }
    }

    /// Begins with a device that was reset: what was not sent is not sent.
    pub(crate) fn start(&mut self, transport: &mut impl Transport) {
        self.ring.start(transport, TRANSMIT);
        self.limit = limit(self.longest.into());
        (self.used, self.oldest, self.next) = (0, 0, 0);
        self.taken = [Taken::default(); SIZE];
    }

    /// There is no room from now on, until it is restarted.
    pub(crate) fn stop(&mut self) {
        self.limit = 0;
    }

    pub(crate) fn ring(&self) -> &Ring<B> {
        &self.ring
    }

    #[inline]
    pub(crate) fn longest(&self) -> usize {
        self.longest.into()
    }

    /// Whether there is room for any frame, without a look at what was sent.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.used < self.limit
    }

    /// Has a frame written, and gives it to the device.
    #[inline]
    pub(crate) fn transmit<R>(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> (Work, R),
    ) -> R {
        assert!(len <= self.longest(), "a frame that is too long");
        assert!(self.has_room(), "no room for a frame");
        let count = match len {
            ..=ONE => 1,
            _ => self.make_adjacent(len),
        };
        let buffer = self.next;
        let frame = self.pool.frame(buffer);
        // SAFETY: these buffers are free, so they are ours, and as many as it needs.
        let (work, result) = fill(unsafe { slice::from_raw_parts_mut(frame.as_ptr(), len) });
        self.write_header(frame, work);
        let header = usize::from(self.header);
        self.ring.describe(buffer, self.pool.address(buffer, header), header + len);
        self.take(Taken { count: count as u8, is_done: false });
        // SAFETY: it describes these buffers, which are not free again until the device returns them.
        unsafe { self.ring.give(buffer) };
        self.ring.announce();
        result
    }

    /// Writes the device's header before a frame. Another one's data may have been there.
    #[inline]
    fn write_header(&mut self, frame: NonNull<u8>, work: Work) {
        let (kind, rest) = work.words();
        let (a, b, c) = match usize::from(self.header) {
            header::LONG => (kind, rest, 0),
            _ => (0, u64::from(kind) | rest << 16, (rest >> 48) as u16),
        };
        // SAFETY: the bytes before the frame are the buffer's. All three are aligned: a buffer is, and
        // `FRAME_AT` is 2 more than a multiple of 16.
        unsafe {
            frame.byte_sub(12).cast::<u16>().write(a);
            frame.byte_sub(10).cast::<u64>().write(b);
            frame.byte_sub(2).cast::<u16>().write(c);
        }
    }

    /// Notes that the next buffers are not free.
    #[inline]
    fn take(&mut self, taken: Taken) {
        if let Some(place) = self.taken.get_mut(usize::from(self.next)) {
            *place = taken;
        }
        self.used += u16::from(taken.count);
        self.next = (usize::from(self.next) + usize::from(taken.count)) as u8 % SIZE as u8;
    }

    /// How many buffers a long frame needs. From the next one on there are as many side by side.
    #[cold]
    fn make_adjacent(&mut self, len: usize) -> usize {
        let count = (FRAME_AT + len).div_ceil(BUFFER);
        let at_the_end = SIZE - usize::from(self.next);
        if at_the_end < count {
            // Nobody has these, so they are free again when all before them are.
            self.take(Taken { count: at_the_end as u8, is_done: true });
        }
        count
    }

    /// Takes back what was sent. Whether there is room for any frame then.
    pub(crate) fn reclaim(&mut self) -> Result<bool, Fault> {
        while let Some((id, _)) = self.ring.take()? {
            match self.taken.get_mut(id) {
                Some(Taken { count: 1.., is_done: is_done @ false }) => *is_done = true,
                _ => return Err(Fault::Buffer),
            }
            self.free();
        }
        Ok(self.has_room())
    }

    /// Frees the oldest buffers, as far as they are done with.
    #[inline]
    fn free(&mut self) {
        while let Some(taken) = self.taken.get_mut(usize::from(self.oldest))
            && taken.is_done
        {
            self.used -= u16::from(taken.count);
            self.oldest = (usize::from(self.oldest) + usize::from(taken.count)) as u8 % SIZE as u8;
            *taken = Taken::default();
        }
    }
}

/// The longest frame in one buffer.
const ONE: usize = BUFFER - FRAME_AT;

/// So many buffers may be taken that one frame less has room: at worst it needs its buffers and, at the end,
/// one less than that.
fn limit(longest: usize) -> u16 {
    let count = (FRAME_AT + longest).div_ceil(BUFFER);
    (SIZE + 2 - 2 * count) as u16
}
