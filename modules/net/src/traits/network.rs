//! What the traits of embedded-nal-async and edge-nal are implemented for, beside our own sockets.

use core::net::{IpAddr, SocketAddr};

use wakeful_stack::{Error as StackError, address, standard};

use crate::{Error, UdpSocket, lookup, names::lookup_kind, state::with};

/// This machine's network, as the traits of embedded-nal-async and edge-nal want it: what makes
/// connections, binds sockets and looks up names.
///
/// ```ignore
/// let mut client = reqwless::client::HttpClient::new(&Network, &Network);
/// let acceptor = edge_nal::TcpBind::bind(&Network, "0.0.0.0:80".parse()?).await?;
/// ```
///
/// It has no state: there is one network, and each `Network` is it. Its connections are
/// [`TcpStream`](crate::TcpStream)s with the usual options.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network;

/// A [`UdpSocket`] that hears one peer only, and sends to it.
#[derive(Debug)]
pub struct ConnectedUdp {
    socket: UdpSocket,
    local: IpAddr,
    peer: SocketAddr,
}

impl ConnectedUdp {
    /// A socket at `local`, which may be unspecified, and port 0 takes a free one; for datagrams from and to
    /// `peer`.
    ///
    /// # Errors
    ///
    /// The port is in use; there is no way to the peer; one has an IPv4 address, the other one an IPv6
    /// address.
    pub fn new(local: SocketAddr, peer: SocketAddr) -> Result<Self, Error> {
        if local.is_ipv4() != peer.is_ipv4() {
            return Err(StackError::InvalidAddress.into());
        }
        let local = SocketAddr::new(own_address(local.ip(), peer.ip())?, local.port());
        let socket = UdpSocket::bind(local)?;
        Ok(Self { socket, local: local.ip(), peer })
    }

    /// This side's address.
    pub fn local_address(&self) -> SocketAddr {
        SocketAddr::new(self.local, self.socket.port())
    }

    /// The peer's address.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// The peer's next datagram: how long it is. What does not fit into `buffer` is lost, and counts all the
    /// same. Those of others are dropped; what they said may be left in `buffer` meanwhile.
    ///
    /// # Errors
    ///
    /// None today.
    ///
    /// # Cancellation
    ///
    /// None of the peer's datagrams is lost.
    pub async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            let (length, from) = self.socket.receive_from(buffer).await?;
            if from == self.peer {
                return Ok(length);
            }
        }
    }

    /// Sends a datagram to the peer.
    ///
    /// # Errors
    ///
    /// It is too large for one packet, or there is no way to the peer any more.
    ///
    /// # Cancellation
    ///
    /// It was not sent if this has not returned.
    pub async fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        self.socket.send_to(bytes, self.peer).await
    }

    /// Waits until there is a datagram, be it the peer's or not.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn readable(&self) {
        self.socket.readable().await;
    }
}

/// `wanted`, or if that is 0.0.0.0 or ::, the address from which this machine sends to `peer`.
pub(super) fn own_address(wanted: IpAddr, peer: IpAddr) -> Result<IpAddr, Error> {
    if !wanted.is_unspecified() {
        return Ok(wanted);
    }
    let own = with(|stack| address(peer).and_then(|peer| stack.source_address(peer)))?;
    own.map(standard).ok_or(StackError::NetworkUnreachable.into())
}

/// One address of a name: of that family, or of any.
pub(super) async fn lookup_one(name: &str, ipv6: Option<bool>) -> Result<IpAddr, Error> {
    let nobody = Error::Stack(StackError::NoSuchName);
    let addresses = match (ipv6, name.parse::<IpAddr>()) {
        (Some(ipv6), Ok(address)) if address.is_ipv6() != ipv6 => return Err(nobody),
        (_, Ok(address)) => return Ok(address),
        (None, Err(_)) => return lookup(name).await?.first().copied().ok_or(nobody),
        (Some(ipv6), Err(_)) => lookup_kind(name, ipv6).await?,
    };
    addresses.first().map(|&address| standard(address)).ok_or(nobody)
}
