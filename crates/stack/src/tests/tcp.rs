//! Connections with peers that are silent, slow, or not what they should be.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Poll, Waker},
    time::Duration,
};

use smoltcp::wire::TcpControl::{self, Fin, Psh, Rst};

use super::{
    Count, SECOND, at_port,
    pair::{A, B, Pair, ipv4},
    pattern,
    peer::{Machine, PEER, Peer, SILENT, Segment},
};
use crate::{Connection, Error, IpAddress, IpEndpoint, TcpOptions};

/// How long the machine may keep a connection that nobody has.
const FORGETS: u64 = 35 * SECOND;

/// The same while it does not acknowledge what was written.
const GIVES_UP: u64 = 140 * SECOND;

fn controls(segments: &[Segment]) -> Vec<TcpControl> {
    segments.iter().map(|segment| segment.control).collect()
}

// --- The peer's end

/// Segments whose numbers are as far away as numbers can be.
fn say_from_the_other_end(machine: &mut Machine, peer: Peer) {
    for behind in (0..300).step_by(10) {
        let mut stranger = Peer { number: peer.number + (i32::MAX as usize - behind), ..peer };
        stranger.say(machine, Psh, &[9; 100]);
    }
}

#[test]
fn end_with_data_that_fills_the_window_is_taken_when_there_is_room() {
    let mut machine = Machine::new();
    let listener = machine.listen(TcpOptions::default());
    let mut peer = Peer::connected(&mut machine, 5000);
    let bytes = pattern(8192, 1);
    let (most, last) = bytes.split_at(8191);
    for piece in most.chunks(1460) {
        peer.say(&mut machine, Psh, piece);
    }
    let before_the_end = peer;
    peer.say(&mut machine, Fin, last);
    say_from_the_other_end(&mut machine, peer);

    let connection = machine.accept(&listener).unwrap();
    let mut heard = Vec::new();
    machine.read(&connection, &mut heard).unwrap();
    peer = before_the_end;
    peer.say(&mut machine, Fin, last);
    assert_eq!(machine.read(&connection, &mut heard), Ok(true));
    assert!(heard == bytes);
    machine.pass(SECOND);
    assert_eq!(machine.segments().last().unwrap().acknowledges, Some(peer.number));
}

#[test]
fn end_with_data_beyond_the_window_does_not_truncate() {
    let mut machine = Machine::new();
    let (connection, mut peer) =
        machine.accepted(TcpOptions { receive_buffer: 2048, ..Default::default() });
    let bytes = pattern(2500, 2);
    let (most, last) = bytes.split_at(1964); // 84 bytes of room are left
    for piece in most.chunks(1460) {
        peer.say(&mut machine, Psh, piece);
    }
    let mut impatient = peer;
    impatient.say(&mut machine, Fin, last);
    say_from_the_other_end(&mut machine, impatient);
    let mut heard = Vec::new();
    assert_eq!(machine.read(&connection, &mut heard), Ok(false));

    // Then it says it again.
    peer.say(&mut machine, Fin, last);
    assert_eq!(machine.read(&connection, &mut heard), Ok(true));
    assert!(heard == bytes);
}

/// The sender is a stack like ours, which says FIN with the last bytes even if they fill the window.
#[test]
fn end_with_as_much_data_as_the_receiver_has_room_for_arrives() {
    let mut pair = Pair::new(70);
    let small = TcpOptions { receive_buffer: 2048, ..Default::default() };
    let listener = pair.stacks[B].listen(at_port(80), 8, small).unwrap();
    let ours = pair.connect(A, ipv4(B), 80);
    pair.settle();
    let theirs = pair.accept(B, &listener).unwrap();
    assert_eq!(pair.connected(A, &ours), Poll::Ready(Ok(())));
    let bytes = pattern(3 * 2048, 3);
    assert_eq!(pair.write(A, &ours, &bytes), Poll::Ready(Ok(bytes.len())));
    pair.stacks[A].shut(pair.now, &ours);
    let mut heard = Vec::new();
    assert!(
        pair.run(60 * SECOND, |this| this.read(B, &theirs, &mut heard).unwrap()),
        "stuck after {} bytes",
        heard.len()
    );
    assert!(heard == bytes);
}

/// What was said in the handshake about the window is not scaled (RFC 7323 §2.2).
#[test]
fn bytes_behind_a_large_window_do_no_harm() {
    let mut machine = Machine::new();
    let (connection, peer) =
        machine.accepted(TcpOptions { receive_buffer: 200_000, ..Default::default() });
    let mut ahead = Peer { number: peer.number + 199_950, ..peer };
    ahead.say(&mut machine, Psh, &[9; 100]);
    let (mut honest, bytes) = (peer, pattern(200_000, 7));
    for piece in bytes.chunks(1460) {
        honest.say(&mut machine, Psh, piece);
    }
    let mut heard = Vec::new();
    assert_eq!(machine.read(&connection, &mut heard), Ok(false));
    assert!(heard.len() >= 65_535 && heard == bytes[..heard.len()]);
}

// --- Our end

#[test]
fn peer_with_a_shut_window_is_not_told_the_same_for_ever() {
    let mut machine = Machine::new();
    let (connection, mut peer) =
        machine.accepted(TcpOptions { no_delay: true, ..Default::default() });
    peer.say(&mut machine, Psh, b"GET");
    machine.read(&connection, &mut Vec::new()).unwrap();
    assert_eq!(machine.write(&connection, &[7; 100]), Ok(100));
    machine.close(connection);
    // It takes half, then all and our FIN, and never opens its window again.
    let begin = peer.expects;
    for taken in [50, 101] {
        (peer.expects, peer.window) = (begin + taken, 0);
        peer.acknowledge(&mut machine);
    }
    for _ in 0..GIVES_UP / SECOND {
        machine.pass(SECOND);
        let said = machine.segments();
        assert!(said.len() <= 5, "{} segments in a second", said.len());
    }
    assert_eq!(machine.stack.connections(), 0);
}

#[test]
fn closing_after_a_long_silence_says_fin() {
    for (minutes, answers) in [(1, false), (1, true), (60, false), (60, true)] {
        let mut machine = Machine::new();
        let (connection, mut peer) = machine.accepted(TcpOptions::default());
        peer.say(&mut machine, Psh, b"hello");
        assert_eq!(machine.read(&connection, &mut Vec::new()), Ok(false));
        if answers {
            assert_eq!(machine.write(&connection, b"answer"), Ok(6));
        }
        peer.follow(&mut machine);
        peer.acknowledge(&mut machine);
        machine.pass(minutes * 60 * SECOND);
        machine.segments();
        machine.close(connection);
        machine.pass(SECOND / 10);
        assert_eq!(controls(&machine.segments()), [Fin]);
    }
}

#[test]
fn connection_that_nobody_has_is_forgotten_though_the_peer_still_acknowledges() {
    let mut machine = Machine::new();
    let (connection, mut peer) = machine.accepted(TcpOptions::default());
    machine.close(connection);
    peer.follow(&mut machine);
    for _ in 0..FORGETS / SECOND {
        peer.acknowledge(&mut machine);
        machine.pass(SECOND);
    }
    assert_eq!(machine.stack.connections(), 0);
    assert_eq!(controls(&machine.segments()).last(), Some(&Rst));
}

#[test]
fn connection_that_nobody_has_is_forgotten_though_the_peer_has_shut_its_window() {
    let mut machine = Machine::new();
    let (connection, mut peer) = machine.accepted(TcpOptions::default());
    assert_eq!(machine.write(&connection, &[7; 5000]), Ok(5000));
    machine.close(connection);
    peer.window = 0;
    for _ in 0..GIVES_UP / SECOND {
        peer.acknowledge(&mut machine);
        machine.pass(SECOND);
    }
    assert_eq!(machine.stack.connections(), 0);
}

#[test]
fn connection_that_nobody_has_is_forgotten_though_the_peer_is_silent() {
    for written in [0, 6, 5000] {
        let mut machine = Machine::new();
        let (connection, _) = machine.accepted(TcpOptions::default());
        if written > 0 {
            assert_eq!(machine.write(&connection, &pattern(written, 4)), Ok(written));
        }
        machine.close(connection);
        machine.pass(if written > 0 { GIVES_UP } else { FORGETS });
        assert_eq!(machine.stack.connections(), 0);
    }
}

// --- Losses and silence

/// After some exchanges an answer is lost: how long until it is sent again?
#[track_caller]
fn assert_lost_answer_is_repeated(options: TcpOptions, length: usize, set_again: bool) {
    let mut machine = Machine::new();
    let (connection, mut peer) = machine.accepted(options);
    if set_again {
        machine.stack.set_options(machine.now, &connection, &options);
    }
    let answer = pattern(length, 5);
    for _ in 0..4 {
        // The last one is not acknowledged.
        for _ in 0..2 {
            machine.pass(SECOND / 100);
            peer.follow(&mut machine);
            peer.acknowledge(&mut machine);
        }
        machine.pass(4 * SECOND);
        peer.say(&mut machine, Psh, &[1; 100]);
        machine.read(&connection, &mut Vec::new()).unwrap();
        assert_eq!(machine.write(&connection, &answer), Ok(length));
    }
    machine.pass(3 * SECOND / 2);
    let mut said = machine.segments();
    said.retain(|segment| !segment.data.is_empty());
    let first = said[0].clone();
    let again = said.iter().find(|it| it.number == first.number && it.at > first.at);
    let again = again.unwrap_or_else(|| panic!("{length} bytes are not repeated: {options:?}"));
    assert!(again.at - first.at >= SECOND / 10, "it could still be under way");
    assert_eq!(again.data[..], answer[..again.data.len()]);
}

#[test]
fn lost_answer_is_repeated_soon_whatever_the_options() {
    let limits = [None, Some(Duration::from_secs(20)), Some(Duration::from_secs(60))];
    for (keep_alive, timeout) in limits.into_iter().flat_map(|it| limits.map(|other| (it, other))) {
        for no_delay in [false, true] {
            let options = TcpOptions { keep_alive, timeout, no_delay, ..Default::default() };
            // The first goes the short way.
            for length in [6, 2000] {
                assert_lost_answer_is_repeated(options, length, false);
                assert_lost_answer_is_repeated(options, length, true);
            }
        }
    }
}

#[test]
fn connection_that_waits_to_be_accepted_for_a_minute_is_still_there() {
    let mut machine = Machine::new();
    let listener = machine.listen(TcpOptions::default());
    let mut peer = Peer::connected(&mut machine, 5000);
    machine.pass(60 * SECOND);
    assert_eq!(machine.segments(), []);
    let connection = machine.accept(&listener).unwrap();
    peer.say(&mut machine, Psh, b"hello");
    let mut heard = Vec::new();
    assert_eq!(machine.read(&connection, &mut heard), Ok(false));
    assert_eq!(heard, b"hello");
    assert_eq!(machine.write(&connection, b"answer"), Ok(6));
    assert_eq!(machine.segments().last().unwrap().data, b"answer");
}

#[test]
fn peer_that_never_acknowledges_is_given_up_after_a_quarter_of_an_hour() {
    for length in [6, 5000] {
        let mut machine = Machine::new();
        let (connection, mut peer) = machine.accepted(TcpOptions::default());
        // The time before does not count.
        machine.pass(600 * SECOND);
        peer.say(&mut machine, Psh, b"GET");
        machine.read(&connection, &mut Vec::new()).unwrap();
        assert_eq!(machine.write(&connection, &pattern(length, 6)), Ok(length));
        machine.pass(850 * SECOND);
        assert_eq!(machine.read(&connection, &mut Vec::new()), Ok(false), "too early");
        let (woken, waker) = counted();
        let read = |machine: &mut Machine| {
            machine.stack.poll_read(machine.now, &connection, &waker, |bytes| (bytes.len(), ()))
        };
        assert!(read(&mut machine).is_pending());
        machine.pass(60 * SECOND);
        assert_eq!(woken.0.load(Relaxed), 1);
        assert_eq!(read(&mut machine), Poll::Ready(Err(Error::ConnectionReset)));
        machine.close(connection);
        assert_eq!(machine.stack.connections(), 0);
    }
}

pub(super) fn counted() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (Arc::clone(&count), Waker::from(count))
}

#[test]
fn idle_connection_stays() {
    let mut machine = Machine::new();
    let (connection, mut peer) = machine.accepted(TcpOptions::default());
    assert_eq!(machine.write(&connection, b"hello"), Ok(5));
    peer.follow(&mut machine);
    peer.acknowledge(&mut machine);
    for _ in 0..3 {
        machine.pass(3600 * SECOND);
        assert_eq!(machine.segments(), []);
        peer.say(&mut machine, Psh, b"still there?");
        let mut heard = Vec::new();
        assert_eq!(machine.read(&connection, &mut heard), Ok(false));
        assert_eq!(heard, b"still there?");
        assert_eq!(machine.write(&connection, b"yes"), Ok(3));
        assert_eq!(machine.segments().last().unwrap().data, b"yes");
        peer.expects += 3;
        peer.acknowledge(&mut machine);
        // Whatever deadline there was.
        machine.pass(SECOND);
        machine.segments();
    }
}

// --- Beginning

fn outcome(machine: &mut Machine, connection: &Connection) -> Poll<Result<(), Error>> {
    machine.pass(60 * SECOND);
    machine.connected(connection)
}

#[test]
fn who_does_not_answer_lets_a_connection_time_out() {
    // One is not there, the other one only says nothing.
    for silent in [SILENT, PEER] {
        let mut machine = Machine::new();
        let connection = machine.connect(silent);
        assert_eq!(outcome(&mut machine, &connection), Poll::Ready(Err(Error::TimedOut)));
        machine.close(connection);
        assert_eq!(machine.stack.connections(), 0);
    }
}

#[test]
fn closed_port_refuses_a_connection_and_does_not_time_it_out() {
    let mut machine = Machine::new();
    let connection = machine.connect(PEER);
    let syn = machine.segments().remove(0);
    let refusal = smoltcp::wire::TcpRepr {
        src_port: 80,
        dst_port: syn.from,
        control: Rst,
        seq_number: smoltcp::wire::TcpSeqNumber(0),
        ack_number: Some(syn.end()),
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: b"",
    };
    machine.pass(SECOND / 10);
    machine.receive(super::peer::tcp(&refusal));
    assert_eq!(machine.connected(&connection), Poll::Ready(Err(Error::ConnectionRefused)));
}

#[test]
fn nothing_beyond_the_link_is_reached_without_a_router() {
    let mut machine = Machine::new();
    let beyond = IpEndpoint::new(IpAddress::v4(192, 0, 2, 1), 80);
    let (now, options) = (machine.now, TcpOptions::default());
    let error = machine.stack.connect(now, beyond, options).err();
    assert_eq!(error, Some(Error::NetworkUnreachable));
    let socket = machine.stack.bind_udp(at_port(0)).unwrap();
    let sent = machine.stack.poll_send_udp(now, &socket, Waker::noop(), b"x", beyond, None);
    assert_eq!(sent, Poll::Ready(Err(Error::NetworkUnreachable)));
    assert_eq!(machine.frames(), []);
    assert_eq!(machine.stack.connections(), 0);
    // With one, it goes there.
    machine
        .stack
        .set_address(crate::IpCidr::new(super::peer::OURS.into(), 24), Some(PEER.into()))
        .unwrap();
    assert!(machine.stack.connect(now, beyond, options).is_ok());
    machine.pass(0);
    assert_eq!(machine.segments().len(), 1);
}

#[test]
fn peer_can_begin_again_from_the_same_port_before_the_application_has_seen_its_reset() {
    for accepted in [false, true] {
        let mut machine = Machine::new();
        let listener = machine.listen(TcpOptions::default());
        let mut peer = Peer::connected(&mut machine, 5000);
        let mut first = accepted.then(|| machine.accept(&listener).unwrap());
        peer.say(&mut machine, Rst, b"");
        let mut peer = Peer::connected(&mut machine, 5000);
        peer.say(&mut machine, Psh, b"again");

        let first = first.take().unwrap_or_else(|| machine.accept(&listener).unwrap());
        let second = machine.accept(&listener).expect("the peer is there again");
        let mut heard = Vec::new();
        assert_eq!(machine.read(&second, &mut heard), Ok(false));
        assert_eq!(heard, b"again");
        assert_eq!(machine.read(&first, &mut heard), Err(Error::ConnectionReset));
        machine.close(first);
        // The end of the one does nothing to the other.
        assert_eq!(machine.write(&second, b"answer"), Ok(6));
        peer.say(&mut machine, Psh, b"!");
        assert_eq!(machine.read(&second, &mut heard), Ok(false));
        assert_eq!(heard, b"again!");
        machine.stack.abort(machine.now, second);
        assert_eq!(machine.stack.connections(), 0);
    }
}

// --- Who drives the stack

/// It sleeps for ever, as there is no deadline. Then something is done that has one.
#[track_caller]
fn assert_work(machine: &mut Machine, act: impl FnOnce(&mut Machine)) {
    machine.turn();
    assert_eq!(machine.stack.plan(), None);
    assert!(!machine.stack.has_work());
    act(machine);
    assert!(machine.stack.next_deadline().is_some());
    assert!(machine.stack.has_work(), "nobody hears of the deadline");
    machine.turn();
    assert!(!machine.stack.has_work(), "it is planned now");
}

#[test]
fn who_sleeps_hears_of_a_deadline_that_is_earlier_than_planned() {
    for to in [SILENT, PEER] {
        assert_work(&mut Machine::new(), |machine| {
            machine.connect(to);
        });
    }
    assert_work(&mut Machine::new(), |machine| machine.stack.start_dhcp(machine.now));
    assert_work(&mut Machine::new(), |machine| {
        machine.stack.set_name_servers(&[PEER.into()]);
        assert!(machine.stack.start_lookup(machine.now, "example.com", false).is_ok());
    });
    assert_work(&mut Machine::new(), |machine| {
        let socket = machine.stack.bind_udp(at_port(0)).unwrap();
        let (now, to) = (machine.now, IpEndpoint::new(SILENT.into(), 9));
        let sent = machine.stack.poll_send_udp(now, &socket, Waker::noop(), b"x", to, None);
        assert_eq!(sent, Poll::Ready(Ok(())));
    });
    // What is done with a connection whose peer has heard all.
    let with_connection = |act: fn(&mut Machine, Connection)| {
        let mut machine = Machine::new();
        let (connection, mut peer) = machine.accepted(TcpOptions::default());
        assert_eq!(machine.write(&connection, b"x"), Ok(1));
        peer.follow(&mut machine);
        peer.acknowledge(&mut machine);
        machine.pass(60 * SECOND);
        assert_work(&mut machine, |machine| act(machine, connection));
    };
    with_connection(|machine, connection| machine.close(connection));
    with_connection(|machine, connection| machine.stack.shut(machine.now, &connection));
    with_connection(|machine, connection| assert_eq!(machine.write(&connection, b"x"), Ok(1)));
    with_connection(|machine, connection| {
        assert_eq!(machine.write(&connection, &[7; 2000]), Ok(2000));
    });
    with_connection(|machine, connection| {
        let keep_alive = Some(Duration::from_secs(1));
        let options = TcpOptions { keep_alive, ..Default::default() };
        machine.stack.set_options(machine.now, &connection, &options);
    });
}

/// As after a panic of the task that had it.
#[test]
fn lost_connection_is_reset_and_its_number_given_to_others() {
    let mut machine = Machine::new();
    let (connection, mut peer) = machine.accepted(TcpOptions::default());
    peer.say(&mut machine, Psh, b"unread");
    let lost = machine.stack.id(&connection);
    machine.segments();
    machine.stack.abort_lost(machine.now, lost);
    assert_eq!(controls(&machine.segments()), [Rst]);
    machine.pass(SECOND);
    assert_eq!(machine.stack.connections(), 0);

    // What is not lost is left alone: neither nobody's nor the next one of that number.
    machine.stack.abort_lost(machine.now, lost);
    let (next, mut peer) = machine.accepted(TcpOptions::default());
    assert_eq!(format!("{next:?}"), format!("{connection:?}"), "the number is used again");
    machine.stack.abort_lost(machine.now, lost);
    peer.say(&mut machine, Psh, b"hello");
    let mut heard = Vec::new();
    assert_eq!(machine.read(&next, &mut heard), Ok(false));
    assert_eq!(heard, b"hello");

    // Nor one that says goodbye.
    let closed = machine.stack.id(&next);
    machine.segments();
    machine.close(next);
    machine.stack.abort_lost(machine.now, closed);
    assert_eq!(controls(&machine.segments()), [Fin]);
}
