//! The buffers of TCP sockets, which are lent to them while there is something in them.
//!
//! A connection at rest has none: ten thousand of them would have 160 MB. What it is for the peer, its window,
//! stays as if it had. A buffer in which there is nothing is given back at the connection's next deadline, at
//! most a second later or so, as a connection that is busy will need it again; at once when half of all are lent.
//! The pool is bounded. When it is empty, what is received is dropped, so that the peer sends it again, and who
//! writes has to wait.

use alloc::vec::Vec;

use smoltcp::{
    iface::{SocketHandle, SocketSet, SocketStorage},
    socket::tcp,
};

/// Memory for buffers: what is not lent, and how much there may be.
pub(crate) struct Buffers {
    free: Vec<Vec<u8>>,
    /// Bytes that are lent.
    lent: usize,
    /// Bytes that are kept for the next ones.
    kept: usize,
    /// The most bytes, lent and kept together.
    limit: usize,
}

/// The most bytes that are kept, and not given back to the heap, unless an eighth of the limit is less.
const KEPT: usize = 512 << 10;

impl Buffers {
    pub(crate) fn new(limit: usize) -> Self {
        Self { free: Vec::new(), lent: 0, kept: 0, limit }
    }

    /// A buffer of so many bytes, with anything in it. `None` if there is no memory.
    pub(crate) fn lend(&mut self, size: usize) -> Option<Vec<u8>> {
        // Most connections have buffers of one size.
        let buffer = match self.free.pop_if(|last| last.len() == size) {
            Some(buffer) => {
                self.kept -= size;
                buffer
            }
            None => self.find(size)?,
        };
        self.lent += size;
        Some(buffer)
    }

    #[cold]
    fn find(&mut self, size: usize) -> Option<Vec<u8>> {
        if let Some(at) = self.free.iter().position(|buffer| buffer.len() == size) {
            self.kept -= size;
            return Some(self.free.swap_remove(at));
        }
        while self.lent + self.kept + size > self.limit {
            self.kept -= self.free.pop()?.len();
        }
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(size).ok()?;
        buffer.resize(size, 0);
        Some(buffer)
    }

    /// Whether so much is lent that nobody may keep an empty buffer.
    #[inline]
    pub(crate) fn are_scarce(&self) -> bool {
        self.lent > self.limit / 2
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&mut self, buffer: Vec<u8>) {
        self.lent -= buffer.len();
        if self.kept + buffer.len() <= KEPT.min(self.limit / 8) && self.free.try_reserve(1).is_ok()
        {
            self.kept += buffer.len();
            self.free.push(buffer);
        }
    }

    /// Bytes that are lent.
    pub(crate) fn lent(&self) -> usize {
        self.lent
    }
}

/// A set that has one socket.
pub(crate) struct Single {
    set: SocketSet<'static>,
    handle: SocketHandle,
    /// How large the buffers of a TCP socket are, in bytes.
    receive: u32,
    transmit: u32,
}

/// A TCP socket, whose buffers have no memory yet.
fn socket(receive: u32, transmit: u32) -> tcp::Socket<'static> {
    tcp::Socket::new(
        tcp::SocketBuffer::without_storage(receive as usize),
        tcp::SocketBuffer::without_storage(transmit as usize),
    )
}

impl Single {
    /// A set with this socket, which has memory of its own. `None` if there is no memory.
    pub(crate) fn new<T: smoltcp::socket::AnySocket<'static>>(socket: T) -> Option<Self> {
        let mut storage = Vec::new();
        storage.try_reserve_exact(1).ok()?;
        storage.push(SocketStorage::EMPTY);
        let mut set = SocketSet::new(storage);
        let handle = set.add(socket);
        Some(Self { set, handle, receive: 0, transmit: 0 })
    }

    /// A set with a TCP socket that has buffers of these sizes in bytes. `None` if there is no memory.
    pub(crate) fn tcp(receive: u32, transmit: u32) -> Option<Self> {
        Some(Self { receive, transmit, ..Self::new(socket(receive, transmit))? })
    }

    /// Puts a new TCP socket, with buffers of these sizes, where one [has ended](Self::end_tcp).
    pub(crate) fn renew_tcp(&mut self, receive: u32, transmit: u32) {
        (self.receive, self.transmit) = (receive, transmit);
        self.handle = self.set.add(socket(receive, transmit));
    }

    /// Gives back the buffers of a TCP socket, which is gone.
    pub(crate) fn end_tcp(&mut self, buffers: &mut Buffers) {
        let smoltcp::socket::Socket::Tcp(socket) = self.set.remove(self.handle) else { return };
        let (mut receive, mut transmit) = socket.into_buffers();
        receive.clear();
        transmit.clear();
        for storage in [receive.take_storage(), transmit.take_storage()] {
            give_back(buffers, storage);
        }
    }

    /// Lends a TCP socket memory for what it receives. Whether there is some.
    #[inline(never)]
    pub(crate) fn lend_receive(&mut self, buffers: &mut Buffers) -> bool {
        let Some(buffer) = buffers.lend(self.receive as usize) else { return false };
        self.socket::<tcp::Socket<'_>>().put_recv_storage(buffer);
        true
    }

    /// The same for what is to be sent.
    #[inline(never)]
    pub(crate) fn lend_transmit(&mut self, buffers: &mut Buffers) -> bool {
        let Some(buffer) = buffers.lend(self.transmit as usize) else { return false };
        self.socket::<tcp::Socket<'_>>().put_send_storage(buffer);
        true
    }

    /// Takes back the buffers of a TCP socket in which there is nothing.
    #[inline(never)]
    pub(crate) fn reclaim(&mut self, buffers: &mut Buffers) {
        let socket = self.socket::<tcp::Socket<'_>>();
        let storages = [socket.take_recv_storage(), socket.take_send_storage()];
        storages.into_iter().for_each(|storage| give_back(buffers, storage));
    }

    /// Sizes of the buffers for received bytes and for bytes to be sent.
    #[inline]
    pub(crate) fn sizes(&self) -> (u32, u32) {
        (self.receive, self.transmit)
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

fn give_back(buffers: &mut Buffers, storage: Option<managed::ManagedSlice<'static, u8>>) {
    if let Some(managed::ManagedSlice::Owned(buffer)) = storage {
        buffers.give_back(buffer);
    }
}
