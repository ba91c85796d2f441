//! Two stacks on a wire in memory, which can lose, double and swap frames; and one stack that strangers send
//! frames to. Time is what the test says it is.

use std::{
    cell::RefCell,
    collections::VecDeque,
    num::NonZeroUsize,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Poll, Waker},
};

use proptest::prelude::*;
use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress,
        EthernetFrame, EthernetProtocol, Icmpv4Packet, Icmpv6Packet, IpProtocol, Ipv4Packet,
        Ipv4Repr, Ipv6Packet, TcpPacket, UdpPacket, UdpRepr,
    },
};

use super::{Count, Random, SECOND, at_port, pattern};
use crate::{
    Config, Connection, Error, IpAddress, IpCidr, IpEndpoint, IpListenEndpoint, Ipv4Address, Link,
    Listener, Offload, Stack, TcpOptions, Udp, Woken, Work,
};

// --- The wire

/// Both directions: frames, and when each arrives.
#[derive(Debug)]
struct Wire {
    frames: [VecDeque<(u64, Vec<u8>)>; 2],
    /// How long each is on its way, in microseconds.
    delay: u64,
    now: u64,
    /// How many frames each side may send until it has room no more.
    room: [usize; 2],
    /// Of 100 frames so many are lost, sent twice, or overtake the one before.
    loss: usize,
    double: usize,
    swap: usize,
    /// The cards complete checksums and cut segments.
    offload: bool,
    /// Bytes of the longest frame, before it is cut.
    longest: usize,
    random: Random,
    /// All that was sent, lost frames included.
    log: Vec<Vec<u8>>,
}

/// One end.
#[derive(Debug)]
pub(super) struct End {
    wire: Rc<RefCell<Wire>>,
    side: usize,
}

impl Wire {
    fn new(seed: u64) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            frames: Default::default(),
            delay: 0,
            now: 0,
            room: [usize::MAX; 2],
            loss: 0,
            double: 0,
            swap: 0,
            offload: false,
            longest: 0,
            random: Random(seed),
            log: Vec::new(),
        }))
    }

    fn send(&mut self, to: usize, frame: Vec<u8>) {
        self.log.push(frame.clone());
        if self.random.percent(self.loss) {
            return;
        }
        let arrives = self.now + self.delay;
        if self.random.percent(self.double) {
            self.frames[to].push_back((arrives, frame.clone()));
        }
        self.frames[to].push_back((arrives, frame));
        let count = self.frames[to].len();
        if count > 1 && self.random.percent(self.swap) {
            self.frames[to].swap(count - 1, count - 2);
        }
    }
}

impl Link for End {
    type Frame = Vec<u8>;

    fn offload(&self) -> Offload {
        match self.wire.borrow().offload {
            true => Offload { checksums: true, segments: NonZeroUsize::new(LONGEST) },
            false => Offload::default(),
        }
    }

    fn has_room(&mut self) -> bool {
        self.wire.borrow().room[self.side] > 0
    }

    fn transmit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> (Work, R)) -> R {
        let mut frame = vec![0; len];
        let (work, result) = fill(&mut frame);
        let mut wire = self.wire.borrow_mut();
        let room = &mut wire.room[self.side];
        *room = room.checked_sub(1).expect("sent only after asking for room");
        wire.longest = wire.longest.max(frame.len());
        for segment in finish(frame, work) {
            wire.send(1 - self.side, segment);
        }
        result
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut wire = self.wire.borrow_mut();
        let now = wire.now;
        wire.frames[self.side].pop_front_if(|(arrives, _)| *arrives <= now).map(|(_, frame)| frame)
    }

    fn release(&mut self, _: Vec<u8>) {}

    fn mac(&self) -> [u8; 6] {
        [2, 0, 0, 0, 0, self.side as u8 + 1]
    }

    fn mtu(&self) -> usize {
        1500
    }
}

/// The longest frame that a card cuts.
const LONGEST: usize = 10_000;

/// What a card does with a frame.
fn finish(frame: Vec<u8>, work: Work) -> Vec<Vec<u8>> {
    let Some(checksum) = work.checksum else {
        assert!(work.segments.is_none() && frame.len() <= 1514, "a frame that is too long");
        return vec![frame];
    };
    let (start, end) = (usize::from(checksum.start), frame.len());
    let complete = |segment: &mut [u8]| {
        let sum = !data_sum(&segment[start..]);
        let at = start + usize::from(checksum.offset);
        segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    };
    let Some(cut) = work.segments else {
        assert!(end <= 1514, "a frame that is too long");
        let mut frame = frame;
        complete(&mut frame);
        return vec![frame];
    };
    assert!(end <= LONGEST);
    let header = usize::from(cut.header);
    let pieces: Vec<_> = frame[header..].chunks(usize::from(cut.size)).collect();
    let count = pieces.len();
    let mut sent = 0;
    let segments = pieces.into_iter().enumerate().map(|(index, data)| {
        let mut segment = [&frame[..header], data].concat();
        assert!(segment.len() <= 1514, "a segment that is too long");
        let total = (segment.len() - 14) as u16;
        segment[16..18].copy_from_slice(&total.to_be_bytes());
        Ipv4Packet::new_unchecked(&mut segment[14..]).fill_checksum();
        let mut tcp = TcpPacket::new_unchecked(&mut segment[start..]);
        tcp.set_seq_number(tcp.seq_number() + sent);
        if index + 1 < count {
            tcp.set_psh(false);
            tcp.set_fin(false);
        }
        sent += data.len();
        // What was there was the sum of the long frame's pseudo-header: its length is another one now.
        let sum = u32::from(tcp.checksum()) + 0xffff - (end - start) as u32
            + (segment.len() - start) as u32;
        let sum = (sum >> 16) + (sum & 0xffff);
        let at = start + usize::from(checksum.offset);
        segment[at..at + 2].copy_from_slice(&(((sum >> 16) + sum) as u16).to_be_bytes());
        complete(&mut segment);
        segment
    });
    segments.collect()
}

/// The Internet checksum's sum (RFC 1071).
fn data_sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let total: u32 = bytes.chunks(2).map(word).sum();
    let total = (total >> 16) + (total & 0xffff);
    ((total >> 16) + total) as u16
}

// --- Two machines

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

pub(super) struct Pair {
    wire: Rc<RefCell<Wire>>,
    pub(super) stacks: [Stack<End>; 2],
    pub(super) now: u64,
}

pub(super) fn ipv4(side: usize) -> IpAddress {
    IpAddress::v4(10, 0, 0, side as u8 + 1)
}

fn ipv6(side: usize) -> IpAddress {
    IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, side as u16 + 1)
}

fn stack(wire: &Rc<RefCell<Wire>>, side: usize, autoconfiguration: bool) -> Stack<End> {
    let end = End { wire: Rc::clone(wire), side };
    let seed = wire.borrow_mut().random.next();
    Stack::new(
        end,
        Config {
            seeds: [seed, seed ^ 1, seed ^ 2, seed ^ 3],
            connections: 100,
            buffers: 1 << 24,
            autoconfiguration,
        },
        0,
    )
}

impl Pair {
    pub(super) fn new(seed: u64) -> Self {
        Self::with_offload(seed, false)
    }

    /// With cards that complete checksums and cut segments, or without.
    fn with_offload(seed: u64, offload: bool) -> Self {
        let wire = Wire::new(seed);
        wire.borrow_mut().offload = offload;
        let mut stacks = [stack(&wire, A, false), stack(&wire, B, false)];
        for (side, stack) in stacks.iter_mut().enumerate() {
            stack.set_address(IpCidr::new(ipv4(side), 24), None).unwrap();
            stack.set_address(IpCidr::new(ipv6(side), 64), None).unwrap();
        }
        Self { wire, stacks, now: 0 }
    }

    /// Both do what there is to do at this moment.
    pub(super) fn settle(&mut self) {
        let mut woken = Woken::new();
        self.wire.borrow_mut().now = self.now;
        for _ in 0..100_000 {
            for stack in &mut self.stacks {
                stack.receive(self.now);
                stack.advance(self.now);
                stack.take_woken(&mut woken);
                woken.wake();
            }
            let wire = self.wire.borrow();
            let rests = |side: usize| match wire.frames[side].front() {
                Some(&(arrives, _)) => arrives > self.now || wire.room[side] == 0,
                None => true,
            };
            if rests(A) && rests(B) {
                return;
            }
        }
        panic!("they talk for ever");
    }

    /// Goes on until `done`, and says whether that was before `limit` microseconds have passed.
    pub(super) fn run(&mut self, limit: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            self.settle();
            let arrivals =
                self.wire.borrow().frames.each_ref().map(|frames| Some(frames.front()?.0));
            let deadlines = self.stacks.iter().map(Stack::next_deadline);
            let next = deadlines.chain(arrivals).flatten().min();
            let next = next.unwrap_or(u64::MAX).max(self.now + 1);
            if next > end {
                self.now = end;
                return done(self);
            }
            self.now = next;
        }
    }

    fn listen(&mut self, side: usize, port: u16, backlog: usize) -> Listener {
        self.stacks[side].listen(at_port(port), backlog, TcpOptions::default()).unwrap()
    }

    pub(super) fn connect(&mut self, side: usize, to: IpAddress, port: u16) -> Connection {
        self.stacks[side]
            .connect(self.now, IpEndpoint::new(to, port), TcpOptions::default())
            .unwrap()
    }

    pub(super) fn connected(
        &mut self,
        side: usize,
        connection: &Connection,
    ) -> Poll<Result<(), Error>> {
        self.stacks[side].poll_connected(
            self.now,
            connection,
            &TcpOptions::default(),
            Waker::noop(),
        )
    }

    pub(super) fn accept(&mut self, side: usize, listener: &Listener) -> Option<Connection> {
        match self.stacks[side].poll_accept(listener, Waker::noop()) {
            Poll::Ready((connection, _)) => Some(connection),
            Poll::Pending => None,
        }
    }

    /// A connection from `A` to `B`.
    fn established(&mut self, to: IpAddress) -> (Connection, Connection) {
        self.established_with(to, TcpOptions::default())
    }

    /// The same with these options at both ends.
    fn established_with(&mut self, to: IpAddress, options: TcpOptions) -> (Connection, Connection) {
        let listener = self.stacks[B].listen(at_port(80), 8, options).unwrap();
        let to = IpEndpoint::new(to, 80);
        let ours = self.stacks[A].connect(self.now, to, options).unwrap();
        let mut theirs = None;
        assert!(self.run(60 * SECOND, |this| {
            theirs = theirs.take().or_else(|| this.accept(B, &listener));
            theirs.is_some() && this.connected(A, &ours).is_ready()
        }));
        assert_eq!(self.connected(A, &ours), Poll::Ready(Ok(())));
        self.stacks[B].unlisten(self.now, listener);
        (ours, theirs.unwrap())
    }

    pub(super) fn write(
        &mut self,
        side: usize,
        to: &Connection,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        self.stacks[side].poll_write(self.now, to, Waker::noop(), true, |room| {
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            (count, count)
        })
    }

    /// All that is there; `Ok(true)` at the end.
    pub(super) fn read(
        &mut self,
        side: usize,
        from: &Connection,
        into: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        loop {
            let read = self.stacks[side].poll_read(self.now, from, Waker::noop(), |bytes| {
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

    /// Sends `bytes` in both directions at once, each end closing its direction after the last.
    fn exchange(&mut self, ends: [&Connection; 2], bytes: [&[u8]; 2], limit: u64) {
        let mut sent = [0; 2];
        let mut shut = [false; 2];
        let mut received = [Vec::new(), Vec::new()];
        let mut ended = [false; 2];
        let done = self.run(limit, |this| {
            for side in [A, B] {
                while sent[side] < bytes[side].len() {
                    match this.write(side, ends[side], &bytes[side][sent[side]..]) {
                        Poll::Ready(written) => sent[side] += written.unwrap(),
                        Poll::Pending => break,
                    }
                }
                if sent[side] == bytes[side].len() && !shut[side] {
                    shut[side] = true;
                    this.stacks[side].shut(this.now, ends[side]);
                }
                if !ended[side] {
                    ended[side] = this.read(side, ends[side], &mut received[side]).unwrap();
                }
            }
            ended == [true; 2]
        });
        assert!(done, "stuck after {sent:?} sent, {:?} received", received.map(|all| all.len()));
        assert!(received[B] == bytes[A] && received[A] == bytes[B], "other bytes");
    }

    fn frames(&self) -> usize {
        self.wire.borrow().log.len()
    }
}

// --- Connections

#[test]
fn bytes_go_both_ways_and_nothing_is_left() {
    for address in [ipv4(B), ipv6(B)] {
        let mut pair = Pair::new(1);
        let (ours, theirs) = pair.established(address);
        let (there, back) = (pattern(100_000, 1), pattern(70_001, 2));
        pair.exchange([&ours, &theirs], [&there, &back], 60 * SECOND);
        pair.stacks[A].close(pair.now, ours);
        pair.stacks[B].close(pair.now, theirs);
        assert!(pair.run(60 * SECOND, |this| this.stacks.iter().all(|it| it.connections() == 0)));
    }
}

#[test]
fn neighbour_is_asked_for_and_the_first_segment_goes_then() {
    for address in [ipv4(B), ipv6(B)] {
        let mut pair = Pair::new(2);
        let listener = pair.listen(B, 80, 1);
        let ours = pair.connect(A, address, 80);
        pair.settle();
        // No time has passed: the answer itself let the segment go.
        assert_eq!(pair.now, 0);
        assert_eq!(pair.connected(A, &ours), Poll::Ready(Ok(())));
        assert!(pair.accept(B, &listener).is_some());
    }
}

#[test]
fn neighbour_is_asked_again_when_the_question_is_lost() {
    let mut pair = Pair::new(3);
    let _listener = pair.listen(B, 80, 1);
    pair.wire.borrow_mut().loss = 100;
    let ours = pair.connect(A, ipv4(B), 80);
    pair.settle();
    pair.wire.borrow_mut().loss = 0;
    assert!(pair.run(5 * SECOND, |this| this.connected(A, &ours).is_ready()));
}

#[test]
fn segments_of_other_connections_wait_for_the_same_neighbour() {
    let mut pair = Pair::new(4);
    let listener = pair.listen(B, 80, 8);
    let ours: Vec<_> = (0..5).map(|_| pair.connect(A, ipv4(B), 80)).collect();
    assert!(pair.run(5 * SECOND, |this| ours.iter().all(|it| this.connected(A, it).is_ready())));
    assert_eq!((0..9).filter(|_| pair.accept(B, &listener).is_some()).count(), 5);
}

#[test]
fn half_closed_connection_goes_on_in_the_other_direction() {
    let mut pair = Pair::new(5);
    let (ours, theirs) = pair.established(ipv4(B));
    assert_eq!(pair.write(A, &ours, b"question"), Poll::Ready(Ok(8)));
    pair.stacks[A].shut(pair.now, &ours);
    let mut heard = Vec::new();
    assert!(pair.run(SECOND, |this| this.read(B, &theirs, &mut heard).unwrap()));
    assert_eq!(heard, b"question");
    assert_eq!(pair.write(A, &ours, b"more"), Poll::Ready(Err(Error::Closed)));

    assert_eq!(pair.write(B, &theirs, b"answer"), Poll::Ready(Ok(6)));
    pair.stacks[B].close(pair.now, theirs);
    let mut heard = Vec::new();
    assert!(pair.run(SECOND, |this| this.read(A, &ours, &mut heard).unwrap()));
    assert_eq!(heard, b"answer");
}

#[test]
fn what_was_written_is_delivered_after_closing() {
    let mut pair = Pair::new(6);
    let (ours, theirs) = pair.established(ipv4(B));
    assert_eq!(pair.write(A, &ours, &pattern(5000, 6)), Poll::Ready(Ok(5000)));
    pair.stacks[A].close(pair.now, ours);
    let mut heard = Vec::new();
    assert!(pair.run(SECOND, |this| this.read(B, &theirs, &mut heard).unwrap()));
    assert_eq!(heard, pattern(5000, 6));
}

#[test]
fn unread_bytes_turn_closing_into_a_reset() {
    let mut pair = Pair::new(7);
    let (ours, theirs) = pair.established(ipv4(B));
    assert!(pair.write(B, &theirs, b"never read").is_ready());
    pair.settle();
    pair.stacks[A].close(pair.now, ours);
    pair.settle();
    assert_eq!(pair.read(B, &theirs, &mut Vec::new()), Err(Error::ConnectionReset));
    assert_eq!(pair.stacks[A].connections(), 0);
}

#[test]
fn bytes_for_nobody_are_answered_by_a_reset() {
    let mut pair = Pair::new(8);
    let (ours, theirs) = pair.established(ipv4(B));
    pair.stacks[A].close(pair.now, ours);
    pair.settle();
    assert!(pair.write(B, &theirs, b"too late").is_ready());
    pair.settle();
    assert_eq!(pair.write(B, &theirs, b"x"), Poll::Ready(Err(Error::ConnectionReset)));
    assert_eq!(pair.stacks[A].connections(), 0);
}

#[test]
fn reset_connection_fails_and_can_be_closed() {
    let mut pair = Pair::new(9);
    let (ours, theirs) = pair.established(ipv4(B));
    pair.stacks[A].reset(pair.now, &ours);
    pair.settle();
    for (side, end) in [(A, &ours), (B, &theirs)] {
        assert_eq!(pair.read(side, end, &mut Vec::new()), Err(Error::ConnectionReset));
        assert_eq!(pair.write(side, end, b"x"), Poll::Ready(Err(Error::ConnectionReset)));
    }
    pair.stacks[A].close(pair.now, ours);
    pair.stacks[B].close(pair.now, theirs);
    pair.settle();
    assert!(pair.stacks.iter().all(|stack| stack.connections() == 0));
}

#[test]
fn closed_port_refuses() {
    let mut pair = Pair::new(10);
    let ours = pair.connect(A, ipv4(B), 81);
    pair.settle();
    assert_eq!(pair.connected(A, &ours), Poll::Ready(Err(Error::ConnectionRefused)));
}

#[test]
fn silent_peer_is_given_up() {
    let mut pair = Pair::new(11);
    pair.wire.borrow_mut().loss = 100;
    let ours = pair.connect(A, ipv4(B), 80);
    assert!(!pair.run(20 * SECOND, |this| this.connected(A, &ours).is_ready()));
    assert!(pair.run(120 * SECOND, |this| this.connected(A, &ours).is_ready()));
    assert!(matches!(pair.connected(A, &ours), Poll::Ready(Err(_))));
}

// --- Listeners

#[test]
fn full_backlog_takes_nobody_until_somebody_accepts() {
    let mut pair = Pair::new(20);
    let listener = pair.listen(B, 80, 2);
    let ours: Vec<_> = (0..3).map(|_| pair.connect(A, ipv4(B), 80)).collect();
    pair.settle();
    // All three began before the queue was full. The third is not forgotten.
    assert_eq!((pair.stacks[B].connections(), pair.stacks[B].handshakes()), (2, 1));
    assert_eq!(pair.stacks[B].counters().refused, 1);
    // Another one is not answered.
    let another = pair.connect(A, ipv4(B), 80);
    pair.settle();
    assert!(pair.connected(A, &another).is_pending());
    assert_eq!(pair.stacks[B].counters().refused, 2);
    let mut accepted = Vec::new();
    assert!(pair.run(5 * SECOND, |this| {
        accepted.extend(this.accept(B, &listener));
        accepted.len() == 4 && this.connected(A, &another).is_ready()
    }));
    assert!(ours.iter().all(|it| pair.connected(A, it).is_ready()));
    assert_eq!(pair.stacks[B].handshakes(), 0);
}

#[test]
fn dropped_listener_resets_who_waits() {
    let mut pair = Pair::new(21);
    let listener = pair.listen(B, 80, 8);
    let ours: Vec<_> = (0..3).map(|_| pair.connect(A, ipv4(B), 80)).collect();
    pair.settle();
    pair.stacks[B].unlisten(pair.now, listener);
    pair.settle();
    for connection in &ours {
        assert_eq!(pair.read(A, connection, &mut Vec::new()), Err(Error::ConnectionReset));
    }
    assert_eq!(pair.stacks[B].connections(), 0);
}

#[test]
fn reset_in_the_handshake_frees_the_place() {
    let mut pair = Pair::new(22);
    let listener = pair.listen(B, 80, 1);
    // The neighbours are known afterwards.
    let (ours, theirs) = {
        let ours = pair.connect(A, ipv4(B), 80);
        pair.settle();
        (ours, pair.accept(B, &listener).unwrap())
    };
    pair.stacks[A].abort(pair.now, ours);
    pair.stacks[B].abort(pair.now, theirs);
    pair.settle();

    let ours = pair.connect(A, ipv4(B), 80);
    pair.stacks[A].advance(pair.now);
    while pair.stacks[B].receive(pair.now) {}
    assert_eq!(pair.stacks[B].handshakes(), 1, "the SYN is there");
    pair.stacks[A].abort(pair.now, ours);
    pair.settle();
    assert_eq!((pair.stacks[B].handshakes(), pair.stacks[B].connections()), (0, 0));
    assert!(pair.accept(B, &listener).is_none());
    let ours = pair.connect(A, ipv4(B), 80);
    pair.settle();
    assert_eq!(pair.connected(A, &ours), Poll::Ready(Ok(())));
}

#[test]
fn handshake_that_is_never_finished_is_forgotten() {
    let mut pair = Pair::new(23);
    let _listener = pair.listen(B, 80, 1);
    let _ours = pair.connect(A, ipv4(B), 80);
    pair.stacks[A].advance(pair.now);
    // The question for the address, and the SYN.
    while pair.stacks[B].receive(pair.now) {}
    while pair.stacks[A].receive(pair.now) {}
    while pair.stacks[B].receive(pair.now) {}
    assert_eq!((pair.stacks[B].handshakes(), pair.stacks[B].connections()), (1, 0));
    pair.wire.borrow_mut().loss = 100;
    pair.wire.borrow_mut().frames[A].clear();
    assert!(pair.run(120 * SECOND, |this| this.stacks[B].handshakes() == 0));
}

#[test]
fn ports_are_taken_and_free_again() {
    let mut pair = Pair::new(24);
    let listener = pair.listen(B, 80, 1);
    let again = pair.stacks[B].listen(at_port(80), 1, TcpOptions::default());
    assert_eq!(again.err(), Some(Error::AddressInUse));
    pair.stacks[B].unlisten(pair.now, listener);
    let (ours, theirs) = pair.established(ipv4(B));
    // While a connection of the old listener is there.
    let _listener = pair.listen(B, 80, 1);
    assert!(pair.write(A, &ours, b"still").is_ready());
    let mut heard = Vec::new();
    pair.settle();
    assert_eq!(pair.read(B, &theirs, &mut heard), Ok(false));
    assert_eq!(heard, b"still");
    let other = pair.connect(A, ipv4(B), 80);
    pair.settle();
    assert_eq!(pair.connected(A, &other), Poll::Ready(Ok(())));

    let any = pair.stacks[B].listen(at_port(0), 1, TcpOptions::default()).unwrap();
    assert!(any.port() >= 49152);
}

#[test]
fn as_many_connections_as_are_allowed() {
    let mut pair = Pair::new(25);
    let _listener = pair.listen(B, 80, 1000);
    let to = IpEndpoint::new(ipv4(B), 80);
    let ours: Vec<_> = (0..100).map(|_| pair.connect(A, ipv4(B), 80)).collect();
    let further = pair.stacks[A].connect(pair.now, to, TcpOptions::default());
    assert_eq!(further.err(), Some(Error::OutOfMemory));
    assert!(pair.run(30 * SECOND, |this| ours.iter().all(|it| this.connected(A, it).is_ready())));
    for connection in ours {
        pair.stacks[A].abort(pair.now, connection);
    }
    pair.settle();
    assert_eq!(pair.stacks[A].connections(), 0);
}

// --- Waking

#[test]
fn who_waits_is_woken_once_and_not_under_the_lock() {
    let mut pair = Pair::new(30);
    let (ours, theirs) = pair.established(ipv4(B));
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let read = |pair: &mut Pair| {
        pair.stacks[B].poll_read(pair.now, &theirs, &waker, |bytes| (bytes.len(), bytes.len()))
    };
    assert!(read(&mut pair).is_pending());
    assert!(pair.write(A, &ours, b"x").is_ready());
    pair.stacks[A].advance(pair.now);
    while pair.stacks[B].receive(pair.now) {}
    pair.stacks[B].advance(pair.now);
    assert_eq!(count.0.load(Relaxed), 0, "only the caller of `take_woken` wakes");
    assert!(pair.stacks[B].has_woken());
    pair.settle();
    assert_eq!(count.0.load(Relaxed), 1);
    assert_eq!(read(&mut pair), Poll::Ready(Ok(Some(1))));
}

/// What a waker's end does may come back to the stack.
#[test]
fn wakers_are_not_dropped_under_the_lock() {
    let mut pair = Pair::new(31);
    let (ours, theirs) = pair.established(ipv4(B));
    let count = Arc::new(Count::default());
    let waker = || Waker::from(Arc::clone(&count));
    let kept = || Arc::strong_count(&count) - 1;
    let listener = pair.listen(A, 81, 1);
    let socket = pair.stacks[A].bind_udp(at_port(7)).unwrap();
    let now = pair.now;
    let stack = &mut pair.stacks[A];
    assert!(stack.poll_accept(&listener, &waker()).is_pending());
    assert!(stack.poll_receive_udp(&socket, &waker(), |_, _, _| ()).is_pending());
    assert!(stack.poll_readable(&ours, &waker()).is_pending());
    assert_eq!(kept(), 3);
    stack.unlisten(now, listener);
    stack.close_udp(socket);
    stack.abort(now, ours);
    assert_eq!(kept(), 3);
    let mut woken = Woken::new();
    stack.take_woken(&mut woken);
    woken.wake();
    assert_eq!(kept(), 0);
    pair.stacks[B].close(now, theirs);
}

// --- A card without room

#[test]
fn what_has_no_room_goes_when_there_is_some() {
    let mut pair = Pair::new(40);
    let (ours, theirs) = pair.established(ipv4(B));
    pair.settle();
    pair.wire.borrow_mut().room[A] = 0;
    let bytes = pattern(8000, 40);
    assert_eq!(pair.write(A, &ours, &bytes), Poll::Ready(Ok(8000)));
    pair.stacks[A].flush(pair.now, &ours);
    pair.settle();
    assert!(pair.stacks[A].wants_room());
    let mut heard = Vec::new();
    // One frame at a time; no time passes but that of delayed acknowledgements.
    assert!(pair.run(SECOND / 5, |this| {
        this.wire.borrow_mut().room[A] = 1;
        this.settle();
        assert_eq!(this.read(B, &theirs, &mut heard), Ok(false));
        heard.len() == bytes.len()
    }));
    assert!(heard == bytes);
    pair.wire.borrow_mut().room[A] = usize::MAX;
    pair.settle();
    assert!(!pair.stacks[A].wants_room());
}

// --- Losses

#[test]
fn losses_doubles_and_swaps_do_no_harm() {
    for seed in 100..106 {
        println!("seed {seed}");
        let mut pair = Pair::with_offload(seed, seed % 3 == 0);
        {
            let mut wire = pair.wire.borrow_mut();
            (wire.loss, wire.double, wire.swap) = (10, 2, 5);
        }
        let (ours, theirs) = pair.established(if seed % 2 == 0 { ipv4(B) } else { ipv6(B) });
        let bytes = [pattern(256 * 1024, seed), pattern(256 * 1024, seed + 1)];
        pair.exchange([&ours, &theirs], [&bytes[A], &bytes[B]], 3600 * SECOND);
        pair.stacks[A].close(pair.now, ours);
        pair.stacks[B].close(pair.now, theirs);
        assert!(pair.run(600 * SECOND, |this| this.stacks.iter().all(|it| it.connections() == 0)));
    }
}

/// How long a megabyte takes at most, in seconds, by how many frames of 100 are lost in both directions. Without
/// selective acknowledgements at the sending side, smoltcp took 47 s where 5 are lost; where 20 are, it gave up.
#[test]
fn megabyte_arrives_soon_whatever_is_lost() {
    for (loss, limit) in [(0, 1), (1, 2), (5, 6), (20, 200)] {
        for seed in 110..114 {
            let mut pair = Pair::new(seed);
            let options = TcpOptions {
                receive_buffer: 65_535,
                transmit_buffer: 65_535,
                ..TcpOptions::default()
            };
            let (ours, theirs) = pair.established_with(ipv4(B), options);
            {
                let mut wire = pair.wire.borrow_mut();
                (wire.loss, wire.double, wire.swap) = (loss, loss.min(1), loss.min(2));
                wire.delay = 500;
            }
            let (bytes, begin) = (pattern(1 << 20, seed), pair.now);
            pair.exchange([&ours, &theirs], [&bytes, &[]], limit * SECOND);
            println!("loss {loss} %, seed {seed}: {} ms", (pair.now - begin) / 1000);
        }
    }
}

#[test]
fn card_that_cuts_segments_gets_few_long_frames() {
    let mut pair = Pair::with_offload(120, true);
    let (ours, theirs) = pair.established(ipv4(B));
    let bytes = pattern(1 << 20, 120);
    // Counted before they are cut: the longest is `LONGEST`, but a ring holds less.
    let mut heard = Vec::new();
    let mut written = 0;
    assert!(pair.run(60 * SECOND, |this| {
        if let Poll::Ready(Ok(count)) = this.write(A, &ours, &bytes[written..]) {
            written += count;
        }
        this.stacks[A].flush(this.now, &ours);
        this.settle();
        assert_eq!(this.read(B, &theirs, &mut heard), Ok(false));
        heard.len() == bytes.len()
    }));
    assert!(heard == bytes);
    let longest = pair.wire.borrow().longest;
    assert!(longest > 4 * 1460, "no frame is longer than {longest}");
}

// --- Datagrams

fn send(
    pair: &mut Pair,
    side: usize,
    socket: &Udp,
    bytes: &[u8],
    to: IpEndpoint,
) -> Poll<Result<(), Error>> {
    let now = pair.now;
    pair.stacks[side].poll_send_udp(now, socket, Waker::noop(), bytes, to, None)
}

fn heard(pair: &mut Pair, side: usize, socket: &Udp) -> Option<(Vec<u8>, IpEndpoint)> {
    let received = pair.stacks[side]
        .poll_receive_udp(socket, Waker::noop(), |bytes, from, _| (bytes.to_vec(), from));
    match received {
        Poll::Ready(received) => Some(received),
        Poll::Pending => None,
    }
}

#[test]
fn datagrams_go_both_ways() {
    for addresses in [[ipv4(A), ipv4(B)], [ipv6(A), ipv6(B)]] {
        let mut pair = Pair::new(50);
        let ours = pair.stacks[A].bind_udp(at_port(0)).unwrap();
        let theirs = pair.stacks[B].bind_udp(at_port(7)).unwrap();
        assert_eq!(pair.stacks[B].bind_udp(at_port(7)).err(), Some(Error::AddressInUse));
        let to = IpEndpoint::new(addresses[B], 7);
        assert_eq!(send(&mut pair, A, &ours, b"there", to), Poll::Ready(Ok(())));
        assert!(pair.stacks[B].poll_readable_udp(&theirs, Waker::noop()).is_pending());
        pair.settle();
        assert!(pair.stacks[B].poll_readable_udp(&theirs, Waker::noop()).is_ready());
        let (bytes, from) = heard(&mut pair, B, &theirs).unwrap();
        assert_eq!(
            (bytes.as_slice(), from),
            (b"there".as_slice(), IpEndpoint::new(addresses[A], ours.port()))
        );
        assert_eq!(send(&mut pair, B, &theirs, b"back", from), Poll::Ready(Ok(())));
        pair.settle();
        assert_eq!(heard(&mut pair, A, &ours), Some((b"back".to_vec(), to)));
        assert_eq!(heard(&mut pair, A, &ours), None);
        pair.stacks[B].close_udp(theirs);
        assert!(pair.stacks[B].bind_udp(at_port(7)).is_ok());
    }
}

#[test]
fn datagram_to_a_closed_port_is_answered() {
    let mut pair = Pair::new(51);
    let ours = pair.stacks[A].bind_udp(at_port(0)).unwrap();
    let to = IpEndpoint::new(ipv4(B), 9);
    assert!(send(&mut pair, A, &ours, b"anybody?", to).is_ready());
    pair.settle();
    let wire = pair.wire.borrow();
    let last = wire.log.last().unwrap();
    // ICMP "destination unreachable, port" (RFC 792).
    assert_eq!((last[23], &last[34..36]), (1, [3, 3].as_slice()));
}

#[test]
fn impossible_datagrams_are_refused() {
    let mut pair = Pair::new(52);
    let any = pair.stacks[A].bind_udp(at_port(0)).unwrap();
    let bound = pair.stacks[A].bind_udp(IpListenEndpoint { addr: Some(ipv4(A)), port: 5 }).unwrap();
    let now = pair.now;
    let mut send = |socket, to, port, from, length| {
        let to = IpEndpoint::new(to, port);
        pair.stacks[A].poll_send_udp(now, socket, Waker::noop(), &vec![0; length], to, from)
    };
    let invalid = Poll::Ready(Err(Error::InvalidAddress));
    let unspecified = IpAddress::v6(0, 0, 0, 0, 0, 0, 0, 0);
    assert_eq!(send(&any, unspecified, 1, None, 1), invalid);
    assert_eq!(send(&any, IpAddress::v4(0, 0, 0, 0), 1, None, 1), invalid);
    assert_eq!(send(&any, ipv4(B), 0, None, 1), invalid);
    // An address of another family, an address of somebody else.
    assert_eq!(send(&any, ipv4(B), 1, Some(ipv6(A)), 1), invalid);
    assert_eq!(send(&bound, ipv6(B), 1, None, 1), invalid);
    assert_eq!(send(&any, ipv4(B), 1, Some(ipv4(B)), 1), invalid);
    assert_eq!(send(&any, ipv4(B), 1, None, 1473), Poll::Ready(Err(Error::TooLarge)));
    assert_eq!(send(&any, ipv4(B), 1, None, 1472), Poll::Ready(Ok(())));
    let elsewhere = IpAddress::v4(192, 0, 2, 1);
    assert_eq!(send(&any, IpAddress::v4(255, 255, 255, 255), 1, None, 1), Poll::Ready(Ok(())));
    let _ = send(&any, elsewhere, 1, None, 1);
    pair.settle();
}

// --- DHCP

/// A server that offers 10.0.0.`host` and says that `router` is the router. Answers what it finds on the
/// wire.
fn serve_dhcp(pair: &mut Pair, host: u8, router: Ipv4Address) {
    let questions: Vec<_> =
        pair.wire.borrow_mut().frames[B].drain(..).map(|(_, frame)| frame).collect();
    for question in questions {
        let frame = EthernetFrame::new_checked(&question[..]).unwrap();
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            continue;
        }
        let ip = Ipv4Packet::new_checked(frame.payload()).unwrap();
        let udp = UdpPacket::new_checked(ip.payload()).unwrap();
        let packet = DhcpPacket::new_checked(udp.payload()).unwrap();
        let asked = DhcpRepr::parse(&packet).unwrap();
        let server = Ipv4Address::new(10, 0, 0, 2);
        let answer = DhcpRepr {
            message_type: match asked.message_type {
                DhcpMessageType::Discover => DhcpMessageType::Offer,
                _ => DhcpMessageType::Ack,
            },
            your_ip: Ipv4Address::new(10, 0, 0, host),
            server_ip: server,
            server_identifier: Some(server),
            router: Some(router),
            subnet_mask: Some(Ipv4Address::new(255, 255, 255, 0)),
            lease_duration: Some(3600),
            requested_ip: None,
            client_identifier: None,
            parameter_request_list: None,
            ..asked
        };
        let udp = UdpRepr { src_port: 67, dst_port: 68 };
        let ip = Ipv4Repr {
            src_addr: server,
            dst_addr: Ipv4Address::new(255, 255, 255, 255),
            next_header: IpProtocol::Udp,
            payload_len: 8 + answer.buffer_len(),
            hop_limit: 64,
        };
        let mut bytes = vec![0; 14 + 20 + ip.payload_len];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        frame.set_dst_addr(EthernetAddress([2, 0, 0, 0, 0, 1]));
        frame.set_src_addr(EthernetAddress([2, 0, 0, 0, 0, 2]));
        frame.set_ethertype(EthernetProtocol::Ipv4);
        let checksums = ChecksumCapabilities::default();
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut packet, &checksums);
        let mut packet = UdpPacket::new_unchecked(packet.payload_mut());
        let addresses = (ip.src_addr.into(), ip.dst_addr.into());
        let fill = |payload: &mut [u8]| {
            answer.emit(&mut DhcpPacket::new_unchecked(payload)).unwrap();
        };
        udp.emit(&mut packet, &addresses.0, &addresses.1, answer.buffer_len(), fill, &checksums);
        pair.wire.borrow_mut().frames[A].push_back((0, bytes));
    }
}

fn with_dhcp(seed: u64, host: u8, router: Ipv4Address) -> Pair {
    let wire = Wire::new(seed);
    let mut pair = Pair { stacks: [stack(&wire, A, true), stack(&wire, B, false)], wire, now: 0 };
    pair.stacks[A].start_dhcp(0);
    for _ in 0..8 {
        serve_dhcp(&mut pair, host, router);
        while pair.stacks[A].receive(pair.now) {}
        pair.now += SECOND;
        pair.stacks[A].advance(pair.now);
    }
    pair
}

#[test]
fn dhcp_gives_an_address() {
    let router = Ipv4Address::new(10, 0, 0, 2);
    let mut pair = with_dhcp(60, 77, router);
    assert!(pair.stacks[A].poll_configured(Waker::noop()).is_ready());
    assert!(pair.stacks[A].addresses().contains(&IpCidr::new(IpAddress::v4(10, 0, 0, 77), 24)));
    assert_eq!(pair.stacks[A].gateway(), Some(router));
}

#[test]
fn dhcp_cannot_give_an_impossible_router_or_address() {
    let routers =
        [[255; 4], [224, 0, 0, 1], [0; 4], [10, 0, 0, 255], [127, 0, 0, 1], [10, 0, 0, 77]];
    for (router, host) in routers.into_iter().flat_map(|it| [(it, 77), (it, 255), (it, 0)]) {
        let mut pair = with_dhcp(61, host, Ipv4Address::from(router));
        let socket = pair.stacks[A].bind_udp(at_port(0)).unwrap();
        // By the router.
        let to = IpEndpoint::new(IpAddress::v4(192, 0, 2, 1), 9);
        let _ = send(&mut pair, A, &socket, b"x", to);
        let options = TcpOptions::default();
        let _ = pair.stacks[A].connect(pair.now, to, options);
        pair.wire.borrow_mut().frames = Default::default();
        for _ in 0..5 {
            pair.now += SECOND;
            pair.stacks[A].advance(pair.now);
        }
    }
}

// --- Strangers

/// What a fuzzed machine does when the first frame comes: everything.
struct Victim {
    pair: Pair,
    corpus: Vec<Vec<u8>>,
    _connections: Vec<Connection>,
    sockets: Vec<Udp>,
    listener: Listener,
}

impl Victim {
    fn new(seed: u64) -> Self {
        let router = Ipv4Address::new(10, 0, 0, 2);
        let mut pair = with_dhcp(seed, 1, router);
        for (side, stack) in pair.stacks.iter_mut().enumerate() {
            stack.set_address(IpCidr::new(ipv6(side), 64), None).unwrap();
        }
        pair.stacks[B].set_address(IpCidr::new(ipv4(B), 24), None).unwrap();
        pair.settle();
        let mut connections = Vec::new();
        for address in [ipv4(B), ipv6(B)] {
            let (ours, theirs) = pair.established(address);
            assert!(pair.write(A, &ours, &pattern(3000, seed)).is_ready());
            assert!(pair.write(B, &theirs, &pattern(3000, seed)).is_ready());
            pair.settle();
            connections.extend([ours, theirs]);
        }
        let sockets = vec![
            pair.stacks[A].bind_udp(at_port(7)).unwrap(),
            pair.stacks[B].bind_udp(at_port(7)).unwrap(),
        ];
        for to in [ipv4(A), ipv6(A)] {
            assert!(send(&mut pair, B, &sockets[1], b"hello", IpEndpoint::new(to, 7)).is_ready());
            assert!(send(&mut pair, B, &sockets[1], b"hello", IpEndpoint::new(to, 9)).is_ready());
            pair.settle();
        }
        let listener = pair.listen(A, 80, 4);
        for to in [ipv4(A), ipv6(A)] {
            let theirs = pair.connect(B, to, 80);
            pair.settle();
            pair.stacks[B].close(pair.now, theirs);
            pair.settle();
            let ours = pair.accept(A, &listener).unwrap();
            pair.stacks[A].close(pair.now, ours);
            pair.settle();
        }
        pair.stacks[A].set_name_servers(&[ipv4(B)]);
        drop(pair.stacks[A].start_lookup(pair.now, "example.com", false));
        let corpus = std::mem::take(&mut pair.wire.borrow_mut().log);
        let mut this = Self { pair, corpus, _connections: connections, sockets, listener };
        this.corpus.extend([
            router_advertisement(),
            arp(ArpOperation::Reply),
            arp(ArpOperation::Request),
        ]);
        this
    }

    fn hit(&mut self, frame: Vec<u8>, passed: u64) {
        let pair = &mut self.pair;
        pair.wire.borrow_mut().frames = Default::default();
        pair.wire.borrow_mut().frames[A].push_back((0, frame));
        pair.wire.borrow_mut().log.clear();
        pair.now += passed;
        let mut woken = Woken::new();
        while pair.stacks[A].receive(pair.now) {}
        pair.stacks[A].advance(pair.now);
        pair.stacks[A].take_woken(&mut woken);
        woken.wake();
        assert!(pair.frames() < 100, "one frame lets it send {}", pair.frames());
        if let Some(connection) = pair.accept(A, &self.listener) {
            let _ = pair.read(A, &connection, &mut Vec::new());
            pair.stacks[A].close(pair.now, connection);
        }
        let _ = heard(pair, A, &self.sockets[0]);
        let to = IpEndpoint::new(IpAddress::v4(192, 0, 2, 1), 9);
        let _ = send(pair, A, &self.sockets[0], b"x", to);
    }
}

fn arp(operation: ArpOperation) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress([2, 0, 0, 0, 0, 2]),
        source_protocol_addr: Ipv4Address::new(10, 0, 0, 2),
        target_hardware_addr: EthernetAddress([2, 0, 0, 0, 0, 1]),
        target_protocol_addr: Ipv4Address::new(10, 0, 0, 1),
    };
    let mut bytes = vec![0; 14 + repr.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    frame.set_dst_addr(EthernetAddress([2, 0, 0, 0, 0, 1]));
    frame.set_src_addr(EthernetAddress([2, 0, 0, 0, 0, 2]));
    frame.set_ethertype(EthernetProtocol::Arp);
    repr.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}

/// From fe80::2, for fd00:5::/64, with the router's hardware address (RFC 4861 §4.2, 4.6.1, 4.6.2).
fn router_advertisement() -> Vec<u8> {
    let mut bytes = vec![0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
    bytes.extend([0x60, 0, 0, 0, 0, 56, 58, 255]);
    bytes.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    bytes.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend([134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([1, 1, 2, 0, 0, 0, 0, 2]);
    bytes.extend([3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x07, 0x08, 0, 0, 0, 0]);
    bytes.extend([0xfd, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    mend(&mut bytes);
    bytes
}

/// Makes lengths and checksums right again, so that a change is looked at and not just dropped.
fn mend(bytes: &mut [u8]) {
    let Ok(mut frame) = EthernetFrame::new_checked(bytes) else { return };
    match frame.ethertype() {
        EthernetProtocol::Ipv4 => {
            let Ok(mut packet) = Ipv4Packet::new_checked(frame.payload_mut()) else { return };
            packet.fill_checksum();
            let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
            mend_transport(packet.next_header(), &from, &to, packet.payload_mut());
        }
        EthernetProtocol::Ipv6 => {
            let Ok(mut packet) = Ipv6Packet::new_checked(frame.payload_mut()) else { return };
            let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
            mend_transport(packet.next_header(), &from, &to, packet.payload_mut());
        }
        _ => {}
    }
}

fn mend_transport(protocol: IpProtocol, from: &IpAddress, to: &IpAddress, payload: &mut [u8]) {
    match (protocol, from, to) {
        (IpProtocol::Tcp, ..) => {
            let Ok(mut packet) = TcpPacket::new_checked(payload) else { return };
            packet.fill_checksum(from, to);
        }
        (IpProtocol::Udp, ..) => {
            let Ok(mut packet) = UdpPacket::new_checked(payload) else { return };
            packet.fill_checksum(from, to);
        }
        (IpProtocol::Icmp, ..) => {
            let Ok(mut packet) = Icmpv4Packet::new_checked(payload) else { return };
            packet.fill_checksum();
        }
        (IpProtocol::Icmpv6, IpAddress::Ipv6(from), IpAddress::Ipv6(to)) => {
            let Ok(mut packet) = Icmpv6Packet::new_checked(payload) else { return };
            packet.fill_checksum(from, to);
        }
        _ => {}
    }
}

/// A frame of `corpus` with some bytes that are others.
fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const SPECIAL: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 0xfe, 2, 0x10];
    let mut frame = corpus[random.below(corpus.len())].clone();
    // To the victim, most of the time.
    if random.percent(95) {
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    }
    for _ in 0..random.below(5) {
        // Headers more often than what they lead.
        let length = if random.percent(80) { frame.len().min(100) } else { frame.len() };
        let (first, run) = (random.below(length), [1, 1, 2, 4, 6, 16][random.below(6)]);
        let special = random.percent(60).then(|| SPECIAL[random.below(SPECIAL.len())]);
        for byte in frame.iter_mut().skip(first).take(run) {
            *byte = special.unwrap_or(random.next() as u8);
        }
    }
    if random.percent(10) {
        frame.truncate(random.below(frame.len() + 1));
    }
    if random.percent(5) {
        frame.resize(frame.len() + random.below(64), 0);
    }
    if random.percent(90) {
        mend(&mut frame);
    }
    frame
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Nothing that comes from the network stops the machine.
    #[test]
    fn mutated_frames_do_no_harm(seed: u64) {
        let mut victim = Victim::new(seed);
        let corpus = victim.corpus.clone();
        let mut random = Random(seed);
        for _ in 0..300 {
            let frame = mutated(&corpus, &mut random);
            let passed = [0, 0, 1, 1000, SECOND, 100 * SECOND][random.below(6)];
            victim.hit(frame, passed);
        }
    }

    #[test]
    fn arbitrary_frames_do_no_harm(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..50),
        kind in 0_usize..4,
    ) {
        let mut victim = Victim::new(1);
        for mut frame in frames {
            if let Some(head) = frame.get_mut(..14) {
                head[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
                head[12..].copy_from_slice(&[[8, 0], [8, 6], [0x86, 0xdd], [0x12, 0x34]][kind]);
            }
            victim.hit(frame, 1000);
        }
    }
}
