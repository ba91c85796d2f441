//! Whose is a frame? Reads just as much of it as that takes; smoltcp checks the rest.

use core::hash::{Hash, Hasher};

use smoltcp::wire::{IpAddress, IpEndpoint};

use crate::checksum::{TCP, Transport, UDP};

/// Both ends of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) local: IpEndpoint,
    pub(crate) remote: IpEndpoint,
}

impl Hash for Flow {
    /// Few large pieces, as each packet pays for it.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(u32::from(self.local.port) << 16 | u32::from(self.remote.port));
        for address in [self.local.addr, self.remote.addr] {
            match address {
                IpAddress::Ipv4(address) => state.write_u32(address.to_bits()),
                #[cfg(feature = "ipv6")]
                IpAddress::Ipv6(address) => state.write_u128(address.to_bits()),
            }
        }
    }
}

/// What a TCP segment says, as far as it is looked at here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    flags: u8,
    /// The number of its first byte.
    pub(crate) number: u32,
    /// Which number its sender expects next.
    pub(crate) expects: u32,
    /// How many bytes of data it has.
    pub(crate) data: usize,
}

impl Segment {
    /// A SYN without ACK and RST.
    #[inline]
    pub(crate) fn opens(&self) -> bool {
        self.flags & (SYN | ACK | RST) == SYN
    }

    /// A FIN.
    #[inline]
    pub(crate) fn ends(&self) -> bool {
        self.flags & FIN != 0
    }

    /// The number behind it and its FIN.
    #[inline]
    pub(crate) fn end(&self) -> u32 {
        self.number.wrapping_add(self.data as u32).wrapping_add(u32::from(self.ends()))
    }

    /// A reset.
    pub(crate) fn resets(&self) -> bool {
        self.flags & RST != 0
    }

    /// It takes no number: neither data, nor SYN or FIN.
    pub(crate) fn is_bare(&self) -> bool {
        self.data == 0 && self.flags & (SYN | FIN) == 0
    }
}

/// Whose a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// A TCP segment.
    Tcp { flow: Flow, segment: Segment },
    /// A UDP datagram.
    Udp { from: u16, to: u16 },
    /// It may tell a neighbour's hardware address: ARP, or neighbour discovery.
    Neighbour,
    /// A router tells of itself (RFC 4861 §4.2).
    #[cfg(feature = "ipv6")]
    Router,
    /// Whatever else smoltcp may have an answer to.
    Other,
    /// Nothing that anybody here could use.
    Useless,
}

// Where things stand: IEEE 802.3 §3.1.1; RFC 791 §3.1; RFC 9293 §3.1; RFC 768.
const ETHERTYPE: usize = 12;
const ETHERNET_HEADER: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
#[cfg(feature = "ipv6")]
const ETHERTYPE_IPV6: u16 = 0x86dd;

// RFC 9293 §3.1, the flags' byte.
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Says whose a frame is. If its checksum is `checked`, that of TCP or UDP need not be.
#[inline]
pub(crate) fn classify(frame: &[u8], checked: bool) -> Class {
    parse(frame, checked).unwrap_or(Class::Useless)
}

/// `None` if the frame is too short for what it says it is, or its checksum is wrong.
#[inline]
fn parse(frame: &[u8], checked: bool) -> Option<Class> {
    match u16_at(frame, ETHERTYPE)? {
        ETHERTYPE_IPV4 => parse_ipv4(frame, checked),
        #[cfg(feature = "ipv6")]
        ETHERTYPE_IPV6 => ipv6::parse(frame, checked),
        ETHERTYPE_ARP => Some(Class::Neighbour),
        _ => None,
    }
}

#[inline]
fn parse_ipv4(frame: &[u8], checked: bool) -> Option<Class> {
    let fixed = frame.get(ETHERNET_HEADER..)?.first_chunk::<20>()?;
    // Without a buffer to put them together in, fragments are of no use (RFC 791 §3.2). Bit 13 says that
    // more follow, the lower ones where this one belongs.
    if u16_at(fixed, 6)? & 0x3fff != 0 {
        return None;
    }
    let start = ETHERNET_HEADER + usize::from(fixed[0] & 15) * 4;
    // What is behind was put there by the link, to make the frame long enough.
    let end = ETHERNET_HEADER + usize::from(u16_at(fixed, 2)?);
    let address = |at: usize| IpAddress::v4(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
    let transport = Transport::ipv4(fixed[9], start, end);
    parse_transport(frame, transport, checked, || (address(12), address(16)))
}

#[inline(always)]
fn parse_transport(
    frame: &[u8],
    transport: Transport,
    checked: bool,
    addresses: impl FnOnce() -> (IpAddress, IpAddress),
) -> Option<Class> {
    let payload = frame.get(transport.start..transport.end)?;
    let is_right = || checked || transport.is_right(frame);
    match transport.protocol {
        TCP => {
            let fixed = payload.first_chunk::<20>()?;
            if !is_right() {
                return None;
            }
            let (remote, local) = addresses();
            let flow = Flow {
                remote: IpEndpoint::new(remote, u16_at(fixed, 0)?),
                local: IpEndpoint::new(local, u16_at(fixed, 2)?),
            };
            let segment = Segment {
                flags: fixed[13],
                number: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
                expects: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
                data: payload.len().saturating_sub(usize::from(fixed[12] >> 4) * 4),
            };
            Some(Class::Tcp { flow, segment })
        }
        UDP => {
            let (from, to) = (u16_at(payload, 0)?, u16_at(payload, 2)?);
            is_right().then_some(Class::Udp { from, to })
        }
        _ => Some(Class::Other),
    }
}

/// Whether a frame that smoltcp made asks for a hardware address: then it is not what was to be sent.
#[inline]
pub(crate) fn is_solicitation(frame: &[u8]) -> bool {
    match u16_at(frame, ETHERTYPE) {
        Some(ETHERTYPE_ARP) => true,
        #[cfg(feature = "ipv6")]
        Some(ETHERTYPE_IPV6) => ipv6::is_solicitation(&frame[ETHERNET_HEADER..]),
        _ => false,
    }
}

#[inline(always)]
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// IPv6: its header, and what may stand between it and TCP or UDP.
#[cfg(feature = "ipv6")]
mod ipv6 {
    use smoltcp::wire::IpAddress;

    use super::{Class, ETHERNET_HEADER, Transport, parse_transport};

    /// RFC 8200 §3.
    const HEADER: usize = 40;

    // IANA "Assigned Internet Protocol Numbers".
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const ICMPV6: u8 = 58;
    const DESTINATION_OPTIONS: u8 = 60;

    // RFC 4861 §4.
    const ROUTER_ADVERTISEMENT: u8 = 134;
    const NEIGHBOUR_SOLICITATION: u8 = 135;
    const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

    /// How many extension headers are looked behind (RFC 8200 §4.1 has no more kinds than that).
    const MAX_EXTENSIONS: usize = 6;

    pub(super) fn parse(frame: &[u8], checked: bool) -> Option<Class> {
        let packet = frame.get(ETHERNET_HEADER..)?;
        let fixed = packet.first_chunk::<HEADER>()?;
        let end = HEADER + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        let (mut protocol, mut payload) = (fixed[6], packet.get(HEADER..end)?);
        for _ in 0..MAX_EXTENSIONS {
            match protocol {
                // RFC 8200 §4.3, 4.4, 4.6: what follows, and a length in units of 8 bytes without the first.
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                    let length = (usize::from(*payload.get(1)?) + 1) * 8;
                    protocol = payload[0];
                    payload = payload.get(length..)?;
                }
                FRAGMENT => return None,
                _ => break,
            }
        }
        let address = |at: usize| {
            let octets = fixed[at..].first_chunk::<16>().copied().unwrap_or_default();
            IpAddress::Ipv6(octets.into())
        };
        if protocol == ICMPV6 {
            return Some(match payload.first()? {
                &ROUTER_ADVERTISEMENT => Class::Router,
                &NEIGHBOUR_SOLICITATION | &NEIGHBOUR_ADVERTISEMENT => Class::Neighbour,
                _ => Class::Other,
            });
        }
        let end = ETHERNET_HEADER + end;
        let transport = Transport::ipv6(protocol, end - payload.len(), end);
        parse_transport(frame, transport, checked, || (address(8), address(24)))
    }

    pub(super) fn is_solicitation(packet: &[u8]) -> bool {
        packet.get(6) == Some(&ICMPV6) && packet.get(HEADER) == Some(&NEIGHBOUR_SOLICITATION)
    }
}
