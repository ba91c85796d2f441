//! edge-nal 0.7: [`Network`] binds and connects, and our sockets are its sockets.
//!
//! What differs from what its documentation asks for:
//!
//! - Closing takes no longer than [`GOODBYE`] and [`LINGER`]: a peer that neither acknowledges nor hangs up
//!   would keep one of edge-http's few handlers for ever.
//! - Multicast groups cannot be joined, and names are not found by address: [`Error::Unsupported`]. smoltcp's
//!   multicast is 11 KiB of code, looks at its groups whenever a connection sends something, and does not
//!   say when it wants to answer a router's question about them: as each connection is asked for itself
//!   here, that answer would go with whatever is sent next, if anything is. Broadcasts work.
//!
//! edge-nal's own timeouts, and so edge-http's for idle connections, are Embassy's: the facade's feature
//! `edge` brings that time driver along.

use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use edge_nal::{
    AddrType, Close, Dns, MulticastV4, MulticastV6, Readable, TcpAccept, TcpBind, TcpConnect,
    TcpShutdown, TcpSplit, UdpBind, UdpConnect, UdpReceive, UdpSend, UdpSplit, UdpSplitMulticast,
};
use embedded_io_async::ErrorType;
use wakeful_stack::Error as StackError;
use wakeful_time::timeout;

use super::network::lookup_one;
use crate::{
    ConnectedUdp, Error, Network, OwnedReadHalf, ReadHalf, TcpListener, TcpStream, UdpSocket,
    WriteHalf,
};

/// How long a peer has to acknowledge the end of a connection.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long it has to say goodbye itself.
const LINGER: Duration = Duration::from_secs(1);

// --- TCP

impl TcpBind for Network {
    type Error = Error;
    type Accept<'a> = TcpListener;

    async fn bind(&self, local: SocketAddr) -> Result<TcpListener, Error> {
        TcpListener::bind(local)
    }
}

impl TcpAccept for TcpListener {
    type Error = Error;
    type Socket<'a> = TcpStream;

    async fn accept(&self) -> Result<(SocketAddr, TcpStream), Error> {
        let (stream, peer) = Self::accept(self).await?;
        Ok((peer, stream))
    }
}

impl TcpConnect for Network {
    type Error = Error;
    type Socket<'a> = TcpStream;

    async fn connect(&self, remote: SocketAddr) -> Result<TcpStream, Error> {
        TcpStream::connect(remote).await
    }
}

impl TcpSplit for TcpStream {
    type Read<'a> = ReadHalf<'a>;
    type Write<'a> = WriteHalf<'a>;

    fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        Self::split(self)
    }
}

impl TcpShutdown for TcpStream {
    /// What the peer still sends is read and dropped, if that direction is to be closed. A peer that goes on
    /// sending after `LINGER` gets a reset when the stream is dropped.
    async fn close(&mut self, what: Close) -> Result<(), Error> {
        if matches!(what, Close::Write | Close::Both) {
            let acknowledged = timeout(GOODBYE, self.shutdown()).await;
            acknowledged.map_err(|_| Error::Stack(StackError::TimedOut))??;
        }
        if matches!(what, Close::Read | Close::Both) {
            let mut buffer = [0; 256];
            let rest = async { while !matches!(self.read(&mut buffer).await, Ok(0) | Err(_)) {} };
            // Whichever ends first.
            let _ = timeout(LINGER, rest).await;
        }
        Ok(())
    }

    async fn abort(&mut self) -> Result<(), Error> {
        self.reset();
        Ok(())
    }
}

impl Readable for TcpStream {
    async fn readable(&mut self) -> Result<(), Error> {
        Self::readable(self).await;
        Ok(())
    }
}

impl Readable for ReadHalf<'_> {
    async fn readable(&mut self) -> Result<(), Error> {
        self.0.readable().await;
        Ok(())
    }
}

impl Readable for OwnedReadHalf {
    async fn readable(&mut self) -> Result<(), Error> {
        self.0.readable().await;
        Ok(())
    }
}

// --- Names

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

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, Error> {
        Err(Error::Unsupported)
    }
}

// --- UDP

impl UdpBind for Network {
    type Error = Error;
    type Socket<'a> = UdpSocket;

    async fn bind(&self, local: SocketAddr) -> Result<UdpSocket, Error> {
        UdpSocket::bind(local)
    }
}

impl UdpConnect for Network {
    type Error = Error;
    type Socket<'a> = ConnectedUdp;

    async fn connect(&self, local: SocketAddr, remote: SocketAddr) -> Result<ConnectedUdp, Error> {
        ConnectedUdp::new(local, remote)
    }
}

impl UdpReceive for &UdpSocket {
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        self.receive_from(buffer).await
    }
}

impl UdpSend for &UdpSocket {
    async fn send(&mut self, remote: SocketAddr, data: &[u8]) -> Result<(), Error> {
        self.send_to(data, remote).await
    }
}

impl UdpReceive for &ConnectedUdp {
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        let length = ConnectedUdp::receive(self, buffer).await?;
        Ok((length, self.peer_address()))
    }
}

impl UdpSend for &ConnectedUdp {
    async fn send(&mut self, _: SocketAddr, data: &[u8]) -> Result<(), Error> {
        ConnectedUdp::send(self, data).await
    }
}

/// Reading and writing borrow a socket, so that a reference to it is each of its parts.
macro_rules! datagrams {
    ($socket:ty) => {
        impl ErrorType for $socket {
            type Error = Error;
        }

        impl ErrorType for &$socket {
            type Error = Error;
        }

        impl UdpReceive for $socket {
            async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
                UdpReceive::receive(&mut &*self, buffer).await
            }
        }

        impl UdpSend for $socket {
            async fn send(&mut self, remote: SocketAddr, data: &[u8]) -> Result<(), Error> {
                UdpSend::send(&mut &*self, remote, data).await
            }
        }

        impl UdpSplit for $socket {
            type Receive<'a> = &'a Self;
            type Send<'a> = &'a Self;

            fn split(&mut self) -> (&Self, &Self) {
                (self, self)
            }
        }

        impl UdpSplitMulticast for $socket {
            type MulticastV4<'a> = &'a Self;
            type MulticastV6<'a> = &'a Self;

            fn split_multicast(&mut self) -> (&Self, &Self, &Self, &Self) {
                (self, self, self, self)
            }
        }

        datagrams!(@part $socket, $socket);
        datagrams!(@part $socket, &$socket);
    };
    (@part $socket:ty, $part:ty) => {
        impl Readable for $part {
            async fn readable(&mut self) -> Result<(), Error> {
                <$socket>::readable(self).await;
                Ok(())
            }
        }

        impl MulticastV4 for $part {
            async fn join_v4(&mut self, _: Ipv4Addr, _: Ipv4Addr) -> Result<(), Error> {
                Err(Error::Unsupported)
            }

            async fn leave_v4(&mut self, _: Ipv4Addr, _: Ipv4Addr) -> Result<(), Error> {
                Err(Error::Unsupported)
            }
        }

        impl MulticastV6 for $part {
            async fn join_v6(&mut self, _: Ipv6Addr, _: u32) -> Result<(), Error> {
                Err(Error::Unsupported)
            }

            async fn leave_v6(&mut self, _: Ipv6Addr, _: u32) -> Result<(), Error> {
                Err(Error::Unsupported)
            }
        }
    };
}

datagrams!(UdpSocket);
datagrams!(ConnectedUdp);
