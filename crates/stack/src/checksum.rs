//! The Internet checksum of TCP and UDP (RFC 1071), calculated here or left to the card.
//!
//! smoltcp reads two bytes at a time, for 3 instructions a byte; here it is four, for half an instruction.
//! What is said of where things stand in a frame is true of what smoltcp writes, and of what [`classify`] has
//! let pass.
//!
//! [`classify`]: crate::classify

/// Where a transport's part of a frame is, and what its checksum covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transport {
    /// Where its header begins, in bytes from the frame's start.
    pub(crate) start: usize,
    /// Where it ends.
    pub(crate) end: usize,
    /// Where both addresses are, one behind the other.
    addresses: (usize, usize),
    pub(crate) protocol: u8,
}

// IANA "Assigned Internet Protocol Numbers".
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

impl Transport {
    /// Of an IPv4 packet behind an Ethernet header: `start` and `end` in bytes of the frame.
    #[inline]
    pub(crate) fn ipv4(protocol: u8, start: usize, end: usize) -> Self {
        Self { start, end, addresses: (14 + 12, 14 + 20), protocol }
    }

    /// The same of an IPv6 packet.
    #[cfg(feature = "ipv6")]
    #[inline]
    pub(crate) fn ipv6(protocol: u8, start: usize, end: usize) -> Self {
        Self { start, end, addresses: (14 + 8, 14 + 40), protocol }
    }

    /// Where the checksum is in the transport's header. `None` if it is neither TCP (RFC 9293 §3.1) nor UDP
    /// (RFC 768).
    #[inline]
    pub(crate) fn field(&self) -> Option<usize> {
        match self.protocol {
            TCP => Some(16),
            UDP => Some(6),
            _ => None,
        }
    }

    /// The sum of what stands in front (RFC 9293 §3.1 "pseudo-header", RFC 8200 §8.1), not complemented.
    #[inline]
    fn pseudo_header(&self, frame: &[u8]) -> u64 {
        let length = self.end - self.start;
        // The protocol and the length are numbers in network order.
        let words = u64::from(u16::from(self.protocol).to_be()) + swapped(length as u64);
        sum(frame.get(self.addresses.0..self.addresses.1).unwrap_or_default()) + words
    }

    /// Whether the checksum of a received frame is right.
    #[inline]
    pub(crate) fn is_right(&self, frame: &[u8]) -> bool {
        let Some(segment) = frame.get(self.start..self.end) else { return false };
        // A datagram over IPv4 may have none (RFC 768).
        let none = self.protocol == UDP
            && self.addresses.1 == 14 + 20
            && segment.get(6..8) == Some(&[0, 0]);
        none || folded(self.pseudo_header(frame) + sum(segment)) == 0xffff
    }

    /// Writes the checksum of a frame whose field is 0.
    #[inline]
    pub(crate) fn complete(&self, frame: &mut [u8]) {
        let covered = sum(frame.get(self.start..self.end).unwrap_or_default());
        let checksum = match !folded(self.pseudo_header(frame) + covered) {
            // That says "none" in a datagram (RFC 768). The same number in ones' complement.
            0 if self.protocol == UDP => 0xffff,
            checksum => checksum,
        };
        self.write(frame, checksum);
    }

    /// Writes what a card expects that completes it: the sum of the pseudo-header (Virtio 1.2 §5.1.6.2).
    #[inline]
    pub(crate) fn begin(&self, frame: &mut [u8]) {
        let begun = folded(self.pseudo_header(frame));
        self.write(frame, begun);
    }

    #[inline]
    fn write(&self, frame: &mut [u8], checksum: u16) {
        if let Some(field) = self.field()
            && let Some(place) = frame.get_mut(self.start + field..self.start + field + 2)
        {
            // As it was summed up: in the order of the bytes in memory.
            place.copy_from_slice(&checksum.to_ne_bytes());
        }
    }
}

/// A number below 2³² as its two words in network order would add up.
#[inline]
fn swapped(number: u64) -> u64 {
    u64::from(((number >> 16) as u16).to_be()) + u64::from((number as u16).to_be())
}

/// The sum of 16-bit words in the order in which they lie in memory, an odd byte filled up with 0. Not folded:
/// with up to 64 KiB it stays far below 2⁶⁴.
#[inline]
fn sum(bytes: &[u8]) -> u64 {
    let (before, words, after) = bytemuck::pod_align_to::<u8, u32>(bytes);
    if !before.is_empty() {
        return sum_unaligned(bytes);
    }
    // Four at a time: two instructions each, and few to count them.
    let (fours, rest) = words.as_chunks::<4>();
    let mut total = 0;
    for &[a, b, c, d] in fours {
        total += u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d);
    }
    for &word in rest {
        total += u64::from(word);
    }
    total + sum_unaligned(after)
}

/// The same, byte by byte.
fn sum_unaligned(bytes: &[u8]) -> u64 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let pairs: u64 = pairs.iter().map(|&pair| u64::from(u16::from_ne_bytes(pair))).sum();
    pairs + odd.first().map_or(0, |&byte| u64::from(u16::from_ne_bytes([byte, 0])))
}

/// The same sum in 16 bits: carries are added again (RFC 1071 §2).
#[inline]
fn folded(total: u64) -> u16 {
    let total = (total >> 32) + (total & 0xffff_ffff);
    let total = (total >> 16) + (total & 0xffff);
    let total = (total >> 16) + (total & 0xffff);
    let total = (total >> 16) + (total & 0xffff);
    total as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket};

    use super::*;

    proptest! {
        /// As smoltcp has it, for all lengths and places in memory.
        #[test]
        fn agrees_with_smoltcp(
            bytes in proptest::collection::vec(any::<u8>(), 20..1600),
            shift in 0usize..8,
            udp in any::<bool>(),
            addresses in any::<[u8; 8]>(),
        ) {
            let mut memory = vec![0; shift];
            memory.extend([0; 14 + 20]);
            memory.extend(&bytes);
            let end = 14 + 20 + bytes.len();
            let frame = &mut memory[shift..];
            frame[14 + 12..14 + 20].copy_from_slice(&addresses);
            let (source, destination) = {
                let packet = Ipv4Packet::new_unchecked(&frame[14..]);
                (IpAddress::from(packet.src_addr()), IpAddress::from(packet.dst_addr()))
            };
            let protocol = if udp { UDP } else { TCP };
            let transport = Transport::ipv4(protocol, 34, end);
            let field = 34 + transport.field().unwrap();
            frame[field..field + 2].fill(0);
            if udp {
                let length = (end - 34) as u16;
                frame[34 + 4..34 + 6].copy_from_slice(&length.to_be_bytes());
            }
            transport.complete(frame);
            prop_assert!(transport.is_right(frame));
            let mut other = frame[34..].to_vec();
            if udp {
                UdpPacket::new_unchecked(&mut other).fill_checksum(&source, &destination);
            } else {
                TcpPacket::new_unchecked(&mut other).fill_checksum(&source, &destination);
            }
            prop_assert_eq!(&frame[34..], &other[..]);
            // What a card would make of it.
            frame[field..field + 2].fill(0);
            transport.begin(frame);
            let begun = folded(sum_unaligned(&frame[34..end]));
            prop_assert_eq!((!begun).to_ne_bytes(), [other[field - 34], other[field - 33]]);
            let _ = IpProtocol::Tcp;
        }

        /// One bit that is wrong is seen.
        #[test]
        fn sees_a_wrong_bit(
            bytes in proptest::collection::vec(any::<u8>(), 20..200),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let mut frame = vec![0; 34];
            frame.extend(&bytes);
            let transport = Transport::ipv4(TCP, 34, frame.len());
            frame[34 + 16..34 + 18].fill(0);
            transport.complete(&mut frame);
            let at = at.index(bytes.len());
            frame[34 + at] ^= 1 << bit;
            prop_assert!(!transport.is_right(&frame));
        }
    }

    #[test]
    fn a_datagram_without_one_is_right() {
        let mut frame = vec![7; 34 + 12];
        frame[34 + 6..34 + 8].fill(0);
        assert!(Transport::ipv4(UDP, 34, 46).is_right(&frame));
        assert!(!Transport::ipv4(TCP, 34, 46).is_right(&frame));
    }

    #[test]
    fn a_frame_that_is_too_short_is_wrong() {
        assert!(!Transport::ipv4(TCP, 34, 60).is_right(&[0; 40]));
    }
}
