//! Addresses: smoltcp's knows the families that are linked, that of `core` knows both.

use core::net::IpAddr;

use smoltcp::wire::IpAddress;

/// smoltcp's address for this one. `None` if its family is not linked.
pub fn address(address: IpAddr) -> Option<IpAddress> {
    match address {
        IpAddr::V4(address) => Some(IpAddress::Ipv4(address)),
        #[cfg(feature = "ipv6")]
        IpAddr::V6(address) => Some(IpAddress::Ipv6(address)),
        #[cfg(not(feature = "ipv6"))]
        IpAddr::V6(_) => None,
    }
}

/// The address that everybody knows for smoltcp's.
pub fn standard(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4(address) => IpAddr::V4(address),
        #[cfg(feature = "ipv6")]
        IpAddress::Ipv6(address) => IpAddr::V6(address),
    }
}

/// An address from text. `None` if it is none, or of a family that is not linked.
pub fn parse(text: &str) -> Option<IpAddress> {
    #[cfg(feature = "ipv6")]
    return text.parse().ok().and_then(address);
    #[cfg(not(feature = "ipv6"))]
    text.parse().ok().map(IpAddress::Ipv4) // without the parser of the other family
}

/// The header of IP that packets from or to this address have without options, in bytes (RFC 791 §3.1,
/// RFC 8200 §3).
pub(crate) fn header_len(address: IpAddress) -> usize {
    match address {
        IpAddress::Ipv4(_) => 20,
        #[cfg(feature = "ipv6")]
        IpAddress::Ipv6(_) => 40,
    }
}
