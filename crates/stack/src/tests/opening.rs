//! How connections begin and end: what is kept of them, what in a flood, and what when memory is short.

use std::{collections::HashSet, task::Poll};

use smoltcp::wire::{
    TcpControl::{self, Fin, Psh, Rst, Syn},
    TcpSeqNumber,
};

use super::{
    SECOND, pattern,
    peer::{Machine, Peer, Segment},
    tcp::counted,
};
use crate::{Connection, TcpOptions};

/// How long a cookie is good at most.
const COOKIE: u64 = 128 * SECOND;

fn controls(segments: &[Segment]) -> Vec<TcpControl> {
    segments.iter().map(|segment| segment.control).collect()
}

/// More SYNs from ports of nobody than the machine keeps records of. How many it has answered.
fn flood(machine: &mut Machine, count: u16) -> usize {
    machine.segments();
    for port in 0..count {
        Peer::begun(machine, 10_000 + port);
    }
    machine.segments().iter().filter(|segment| segment.control == Syn).count()
}

/// A few bytes in both directions.
fn assert_talks(machine: &mut Machine, connection: &Connection, peer: &mut Peer) {
    machine.segments();
    peer.say(machine, Psh, b"hello");
    let mut heard = Vec::new();
    assert_eq!(machine.read(connection, &mut heard), Ok(false));
    assert_eq!(heard, b"hello");
    assert_eq!(machine.write(connection, b"answer"), Ok(6));
    assert_eq!(machine.segments().last().unwrap().data, b"answer");
    peer.expects += 6;
    peer.acknowledge(machine);
}

// --- Handshakes

#[test]
fn handshake_is_answered_six_times_and_forgotten() {
    let mut machine = Machine::new();
    let _listener = machine.listen(TcpOptions::default());
    let begun = Peer::begun(&mut machine, 5000);
    assert_eq!((machine.stack.handshakes(), machine.stack.connections()), (1, 0));
    machine.pass(60 * SECOND);
    let answers = machine.segments();
    assert_eq!(controls(&answers), [Syn; 6]);
    assert!(answers.iter().all(|it| it.number == answers[0].number));
    assert!(answers.iter().all(|it| it.acknowledges == Some(begun.number)));
    assert_eq!(machine.stack.handshakes(), 0);
    machine.pass(SECOND);
    assert_eq!(machine.stack.next_deadline(), None);
}

#[test]
fn syn_that_is_repeated_is_answered_the_same() {
    let mut machine = Machine::new();
    let listener = machine.listen(TcpOptions::default());
    Peer::begun(&mut machine, 5000);
    let first = machine.segments();
    machine.pass(SECOND);
    let mut peer = Peer::begun(&mut machine, 5000);
    let second = machine.segments();
    assert_eq!(
        (first[0].number, first[0].acknowledges),
        (second[0].number, second[0].acknowledges)
    );
    assert_eq!(machine.stack.handshakes(), 1);
    peer.expects = second[0].end();
    peer.acknowledge(&mut machine);
    let connection = machine.accept(&listener).unwrap();
    assert_talks(&mut machine, &connection, &mut peer);
}

#[test]
fn handshake_ends_with_the_first_data_if_its_acknowledgement_is_lost() {
    let mut machine = Machine::new();
    let listener = machine.listen(TcpOptions::default());
    let mut peer = Peer::begun(&mut machine, 5000);
    peer.follow(&mut machine);
    peer.say(&mut machine, Psh, b"hello");
    let connection = machine.accept(&listener).unwrap();
    let mut heard = Vec::new();
    assert_eq!((machine.read(&connection, &mut heard), &heard[..]), (Ok(false), &b"hello"[..]));
    assert_eq!(machine.stack.handshakes(), 0);
}

#[test]
fn acknowledgement_of_what_was_never_said_ends_no_handshake() {
    let mut machine = Machine::new();
    let listener = machine.listen(TcpOptions::default());
    let mut peer = Peer::begun(&mut machine, 5000);
    peer.follow(&mut machine);
    let mut liar = Peer { expects: peer.expects + 1, ..peer };
    liar.acknowledge(&mut machine);
    assert_eq!(controls(&machine.segments()), [Rst]);
    assert!(machine.accept(&listener).is_none());
    peer.acknowledge(&mut machine);
    assert!(machine.accept(&listener).is_some());
}

#[test]
fn first_numbers_grow_with_time_and_are_others_for_others() {
    let mut machine = Machine::new();
    let _listener = machine.listen(TcpOptions::default());
    let mut numbers = HashSet::new();
    for port in 5000..5050 {
        Peer::begun(&mut machine, port);
        let first = machine.segments()[0].number;
        assert!(numbers.insert(first.0), "two have the same");
        machine.pass(40 * SECOND);
        machine.segments();
        Peer::begun(&mut machine, port);
        let later = machine.segments()[0].number;
        // A clock of 4 µs (RFC 6528 §3).
        assert_eq!(later - first, 10_000_000);
    }
}

// --- Floods

#[test]
fn flood_is_answered_with_cookies_that_lead_to_connections() {
    let mut machine = Machine::new();
    let listener = machine.listen(TcpOptions::default());
    assert_eq!(flood(&mut machine, 1000), 1000);
    assert_eq!(machine.stack.handshakes(), 100); // as many as connections
    assert_eq!(machine.stack.counters().cookies, 900);

    // Somebody who exists.
    let mut peer = Peer::connected(&mut machine, 5000);
    assert_eq!(machine.stack.counters().cookies, 901);
    let connection = machine.accept(&listener).expect("its cookie was good");
    assert_talks(&mut machine, &connection, &mut peer);

    // Nothing is left of the others.
    machine.pass(COOKIE + 60 * SECOND);
    assert_eq!((machine.stack.handshakes(), machine.stack.connections()), (0, 1));
    machine.segments();
    Peer::begun(&mut machine, 5001);
    assert_eq!(machine.stack.counters().cookies, 901);
}

#[test]
fn cookie_is_good_for_two_minutes_and_for_nobody_else() {
    let mut machine = Machine::new();
    let listener = machine.listen(TcpOptions::default());
    flood(&mut machine, 200);
    let mut peer = Peer::begun(&mut machine, 5000);
    peer.follow(&mut machine);
    let forgeries = [
        Peer { expects: peer.expects + 1, ..peer },
        Peer { expects: peer.expects + (1 << 10), ..peer },
        Peer { number: peer.number + 1, ..peer },
        Peer { port: 5001, ..peer },
    ];
    for mut forgery in forgeries {
        forgery.acknowledge(&mut machine);
        assert!(machine.accept(&listener).is_none(), "{forgery:?}");
    }
    machine.pass(60 * SECOND);
    let mut early = peer;
    early.acknowledge(&mut machine);
    assert!(machine.accept(&listener).is_some());

    flood(&mut machine, 200);
    let mut peer = Peer::begun(&mut machine, 5002);
    peer.follow(&mut machine);
    machine.pass(COOKIE);
    peer.acknowledge(&mut machine);
    assert!(machine.accept(&listener).is_none());
}

#[test]
fn segments_in_disorder_while_there_are_cookies_reset_nobody() {
    let mut machine = Machine::new();
    let listener = machine.listen(TcpOptions::default());
    flood(&mut machine, 200);
    let mut peer = Peer::begun(&mut machine, 5000);
    peer.follow(&mut machine);
    let begin = peer;
    let mut second = Peer { number: peer.number + 1460, ..peer };
    second.say(&mut machine, Psh, b"second");
    assert_eq!(machine.segments(), []);
    peer.say(&mut machine, Psh, &[b'1'; 1460]);
    let connection = machine.accept(&listener).expect("the first brought the cookie");
    let mut again = Peer { number: begin.number + 1460, ..begin };
    again.say(&mut machine, Psh, b"second");
    let mut heard = Vec::new();
    assert_eq!(machine.read(&connection, &mut heard), Ok(false));
    assert_eq!(heard, [&[b'1'; 1460][..], b"second"].concat());
}

#[test]
fn syn_that_is_answered_with_a_cookie_and_then_with_a_record_leads_to_a_connection() {
    let mut machine = Machine::new();
    let listener = machine.listen(TcpOptions::default());
    flood(&mut machine, 100);
    let mut peer = Peer::begun(&mut machine, 5000);
    peer.follow(&mut machine);
    assert_eq!(machine.stack.counters().cookies, 1);
    // There is a place again, and the network has doubled the SYN.
    let mut other = Peer::begun(&mut machine, 10_000);
    other.follow(&mut machine);
    other.say(&mut machine, Rst, b"");
    Peer::begun(&mut machine, 5000);
    assert_eq!((machine.stack.counters().cookies, machine.stack.handshakes()), (1, 100));
    machine.segments();
    peer.acknowledge(&mut machine);
    let connection = machine.accept(&listener).expect("its cookie was good");
    assert_eq!(machine.stack.handshakes(), 99);
    assert_talks(&mut machine, &connection, &mut peer);
}

#[test]
fn connections_that_are_there_go_on_in_a_flood() {
    let mut machine = Machine::new();
    let listener = machine.listen(TcpOptions::default());
    let mut peer = Peer::connected(&mut machine, 5000);
    let connection = machine.accept(&listener).unwrap();
    for _ in 0..10 {
        flood(&mut machine, 1000);
        assert_talks(&mut machine, &connection, &mut peer);
    }
}

// --- TIME-WAIT

/// A connection that this side has ended first, and of which only a record is left. The peer's next number.
fn ended(machine: &mut Machine) -> Peer {
    let (connection, mut peer) = machine.accepted(TcpOptions::default());
    machine.close(connection);
    peer.follow(machine);
    peer.say(machine, Fin, b"");
    assert_eq!((machine.stack.connections(), machine.stack.ended()), (0, 1));
    machine.segments();
    peer
}

#[test]
fn end_that_is_repeated_is_acknowledged_for_a_minute() {
    let mut machine = Machine::new();
    let peer = ended(&mut machine);
    for _ in 0..5 {
        machine.pass(10 * SECOND);
        let mut again = Peer { number: peer.number - 1, ..peer };
        again.say(&mut machine, Fin, b"");
        let answers = machine.segments();
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].control, answers[0].number), (TcpControl::None, peer.expects));
        assert_eq!(answers[0].acknowledges, Some(peer.number));
    }
    machine.pass(20 * SECOND);
    assert_eq!((machine.stack.ended(), machine.stack.next_deadline()), (0, None));
}

#[test]
fn reset_and_old_segments_do_not_shorten_the_wait() {
    let mut machine = Machine::new();
    let peer = ended(&mut machine);
    let mut late = peer;
    late.say(&mut machine, Rst, b"");
    late = peer;
    late.acknowledge(&mut machine);
    assert_eq!(machine.segments(), []);
    let mut late = Peer { number: peer.number - 100, ..peer };
    late.say(&mut machine, Psh, &[0; 50]);
    assert_eq!(controls(&machine.segments()), [TcpControl::None]);
    assert_eq!(machine.stack.ended(), 1);
}

#[test]
fn syn_with_a_later_number_begins_anew() {
    let mut machine = Machine::new();
    let peer = ended(&mut machine);
    let listener = machine.listen(TcpOptions::default());
    let mut old = Peer { number: peer.number - 1, ..peer };
    old.say(&mut machine, Syn, b"");
    assert_eq!(controls(&machine.segments()), [TcpControl::None]);
    let mut new = Peer { number: peer.number + 1000, expects: TcpSeqNumber(0), ..peer };
    new.say(&mut machine, Syn, b"");
    assert_eq!((machine.stack.ended(), machine.stack.handshakes()), (0, 1));
    new.follow(&mut machine);
    new.acknowledge(&mut machine);
    let connection = machine.accept(&listener).unwrap();
    assert_talks(&mut machine, &connection, &mut new);
}

#[test]
fn oldest_end_is_forgotten_when_there_are_too_many() {
    let mut machine = Machine::new();
    let listener = machine.listen(TcpOptions::default());
    for port in 5000..5300 {
        let mut peer = Peer::connected(&mut machine, port);
        let connection = machine.accept(&listener).unwrap();
        machine.close(connection);
        peer.follow(&mut machine);
        peer.say(&mut machine, Fin, b"");
    }
    // As many as connections.
    assert_eq!((machine.stack.connections(), machine.stack.ended()), (0, 100));
}

// --- Buffers

#[test]
fn connection_at_rest_has_no_buffers() {
    let mut machine = Machine::new();
    let (connection, mut peer) = machine.accepted(TcpOptions::default());
    assert_eq!(machine.stack.buffered(), 0);
    for _ in 0..3 {
        assert_talks(&mut machine, &connection, &mut peer);
        assert!(machine.stack.buffered() > 0);
        machine.pass(2 * SECOND);
        assert_eq!(machine.stack.buffered(), 0);
    }
    // What waits to be read keeps its buffer, and nothing wakes for it.
    peer.say(&mut machine, Psh, b"unread");
    machine.pass(60 * SECOND);
    assert_eq!(machine.stack.buffered(), 8192);
    assert_eq!(machine.stack.next_deadline(), None);
    machine.read(&connection, &mut Vec::new()).unwrap();
    machine.pass(2 * SECOND);
    assert_eq!(machine.stack.buffered(), 0);
}

#[test]
fn data_without_a_buffer_is_dropped_and_counted_and_comes_again() {
    let mut machine = Machine::with_buffers(3 * 8192);
    let listener = machine.listen(TcpOptions::default());
    let mut peers: Vec<_> = (0..5).map(|port| Peer::connected(&mut machine, 5000 + port)).collect();
    let connections: Vec<_> = (0..5).map(|_| machine.accept(&listener).unwrap()).collect();
    let begin = peers.clone();
    for peer in &mut peers {
        peer.say(&mut machine, Psh, b"hello");
    }
    assert_eq!(machine.stack.counters().dropped, 2);
    assert_eq!(machine.stack.buffered(), 3 * 8192);
    let read = |machine: &mut Machine, index: usize| {
        let mut heard = Vec::new();
        machine.read(&connections[index], &mut heard).unwrap();
        heard
    };
    assert_eq!((read(&mut machine, 0), read(&mut machine, 4)), (b"hello".to_vec(), Vec::new()));
    // The window was never closed, so that the peer tries again.
    machine.pass(SECOND);
    let mut again = begin[4];
    again.say(&mut machine, Psh, b"hello");
    assert_eq!(read(&mut machine, 4), b"hello");
}

#[test]
fn who_has_no_buffer_to_write_into_is_woken_when_there_is_one() {
    let mut machine = Machine::with_buffers(8192);
    let listener = machine.listen(TcpOptions::default());
    let mut peers: Vec<_> = (0..2).map(|port| Peer::connected(&mut machine, 5000 + port)).collect();
    let connections: Vec<_> = (0..2).map(|_| machine.accept(&listener).unwrap()).collect();
    let bytes = pattern(1000, 9);
    assert_eq!(machine.write(&connections[0], &bytes), Ok(1000));
    let (woken, waker) = counted();
    let write = |machine: &mut Machine| {
        machine.stack.poll_write(machine.now, &connections[1], &waker, true, |room| {
            room[..bytes.len()].copy_from_slice(&bytes);
            (bytes.len(), ())
        })
    };
    assert!(write(&mut machine).is_pending());
    peers[0].follow(&mut machine);
    peers[0].acknowledge(&mut machine);
    machine.pass(SECOND);
    assert_eq!(woken.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(write(&mut machine), Poll::Ready(Ok(())));
    machine.pass(SECOND / 100);
    assert_eq!(machine.segments().last().unwrap().data, bytes);
}
