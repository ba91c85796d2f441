//! Servers that give addresses: strange ones, and those that change their mind.

use std::{
    sync::atomic::Ordering::Relaxed,
    task::{Poll, Waker},
};

use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetFrame, Ipv4Packet, TcpControl::Psh, UdpPacket,
};

use super::{
    SECOND,
    peer::{Machine, OURS, PEER, udp},
    tcp::counted,
};
use crate::{Error, IpAddress, IpCidr, Ipv4Address, TcpOptions};

const OTHER: Ipv4Address = Ipv4Address::new(10, 0, 0, 9);
const NAME_SERVER: Ipv4Address = Ipv4Address::new(10, 0, 0, 53);

/// A server.
#[derive(Debug, Clone, Copy)]
struct Server {
    /// What stands in its packets as their source.
    from: Ipv4Address,
    gives: Ipv4Address,
    /// In seconds.
    lease: u32,
}

impl Server {
    /// Answers all questions since the last look.
    fn answer(self, machine: &mut Machine) {
        for (_, frame) in machine.frames() {
            if let Some(answer) = self.answer_to(&frame) {
                machine.receive(udp(self.from, [67, 68], &answer));
            }
        }
    }

    fn answer_to(self, frame: &[u8]) -> Option<Vec<u8>> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
        let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
        if datagram.dst_port() != 67 {
            return None;
        }
        let question = DhcpPacket::new_checked(datagram.payload()).ok()?;
        let asked = DhcpRepr::parse(&question).ok()?;
        let answer = DhcpRepr {
            message_type: match asked.message_type {
                DhcpMessageType::Discover => DhcpMessageType::Offer,
                _ => DhcpMessageType::Ack,
            },
            your_ip: self.gives,
            server_ip: PEER,
            server_identifier: Some(PEER),
            router: Some(PEER),
            subnet_mask: Some(Ipv4Address::new(255, 255, 255, 0)),
            lease_duration: Some(self.lease),
            dns_servers: Some([NAME_SERVER].into_iter().collect()),
            requested_ip: None,
            client_identifier: None,
            parameter_request_list: None,
            ..asked
        };
        let mut bytes = vec![0; answer.buffer_len()];
        answer.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).unwrap();
        Some(bytes)
    }

    /// Lets time pass, and answers what is asked meanwhile.
    fn serve(self, machine: &mut Machine, seconds: u64) {
        self.answer(machine);
        for _ in 0..10 * seconds {
            machine.pass(SECOND / 10);
            self.answer(machine);
        }
    }
}

const GOOD: Server = Server { from: PEER, gives: OURS, lease: 60 };

fn has(machine: &Machine, address: Ipv4Address) -> bool {
    machine.stack.addresses().contains(&IpCidr::new(address.into(), 24))
}

#[test]
fn dhcp_address_is_renewed() {
    let mut machine = Machine::without_address();
    machine.stack.start_dhcp(0);
    GOOD.serve(&mut machine, 300);
    assert!(has(&machine, OURS));
    assert_eq!(machine.stack.name_servers(), [IpAddress::Ipv4(NAME_SERVER)]);
    // Nobody renews it.
    machine.pass(70 * SECOND);
    assert!(!has(&machine, OURS));
}

#[test]
fn dhcp_server_without_an_address_does_not_stop_the_machine() {
    let strange = Server { from: Ipv4Address::UNSPECIFIED, ..GOOD };
    let mut machine = Machine::without_address();
    machine.stack.start_dhcp(0);
    strange.serve(&mut machine, 200);
    // It asks on, and finds a better one.
    GOOD.serve(&mut machine, 100);
    assert!(has(&machine, OURS));
    strange.serve(&mut machine, 200);
}

#[test]
fn changed_address_resets_the_connections_of_the_old_one() {
    // Nobody renews it; another one is given.
    for renewal in [None, Some(Server { gives: OTHER, ..GOOD })] {
        let mut machine = Machine::without_address();
        machine.stack.start_dhcp(0);
        GOOD.serve(&mut machine, 2);
        let (connection, mut peer) = machine.accepted(TcpOptions::default());
        peer.say(&mut machine, Psh, b"hello");
        assert_eq!(machine.read(&connection, &mut Vec::new()), Ok(false));
        let (woken, waker) = counted();
        let read = |machine: &mut Machine| {
            machine.stack.poll_read(machine.now, &connection, &waker, |bytes| (bytes.len(), ()))
        };
        assert!(read(&mut machine).is_pending());
        machine.stack.take_news();

        match renewal {
            None => machine.pass(100 * SECOND),
            Some(server) => server.serve(&mut machine, 100),
        }
        assert!(!has(&machine, OURS));
        assert_eq!(has(&machine, OTHER), renewal.is_some());
        assert!(machine.stack.take_news());
        assert_eq!(woken.0.load(Relaxed), 1);
        assert_eq!(read(&mut machine), Poll::Ready(Err(Error::ConnectionReset)));
        machine.close(connection);
        machine.pass(35 * SECOND);
        assert_eq!(machine.stack.connections(), 0);
    }
}

#[test]
fn renewed_address_keeps_its_connections() {
    let mut machine = Machine::without_address();
    machine.stack.start_dhcp(0);
    GOOD.serve(&mut machine, 2);
    let (connection, mut peer) = machine.accepted(TcpOptions::default());
    GOOD.serve(&mut machine, 300);
    peer.say(&mut machine, Psh, b"hello");
    let mut heard = Vec::new();
    assert_eq!(machine.read(&connection, &mut heard), Ok(false));
    assert_eq!(heard, b"hello");
}

#[test]
fn name_servers_that_were_given_stay() {
    let given = IpAddress::v4(192, 0, 2, 53);
    // Before a server has named others, and afterwards.
    for seconds in [0, 2] {
        let mut machine = Machine::without_address();
        machine.stack.start_dhcp(0);
        if seconds > 0 {
            GOOD.serve(&mut machine, seconds);
            assert_eq!(machine.stack.name_servers(), [IpAddress::Ipv4(NAME_SERVER)]);
        }
        machine.stack.set_name_servers(&[given]);
        // Another address, as a server that only repeats itself is not listened to.
        let other = Server { gives: OTHER, ..GOOD };
        other.serve(&mut machine, 100);
        assert!(has(&machine, OTHER));
        assert_eq!(machine.stack.name_servers(), [given]);
    }
}

#[test]
fn static_address_survives_dhcp() {
    const STATIC: Ipv4Address = Ipv4Address::new(192, 168, 1, 7);
    let mut machine = Machine::without_address();
    machine.stack.set_address(IpCidr::new(STATIC.into(), 24), None).unwrap();
    machine.stack.start_dhcp(0);
    machine.turn();
    assert!(has(&machine, STATIC));
    assert!(machine.stack.poll_configured(Waker::noop()).is_ready());
    GOOD.serve(&mut machine, 2);
    assert!(has(&machine, STATIC) && has(&machine, OURS));
    // Nobody renews the other one.
    machine.pass(100 * SECOND);
    assert!(has(&machine, STATIC) && !has(&machine, OURS));
}
