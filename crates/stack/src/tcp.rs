//! Connections, and listeners with a backlog.

use alloc::{collections::VecDeque, vec::Vec};
use core::{
    mem,
    task::{Poll, Waker},
    time::Duration,
};

use smoltcp::{
    socket::tcp::{ConnectError, RecvError, Socket, State},
    wire::{IpAddress, IpEndpoint, IpListenEndpoint, TcpSeqNumber},
};

use crate::{
    Error, Link, Stack,
    classify::{Flow, Segment},
    endpoint::{Endpoint, Kind, Owner, keep, wait_in},
    flows::Who,
    link::Port,
    places::try_box,
    rings::Single,
    stack::{KEEPS, at},
};

/// A connection of a [`Stack`]. To be given to [`Stack::close`] or [`Stack::abort`] in the end.
#[derive(Debug)]
pub struct Connection(u32);

impl Connection {
    pub(crate) fn new(number: u32) -> Self {
        Self(number)
    }
}

/// Says which connection it is, or was: its number is given to others later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId {
    number: u32,
    serial: u32,
}

/// A port on which connections are taken. To be given to [`Stack::unlisten`] in the end.
#[derive(Debug)]
pub struct Listener(u16);

impl Listener {
    /// The port.
    pub fn port(&self) -> u16 {
        self.0
    }
}

/// What a connection is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpOptions {
    /// Bytes that may be received and not read: 2 KiB to 1 MiB. Memory for them is there while they are.
    pub receive_buffer: usize,
    /// Bytes that may be written and not acknowledged, up to 1 MiB. Memory for them is there while they are.
    pub transmit_buffer: usize,
    /// Sends small segments at once, instead of waiting until what was sent before is acknowledged.
    pub no_delay: bool,
    /// Asks a silent peer whether it is still there, that often.
    pub keep_alive: Option<Duration>,
    /// Resets the connection when the peer says nothing for so long.
    pub timeout: Option<Duration>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            receive_buffer: 8192,
            transmit_buffer: 8192,
            no_delay: false,
            keep_alive: None,
            timeout: None,
        }
    }
}

/// A listener's state.
pub(crate) struct Listening {
    local: IpListenEndpoint,
    options: TcpOptions,
    backlog: usize,
    /// Connections that nobody has accepted yet.
    queue: VecDeque<u32>,
    acceptors: Vec<Waker>,
}

/// How long a connection may take to be made, and how long the peer may take to close when this side has. Linux
/// waits 60 s for the latter (`net.ipv4.tcp_fin_timeout`).
const PATIENCE: Duration = Duration::from_secs(30);

fn as_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2)
}

/// More than a segment has, so that a FIN with data finds room in an empty buffer: see [`has_room_for_end`].
const LEAST_RECEIVE: usize = 2048;

/// Enough for a gigabit per second and 8 ms, and below half of the sequence numbers (RFC 9293 §3.4) by far.
const MOST: usize = 1 << 20;

/// Sizes of the buffers for what is received, and for what is to be sent.
pub(crate) fn buffer_sizes(options: &TcpOptions) -> (u32, u32) {
    let receive = options.receive_buffer.clamp(LEAST_RECEIVE, MOST);
    (receive as u32, options.transmit_buffer.clamp(1, MOST) as u32)
}

/// How many ended connections keep their memory for the next ones.
const SPARE: usize = 64;

/// What every peer takes in one segment, in bytes (RFC 9293 §3.7.1). As much may be received without an
/// acknowledgement that cannot wait.
const SMALL: usize = 536;

/// The least time before a segment is sent again, in microseconds: smoltcp's `RTTE_MIN_RTO`.
const RETRANSMISSION: u64 = 200_000;

/// How long a peer may leave unacknowledged what was sent to it, unless there is another limit: at least 100 s
/// by RFC 9293 §3.8.3. As long as Linux tries (`net.ipv4.tcp_retries2`), as where one frame of five is lost ten
/// attempts in a row may well be.
const GIVE_UP: Duration = Duration::from_secs(900);

/// The same for what nobody has any more.
const ORPHANED: Duration = Duration::from_secs(120);

/// How long a connection that nobody has goes on while the peer does not do its part: acknowledge what was
/// written, or say goodbye.
fn patience(socket: &Socket<'_>) -> Duration {
    match socket.send_queue() {
        0 => PATIENCE,
        _ => ORPHANED,
    }
}

/// smoltcp's timeout counts from when the peer was heard last, or from when something is to be sent to it after
/// a silence. So it is set while something is.
pub(crate) fn give_up(socket: &mut Socket<'static>) {
    let waits = socket.send_queue() > 0;
    socket.set_timeout(waits.then_some(GIVE_UP.into()));
}

/// Whether a FIN may be given to smoltcp 0.14, which takes one even if not all data before it fits, and then
/// counts its window from behind that: so the data that did not fit would be missing without a word, and a
/// segment from the other end of the numbers would pass for one in the window and stop the machine. The peer
/// sends it again when there is room.
pub(crate) fn has_room_for_end(socket: &mut Socket<'static>, segment: Segment) -> bool {
    segment.data < socket.recv_capacity() - socket.recv_queue()
}

fn apply(endpoint: &mut Endpoint, options: &TcpOptions) {
    endpoint.gives_up = options.timeout.is_none();
    let socket = endpoint.single.socket::<Socket<'_>>();
    socket.set_nagle_enabled(!options.no_delay);
    socket.set_keep_alive(options.keep_alive.map(Into::into));
    socket.set_timeout(options.timeout.map(Into::into));
}

impl<L: Link> Stack<L> {
    // --- Listening

    /// Takes connections to this port, and this address if it is said; port 0 takes any that is free. Up to
    /// `backlog` connections wait to be accepted; further ones are told nothing, so that the peer tries
    /// again.
    ///
    /// # Errors
    ///
    /// [`Error::AddressInUse`], [`Error::NoFreePort`].
    pub fn listen(
        &mut self,
        local: IpListenEndpoint,
        backlog: usize,
        options: TcpOptions,
    ) -> Result<Listener, Error> {
        let taken = |this: &Self, port| this.listeners.iter().any(|other| other.local.port == port);
        let port = match local.port {
            0 => self.free_port(|this, port| !taken(this, port))?,
            port if taken(self, port) => return Err(Error::AddressInUse),
            port => port,
        };
        self.listeners.push(Listening {
            local: IpListenEndpoint { addr: local.addr, port },
            options,
            backlog,
            queue: VecDeque::new(),
            acceptors: Vec::new(),
        });
        Ok(Listener(port))
    }

    fn listening(&mut self, port: u16) -> Option<&mut Listening> {
        self.listeners.iter_mut().find(|listening| listening.local.port == port)
    }

    /// The next connection, with the peer's address.
    pub fn poll_accept(
        &mut self,
        listener: &Listener,
        waker: &Waker,
    ) -> Poll<(Connection, IpEndpoint)> {
        let Some(listening) = self.listening(listener.0) else { return Poll::Pending };
        let Some(number) = listening.queue.pop_front() else {
            wait_in(&mut listening.acceptors, waker);
            return Poll::Pending;
        };
        let options = listening.options;
        let Some(endpoint) = self.endpoints.get_mut(number) else { return Poll::Pending };
        let Kind::Tcp { flow, owner } = &mut endpoint.kind else { return Poll::Pending };
        *owner = Owner::Application;
        let remote = flow.remote;
        apply(endpoint, &options);
        self.counters.connections += 1;
        Poll::Ready((Connection(number), remote))
    }

    /// Stops listening; connections that nobody has accepted are reset.
    pub fn unlisten(&mut self, now: u64, listener: Listener) {
        let port = listener.0;
        let mut orphans = VecDeque::new();
        if let Some(index) = self.listeners.iter().position(|it| it.local.port == port) {
            let listening = self.listeners.swap_remove(index);
            listening.acceptors.into_iter().for_each(|waker| self.woken.discard(Some(waker)));
            orphans = listening.queue;
        }
        self.handshakes.end_port(&mut self.flows, port);
        for number in orphans {
            self.abort(now, Connection(number));
        }
    }

    /// What connections to a port are made of, and whether too many wait to be accepted. `None` if nobody takes
    /// them.
    pub(crate) fn listener_for(&mut self, flow: &Flow) -> Option<(TcpOptions, bool)> {
        if !self.interface.has_ip_addr(flow.local.addr) {
            return None;
        }
        let listening = self.listening(flow.local.port)?;
        let is_here = listening.local.addr.is_none_or(|address| address == flow.local.addr);
        is_here.then_some((listening.options, listening.queue.len() >= listening.backlog))
    }

    /// Whether there is memory for one more in a listener's queue.
    pub(crate) fn has_queue(&mut self, port: u16) -> bool {
        self.listening(port).is_some_and(|it| it.queue.try_reserve(1).is_ok())
    }

    /// Puts a new connection into the queue of its listener.
    pub(crate) fn enqueue(&mut self, port: u16, connection: Connection) {
        let Some(index) = self.listeners.iter().position(|it| it.local.port == port) else {
            return;
        };
        let listening = &mut self.listeners[index];
        listening.queue.push_back(connection.0);
        self.woken.append(&mut listening.acceptors);
    }

    // --- Connecting

    /// Begins a connection to a peer. [`poll_connected`](Self::poll_connected) says when it is there.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidAddress`], [`Error::NetworkUnreachable`], [`Error::NoFreePort`],
    /// [`Error::OutOfMemory`].
    pub fn connect(
        &mut self,
        now: u64,
        remote: IpEndpoint,
        options: TcpOptions,
    ) -> Result<Connection, Error> {
        if remote.port == 0 || remote.addr.is_unspecified() || !remote.addr.is_unicast() {
            return Err(Error::InvalidAddress);
        }
        let Some(address) = self.interface.get_source_address(&remote.addr) else {
            return Err(Error::NetworkUnreachable);
        };
        if !self.has_way(remote.addr) {
            return Err(Error::NetworkUnreachable);
        }
        if self.connections() >= self.limit {
            return Err(Error::OutOfMemory);
        }
        let flow = |port| Flow { local: IpEndpoint::new(address, port), remote };
        let port = self.free_port(|this, port| this.flows.find(&flow(port)).is_none())?;
        let number = self
            .add_connection(flow(port), None, Owner::Application, &options)
            .ok_or(Error::OutOfMemory)?;
        let Some(endpoint) = self.endpoints.get_mut(number) else {
            return Err(Error::OutOfMemory);
        };
        apply(endpoint, &options);
        endpoint.gives_up = false; // this has another limit
        endpoint.since = now;
        let socket = endpoint.single.socket::<Socket<'_>>();
        socket.set_timeout(Some(options.timeout.unwrap_or(PATIENCE).into()));
        match socket.connect(self.interface.context(), remote, flow(port).local) {
            Ok(()) => {
                let number = self.handshakes.initial_number(now, &flow(port));
                socket.set_initial_seq(TcpSeqNumber(number.cast_signed()));
            }
            Err(ConnectError::Unaddressable | ConnectError::InvalidState) => {
                self.remove_connection(number);
                return Err(Error::InvalidAddress);
            }
        }
        self.serve(now, number);
        Ok(Connection(number))
    }

    /// Whether the handshake is done.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionRefused`]; [`Error::TimedOut`] if nobody answered.
    pub fn poll_connected(
        &mut self,
        now: u64,
        connection: &Connection,
        options: &TcpOptions,
        waker: &Waker,
    ) -> Poll<Result<(), Error>> {
        let endpoint = self.endpoint(connection);
        let socket = endpoint.single.socket::<Socket<'_>>();
        match socket.state() {
            State::SynSent | State::SynReceived => {
                let old = keep(&mut endpoint.writer, waker);
                self.woken.discard(old);
                Poll::Pending
            }
            State::Closed | State::TimeWait | State::Listen => {
                let late = endpoint.since + as_micros(options.timeout.unwrap_or(PATIENCE)) <= now;
                let error = if late { Error::TimedOut } else { Error::ConnectionRefused };
                Poll::Ready(Err(error))
            }
            _ => {
                apply(endpoint, options);
                self.counters.connections += 1;
                Poll::Ready(Ok(()))
            }
        }
    }

    // --- Reading and writing

    #[inline]
    fn endpoint(&mut self, connection: &Connection) -> &mut Endpoint {
        // A `Connection` is made with its endpoint, and taken with it.
        &mut self.endpoints[connection.0]
    }

    /// Lets `take` have the received bytes that lie together, and say how many it took. `None` if the peer
    /// has said that it sends no more, and all is read.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionReset`].
    #[inline]
    pub fn poll_read<R>(
        &mut self,
        now: u64,
        connection: &Connection,
        waker: &Waker,
        take: impl FnOnce(&mut [u8]) -> (usize, R),
    ) -> Poll<Result<Option<R>, Error>> {
        // Not `self.endpoint`: the buffers are needed as well.
        let endpoint = &mut self.endpoints[connection.0];
        let socket = endpoint.single.socket::<Socket<'_>>();
        if !socket.can_recv() && socket.may_recv() {
            let old = keep(&mut endpoint.reader, waker);
            self.woken.discard(old);
            return Poll::Pending;
        }
        // The peer may be waiting to hear of room.
        let tell = socket.recv_queue() * 2 >= socket.recv_capacity();
        let result = socket.recv(take);
        if socket.recv_queue() == 0 {
            if self.buffers.are_scarce() {
                self.reclaim(connection.0);
            } else {
                self.deadlines.set(now, connection.0, now + KEEPS);
            }
        }
        if tell {
            self.serve(now, connection.0);
        }
        Poll::Ready(match result {
            Ok(result) => Ok(Some(result)),
            Err(RecvError::Finished) => Ok(None),
            Err(RecvError::InvalidState) => Err(Error::ConnectionReset),
        })
    }

    /// Whether something was received that was not read.
    pub fn has_unread(&mut self, connection: &Connection) -> bool {
        self.endpoint(connection).single.socket::<Socket<'_>>().can_recv()
    }

    /// Whether there is something to read, or the end.
    pub fn poll_readable(&mut self, connection: &Connection, waker: &Waker) -> Poll<()> {
        let endpoint = self.endpoint(connection);
        let socket = endpoint.single.socket::<Socket<'_>>();
        if socket.can_recv() || !socket.may_recv() {
            return Poll::Ready(());
        }
        let old = keep(&mut endpoint.reader, waker);
        self.woken.discard(old);
        Poll::Pending
    }

    /// Lets `put` write into the free bytes that lie together, at least one, and say how many it wrote. They
    /// are sent by [`flush`](Self::flush), or, if `send` is set, by the next [`advance`](Self::advance) at
    /// the latest.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionReset`], [`Error::Closed`].
    #[inline]
    pub fn poll_write<R>(
        &mut self,
        now: u64,
        connection: &Connection,
        waker: &Waker,
        send: bool,
        put: impl FnOnce(&mut [u8]) -> (usize, R),
    ) -> Poll<Result<R, Error>> {
        let endpoint = &mut self.endpoints[connection.0];
        let socket = endpoint.single.socket::<Socket<'_>>();
        if socket.may_send() {
            if !socket.can_send() {
                let old = keep(&mut endpoint.writer, waker);
                self.woken.discard(old);
                return self.flush_full(now, connection);
            }
            if !socket.has_send_storage() {
                if !endpoint.single.lend_transmit(&mut self.buffers) {
                    return self.starve(connection, waker);
                }
                self.deadlines.set(now, connection.0, now + KEEPS);
            }
        }
        match endpoint.single.socket::<Socket<'_>>().send(put) {
            Ok(result) => {
                if send {
                    self.mark(now, connection.0);
                }
                Poll::Ready(Ok(result))
            }
            Err(_) => Poll::Ready(Err(
                match self.endpoint(connection).single.socket::<Socket<'_>>().state() {
                    State::Closed => Error::ConnectionReset,
                    _ => Error::Closed,
                },
            )),
        }
    }

    /// There is no buffer to write into: who waits for one is woken when one is given back.
    #[cold]
    fn starve<R>(&mut self, connection: &Connection, waker: &Waker) -> Poll<R> {
        let old = keep(&mut self.endpoint(connection).writer, waker);
        self.woken.discard(old);
        if self.starved.try_reserve(1).is_err() {
            waker.wake_by_ref(); // it asks again
        } else if !self.starved.contains(&connection.0) {
            self.starved.push(connection.0);
        }
        Poll::Pending
    }

    /// A buffer was given back.
    #[inline]
    pub(crate) fn feed_starved(&mut self) {
        if !self.starved.is_empty() {
            self.wake_starved();
        }
    }

    #[cold]
    fn wake_starved(&mut self) {
        for number in mem::take(&mut self.starved) {
            if let Some(endpoint) = self.endpoints.get_mut(number) {
                self.woken.push(&mut endpoint.writer);
            }
        }
    }

    /// The peer has acknowledged more.
    #[inline]
    pub(crate) fn acknowledged(&mut self, now: u64, number: u32) {
        let Some(endpoint) = self.endpoints.get_mut(number) else { return };
        if matches!(endpoint.kind, Kind::Tcp { owner: Owner::Nobody, .. }) {
            endpoint.since = now; // it goes on
        }
        if self.buffers.are_scarce() {
            self.reclaim(number);
        }
    }

    /// Takes a connection's buffers back in which there is nothing.
    pub(crate) fn reclaim(&mut self, number: u32) {
        if let Some(endpoint) = self.endpoints.get_mut(number)
            && let Kind::Tcp { .. } = endpoint.kind
        {
            endpoint.single.reclaim(&mut self.buffers);
            self.feed_starved();
        }
    }

    /// Nothing more fits: what is there must go out.
    #[cold]
    fn flush_full<R>(&mut self, now: u64, connection: &Connection) -> Poll<R> {
        self.serve(now, connection.0);
        Poll::Pending
    }

    /// Sends what was written, as far as the peer takes it now.
    #[inline]
    pub fn flush(&mut self, now: u64, connection: &Connection) {
        if !self.send_small(now, connection) {
            self.serve(now, connection.0);
        }
    }

    /// The frequent case of [`flush`](Self::flush): all that was written fits into one segment, and nothing
    /// else is under way. Then nobody need be asked whether there is more, nor when to look again: not
    /// before the segment may have to be sent again. Whether that was so.
    #[inline]
    fn send_small(&mut self, now: u64, connection: &Connection) -> bool {
        let endpoint = &mut self.endpoints[connection.0];
        let socket = endpoint.single.socket::<Socket<'_>>();
        let queued = socket.send_queue();
        if socket.state() != State::Established || !(1..=SMALL).contains(&queued) {
            return false;
        }
        let mut port = Port::new(&mut self.link, None);
        self.interface.poll_egress(at(now), &mut port, endpoint.single.set());
        if port.data != queued {
            return false;
        }
        (endpoint.dirty, endpoint.owes) = (false, None);
        self.deadlines.set(now, connection.0, now + RETRANSMISSION);
        true
    }

    /// Whether a connection that has just got a frame of that length has nothing to send at once, and needs no
    /// deadline but that for its acknowledgement. The frequent case, which saves asking smoltcp.
    #[inline]
    pub(crate) fn is_quiet(&mut self, now: u64, number: u32, frame: usize) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(number) else { return true };
        let Kind::Tcp { owner: Owner::Application, .. } = endpoint.kind else { return false };
        let socket = endpoint.single.socket::<Socket<'_>>();
        let received = socket.recv_queue();
        let quiet = endpoint.established
            && socket.state() == State::Established
            && socket.send_queue() == 0
            && received <= SMALL
            && frame <= SMALL;
        if !quiet {
            return false;
        }
        self.woken.push(&mut endpoint.writer);
        if received > 0 {
            self.woken.push(&mut endpoint.reader);
            self.owe(now, number);
        }
        true
    }

    /// Whether the peer has acknowledged all that was written, and that no more comes if that was said.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionReset`] if it will not.
    pub fn poll_acknowledged(
        &mut self,
        connection: &Connection,
        waker: &Waker,
    ) -> Poll<Result<(), Error>> {
        let endpoint = self.endpoint(connection);
        let socket = endpoint.single.socket::<Socket<'_>>();
        let waits = match socket.state() {
            State::Closed if socket.send_queue() > 0 => {
                return Poll::Ready(Err(Error::ConnectionReset));
            }
            State::FinWait1 | State::Closing | State::LastAck => true,
            _ => socket.send_queue() > 0,
        };
        if !waits {
            return Poll::Ready(Ok(()));
        }
        let old = keep(&mut endpoint.writer, waker);
        self.woken.discard(old);
        Poll::Pending
    }

    /// Says that this side sends no more.
    pub fn shut(&mut self, now: u64, connection: &Connection) {
        self.endpoint(connection).single.socket::<Socket<'_>>().close();
        self.serve(now, connection.0);
    }

    /// Changes what can be changed of a connection: everything but its buffers.
    pub fn set_options(&mut self, now: u64, connection: &Connection, options: &TcpOptions) {
        apply(self.endpoint(connection), options);
        self.serve(now, connection.0);
    }

    /// This side's address and the peer's.
    pub fn ends(&mut self, connection: &Connection) -> (IpEndpoint, IpEndpoint) {
        match self.endpoint(connection).kind {
            Kind::Tcp { flow, .. } => (flow.local, flow.remote),
            _ => {
                let none = IpEndpoint::new(IpAddress::v4(0, 0, 0, 0), 0);
                (none, none)
            }
        }
    }

    /// Lets go of a connection. What was written is still sent, and goodbye is said; if the peer has sent
    /// what nobody has read, or goes on sending, it is told by a reset.
    pub fn close(&mut self, now: u64, connection: Connection) {
        let endpoint = self.endpoint(&connection);
        let wakers = [endpoint.reader.take(), endpoint.writer.take()];
        (endpoint.gives_up, endpoint.since) = (false, now);
        let socket = endpoint.single.socket::<Socket<'_>>();
        socket.set_keep_alive(None);
        // smoltcp's counts from when the peer was heard last: that may be long ago, and any word renews it.
        socket.set_timeout(None);
        // Nobody will answer, so that an acknowledgement could go with it.
        socket.set_ack_delay(None);
        if socket.can_recv() {
            // RFC 2525 §2.17: a FIN before the reset would be taken for a good end.
            socket.abort();
        } else {
            socket.close();
        }
        if let Kind::Tcp { owner, .. } = &mut endpoint.kind {
            *owner = Owner::Nobody;
        }
        wakers.into_iter().for_each(|waker| self.woken.discard(waker));
        self.deadlines.set(now, connection.0, now + as_micros(PATIENCE));
        self.serve(now, connection.0);
    }

    /// Resets a connection. What was not sent is lost; reading and writing fail from now on.
    pub fn reset(&mut self, now: u64, connection: &Connection) {
        self.endpoint(connection).single.socket::<Socket<'_>>().abort();
        self.serve(now, connection.0);
    }

    /// Which one it is.
    pub fn id(&mut self, connection: &Connection) -> ConnectionId {
        ConnectionId { number: connection.0, serial: self.endpoint(connection).serial }
    }

    /// Resets a connection and lets go of it, if it is still the application's: whoever has the [`Connection`]
    /// must never use it again.
    pub fn abort_lost(&mut self, now: u64, lost: ConnectionId) {
        if let Some(endpoint) = self.endpoints.get(lost.number)
            && endpoint.serial == lost.serial
            && let Kind::Tcp { owner: Owner::Application, .. } = endpoint.kind
        {
            self.abort(now, Connection(lost.number));
        }
    }

    /// Resets a connection and lets go of it.
    pub fn abort(&mut self, now: u64, connection: Connection) {
        self.endpoint(&connection).single.socket::<Socket<'_>>().abort();
        self.close(now, connection);
    }

    // --- What follows

    /// Does what follows from a connection's state.
    #[inline]
    pub(crate) fn follow_tcp(&mut self, now: u64, number: u32) {
        let Some(endpoint) = self.endpoints.get_mut(number) else { return };
        let Kind::Tcp { flow, owner } = endpoint.kind else { return };
        if owner != Owner::Application {
            return self.follow_unowned(now, number, owner);
        }
        let socket = endpoint.single.socket::<Socket<'_>>();
        endpoint.established = socket.state() == State::Established;
        let readable = socket.can_recv() || !socket.may_recv();
        // Also who waits for acknowledgements or for the handshake.
        let writable = socket.can_send() || !socket.may_send();
        let closed = socket.state() == State::Closed;
        if readable {
            self.woken.push(&mut endpoint.reader);
        }
        if writable {
            self.woken.push(&mut endpoint.writer);
        }
        if closed {
            // Who has it has yet to see that. Meanwhile the peer may begin again.
            self.flows.remove(&flow, Who::Connection(number));
        }
    }

    fn follow_unowned(&mut self, now: u64, number: u32, owner: Owner) {
        let Some(endpoint) = self.endpoints.get_mut(number) else { return };
        let socket = endpoint.single.socket::<Socket<'_>>();
        let state = socket.state();
        match owner {
            Owner::Queue(_) | Owner::Application => {
                if let Kind::Tcp { flow, .. } = endpoint.kind
                    && state == State::Closed
                {
                    self.flows.remove(&flow, Who::Connection(number));
                }
            }
            Owner::Nobody => {
                let end = endpoint.since + as_micros(patience(socket));
                let late = end <= now;
                // A reset that found no way yet waits for one.
                let unsent = endpoint.stalled && state == State::Closed;
                let ended = matches!(state, State::Closed | State::TimeWait | State::Listen);
                if ended && (late || !unsent) {
                    if let (State::TimeWait, Kind::Tcp { flow, .. }) = (state, endpoint.kind) {
                        let numbers = (endpoint.expected, endpoint.peer_end);
                        self.time_wait.insert(now, &mut self.flows, flow, number, numbers);
                    }
                    self.remove_connection(number);
                } else if !ended && (late || socket.can_recv()) {
                    // RFC 1122 §4.2.2.13: the peer must learn that nobody reads that, or waits any more.
                    socket.abort();
                    self.serve(now, number);
                } else {
                    self.deadlines.set(now, number, end);
                }
            }
        }
    }

    // --- Endpoints

    /// A port from the range for such (RFC 6335 §6) that `is_free`.
    pub(crate) fn free_port(&mut self, is_free: impl Fn(&Self, u16) -> bool) -> Result<u16, Error> {
        const FIRST: u16 = 49152;
        const COUNT: u16 = u16::MAX - FIRST + 1;
        let start = (self.random() % u64::from(COUNT)) as u16;
        let mut ports = (0..COUNT).map(|n| FIRST + (start + n) % COUNT);
        ports.find(|&port| is_free(self, port)).ok_or(Error::NoFreePort)
    }

    /// Adds what is no connection. `None` if there is no memory.
    pub(crate) fn add(&mut self, endpoint: Endpoint) -> Option<u32> {
        let number = self.endpoints.insert(try_box(endpoint)?)?;
        self.with_deadline(number)
    }

    /// A new endpoint may have a deadline, or is no more.
    fn with_deadline(&mut self, number: u32) -> Option<u32> {
        if !self.deadlines.reserve(number) {
            self.endpoints.remove(number);
            return None;
        }
        Some(number)
    }

    /// Adds a connection, with ends that somebody had `before`, or nobody. `None` if there is no memory.
    pub(crate) fn add_connection(
        &mut self,
        flow: Flow,
        before: Option<Who>,
        owner: Owner,
        options: &TcpOptions,
    ) -> Option<u32> {
        let (receive, transmit) = buffer_sizes(options);
        let kind = Kind::Tcp { flow, owner };
        if before.is_none() && !self.flows.reserve() {
            return None;
        }
        let mut endpoint = match self.spare.pop() {
            Some(mut endpoint) => {
                endpoint.kind = kind;
                endpoint.single.renew_tcp(receive, transmit);
                endpoint
            }
            None => try_box(Endpoint::new(kind, Single::tcp(receive, transmit)?))?,
        };
        self.serial = self.serial.wrapping_add(1);
        endpoint.serial = self.serial;
        let number = self.endpoints.insert(endpoint)?;
        let number = self.with_deadline(number)?;
        match before {
            Some(before) => drop(self.flows.pass(&flow, before, Who::Connection(number))),
            None => self.flows.insert(flow, Who::Connection(number)),
        }
        Some(number)
    }

    pub(crate) fn remove_connection(&mut self, number: u32) {
        self.deadlines.clear(number);
        let Some(mut endpoint) = self.endpoints.remove(number) else { return };
        self.deadlines.truncate(self.endpoints.end());
        if let Kind::Tcp { flow, .. } = endpoint.kind {
            self.flows.remove(&flow, Who::Connection(number));
        }
        self.woken.discard(endpoint.reader.take());
        self.woken.discard(endpoint.writer.take());
        endpoint.single.end_tcp(&mut self.buffers);
        self.feed_starved();
        if self.spare.len() < SPARE && self.spare.try_reserve(1).is_ok() {
            (endpoint.dirty, endpoint.stalled) = (false, false);
            (endpoint.in_acknowledgements, endpoint.established) = (false, false);
            endpoint.gives_up = false;
            endpoint.owes = None;
            self.spare.push(endpoint);
        }
    }

    pub(crate) fn remove(&mut self, number: u32) {
        self.deadlines.clear(number);
        if let Some(mut endpoint) = self.endpoints.remove(number) {
            self.woken.discard(mem::take(&mut endpoint.reader));
            self.woken.discard(mem::take(&mut endpoint.writer));
        }
    }
}
