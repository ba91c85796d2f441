//! Others that use an address of this machine (RFC 5227).
//!
//! The address is kept, as who runs a server has chosen it: the conflict is counted and told, and the network
//! is reminded whose the address is.

use smoltcp::{
    phy::{Device, TxToken},
    wire::{
        ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
        IpAddress, Ipv4Address,
    },
};

use crate::{Link, Stack, link::Port, stack::at};

/// How often an address is defended at most, in microseconds (RFC 5227 §1.1, `DEFEND_INTERVAL`).
const DEFEND: u64 = 10_000_000;

/// Bytes of Ethernet's header (IEEE 802.3 §3.1.1).
const ETHERNET_HEADER: usize = 14;

/// Somebody else uses an address of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The address.
    pub address: Ipv4Address,
    /// The hardware address of the other one.
    pub other: [u8; 6],
}

/// What is known of conflicts.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    news: Option<Conflict>,
    /// When to defend next, in microseconds.
    next: u64,
}

impl<L: Link> Stack<L> {
    /// A conflict that was noticed since this was asked, at most one in ten seconds.
    pub fn take_conflict(&mut self) -> Option<Conflict> {
        self.conflicts.news.take()
    }

    /// Looks whether an ARP packet is from somebody who has our address (RFC 5227 §2.4).
    pub(crate) fn look_for_conflict(&mut self, now: u64, frame: &[u8]) {
        let own = EthernetAddress(self.link.mac());
        let packet = frame.get(ETHERNET_HEADER..).map(ArpPacket::new_checked);
        let Some(Ok(packet)) = packet else { return };
        let Ok(ArpRepr::EthernetIpv4 { source_hardware_addr, source_protocol_addr, .. }) =
            ArpRepr::parse(&packet)
        else {
            return;
        };
        let address = source_protocol_addr;
        if source_hardware_addr == own || !self.interface.has_ip_addr(IpAddress::Ipv4(address)) {
            return;
        }
        self.counters.conflicts += 1;
        if now < self.conflicts.next {
            return;
        }
        self.conflicts = Conflicts {
            news: Some(Conflict { address, other: source_hardware_addr.0 }),
            next: now + DEFEND,
        };
        let announcement = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: own,
            source_protocol_addr: address,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: address,
        };
        let mut port = Port::new(&mut self.link, None);
        let Some(token) = port.transmit(at(now)) else { return };
        token.consume(ETHERNET_HEADER + announcement.buffer_len(), |frame| {
            let mut ethernet = EthernetFrame::new_unchecked(&mut *frame);
            ethernet.set_src_addr(own);
            ethernet.set_dst_addr(EthernetAddress::BROADCAST);
            ethernet.set_ethertype(EthernetProtocol::Arp);
            announcement.emit(&mut ArpPacket::new_unchecked(ethernet.payload_mut()));
        });
    }
}
