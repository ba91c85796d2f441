//! Who else is on the link.

use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv6Packet, Icmpv6Repr, IpProtocol,
        Ipv6Address, Ipv6Packet, Ipv6Repr, NdiscRepr, RawHardwareAddress,
    },
};

use super::{
    SECOND,
    peer::{Machine, OUR_MAC, OURS, PEER_MAC, ethernet, introduction_of},
};
use crate::{Conflict, IpAddress, IpCidr};

const OUR_IPV6: Ipv6Address = Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const PEER_IPV6: Ipv6Address = Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

/// The peer asks at this address whether the machine is still there.
fn solicitation(to: Ipv6Address) -> Vec<u8> {
    let question = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
        target_addr: OUR_IPV6,
        lladdr: Some(RawHardwareAddress::from_bytes(PEER_MAC.as_bytes())),
    });
    let header = Ipv6Repr {
        src_addr: PEER_IPV6,
        dst_addr: to,
        next_header: IpProtocol::Icmpv6,
        payload_len: question.buffer_len(),
        hop_limit: 255,
    };
    let mut bytes = vec![0; header.buffer_len() + question.buffer_len()];
    let mut packet = Ipv6Packet::new_unchecked(&mut bytes[..]);
    header.emit(&mut packet);
    let mut message = Icmpv6Packet::new_unchecked(packet.payload_mut());
    question.emit(&PEER_IPV6, &to, &mut message, &ChecksumCapabilities::default());
    ethernet(EthernetProtocol::Ipv6, &bytes)
}

#[test]
fn neighbour_is_answered_whether_it_asks_all_or_this_machine_alone() {
    let mut machine = Machine::new();
    machine.stack.set_address(IpCidr::new(IpAddress::Ipv6(OUR_IPV6), 64), None).unwrap();
    let all = Ipv6Address::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1); // RFC 4291 §2.7.1
    for to in [all, OUR_IPV6] {
        machine.frames();
        machine.receive(solicitation(to));
        let frames = machine.frames();
        assert_eq!(frames.len(), 1, "asked at {to}");
        let frame = EthernetFrame::new_checked(&frames[0].1).unwrap();
        assert_eq!((frame.src_addr(), frame.dst_addr()), (OUR_MAC, PEER_MAC));
        let packet = Ipv6Packet::new_checked(frame.payload()).unwrap();
        let message = Icmpv6Packet::new_checked(packet.payload()).unwrap();
        let checksums = ChecksumCapabilities::default();
        let answer =
            Icmpv6Repr::parse(&packet.src_addr(), &packet.dst_addr(), &message, &checksums);
        let Ok(Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { target_addr, lladdr, .. })) = answer
        else {
            panic!("no advertisement: {answer:?}");
        };
        assert_eq!(target_addr, OUR_IPV6);
        assert_eq!(lladdr.map(|it| EthernetAddress::from_bytes(it.as_bytes())), Some(OUR_MAC));
    }
}

#[test]
fn conflict_is_counted_and_told_and_the_address_defended_every_ten_seconds() {
    let mut machine = Machine::new();
    machine.frames();
    for _ in 0..30 {
        machine.receive(introduction_of(OURS));
        machine.pass(SECOND);
    }
    assert_eq!(machine.stack.counters().conflicts, 30);
    let told = Conflict { address: OURS, other: PEER_MAC.0 };
    assert_eq!((machine.stack.take_conflict(), machine.stack.take_conflict()), (Some(told), None));
    let frames = machine.frames();
    assert_eq!(frames.len(), 3);
    for (_, frame) in frames {
        let frame = EthernetFrame::new_checked(&frame).unwrap();
        assert!(frame.dst_addr().is_broadcast() && frame.ethertype() == EthernetProtocol::Arp);
    }
}
