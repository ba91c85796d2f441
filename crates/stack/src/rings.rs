//! The two rings of a TCP socket, and the set of one that has it.
//!
//! smoltcp's socket keeps what it is given for its buffers and never gives it back, so that memory of its own
//! would be cleared for each connection: at 16 KiB that is more work than the connection itself. Here it is
//! borrowed, and lent to one socket after another.

#![expect(unsafe_code, reason = "lends memory to a socket for longer than the compiler can see")]

use alloc::{alloc as heap, vec::Vec};
use core::{alloc::Layout, ptr::NonNull, slice};

use smoltcp::{
    iface::{SocketHandle, SocketSet, SocketStorage},
    socket::tcp,
};

/// Memory for what was received and what is to be sent, in this order.
struct Rings {
    memory: NonNull<u8>,
    receive: usize,
    transmit: usize,
}

// SAFETY: it owns its memory.
unsafe impl Send for Rings {}

impl Rings {
    /// `None` if there is no memory, or both sizes are 0.
    fn new(receive: usize, transmit: usize) -> Option<Self> {
        let layout = Self::layout(receive, transmit)?;
        // SAFETY: the size is not 0.
        let memory = NonNull::new(unsafe { heap::alloc_zeroed(layout) })?;
        Some(Self { memory, receive, transmit })
    }

    fn layout(receive: usize, transmit: usize) -> Option<Layout> {
        let layout = Layout::array::<u8>(receive.checked_add(transmit)?).ok()?;
        (layout.size() > 0).then_some(layout)
    }

    /// # Safety
    ///
    /// What was lent before is not used any more, and what is lent now is used no longer than `self` lives.
    unsafe fn lend(&mut self) -> (&'static mut [u8], &'static mut [u8]) {
        // SAFETY: both lie in our memory, which was initialised when it was allocated, they do not overlap,
        // and by the contract nobody else has them.
        unsafe {
            (
                slice::from_raw_parts_mut(self.memory.as_ptr(), self.receive),
                slice::from_raw_parts_mut(self.memory.as_ptr().add(self.receive), self.transmit),
            )
        }
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.receive, self.transmit) {
            // SAFETY: allocated with this layout.
            unsafe { heap::dealloc(self.memory.as_ptr(), layout) };
        }
    }
}

fn socket(receive: &'static mut [u8], transmit: &'static mut [u8]) -> tcp::Socket<'static> {
    tcp::Socket::new(tcp::SocketBuffer::new(receive), tcp::SocketBuffer::new(transmit))
}

/// A set that has one socket.
pub(crate) struct Single {
    // Invariant: the socket in the set borrows from `rings`, if there are any. The set is dropped first.
    set: SocketSet<'static>,
    handle: SocketHandle,
    rings: Option<Rings>,
}

impl Single {
    /// A set with this socket, which has memory of its own.
    pub(crate) fn new<T: smoltcp::socket::AnySocket<'static>>(socket: T) -> Self {
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Self { set, handle, rings: None }
    }

    /// A set with a TCP socket that has rings of these sizes in bytes. `None` if there is no memory.
    pub(crate) fn tcp(receive: usize, transmit: usize) -> Option<Self> {
        let mut rings = Rings::new(receive, transmit)?;
        // SAFETY: lent for the first time; by the invariant of `Single` not longer than the rings live.
        let (receive, transmit) = unsafe { rings.lend() };
        let mut storage = Vec::new();
        storage.try_reserve_exact(1).ok()?;
        storage.push(SocketStorage::EMPTY);
        let mut set = SocketSet::new(storage);
        let handle = set.add(socket(receive, transmit));
        Some(Self { set, handle, rings: Some(rings) })
    }

    /// Replaces a TCP socket by a new one with the same rings.
    pub(crate) fn renew_tcp(&mut self) {
        let Some(rings) = &mut self.rings else { return };
        drop(self.set.remove(self.handle));
        // SAFETY: the one socket that had them is gone; by the invariant not longer than the rings live.
        let (receive, transmit) = unsafe { rings.lend() };
        self.handle = self.set.add(socket(receive, transmit));
    }

    /// Sizes of the rings for received bytes and for bytes to be sent.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        self.rings.as_ref().map_or((0, 0), |rings| (rings.receive, rings.transmit))
    }

    /// The socket.
    ///
    /// # Panics
    ///
    /// If it is not of this kind.
    #[inline]
    pub(crate) fn socket<T: smoltcp::socket::AnySocket<'static>>(&mut self) -> &mut T {
        self.set.get_mut(self.handle)
    }

    /// The set, for smoltcp.
    #[inline]
    pub(crate) fn set(&mut self) -> &mut SocketSet<'static> {
        &mut self.set
    }
}
