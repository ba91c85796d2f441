//! Datagrams.

use alloc::vec::Vec;
use core::task::{Poll, Waker};

use smoltcp::{
    socket::udp::{PacketBuffer, PacketMetadata, SendError, Socket, UdpMetadata},
    wire::{IpAddress, IpEndpoint, IpListenEndpoint},
};

use crate::{
    Error, Link, Stack,
    address::header_len,
    endpoint::{Endpoint, Kind, keep},
    flows::{self, Who},
    rings::Single,
};

/// A UDP socket of a [`Stack`]. To be given to [`Stack::close_udp`] in the end.
#[derive(Debug)]
pub struct Udp {
    endpoint: u32,
    port: u16,
}

impl Udp {
    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// How many datagrams wait to be read, or to be sent. Further ones are dropped.
const QUEUE: usize = 16;

/// How long a datagram waits for its receiver's hardware address, in microseconds. Then it is dropped, and all
/// that are in the queues of its socket.
const PATIENCE: u64 = 2_000_000;

/// How many bytes they have together, in each direction.
const BYTES: usize = 8192;

/// So many of the same. `None` if there is no memory.
fn filled<T: Clone>(value: T, count: usize) -> Option<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).ok()?;
    values.resize(count, value);
    Some(values)
}

impl<L: Link> Stack<L> {
    /// A socket for this port, and this address if it is said; port 0 takes any that is free.
    ///
    /// # Errors
    ///
    /// [`Error::AddressInUse`], [`Error::NoFreePort`], [`Error::OutOfMemory`].
    pub fn bind_udp(&mut self, local: IpListenEndpoint) -> Result<Udp, Error> {
        let port = match local.port {
            0 => self.free_port(|this, port| this.flows.find(&flows::port(port)).is_none())?,
            port if self.flows.find(&flows::port(port)).is_some() => {
                return Err(Error::AddressInUse);
            }
            port => port,
        };
        let buffer =
            || Some(PacketBuffer::new(filled(PacketMetadata::EMPTY, QUEUE)?, filled(0, BYTES)?));
        let (Some(received), Some(sent)) = (buffer(), buffer()) else {
            return Err(Error::OutOfMemory);
        };
        let mut socket = Socket::new(received, sent);
        let local = IpListenEndpoint { addr: local.addr, port };
        socket.bind(local).map_err(|_| Error::InvalidAddress)?;
        let has_place = self.flows.reserve();
        let endpoint = Single::new(socket).map(|single| Endpoint::new(Kind::Udp { port }, single));
        let number = endpoint.filter(|_| has_place).and_then(|endpoint| self.add(endpoint));
        let endpoint = number.ok_or(Error::OutOfMemory)?;
        self.flows.insert(flows::port(port), Who::Datagrams(endpoint));
        Ok(Udp { endpoint, port })
    }

    /// Lets `take` have the next datagram, with who sent it and to which of our addresses.
    pub fn poll_receive_udp<R>(
        &mut self,
        socket: &Udp,
        waker: &Waker,
        take: impl FnOnce(&[u8], IpEndpoint, Option<IpAddress>) -> R,
    ) -> Poll<R> {
        let Some(endpoint) = self.endpoints.get_mut(socket.endpoint) else {
            return Poll::Pending; // cannot be: there is a `Udp`
        };
        if let Ok((bytes, metadata)) = endpoint.single.socket::<Socket<'_>>().recv() {
            return Poll::Ready(take(bytes, metadata.endpoint, metadata.local_address));
        }
        self.woken.discard(keep(&mut endpoint.reader, waker));
        Poll::Pending
    }

    /// Whether there is a datagram.
    pub fn poll_readable_udp(&mut self, socket: &Udp, waker: &Waker) -> Poll<()> {
        let Some(endpoint) = self.endpoints.get_mut(socket.endpoint) else {
            return Poll::Pending; // cannot be: there is a `Udp`
        };
        if endpoint.single.socket::<Socket<'_>>().can_recv() {
            return Poll::Ready(());
        }
        self.woken.discard(keep(&mut endpoint.reader, waker));
        Poll::Pending
    }

    /// The address from which this machine sends to that one, unless another one is asked for.
    pub fn source_address(&self, to: IpAddress) -> Option<IpAddress> {
        // smoltcp asserts it.
        if to.is_unspecified() {
            return None;
        }
        self.interface.get_source_address(&to)
    }

    /// Sends a datagram, or keeps it until there is room or the neighbour is known. Waits while too many
    /// are kept.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidAddress`], [`Error::NetworkUnreachable`], [`Error::TooLarge`].
    pub fn poll_send_udp(
        &mut self,
        now: u64,
        socket: &Udp,
        waker: &Waker,
        bytes: &[u8],
        to: IpEndpoint,
        from: Option<IpAddress>,
    ) -> Poll<Result<(), Error>> {
        // smoltcp panics on these.
        if to.addr.is_unspecified() || from.is_some_and(|from| !self.interface.has_ip_addr(from)) {
            return Poll::Ready(Err(Error::InvalidAddress));
        }
        let (route, way) = (self.source_address(to.addr), self.has_way(to.addr));
        let Some(endpoint) = self.endpoints.get_mut(socket.endpoint) else {
            return Poll::Ready(Err(Error::InvalidAddress));
        };
        let header = header_len(to.addr) + HEADER;
        if bytes.len() + header > self.link.mtu() || bytes.len() > BYTES {
            return Poll::Ready(Err(Error::TooLarge));
        }
        if route.is_none() || !way {
            return Poll::Ready(Err(Error::NetworkUnreachable));
        }
        let mut metadata = UdpMetadata::from(to);
        metadata.local_address = from;
        let sender = endpoint.single.socket::<Socket<'_>>();
        let from = from.or(sender.endpoint().addr);
        if from.is_some_and(|from| from.version() != to.addr.version()) {
            return Poll::Ready(Err(Error::InvalidAddress));
        }
        let sent = sender.send_slice(bytes, metadata);
        if !endpoint.stalled {
            endpoint.since = now; // it would wait from now on
        }
        match sent {
            Ok(()) => {
                self.serve(now, socket.endpoint);
                Poll::Ready(Ok(()))
            }
            Err(SendError::Unaddressable) => Poll::Ready(Err(Error::InvalidAddress)),
            Err(SendError::BufferFull) => {
                self.woken.discard(keep(&mut endpoint.writer, waker));
                Poll::Pending
            }
        }
    }

    /// Ends a socket; what is still kept is dropped.
    pub fn close_udp(&mut self, socket: Udp) {
        self.flows.remove(&flows::port(socket.port), Who::Datagrams(socket.endpoint));
        self.remove(socket.endpoint);
    }

    /// Wakes who can go on.
    pub(crate) fn follow_udp(&mut self, now: u64, number: u32) {
        let Some(endpoint) = self.endpoints.get_mut(number) else { return };
        let socket = endpoint.single.socket::<Socket<'_>>();
        if !endpoint.stalled {
            endpoint.since = now;
        } else if now >= endpoint.since + PATIENCE {
            // The datagram in front is for somebody who does not answer, and smoltcp lets none overtake it.
            let local = socket.endpoint();
            socket.close();
            let _ = socket.bind(local); // it was bound to that before
            endpoint.since = now;
        }
        let (readable, writable) = (socket.can_recv(), socket.can_send());
        if readable {
            self.woken.push(&mut endpoint.reader);
        }
        if writable {
            self.woken.push(&mut endpoint.writer);
        }
    }
}

/// UDP's own, in bytes (RFC 768).
const HEADER: usize = 8;
