//! TCP segments of which no socket knows: a handshake's answer, and the last word to a peer that has not
//! heard it.

use smoltcp::{
    phy::{ChecksumCapabilities, Device, TxToken},
    wire::{
        EthernetAddress, EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, IpRepr,
        Ipv4Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
    },
};

use crate::{Link, address::header_len, classify::Flow, link::Port, stack::at};

/// Bytes of Ethernet's header (IEEE 802.3 §3.1.1).
const ETHERNET_HEADER: usize = 14;

/// What smoltcp's sockets have (RFC 9293 §3.9.1.5 leaves it to us).
const HOP_LIMIT: u8 = 64;

/// Who is on the other side of the wire: the sender of a frame.
pub(crate) fn sender(frame: &[u8]) -> EthernetAddress {
    EthernetFrame::new_unchecked(frame).src_addr()
}

/// Reads a segment that was classified as one, and whose checksum is right. `None` if it is not one that may be
/// answered: for another card, from an address that nobody has, or damaged.
pub(crate) fn read(frame: &[u8], mac: [u8; 6], flow: Flow) -> Option<TcpRepr<'_>> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let from = flow.remote.addr;
    let possible = ethernet.dst_addr() == EthernetAddress(mac)
        && ethernet.src_addr().is_unicast()
        && from.is_unicast()
        && from != flow.local.addr
        && flow.remote.port != 0;
    if !possible {
        return None;
    }
    let packet = ethernet.payload();
    let segment = match from {
        IpAddress::Ipv4(_) => {
            let packet = Ipv4Packet::new_checked(packet).ok()?;
            packet.verify_checksum().then(|| packet.payload())?
        }
        // Behind all headers that may stand between, which `classify` has walked over: they are rare here.
        #[cfg(feature = "ipv6")]
        IpAddress::Ipv6(_) => {
            let packet = smoltcp::wire::Ipv6Packet::new_checked(packet).ok()?;
            (packet.next_header() == IpProtocol::Tcp).then(|| packet.payload())?
        }
    };
    let tcp = TcpPacket::new_checked(segment).ok()?;
    let (to, from) = (flow.local.addr, flow.remote.addr);
    TcpRepr::parse(&tcp, &from, &to, &ChecksumCapabilities::ignored()).ok()
}

/// An acknowledgement with nothing else in it.
pub(crate) fn acknowledgement(flow: &Flow, number: u32, expected: u32) -> TcpRepr<'static> {
    TcpRepr {
        src_port: flow.local.port,
        dst_port: flow.remote.port,
        control: TcpControl::None,
        seq_number: TcpSeqNumber(number.cast_signed()),
        ack_number: Some(TcpSeqNumber(expected.cast_signed())),
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    }
}

/// Sends a segment to who has that hardware address, if the card has room.
pub(crate) fn send<L: Link>(
    link: &mut L,
    now: u64,
    to: EthernetAddress,
    flow: &Flow,
    repr: &TcpRepr<'_>,
) {
    let from = EthernetAddress(link.mac());
    let (source, destination) = (flow.local.addr, flow.remote.addr);
    let ip = IpRepr::new(source, destination, IpProtocol::Tcp, repr.buffer_len(), HOP_LIMIT);
    let header = ETHERNET_HEADER + header_len(source);
    let mut port = Port::new(link, None);
    let Some(token) = port.transmit(at(now)) else { return };
    token.consume(header + repr.buffer_len(), |frame| {
        let mut ethernet = EthernetFrame::new_unchecked(&mut *frame);
        ethernet.set_src_addr(from);
        ethernet.set_dst_addr(to);
        ethernet.set_ethertype(match source {
            IpAddress::Ipv4(_) => EthernetProtocol::Ipv4,
            #[cfg(feature = "ipv6")]
            IpAddress::Ipv6(_) => EthernetProtocol::Ipv6,
        });
        ip.emit(ethernet.payload_mut(), &ChecksumCapabilities::default());
        let mut tcp = TcpPacket::new_unchecked(&mut frame[header..]);
        // The token writes the checksum, or has the card do it.
        repr.emit(&mut tcp, &source, &destination, &ChecksumCapabilities::ignored());
    });
}
