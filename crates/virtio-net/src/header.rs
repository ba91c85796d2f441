//! The device's header before each frame (Virtio 1.2 §5.1.6), which says what there is to do.

/// What the card is to do with a frame that is sent. By default nothing.
///
/// Only what was [agreed on](crate::Card::offload) can be asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// The checksum that it completes.
    pub checksum: Option<PartialChecksum>,
    /// The segments that it makes of the frame. Only with a checksum.
    pub segments: Option<Segments>,
}

/// A checksum that the card completes: the sum of all bytes from `start` to the frame's end, with what is in
/// its place already (for TCP and UDP the sum of the pseudo header).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialChecksum {
    /// The first byte that it covers.
    pub start: u16,
    /// Where its two bytes are, from `start`.
    pub offset: u16,
}

/// TCP segments that the card makes of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// Bytes of Ethernet's, IP's and TCP's headers, which each of them gets.
    pub header: u16,
    /// Bytes of data in each, except the last.
    pub size: u16,
    /// Over IPv6, not IPv4.
    pub ipv6: bool,
}

/// Bytes of the header: without and with `num_buffers` (§5.1.6, §5.1.6.1).
pub(crate) const SHORT: usize = 10;
pub(crate) const LONG: usize = 12;

/// Fields of the header, in bytes from its start.
pub(crate) const FLAGS: usize = 0;
pub(crate) const NUM_BUFFERS: usize = 10;

/// Flags: the checksum is to be completed; the checksum was good.
pub(crate) const NEEDS_CSUM: u8 = 1;
pub(crate) const DATA_VALID: u8 = 2;

/// What is to be made of a frame: nothing, TCP segments.
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

impl Work {
    /// The header: its first two bytes, and the eight behind them. `num_buffers` is 0 for what is sent.
    #[inline]
    pub(crate) fn words(self) -> (u16, u64) {
        let (mut kind, mut rest) = ([0, GSO_NONE], 0);
        if let Some(PartialChecksum { start, offset }) = self.checksum {
            kind[0] = NEEDS_CSUM;
            rest |= u64::from(start) << 32 | u64::from(offset) << 48;
            if let Some(Segments { header, size, ipv6 }) = self.segments {
                kind[1] = if ipv6 { GSO_TCPV6 } else { GSO_TCPV4 };
                rest |= u64::from(header) | u64::from(size) << 16;
            }
        }
        // The device's byte order is that of the lowest byte first, or ours if it is a legacy one.
        (u16::from_le_bytes(kind), rest)
    }
}

const _: () = assert!(cfg!(target_endian = "little"), "legacy devices have the processor's order");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_without_work_has_zeros() {
        assert_eq!(Work::default().words(), (0, 0));
    }

    #[test]
    fn fields_are_where_the_specification_has_them() {
        let checksum = Some(PartialChecksum { start: 0x1122, offset: 0x3344 });
        let (kind, rest) = Work { checksum, segments: None }.words();
        assert_eq!(kind.to_le_bytes(), [NEEDS_CSUM, 0]);
        assert_eq!(rest.to_le_bytes(), [0, 0, 0, 0, 0x22, 0x11, 0x44, 0x33]);
        for (ipv6, gso) in [(false, 1), (true, 4)] {
            let segments = Some(Segments { header: 0x5566, size: 0x7788, ipv6 });
            let (kind, rest) = Work { checksum, segments }.words();
            assert_eq!(kind.to_le_bytes(), [NEEDS_CSUM, gso]);
            assert_eq!(rest.to_le_bytes(), [0x66, 0x55, 0x88, 0x77, 0x22, 0x11, 0x44, 0x33]);
            // It would be cut into segments with wrong sums.
            assert_eq!(Work { checksum: None, segments }.words(), (0, 0));
        }
    }
}
