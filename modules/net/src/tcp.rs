//! Listeners and streams.

use alloc::sync::Arc;
use core::{
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll, ready},
};

use wakeful_stack::{
    Connection, Error as StackError, IpEndpoint, IpListenEndpoint, Listener, address, standard,
};
use wakeful_task::poll_proceed;

pub use wakeful_stack::{ConnectionId, TcpOptions};

use crate::{
    Error,
    state::{now, ready, with, with_existing},
};

/// A port of this machine, and perhaps one of its addresses: made from a port, or from an address with port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    address: Option<IpAddr>,
    port: u16,
}

impl From<u16> for Local {
    /// That port, at all addresses of this machine. 0 takes a free one.
    fn from(port: u16) -> Self {
        Self { address: None, port }
    }
}

impl From<SocketAddr> for Local {
    /// That port, at that address, or at all addresses if it is 0.0.0.0 or ::.
    fn from(address: SocketAddr) -> Self {
        let ip = address.ip();
        Self { address: (!ip.is_unspecified()).then_some(ip), port: address.port() }
    }
}

impl Local {
    pub(crate) fn endpoint(self) -> Result<IpListenEndpoint, Error> {
        let addr = match self.address {
            Some(ip) => Some(address(ip).ok_or(NO_WAY)?),
            None => None,
        };
        Ok(IpListenEndpoint { addr, port: self.port })
    }
}

/// There is no way to addresses of a family that is not linked.
const NO_WAY: Error = Error::Stack(StackError::NetworkUnreachable);

pub(crate) fn address_of(endpoint: IpEndpoint) -> SocketAddr {
    SocketAddr::new(standard(endpoint.addr), endpoint.port)
}

pub(crate) fn endpoint_of(it: SocketAddr) -> Result<IpEndpoint, Error> {
    Ok(IpEndpoint::new(address(it.ip()).ok_or(NO_WAY)?, it.port()))
}

/// How many connections wait to be accepted, unless something else is asked for. Linux has 4096
/// (`net.core.somaxconn`); each of ours has its buffers already.
const BACKLOG: usize = 128;

/// Takes connections to a port.
///
/// Handshakes are done, and connections wait, while nobody accepts. When too many wait, a further SYN is
/// not answered, and the peer tries again. Any number of tasks may accept.
#[derive(Debug)]
pub struct TcpListener {
    /// `None` only while it is dropped.
    listener: Option<Listener>,
}

impl TcpListener {
    /// Takes connections to a port: `bind(80)`, or `bind(address)` for one of this machine's addresses.
    ///
    /// # Errors
    ///
    /// [`Error::NoCard`]; the port is in use.
    pub fn bind(local: impl Into<Local>) -> Result<Self, Error> {
        Self::bind_with(local, BACKLOG, TcpOptions::default())
    }

    /// As [`bind`](Self::bind), with the number of connections that may wait, and what connections are
    /// made of.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_with(
        local: impl Into<Local>,
        backlog: usize,
        options: TcpOptions,
    ) -> Result<Self, Error> {
        let local = local.into().endpoint()?;
        let listener = with(|stack| stack.listen(local, backlog, options))??;
        Ok(Self { listener: Some(listener) })
    }

    fn listener(&self) -> &Listener {
        self.listener.as_ref().expect("it is taken when this is dropped")
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.listener().port()
    }

    /// The next connection, and who made it.
    ///
    /// # Errors
    ///
    /// None today: a connection that has failed since is given out, and reading from it fails.
    ///
    /// # Cancellation
    ///
    /// No connection is lost.
    pub async fn accept(&self) -> Result<(TcpStream, SocketAddr), Error> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    /// [`accept`](Self::accept), for who writes futures by hand.
    pub fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Result<(TcpStream, SocketAddr), Error>> {
        ready!(poll_proceed(context));
        let accepted = with_existing(|stack| stack.poll_accept(self.listener(), context.waker()));
        accepted.map(|(connection, peer)| Ok((TcpStream::new(connection), address_of(peer))))
    }
}

impl Drop for TcpListener {
    /// Connections that nobody has accepted are reset.
    fn drop(&mut self) {
        if let Some(listener) = self.listener.take() {
            with_existing(|stack| stack.unlisten(now(), listener));
        }
    }
}

/// A TCP connection.
///
/// What is written goes out when it is flushed, when a segment is full, or when the task that wrote has
/// ended its turn. Dropping the stream says goodbye: what was written is still delivered, in the background.
/// If the peer has sent what was not read, it gets a reset instead, as from Linux.
#[derive(Debug)]
pub struct TcpStream {
    /// `None` only while it is dropped.
    connection: Option<Connection>,
}

impl TcpStream {
    fn new(connection: Connection) -> Self {
        Self { connection: Some(connection) }
    }

    #[inline]
    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("it is taken when this is dropped")
    }

    /// Makes a connection to a peer.
    ///
    /// # Errors
    ///
    /// There is no way there, the peer refuses, or it does not answer for half a minute. At boot it waits for
    /// an address first, for ten seconds.
    ///
    /// # Cancellation
    ///
    /// The attempt is given up.
    pub async fn connect(peer: SocketAddr) -> Result<Self, Error> {
        Self::connect_with(peer, TcpOptions::default()).await
    }

    /// As [`connect`](Self::connect), with what the connection is made of.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancellation
    ///
    /// The attempt is given up.
    pub async fn connect_with(peer: SocketAddr, options: TcpOptions) -> Result<Self, Error> {
        let peer = endpoint_of(peer)?;
        ready().await?;
        let connection = with(|stack| stack.connect(now(), peer, options))??;
        let stream = Self::new(connection);
        poll_fn(|context| {
            with_existing(|stack| {
                stack.poll_connected(now(), stream.connection(), &options, context.waker())
            })
        })
        .await?;
        Ok(stream)
    }

    /// This side's address.
    pub fn local_address(&self) -> SocketAddr {
        address_of(with_existing(|stack| stack.ends(self.connection())).0)
    }

    /// The peer's address.
    pub fn peer_address(&self) -> SocketAddr {
        address_of(with_existing(|stack| stack.ends(self.connection())).1)
    }

    /// Changes everything but the sizes of the buffers.
    pub fn set_options(&self, options: &TcpOptions) {
        with_existing(|stack| stack.set_options(now(), self.connection(), options));
    }

    /// Reads what is there, at least one byte; waits if there is none. 0 if the peer has said that it sends
    /// no more, or `buffer` is empty.
    ///
    /// # Errors
    ///
    /// The connection was reset.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost: bytes are taken only when this returns them.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        poll_fn(|context| self.poll_read(context, buffer)).await
    }

    /// Writes what fits, at least one byte; waits if nothing does. Says how many.
    ///
    /// # Errors
    ///
    /// The connection was reset, or [`shutdown`](Self::shutdown) was called.
    ///
    /// # Cancellation
    ///
    /// Nothing was written if this has not returned.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        poll_fn(|context| self.poll_write(context, bytes)).await
    }

    /// Writes all.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    ///
    /// # Cancellation
    ///
    /// A part of it may have been written.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let written = self.write(bytes).await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends what was written, as far as the peer takes it now. Does not wait for it to be acknowledged:
    /// that is [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    ///
    /// None; a connection that was reset is told of by the next read or write.
    ///
    /// # Cancellation
    ///
    /// There is nothing to cancel.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.send_now();
        Ok(())
    }

    /// Says that no more will be written, and waits until the peer has acknowledged all that was. Reading
    /// goes on.
    ///
    /// # Errors
    ///
    /// The connection was reset.
    ///
    /// # Cancellation
    ///
    /// The goodbye is said all the same.
    pub async fn shutdown(&mut self) -> Result<(), Error> {
        self.shut();
        poll_fn(|context| self.poll_acknowledged(context)).await
    }

    /// Whether something was received that was not read.
    pub fn has_unread(&self) -> bool {
        with_existing(|stack| stack.has_unread(self.connection()))
    }

    /// Says that no more will be written. [`shutdown`](Self::shutdown) also waits for the peer.
    pub fn shut(&self) {
        with_existing(|stack| stack.shut(now(), self.connection()));
    }

    /// Waits until there is something to read, or the end.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn readable(&self) {
        poll_fn(|context| self.poll_readable(context)).await;
    }

    /// Which connection it is, for [`reset_lost`].
    pub fn id(&self) -> ConnectionId {
        with_existing(|stack| stack.id(self.connection()))
    }

    /// Resets the connection.
    pub fn abort(self) {
        self.reset();
    }

    /// Resets the connection; reading and writing fail from now on.
    pub fn reset(&self) {
        with_existing(|stack| stack.reset(now(), self.connection()));
    }

    /// The two directions, to be used at the same time in one task.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf(self), WriteHalf(self))
    }

    /// The direction from the peer. With two of them that wait at the same time, one is not woken.
    pub fn reader(&self) -> ReadHalf<'_> {
        ReadHalf(self)
    }

    /// The two directions, for two tasks. The connection ends when both are dropped.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let stream = Arc::new(self);
        (OwnedReadHalf(Arc::clone(&stream)), OwnedWriteHalf(stream))
    }

    // What both halves do: one reads, the other one writes, and each waits in a place of its own.

    /// [`read`](Self::read), for who writes futures by hand.
    pub fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, Error>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(poll_proceed(context));
        let read = with_existing(|stack| {
            stack.poll_read(now(), self.connection(), context.waker(), |bytes| {
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                (count, count)
            })
        });
        Poll::Ready(Ok(ready!(read)?.unwrap_or(0)))
    }

    /// [`readable`](Self::readable), for who writes futures by hand.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        with_existing(|stack| stack.poll_readable(self.connection(), context.waker()))
    }

    /// As [`WriteHalf::write_corked`], for who writes futures by hand.
    pub fn poll_write_corked(
        &self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        self.poll_put(context, bytes, false)
    }

    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Error>> {
        self.poll_put(context, bytes, true)
    }

    /// Writes what fits; it goes out by itself only if `send` is set.
    fn poll_put(
        &self,
        context: &mut Context<'_>,
        bytes: &[u8],
        send: bool,
    ) -> Poll<Result<usize, Error>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(poll_proceed(context));
        let written = with_existing(|stack| {
            stack.poll_write(now(), self.connection(), context.waker(), send, |room| {
                let count = room.len().min(bytes.len());
                room[..count].copy_from_slice(&bytes[..count]);
                (count, count)
            })
        });
        Poll::Ready(Ok(ready!(written)?))
    }

    /// [`flush`](Self::flush), which does not wait.
    pub fn send_now(&self) {
        with_existing(|stack| stack.flush(now(), self.connection()));
    }

    pub(crate) fn poll_acknowledged(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let done =
            with_existing(|stack| stack.poll_acknowledged(self.connection(), context.waker()));
        Poll::Ready(Ok(ready!(done)?))
    }
}

/// Resets the connection of a stream that is lost: nobody will use or drop it, as its task has panicked. See
/// `on_panic` of a task's builder. If it was dropped before, nothing happens; if it is used all the same, it may
/// find somebody else's connection there.
pub fn reset_lost(lost: ConnectionId) {
    with_existing(|stack| stack.abort_lost(now(), lost));
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            with_existing(|stack| stack.close(now(), connection));
        }
    }
}

/// What one half of a stream does, borrowed or shared.
macro_rules! reading_half {
    ($half:ty) => {
        impl $half {
            /// As [`TcpStream::read`].
            ///
            /// # Errors
            ///
            /// The connection was reset.
            ///
            /// # Cancellation
            ///
            /// Nothing is lost.
            pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
                poll_fn(|context| self.0.poll_read(context, buffer)).await
            }
        }
    };
}

macro_rules! writing_half {
    ($half:ty) => {
        impl $half {
            /// As [`TcpStream::write`].
            ///
            /// # Errors
            ///
            /// The connection was reset, or shut down.
            ///
            /// # Cancellation
            ///
            /// Nothing was written if this has not returned.
            pub async fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
                poll_fn(|context| self.0.poll_write(context, bytes)).await
            }

            /// As [`write`](Self::write), but it goes out only when it is flushed, or when no more fits:
            /// for who writes in small pieces and flushes for sure.
            ///
            /// # Errors
            ///
            /// As [`write`](Self::write).
            ///
            /// # Cancellation
            ///
            /// Nothing was written if this has not returned.
            pub async fn write_corked(&mut self, bytes: &[u8]) -> Result<usize, Error> {
                poll_fn(|context| self.0.poll_write_corked(context, bytes)).await
            }

            /// As [`TcpStream::flush`].
            ///
            /// # Errors
            ///
            /// None.
            ///
            /// # Cancellation
            ///
            /// There is nothing to cancel.
            pub async fn flush(&mut self) -> Result<(), Error> {
                self.0.send_now();
                Ok(())
            }

            /// As [`TcpStream::shutdown`].
            ///
            /// # Errors
            ///
            /// The connection was reset.
            ///
            /// # Cancellation
            ///
            /// The goodbye is said all the same.
            pub async fn shutdown(&mut self) -> Result<(), Error> {
                self.0.shut();
                poll_fn(|context| self.0.poll_acknowledged(context)).await
            }
        }
    };
}

/// The direction from the peer: what [`TcpStream::split`] gives.
#[derive(Debug)]
pub struct ReadHalf<'a>(pub(crate) &'a TcpStream);

/// The direction to the peer: what [`TcpStream::split`] gives.
#[derive(Debug)]
pub struct WriteHalf<'a>(pub(crate) &'a TcpStream);

/// The direction from the peer, for a task of its own.
#[derive(Debug)]
pub struct OwnedReadHalf(pub(crate) Arc<TcpStream>);

/// The direction to the peer, for a task of its own.
#[derive(Debug)]
pub struct OwnedWriteHalf(pub(crate) Arc<TcpStream>);

reading_half!(ReadHalf<'_>);
reading_half!(OwnedReadHalf);
writing_half!(WriteHalf<'_>);
writing_half!(OwnedWriteHalf);
