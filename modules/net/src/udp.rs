//! Datagrams.

use core::{
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll, ready},
};

use wakeful_stack::{Udp, address, standard};
use wakeful_task::poll_proceed;

use crate::{
    Error, Local,
    state::{now, with, with_existing},
    tcp::{address_of, endpoint_of},
};

/// Sends and receives datagrams.
///
/// Up to 16 of them, or 8 KiB, wait to be read; further ones are dropped, as is usual with UDP. Those that are
/// sent wait in the same way for their receiver's hardware address, in one queue; after three seconds what is in
/// the socket's queues is dropped. One task at a time may wait to receive, and one to send: of two, one is not
/// woken.
#[derive(Debug)]
pub struct UdpSocket {
    /// `None` only while it is dropped.
    socket: Option<Udp>,
}

/// A datagram's length, who sent it, and to which address of this machine.
type Received = (usize, SocketAddr, Option<IpAddr>);

impl UdpSocket {
    /// A socket for that port; 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`Error::NoCard`]; the port is in use.
    pub fn bind(local: impl Into<Local>) -> Result<Self, Error> {
        let local = local.into().endpoint()?;
        let socket = with(|stack| stack.bind_udp(local))??;
        Ok(Self { socket: Some(socket) })
    }

    fn socket(&self) -> &Udp {
        self.socket.as_ref().expect("it is taken when this is dropped")
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.socket().port()
    }

    /// The next datagram: how long it is, and who sent it. What does not fit into `buffer` is lost, and
    /// counts all the same.
    ///
    /// # Errors
    ///
    /// None today.
    ///
    /// # Cancellation
    ///
    /// No datagram is lost.
    pub async fn receive_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        let (length, peer, _) = poll_fn(|context| self.poll_receive(context, buffer)).await?;
        Ok((length, peer))
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// There is no way there, or it is too large for one packet.
    ///
    /// # Cancellation
    ///
    /// It was not sent if this has not returned.
    pub async fn send_to(&self, bytes: &[u8], peer: SocketAddr) -> Result<(), Error> {
        poll_fn(|context| self.poll_send(context, bytes, peer, None)).await
    }

    /// Waits until there is a datagram.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn readable(&self) {
        poll_fn(|context| {
            with_existing(|stack| stack.poll_readable_udp(self.socket(), context.waker()))
        })
        .await;
    }

    /// Receives, and says also to which address of this machine it came.
    pub(crate) fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<Received, Error>> {
        ready!(poll_proceed(context));
        with_existing(|stack| {
            stack.poll_receive_udp(self.socket(), context.waker(), |bytes, peer, local| {
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                Ok((bytes.len(), address_of(peer), local.map(standard)))
            })
        })
    }

    /// Sends from that address of this machine, or from the one that fits.
    pub(crate) fn poll_send(
        &self,
        context: &mut Context<'_>,
        bytes: &[u8],
        peer: SocketAddr,
        local: Option<IpAddr>,
    ) -> Poll<Result<(), Error>> {
        ready!(poll_proceed(context));
        let peer = endpoint_of(peer)?;
        let local = local.and_then(address);
        let sent = with_existing(|stack| {
            stack.poll_send_udp(now(), self.socket(), context.waker(), bytes, peer, local)
        });
        Poll::Ready(Ok(ready!(sent)?))
    }
}

impl Drop for UdpSocket {
    /// What was not sent yet is lost.
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            with_existing(|stack| stack.close_udp(socket));
        }
    }
}
