//! Frames made by hand: what no honest stack would send.

use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr,
    TcpSeqNumber, UdpPacket, UdpRepr,
};

use super::random::Random;

/// The card of a machine, as QEMU numbers the first one.
pub(crate) const MACHINE_MAC: EthernetAddress =
    EthernetAddress([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]);

/// The peer's card.
pub(crate) const PEER_MAC: EthernetAddress = EthernetAddress([0x02, 0, 0, 0, 0, 0x02]);

const ETHERNET_HEADER: usize = 14;
const IPV4_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// Room for a frame with so many bytes behind Ethernet's header, which is filled in.
fn frame(to: EthernetAddress, kind: EthernetProtocol, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET_HEADER + len];
    let header = EthernetRepr { src_addr: PEER_MAC, dst_addr: to, ethertype: kind };
    header.emit(&mut EthernetFrame::new_unchecked(&mut bytes));
    bytes
}

fn ipv4(
    to: EthernetAddress,
    (source, target): (Ipv4Addr, Ipv4Addr),
    protocol: IpProtocol,
    len: usize,
) -> Vec<u8> {
    let mut bytes = frame(to, EthernetProtocol::Ipv4, IPV4_HEADER + len);
    let header = Ipv4Repr {
        src_addr: source,
        dst_addr: target,
        next_header: protocol,
        payload_len: len,
        hop_limit: 64,
    };
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[ETHERNET_HEADER..]);
    header.emit(&mut packet, &ChecksumCapabilities::default());
    bytes
}

/// A TCP segment without data.
pub(crate) fn segment(
    from: SocketAddrV4,
    to: SocketAddrV4,
    control: TcpControl,
    (number, acknowledged): (u32, Option<u32>),
) -> Vec<u8> {
    let header = TcpRepr {
        src_port: from.port(),
        dst_port: to.port(),
        control,
        seq_number: TcpSeqNumber(number.cast_signed()),
        ack_number: acknowledged.map(|number| TcpSeqNumber(number.cast_signed())),
        window_len: 64_240,
        window_scale: None,
        max_seg_size: (control == TcpControl::Syn).then_some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ends = (*from.ip(), *to.ip());
    let mut bytes = ipv4(MACHINE_MAC, ends, IpProtocol::Tcp, header.buffer_len());
    header.emit(
        &mut TcpPacket::new_unchecked(&mut bytes[ETHERNET_HEADER + IPV4_HEADER..]),
        &IpAddress::Ipv4(ends.0),
        &IpAddress::Ipv4(ends.1),
        &ChecksumCapabilities::default(),
    );
    bytes
}

/// A SYN from somebody who is not there: on another network, or, one time in eight, on this one.
pub(crate) fn spoofed_syn(random: &mut Random, to: SocketAddrV4) -> Vec<u8> {
    let number = random.next();
    let [.., first, second, third] = number.to_be_bytes();
    let address = match number >> 61 {
        0 => Ipv4Addr::new(10, 0, 2, 16 + third % 224),
        _ => Ipv4Addr::new(100 + first % 100, first, second, third),
    };
    let port = 1024 + random.below(64_000) as u16;
    let from = SocketAddrV4::new(address, port);
    segment(from, to, TcpControl::Syn, (random.next() as u32, None))
}

/// A datagram.
pub(crate) fn datagram(
    to_mac: EthernetAddress,
    from: SocketAddrV4,
    to: SocketAddrV4,
    bytes: &[u8],
) -> Vec<u8> {
    let header = UdpRepr { src_port: from.port(), dst_port: to.port() };
    let ends = (*from.ip(), *to.ip());
    let mut frame = ipv4(to_mac, ends, IpProtocol::Udp, UDP_HEADER + bytes.len());
    header.emit(
        &mut UdpPacket::new_unchecked(&mut frame[ETHERNET_HEADER + IPV4_HEADER..]),
        &IpAddress::Ipv4(ends.0),
        &IpAddress::Ipv4(ends.1),
        bytes.len(),
        |room| room.copy_from_slice(bytes),
        &ChecksumCapabilities::default(),
    );
    frame
}

/// Somebody with this card says that the address is his: as an answer to the machine, or unasked to all.
pub(crate) fn claim(mac: EthernetAddress, address: Ipv4Addr, asked: bool) -> Vec<u8> {
    let (operation, to) = match asked {
        true => (ArpOperation::Reply, MACHINE_MAC),
        false => (ArpOperation::Request, EthernetAddress::BROADCAST),
    };
    let arp = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: mac,
        source_protocol_addr: address,
        target_hardware_addr: if asked { MACHINE_MAC } else { EthernetAddress([0; 6]) },
        target_protocol_addr: address,
    };
    let mut bytes = frame(to, EthernetProtocol::Arp, arp.buffer_len());
    EthernetFrame::new_unchecked(&mut bytes).set_src_addr(mac);
    arp.emit(&mut ArpPacket::new_unchecked(&mut bytes[ETHERNET_HEADER..]));
    bytes
}

/// What of a frame the peer has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// TCP, from and to these ports.
    Tcp {
        from: u16,
        to: u16,
    },
    /// A datagram for this port.
    Udp {
        to: u16,
        bytes: &'a [u8],
    },
    Other,
}

/// Reads a frame.
pub(crate) fn content(bytes: &[u8]) -> Content<'_> {
    read(bytes).unwrap_or(Content::Other)
}

fn read(bytes: &[u8]) -> Option<Content<'_>> {
    let frame = EthernetFrame::new_checked(bytes).ok()?;
    if frame.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
    match packet.next_header() {
        IpProtocol::Tcp => {
            let segment = TcpPacket::new_checked(packet.payload()).ok()?;
            Some(Content::Tcp { from: segment.src_port(), to: segment.dst_port() })
        }
        IpProtocol::Udp => {
            let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
            Some(Content::Udp { to: datagram.dst_port(), bytes: datagram.payload() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_well_formed() {
        let (from, to) = (
            SocketAddrV4::new([10, 0, 2, 2].into(), 1000),
            SocketAddrV4::new([10, 0, 2, 15].into(), 80),
        );
        let bytes = segment(from, to, TcpControl::Syn, (7, None));
        let frame = EthernetFrame::new_checked(&bytes[..]).unwrap();
        let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
        assert!(packet.verify_checksum());
        let segment = TcpPacket::new_checked(packet.payload()).unwrap();
        assert!(segment.verify_checksum(&packet.src_addr().into(), &packet.dst_addr().into()));
        assert!(segment.syn() && !segment.ack());
        assert_eq!(content(&bytes), Content::Tcp { from: 1000, to: 80 });
        let bytes = datagram(MACHINE_MAC, from, to, b"hello");
        assert_eq!(content(&bytes), Content::Udp { to: 80, bytes: b"hello" });
        assert_eq!(content(&claim(PEER_MAC, [10, 0, 2, 15].into(), true)), Content::Other);
    }

    #[test]
    fn spoofed_senders_are_many() {
        let (mut random, to) = (Random::new(1), SocketAddrV4::new([10, 0, 2, 15].into(), 80));
        let frames: std::collections::HashSet<_> =
            (0..1000).map(|_| spoofed_syn(&mut random, to)).collect();
        assert_eq!(frames.len(), 1000);
    }
}
