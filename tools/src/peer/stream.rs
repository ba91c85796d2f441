//! Connections from the peer to the machine, to be used as those of the standard library.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{RecvError, Socket, State as TcpState};

use super::Peer;

/// The room for what nobody has read, and for what nobody has acknowledged: what fits into a window without a
/// scale.
pub(super) const BUFFER: usize = 65_535;

/// A connection. Dropping it says goodbye.
pub(crate) struct Stream {
    peer: Peer,
    /// `None` when it was let go of.
    handle: Option<SocketHandle>,
    port: u16,
    /// How long one step may take.
    patience: Duration,
}

impl Stream {
    pub(super) fn connect(
        peer: Peer,
        to: SocketAddrV4,
        patience: Duration,
        buffer: usize,
    ) -> anyhow::Result<Self> {
        let stream = Self::begin(peer, to, patience, buffer);
        let state = stream.step("the handshake", |socket| match socket.state() {
            TcpState::SynSent | TcpState::SynReceived => None,
            state => Some(Ok(state)),
        });
        match state.with_context(|| format!("cannot connect to {to}"))? {
            TcpState::Closed => bail!("{to} refuses the connection"),
            _ => Ok(stream),
        }
    }

    /// Sends the SYN, and does not wait.
    pub(crate) fn begin(peer: Peer, to: SocketAddrV4, patience: Duration, buffer: usize) -> Self {
        let (handle, port) = peer.0.lock().connect(to, buffer);
        peer.0.ring();
        Self { peer, handle: Some(handle), port, patience }
    }

    /// Waits until `step` has a result.
    fn step<T>(
        &self,
        what: &str,
        mut step: impl FnMut(&mut Socket<'static>) -> Option<Result<T>>,
    ) -> Result<T> {
        let handle = self.handle.expect("only dropping lets go of it");
        let deadline = Instant::now() + self.patience;
        let shared = &self.peer.0;
        let mut state = shared.lock();
        loop {
            if let Some(result) = step(state.host.socket(handle)) {
                shared.ring();
                return result;
            }
            if let Some(reason) = &state.ended {
                return Err(Error::other(format!("the peer has ended: {reason}")));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let socket = state.host.socket(handle);
                let (state, queued) = (socket.state(), socket.send_queue());
                let reason = format!(
                    "{what} did not happen within {:?} (port {}, {state}, {queued} bytes not acknowledged)",
                    self.patience, self.port
                );
                return Err(Error::new(ErrorKind::TimedOut, reason));
            }
            state = shared.wait(state, left);
        }
    }

    /// Says that no more will be sent.
    pub(crate) fn finish(&self) {
        self.with(Socket::close);
    }

    /// Waits until the machine has acknowledged all bytes, and the end if it was said.
    pub(crate) fn acknowledged(&self) -> Result<()> {
        self.step("an acknowledgement", |socket| match socket.state() {
            TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck => None,
            _ => (socket.send_queue() == 0).then_some(Ok(())),
        })
    }

    /// How many bytes are there to be read.
    pub(crate) fn readable(&self) -> usize {
        self.with(|socket| socket.recv_queue())
    }

    fn with<R>(&self, f: impl FnOnce(&mut Socket<'static>) -> R) -> R {
        let handle = self.handle.expect("only dropping lets go of it");
        let result = f(self.peer.0.lock().host.socket(handle));
        self.peer.0.ring();
        result
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        self.with(Socket::abort);
    }

    /// The computer that has this connection is gone: it neither hears nor says anything any more.
    pub(crate) fn vanish(mut self) {
        self.peer.kill(self.port);
        let mut state = self.peer.0.lock();
        if let Some(handle) = self.handle.take() {
            state.host.forget(handle);
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        self.step("anything to read", |socket| {
            if !socket.can_recv() && socket.may_recv() {
                return None;
            }
            Some(match socket.recv_slice(bytes) {
                Ok(count) => Ok(count),
                Err(RecvError::Finished) => Ok(0),
                Err(RecvError::InvalidState) => Err(ErrorKind::ConnectionReset.into()),
            })
        })
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.step("room to write", |socket| {
            if !socket.can_send() && socket.may_send() {
                return None;
            }
            Some(socket.send_slice(bytes).map_err(|_| ErrorKind::BrokenPipe.into()))
        })
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            let mut state = self.peer.0.lock();
            let socket = state.host.socket(handle);
            socket.close();
            // The machine may be gone, and nobody waits.
            socket.set_timeout(Some(smoltcp::time::Duration::from_secs(60)));
            state.host.let_go(handle);
            drop(state);
            self.peer.0.ring();
        }
    }
}
