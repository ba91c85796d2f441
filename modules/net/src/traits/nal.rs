//! embedded-nal-async 0.9: [`Network`] connects, looks up names, and makes UDP sockets.
//!
//! What differs from what its documentation asks for: names are not found by address, and a UDP socket that
//! is bound to one address keeps others from binding its port at another address.

use core::{
    future::poll_fn,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use embedded_nal_async::{AddrType, Dns, TcpConnect, UdpStack, UnconnectedUdp};
use wakeful_stack::Error as StackError;

use super::network::{lookup_one, own_address};
use crate::{ConnectedUdp, Error, Network, TcpStream, UdpSocket};

impl TcpConnect for Network {
    type Error = Error;
    type Connection<'a> = TcpStream;

    async fn connect(&self, remote: SocketAddr) -> Result<TcpStream, Error> {
        TcpStream::connect(remote).await
    }
}

impl Dns for Network {
    type Error = Error;

    async fn get_host_by_name(&self, host: &str, addr_type: AddrType) -> Result<IpAddr, Error> {
        let ipv6 = match addr_type {
            AddrType::IPv4 => Some(false),
            AddrType::IPv6 => Some(true),
            AddrType::Either => None,
        };
        lookup_one(host, ipv6).await
    }

    /// [`Error::Unsupported`].
    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, Error> {
        Err(Error::Unsupported)
    }
}

impl UdpStack for Network {
    type Error = Error;
    type Connected = ConnectedUdp;
    type UniquelyBound = UdpSocket;
    type MultiplyBound = UdpSocket;

    async fn connect_from(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(SocketAddr, ConnectedUdp), Error> {
        let socket = ConnectedUdp::new(local, remote)?;
        Ok((socket.local_address(), socket))
    }

    async fn bind_single(&self, local: SocketAddr) -> Result<(SocketAddr, UdpSocket), Error> {
        // Of several the one that the world is reached by: these addresses are for documentation (RFC 5737,
        // RFC 3849), and nothing is sent to them.
        let world = match local {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        };
        let address = own_address(local.ip(), world)?;
        let socket = UdpSocket::bind(SocketAddr::new(address, local.port()))?;
        Ok((SocketAddr::new(address, socket.port()), socket))
    }

    async fn bind_multiple(&self, local: SocketAddr) -> Result<UdpSocket, Error> {
        UdpSocket::bind(local)
    }
}

impl embedded_nal_async::ConnectedUdp for ConnectedUdp {
    type Error = Error;

    async fn send(&mut self, data: &[u8]) -> Result<(), Error> {
        Self::send(self, data).await
    }

    async fn receive_into(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.receive(buffer).await
    }
}

impl UnconnectedUdp for UdpSocket {
    type Error = Error;

    /// From a port that is not the socket's: [`StackError::InvalidAddress`].
    async fn send(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        data: &[u8],
    ) -> Result<(), Error> {
        if local.port() != 0 && local.port() != self.port() {
            return Err(StackError::InvalidAddress.into());
        }
        let from = (!local.ip().is_unspecified()).then_some(local.ip());
        poll_fn(|context| self.poll_send(context, data, remote, from)).await
    }

    async fn receive_into(
        &mut self,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddr, SocketAddr), Error> {
        let (length, remote, local) = poll_fn(|context| self.poll_receive(context, buffer)).await?;
        let unspecified = match remote {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let local = SocketAddr::new(local.unwrap_or(unspecified), self.port());
        Ok((length, local, remote))
    }
}
