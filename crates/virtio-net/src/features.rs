//! What is agreed on with a device (Virtio 1.2 §5.1.3).

pub(crate) use wakeful_virtio::VERSION_1;

/// It completes checksums of what is sent.
pub(crate) const CSUM: u64 = 1 << 0;
/// It may leave checksums of what is received incomplete, and says so.
pub(crate) const GUEST_CSUM: u64 = 1 << 1;
pub(crate) const MTU: u64 = 1 << 3;
pub(crate) const MAC: u64 = 1 << 5;
/// It may give us TCP segments longer than the wire's.
pub(crate) const GUEST_TSO4: u64 = 1 << 7;
pub(crate) const GUEST_TSO6: u64 = 1 << 8;
/// It cuts TCP segments.
pub(crate) const HOST_TSO4: u64 = 1 << 11;
pub(crate) const HOST_TSO6: u64 = 1 << 12;
/// A received frame may have several buffers.
pub(crate) const MRG_RXBUF: u64 = 1 << 15;
pub(crate) const STATUS: u64 = 1 << 16;

/// What may be agreed on with a device, if it offers it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// It completes checksums of what is sent.
    pub checksums: bool,
    /// It cuts what is sent by TCP. Only with `checksums`.
    pub segments: bool,
    /// Checksums of what is received may be incomplete: [`Frame::is_checked`](crate::Frame::is_checked)
    /// says of which.
    pub received_checksums: bool,
    /// What is received by TCP may come in frames of up to 65,550 bytes. Only with `received_checksums`.
    pub received_segments: bool,
}

impl Wanted {
    /// All of it.
    pub const ALL: Self =
        Self { checksums: true, segments: true, received_checksums: true, received_segments: true };
}

/// What a card does instead of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offload {
    /// It completes checksums of what is sent.
    pub checksums: bool,
    /// It says of received frames whether somebody need look at their checksum.
    pub received_checksums: bool,
    /// It cuts what is sent by TCP over IPv4.
    pub segments_ipv4: bool,
    /// The same over IPv6.
    pub segments_ipv6: bool,
    /// The longest frame that can be sent, in bytes.
    pub longest: usize,
}

/// The features that are taken of those that are offered. `has_mtu`: the device's is one that we can have.
pub(crate) fn choose(offered: u64, wanted: Wanted, has_mtu: bool) -> u64 {
    let when = |wish: bool, features: u64| if wish { features & offered } else { 0 };
    let mut taken = when(true, MAC | STATUS | VERSION_1) | when(has_mtu, MTU);
    taken |= when(wanted.checksums, CSUM);
    // A device has to offer the checksum with these (§5.1.3.1), and a driver to take it.
    taken |= when(wanted.segments && taken & CSUM != 0, HOST_TSO4 | HOST_TSO6);
    taken |= when(wanted.received_checksums, GUEST_CSUM);
    // Long frames go on in further buffers, or every buffer would have to hold the longest.
    let merges = offered & MRG_RXBUF != 0 && taken & GUEST_CSUM != 0;
    let long = when(wanted.received_segments && merges, GUEST_TSO4 | GUEST_TSO6);
    taken | long | when(long != 0, MRG_RXBUF)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: u64 = CSUM | HOST_TSO4 | HOST_TSO6;
    const RECEIVED: u64 = GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | MRG_RXBUF;

    #[test]
    fn nothing_is_taken_that_is_not_wanted() {
        assert_eq!(choose(u64::MAX, Wanted::default(), false), MAC | STATUS | VERSION_1);
        assert_eq!(choose(u64::MAX, Wanted::default(), true), MAC | STATUS | VERSION_1 | MTU);
        let all = MAC | STATUS | VERSION_1 | SENT | RECEIVED;
        assert_eq!(choose(u64::MAX, Wanted::ALL, false), all);
    }

    #[test]
    fn nothing_is_taken_that_is_not_offered() {
        for bit in 0..64 {
            let offered = !(1 << bit);
            assert_eq!(choose(offered, Wanted::ALL, true) & !offered, 0);
        }
    }

    #[test]
    fn segments_need_checksums_and_long_frames_several_buffers() {
        assert_eq!(choose(HOST_TSO4, Wanted::ALL, false), 0);
        assert_eq!(choose(CSUM | HOST_TSO6, Wanted::ALL, false), CSUM | HOST_TSO6);
        assert_eq!(choose(RECEIVED & !MRG_RXBUF, Wanted::ALL, false), GUEST_CSUM);
        assert_eq!(choose(RECEIVED & !GUEST_CSUM, Wanted::ALL, false), 0);
        // Buffers that are merged for nothing cost something for each frame.
        assert_eq!(choose(MRG_RXBUF | GUEST_CSUM, Wanted::ALL, false), GUEST_CSUM);
        let without = Wanted { checksums: false, received_checksums: false, ..Wanted::ALL };
        assert_eq!(choose(SENT | RECEIVED, without, false), 0);
    }
}
