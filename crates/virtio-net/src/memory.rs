//! The card's buffers, which the device sees as well.

#![expect(unsafe_code, reason = "memory is shared with a device")]

use core::ptr::NonNull;

use wakeful_virtio::Region;

use crate::{MAX_FRAME, SIZE, header};

/// Bytes of a buffer: two make a page.
pub(crate) const BUFFER: usize = 2048;

/// Where the Ethernet frame begins in a buffer. The device's header ends there. The IP header behind
/// the Ethernet header is aligned to 32, TCP's to 4: hardware that traps on misaligned loads exists.
pub(crate) const FRAME_AT: usize = 18;

/// The number of what is behind the last buffer, if there is something.
pub(crate) const BEHIND: u8 = SIZE as u8;

/// Bytes of memory with a buffer for each entry of a queue.
pub(crate) const BUFFERS: usize = SIZE * BUFFER;

const _: () = assert!(header::LONG <= FRAME_AT && FRAME_AT + MAX_FRAME <= BUFFER);

/// [`SIZE`] buffers side by side, and perhaps room behind them.
#[derive(Debug)]
pub(crate) struct Pool(Region);

impl Pool {
    /// # Safety
    ///
    /// It has [`BUFFERS`] bytes, and more if what is [`BEHIND`] is asked for.
    pub(crate) unsafe fn new(region: Region) -> Self {
        Self(region)
    }

    /// Where the Ethernet frame begins in a buffer, or in what is [`BEHIND`].
    #[inline]
    pub(crate) fn frame(&self, buffer: u8) -> NonNull<u8> {
        debug_assert!(buffer <= BEHIND);
        // SAFETY: numbers of buffers are below `SIZE`, and `BEHIND` is used only where there is room.
        unsafe { self.0.start().byte_add(usize::from(buffer) * BUFFER + FRAME_AT) }
    }

    /// Where the device's header begins, of so many bytes.
    #[inline]
    pub(crate) fn header(&self, buffer: u8, header: usize) -> NonNull<u8> {
        debug_assert!(header <= FRAME_AT);
        // SAFETY: still in the buffer: a header is at most `header::LONG` bytes.
        unsafe { self.frame(buffer).byte_sub(header) }
    }

    /// What the device calls that.
    #[inline]
    pub(crate) fn address(&self, buffer: u8, header: usize) -> u64 {
        self.0.address() + u64::from(buffer) * BUFFER as u64 + (FRAME_AT - header) as u64
    }
}
