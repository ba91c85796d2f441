//! One stack, and a peer made by hand: it says what the test wants it to say, and the test looks at each frame
//! of the answer.

use std::{
    collections::VecDeque,
    mem,
    task::{Poll, Waker},
};

use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
        IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket,
        UdpRepr,
    },
};

use crate::{
    Config, Connection, Error, IpCidr, IpEndpoint, Ipv4Address, Link, Listener, Stack, TcpOptions,
    Woken, Work,
};

use super::at_port;

/// The machine's address.
pub(super) const OURS: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
/// The peer's.
pub(super) const PEER: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
/// The peer has this one as well.
pub(super) const OTHER_NEIGHBOUR: Ipv4Address = Ipv4Address::new(10, 0, 0, 3);
/// Nobody has this one.
pub(super) const SILENT: Ipv4Address = Ipv4Address::new(10, 0, 0, 77);

pub(super) const OUR_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
pub(super) const PEER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);

// --- The machine

/// Its card.
pub(super) struct Card {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
    pub(super) room: bool,
}

impl Link for Card {
    type Frame = Vec<u8>;

    fn has_room(&mut self) -> bool {
        self.room
    }

    fn transmit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> (Work, R)) -> R {
        assert!(self.room, "sent only after asking for room");
        assert!(len <= 14 + self.mtu(), "longer than a card takes");
        assert!(self.outgoing.len() < 10_000, "it sends for ever");
        let mut frame = vec![0; len];
        let (_, result) = fill(&mut frame);
        self.outgoing.push(frame);
        result
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        self.incoming.pop_front()
    }

    fn release(&mut self, _: Vec<u8>) {}

    fn mac(&self) -> [u8; 6] {
        OUR_MAC.0
    }

    fn mtu(&self) -> usize {
        1500
    }
}

/// A stack, and who drives it: sleeps until the deadline that was planned, unless a frame comes, or the stack
/// says that it has work.
pub(super) struct Machine {
    pub(super) stack: Stack<Card>,
    pub(super) now: u64,
    sleeps_until: Option<u64>,
    /// What it has sent since the test has looked, and when.
    sent: Vec<(u64, Vec<u8>)>,
}

impl Machine {
    /// With an address, on a link where the peer is known. It answers whenever it is asked for its hardware
    /// address.
    pub(super) fn new() -> Self {
        Self::with_buffers(1 << 24)
    }

    /// With so many bytes for the buffers of connections.
    pub(super) fn with_buffers(buffers: usize) -> Self {
        let mut this = Self::made(buffers);
        this.stack.set_address(IpCidr::new(OURS.into(), 24), None).unwrap();
        this.receive(introduction_of(PEER));
        this
    }

    pub(super) fn without_address() -> Self {
        Self::made(1 << 24)
    }

    fn made(buffers: usize) -> Self {
        let card = Card { incoming: VecDeque::new(), outgoing: Vec::new(), room: true };
        let config =
            Config { seeds: [1, 2, 3, 4], connections: 100, buffers, autoconfiguration: false };
        let stack = Stack::new(card, config, 0);
        Self { stack, now: 0, sleeps_until: None, sent: Vec::new() }
    }

    /// What is done on each awakening.
    pub(super) fn turn(&mut self) {
        loop {
            while self.stack.receive(self.now) {}
            self.stack.advance(self.now);
            self.wake();
            self.collect();
            if !self.has_frames() {
                break;
            }
        }
        self.sleeps_until = self.stack.plan();
    }

    fn has_frames(&mut self) -> bool {
        let card = self.stack.link();
        card.room && !card.incoming.is_empty()
    }

    fn wake(&mut self) {
        let mut woken = Woken::new();
        self.stack.take_woken(&mut woken);
        woken.wake();
    }

    fn collect(&mut self) {
        let frames = mem::take(&mut self.stack.link().outgoing);
        for frame in frames {
            if let Some(of @ (PEER | OTHER_NEIGHBOUR)) = asked_for(&frame) {
                self.stack.link().incoming.push_back(introduction_of(of));
            }
            self.sent.push((self.now, frame));
        }
    }

    pub(super) fn receive(&mut self, frame: Vec<u8>) {
        self.collect();
        self.stack.link().incoming.push_back(frame);
        self.turn();
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, duration: u64) {
        self.wake();
        self.collect();
        if self.stack.has_work() || self.has_frames() {
            self.turn();
        }
        let end = self.now + duration;
        let mut turns = 0;
        while let Some(next) = self.sleeps_until.filter(|&next| next <= end) {
            self.now = next.max(self.now);
            self.turn();
            turns += 1;
            assert!(turns < 10_000, "it never sleeps");
        }
        self.now = end;
    }

    /// The frames that it has sent since this was asked last, and when.
    pub(super) fn frames(&mut self) -> Vec<(u64, Vec<u8>)> {
        self.collect();
        mem::take(&mut self.sent)
    }

    /// Those of TCP.
    pub(super) fn segments(&mut self) -> Vec<Segment> {
        let frames = self.frames();
        frames.iter().filter_map(|(at, frame)| Segment::parse(*at, frame)).collect()
    }

    // --- What an application does

    pub(super) fn listen(&mut self, options: TcpOptions) -> Listener {
        self.stack.listen(at_port(80), 8, options).unwrap()
    }

    pub(super) fn accept(&mut self, listener: &Listener) -> Option<Connection> {
        match self.stack.poll_accept(listener, Waker::noop()) {
            Poll::Ready((connection, _)) => Some(connection),
            Poll::Pending => None,
        }
    }

    /// A connection that the peer has begun from port 5000.
    pub(super) fn accepted(&mut self, options: TcpOptions) -> (Connection, Peer) {
        let listener = self.listen(options);
        let peer = Peer::connected(self, 5000);
        let connection = self.accept(&listener).unwrap();
        self.stack.unlisten(self.now, listener);
        (connection, peer)
    }

    /// Begins a connection to the port 80 of this address.
    pub(super) fn connect(&mut self, to: Ipv4Address) -> Connection {
        let to = IpEndpoint::new(to.into(), 80);
        self.stack.connect(self.now, to, TcpOptions::default()).unwrap()
    }

    pub(super) fn connected(&mut self, connection: &Connection) -> Poll<Result<(), Error>> {
        let options = TcpOptions::default();
        self.stack.poll_connected(self.now, connection, &options, Waker::noop())
    }

    /// All that is there; `Ok(true)` at the end.
    pub(super) fn read(&mut self, from: &Connection, into: &mut Vec<u8>) -> Result<bool, Error> {
        loop {
            let read = self.stack.poll_read(self.now, from, Waker::noop(), |bytes| {
                into.extend_from_slice(bytes);
                (bytes.len(), ())
            });
            match read {
                Poll::Ready(Ok(Some(()))) => {}
                Poll::Ready(Ok(None)) => return Ok(true),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(false),
            }
        }
    }

    /// Writes what fits and sends it. How much that was.
    pub(super) fn write(&mut self, to: &Connection, bytes: &[u8]) -> Result<usize, Error> {
        let written = self.stack.poll_write(self.now, to, Waker::noop(), false, |room| {
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            (count, count)
        });
        match written {
            Poll::Ready(written) => {
                self.stack.flush(self.now, to);
                written
            }
            Poll::Pending => Ok(0),
        }
    }

    pub(super) fn close(&mut self, connection: Connection) {
        self.stack.close(self.now, connection);
    }
}

// --- The peer

/// The peer's side of one connection. It says what it is told to, whether that makes sense or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) port: u16,
    /// Of the next byte that it says.
    pub(super) number: TcpSeqNumber,
    /// Of the next byte that it wants to hear.
    pub(super) expects: TcpSeqNumber,
    pub(super) window: u16,
}

impl Peer {
    /// After a handshake with the machine's port 80.
    pub(super) fn connected(machine: &mut Machine, port: u16) -> Self {
        machine.segments();
        let mut this = Self::begun(machine, port);
        this.follow(machine);
        this.say(machine, TcpControl::None, b"");
        this
    }

    /// It has said SYN.
    pub(super) fn begun(machine: &mut Machine, port: u16) -> Self {
        let (number, none) = (TcpSeqNumber(1000), TcpSeqNumber(0));
        let mut this = Self { port, number, expects: none, window: 64000 };
        this.say(machine, TcpControl::Syn, b"");
        this
    }

    /// Says the next thing.
    pub(super) fn say(&mut self, machine: &mut Machine, control: TcpControl, data: &[u8]) {
        let segment = TcpRepr {
            src_port: self.port,
            dst_port: 80,
            control,
            seq_number: self.number,
            ack_number: (control != TcpControl::Syn).then_some(self.expects),
            window_len: self.window,
            window_scale: (control == TcpControl::Syn).then_some(0),
            max_seg_size: (control == TcpControl::Syn).then_some(1460),
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: data,
        };
        self.number = self.number + data.len() + control.len();
        machine.receive(tcp(&segment));
    }

    pub(super) fn acknowledge(&mut self, machine: &mut Machine) {
        self.say(machine, TcpControl::None, b"");
    }

    /// Takes what the machine has sent to it, and says nothing.
    pub(super) fn follow(&mut self, machine: &mut Machine) {
        for segment in machine.segments() {
            self.expects = segment.end();
        }
    }
}

/// A segment that the machine has sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Segment {
    pub(super) at: u64,
    pub(super) from: u16,
    pub(super) to: u16,
    pub(super) control: TcpControl,
    pub(super) number: TcpSeqNumber,
    pub(super) acknowledges: Option<TcpSeqNumber>,
    pub(super) data: Vec<u8>,
}

impl Segment {
    fn parse(at: u64, frame: &[u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).unwrap();
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
        if packet.next_header() != IpProtocol::Tcp {
            return None;
        }
        let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
        let segment = TcpPacket::new_checked(packet.payload()).unwrap();
        let segment =
            TcpRepr::parse(&segment, &from, &to, &ChecksumCapabilities::default()).unwrap();
        Some(Self {
            at,
            from: segment.src_port,
            to: segment.dst_port,
            control: segment.control,
            number: segment.seq_number,
            acknowledges: segment.ack_number,
            data: segment.payload.to_vec(),
        })
    }

    /// The number behind it.
    pub(super) fn end(&self) -> TcpSeqNumber {
        self.number + self.data.len() + self.control.len()
    }
}

// --- Frames

pub(super) fn ethernet(protocol: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 14 + payload.len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    frame.set_src_addr(PEER_MAC);
    frame.set_dst_addr(OUR_MAC);
    frame.set_ethertype(protocol);
    frame.payload_mut().copy_from_slice(payload);
    bytes
}

fn ipv4(from: Ipv4Address, to: Ipv4Address, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let header = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: protocol,
        payload_len: payload.len(),
        hop_limit: 64,
    };
    let mut bytes = vec![0; header.buffer_len() + payload.len()];
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
    header.emit(&mut packet, &ChecksumCapabilities::default());
    packet.payload_mut().copy_from_slice(payload);
    ethernet(EthernetProtocol::Ipv4, &bytes)
}

/// Whose hardware address a frame asks for.
fn asked_for(frame: &[u8]) -> Option<Ipv4Address> {
    let frame = EthernetFrame::new_checked(frame).unwrap();
    let question = ArpPacket::new_checked(frame.payload()).ok()?;
    match ArpRepr::parse(&question).ok()? {
        ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request, target_protocol_addr, ..
        } => Some(target_protocol_addr),
        _ => None,
    }
}

/// The answer.
pub(super) fn introduction_of(address: Ipv4Address) -> Vec<u8> {
    let answer = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: PEER_MAC,
        source_protocol_addr: address,
        target_hardware_addr: OUR_MAC,
        target_protocol_addr: OURS,
    };
    let mut bytes = vec![0; answer.buffer_len()];
    answer.emit(&mut ArpPacket::new_unchecked(&mut bytes[..]));
    ethernet(EthernetProtocol::Arp, &bytes)
}

/// From the peer to the machine.
pub(super) fn tcp(segment: &TcpRepr<'_>) -> Vec<u8> {
    let mut bytes = vec![0; segment.buffer_len()];
    let mut packet = TcpPacket::new_unchecked(&mut bytes[..]);
    segment.emit(&mut packet, &PEER.into(), &OURS.into(), &ChecksumCapabilities::default());
    ipv4(PEER, OURS, IpProtocol::Tcp, &bytes)
}

/// To everybody on the link.
pub(super) fn udp(from: Ipv4Address, ports: [u16; 2], data: &[u8]) -> Vec<u8> {
    let header = UdpRepr { src_port: ports[0], dst_port: ports[1] };
    let to = Ipv4Address::BROADCAST;
    let mut bytes = vec![0; header.header_len() + data.len()];
    header.emit(
        &mut UdpPacket::new_unchecked(&mut bytes[..]),
        &from.into(),
        &to.into(),
        data.len(),
        |payload| payload.copy_from_slice(data),
        &ChecksumCapabilities::default(),
    );
    ipv4(from, to, IpProtocol::Udp, &bytes)
}
