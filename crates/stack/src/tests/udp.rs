//! Datagrams to those who do not answer, and between families.

use std::task::{Poll, Waker};

use super::{
    SECOND, at_port,
    peer::{Machine, OTHER_NEIGHBOUR, OURS, PEER, PEER_MAC, SILENT},
};
use crate::{Error, IpAddress, IpEndpoint, IpListenEndpoint};

fn is_ipv4(frame: &[u8]) -> bool {
    frame[12..14] == [8, 0]
}

#[test]
fn datagram_to_a_silent_neighbour_delays_others_for_four_seconds_at_most() {
    const PAUSE: u64 = SECOND / 10;
    let mut machine = Machine::new();
    let socket = machine.stack.bind_udp(at_port(7)).unwrap();
    let send = |machine: &mut Machine, to| {
        let to = IpEndpoint::new(IpAddress::Ipv4(to), 9);
        machine.stack.poll_send_udp(machine.now, &socket, Waker::noop(), b"x", to, None)
    };
    assert_eq!(send(&mut machine, SILENT), Poll::Ready(Ok(())));
    machine.frames();
    let mut arrived = Vec::new();
    for _ in 0..100 {
        let _ = send(&mut machine, PEER);
        machine.pass(PAUSE);
        let mut frames = machine.frames();
        frames.retain(|(_, frame)| frame[..6] == PEER_MAC.0);
        arrived.extend(frames.into_iter().map(|(at, _)| at));
    }
    // Three until it is dropped, and the pause that smoltcp makes between two questions.
    assert!(arrived[0] < 4 * SECOND + SECOND / 4, "the first arrived after {} µs", arrived[0]);
    // From then on all do.
    assert!(arrived.windows(2).all(|two| two[1] - two[0] <= PAUSE));
    assert!(arrived.last().unwrap() + PAUSE >= machine.now - PAUSE);
}

#[test]
fn who_waits_behind_a_datagram_to_a_silent_neighbour_is_woken() {
    let (count, waker) = super::tcp::counted();
    let mut machine = Machine::new();
    let socket = machine.stack.bind_udp(at_port(7)).unwrap();
    let to = IpEndpoint::new(SILENT.into(), 9);
    let mut accepted = 0;
    while machine.stack.poll_send_udp(machine.now, &socket, &waker, b"x", to, None).is_ready() {
        accepted += 1;
    }
    assert!(accepted > 0);
    machine.pass(4 * SECOND);
    assert_eq!(count.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    let to = IpEndpoint::new(PEER.into(), 9);
    let sent = machine.stack.poll_send_udp(machine.now, &socket, &waker, b"x", to, None);
    assert_eq!(sent, Poll::Ready(Ok(())));
}

#[test]
fn datagram_does_not_go_from_one_family_to_the_other() {
    let mut machine = Machine::new();
    let ours6 = machine.stack.addresses().iter().map(|it| it.address());
    let ours6 = ours6.clone().find(|it| matches!(it, IpAddress::Ipv6(_))).unwrap();
    let (ours4, peer4) = (OURS.into(), PEER.into());
    let peer6 = IpAddress::v6(0xfe80, 0, 0, 0, 0, 0, 0, 9);
    let bound = [None, Some(ours4), Some(ours6)];
    for (number, addr) in bound.into_iter().enumerate() {
        let port = 100 + number as u16;
        let socket = machine.stack.bind_udp(IpListenEndpoint { addr, port }).unwrap();
        for from in bound {
            for to in [peer4, peer6] {
                let (now, end) = (machine.now, IpEndpoint::new(to, 9));
                let sent =
                    machine.stack.poll_send_udp(now, &socket, Waker::noop(), b"x", end, from);
                let family = from.or(addr).map(|it| it.version());
                let fits = family.is_none_or(|it| it == to.version());
                let expected = if fits { Ok(()) } else { Err(Error::InvalidAddress) };
                assert_eq!(sent, Poll::Ready(expected), "bound to {addr:?}, from {from:?} to {to}");
            }
        }
    }
    machine.pass(10 * SECOND);
}

/// However long ago the socket was used.
#[test]
fn first_datagram_waits_for_the_hardware_address_of_its_receiver() {
    for pause in [0, 10, 100] {
        let mut machine = Machine::new();
        let socket = machine.stack.bind_udp(at_port(7)).unwrap();
        for to in [PEER, OTHER_NEIGHBOUR] {
            machine.pass(pause * SECOND);
            machine.frames();
            let to = IpEndpoint::new(to.into(), 9);
            let sent =
                machine.stack.poll_send_udp(machine.now, &socket, Waker::noop(), b"x", to, None);
            assert_eq!(sent, Poll::Ready(Ok(())));
            machine.pass(SECOND / 10);
            let frames = machine.frames();
            let arrived = frames.iter().filter(|(_, frame)| is_ipv4(frame)).count();
            assert_eq!(arrived, 1, "to {to} after {pause} s");
        }
    }
}
