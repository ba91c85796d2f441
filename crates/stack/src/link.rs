//! The seam to a network card, and how smoltcp sees it.

use core::{num::NonZeroUsize, ops::Deref};

use smoltcp::{
    phy::{Checksum, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken},
    time::Instant,
};

use crate::{
    checksum::{self, Transport},
    classify::is_solicitation,
};

/// A network card: frames out and in.
pub trait Link {
    /// A received frame, which the card lends until it gets it back.
    type Frame: Deref<Target = [u8]>;

    /// What the card can do with what is sent; always the same.
    fn offload(&self) -> Offload {
        Offload::default()
    }

    /// Whether a frame can be sent, the longest as well.
    fn has_room(&mut self) -> bool;

    /// Lets `fill` write a frame of `len` bytes and say what is to be done with it, and sends it. Only after
    /// [`has_room`](Self::has_room) said yes.
    fn transmit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> (Work, R)) -> R;

    /// Whether nobody need look at the checksum of TCP or UDP in a received frame: the card did, or it never
    /// was on a wire.
    fn is_checked(_: &Self::Frame) -> bool {
        false
    }

    /// The next received frame.
    fn receive(&mut self) -> Option<Self::Frame>;

    /// Gives a frame back.
    fn release(&mut self, frame: Self::Frame);

    /// The card's address.
    fn mac(&self) -> [u8; 6];

    /// The longest IP packet, in bytes.
    fn mtu(&self) -> usize;
}

/// What a card can do with what is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offload {
    /// It completes checksums of TCP and UDP.
    pub checksums: bool,
    /// It cuts what is sent by TCP over IPv4 into segments: frames of up to so many bytes. Only with
    /// `checksums`.
    pub segments: Option<NonZeroUsize>,
}

/// What a card is to do with a frame, of that which it [can](Offload).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// The checksum to be completed: that of all from `start` on, with what is there already, into the two
    /// bytes at `start + offset`. In bytes of the frame.
    pub checksum: Option<PartialChecksum>,
    /// The segments to be made of it.
    pub segments: Option<Segments>,
}

/// A checksum to be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where what it covers begins, in bytes from the frame's start.
    pub start: u16,
    /// Where it is, in bytes from `start`.
    pub offset: u16,
}

/// Segments of TCP over IPv4 to be made of a long frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// Bytes of all headers, which each of them gets.
    pub header: u16,
    /// Bytes of data in each, without headers.
    pub size: u16,
}

/// The link for one call of smoltcp: at most one frame to receive, and what happened.
pub(crate) struct Port<'a, L> {
    link: &'a mut L,
    frame: Option<&'a [u8]>,
    /// Frames sent, other than questions for a hardware address.
    pub(crate) sent: u32,
    /// How many bytes of data the last of them had.
    pub(crate) data: usize,
    /// There was no room for a frame.
    pub(crate) full: bool,
    expected: Expected,
}

impl<'a, L: Link> Port<'a, L> {
    pub(crate) fn new(link: &'a mut L, frame: Option<&'a [u8]>) -> Self {
        Self { link, frame, sent: 0, data: 0, full: false, expected: Expected::default() }
    }

    /// The frames are those of a connection whose peer expects this.
    #[inline]
    pub(crate) fn expected(self, expected: Expected) -> Self {
        Self { expected, ..self }
    }
}

/// What the interface is told about a card.
fn capabilities(link: &impl Link) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ethernet;
    capabilities.max_transmission_unit = link.mtu() + ETHERNET_HEADER;
    // These are looked at by `classify` and written by `finish`, if not by the card.
    capabilities.checksum.tcp = Checksum::None;
    capabilities.checksum.udp = Checksum::None;
    capabilities.segmentation.tcpv4 = link.offload().segments;
    capabilities
}

/// Two addresses and a type (IEEE 802.3 §3.1.1), in bytes.
const ETHERNET_HEADER: usize = 14;

impl<'a, L: Link> Device for Port<'a, L> {
    type RxToken<'t>
        = Incoming<'a>
    where
        Self: 't;
    type TxToken<'t>
        = Outgoing<'t, 'a, L>
    where
        Self: 't;

    #[inline]
    fn receive(&mut self, _: Instant) -> Option<(Incoming<'a>, Outgoing<'_, 'a, L>)> {
        let frame = self.frame.take()?;
        Some((Incoming(frame), Outgoing { port: self, size: None }))
    }

    #[inline]
    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_, 'a, L>> {
        self.full = !self.link.has_room();
        (!self.full).then_some(Outgoing { port: self, size: None })
    }

    #[inline]
    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.link)
    }
}

/// The one frame.
pub(crate) struct Incoming<'a>(&'a [u8]);

impl RxToken for Incoming<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Leave to send one frame.
pub(crate) struct Outgoing<'t, 'a, L> {
    port: &'t mut Port<'a, L>,
    /// How much data each segment is to have that is made of it, if it is too long for one.
    size: Option<u16>,
}

impl<L: Link> TxToken for Outgoing<'_, '_, L> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Self { port, size } = self;
        let offload = port.link.offload();
        port.link.transmit(len, |frame| {
            let result = f(frame);
            let mut work = Work::default();
            if !is_solicitation(frame) {
                port.sent += 1;
                port.data = frame.len();
                if let Some(transport) = transport_of(frame) {
                    if transport.protocol == checksum::TCP {
                        port.data = data_in(frame, transport);
                        port.expected.mend(frame, transport, port.data);
                    }
                    work = finish(frame, transport, offload, size);
                }
            }
            (work, result)
        })
    }

    #[inline]
    fn set_meta(&mut self, meta: PacketMeta) {
        self.size = meta.segmentation_offload_size.map(Into::into);
    }
}

/// TCP or UDP in a frame that smoltcp made: it writes no IP options and extension headers.
#[inline]
fn transport_of(frame: &[u8]) -> Option<Transport> {
    let transport = match frame.get(12..14)? {
        [0x08, 0x00] => Transport::ipv4(*frame.get(23)?, ETHERNET_HEADER + 20, frame.len()),
        #[cfg(feature = "ipv6")]
        [0x86, 0xdd] => Transport::ipv6(*frame.get(20)?, ETHERNET_HEADER + 40, frame.len()),
        _ => return None,
    };
    transport.field().map(|_| transport)
}

/// Writes the checksum, or says how the card is to do it.
#[inline]
fn finish(frame: &mut [u8], transport: Transport, offload: Offload, size: Option<u16>) -> Work {
    let Some(offset) = transport.field().filter(|_| offload.checksums) else {
        transport.complete(frame);
        return Work::default();
    };
    transport.begin(frame);
    let header = (transport.end - data_in(frame, transport)) as u16;
    Work {
        checksum: Some(PartialChecksum { start: transport.start as u16, offset: offset as u16 }),
        segments: size.map(|size| Segments { header, size }),
    }
}

/// How many bytes of data a TCP segment has.
#[inline]
fn data_in(frame: &[u8], transport: Transport) -> usize {
    let header = frame.get(transport.start + 12).map_or(0, |offset| usize::from(offset >> 4) * 4);
    (transport.end - transport.start).saturating_sub(header)
}

/// What the peer of a connection expects next, as it said last: a sequence number.
///
/// smoltcp 0.14 takes its own number back when it begins to send again what was not acknowledged, and then
/// gives that to mere acknowledgements as well, where RFC 9293 (§3.10.7.4) wants SND.NXT. To a peer that has
/// received those bytes such a segment is an old one, of which it takes nothing, not even the acknowledgement.
/// When both sides do that at the same time, neither ever hears that its bytes have arrived: a connection on
/// which both send stands still for ever. So an acknowledgement without data that is older than what the peer
/// expects gets the number that it expects.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expected {
    pub(crate) number: u32,
    /// How much may be on its way. What is further ahead was said by a stranger.
    pub(crate) limit: u32,
}

impl Expected {
    #[inline]
    fn mend(self, frame: &mut [u8], transport: Transport, data: usize) {
        if self.limit != 0 && data == 0 {
            self.mend_bare(frame, transport);
        }
    }

    fn mend_bare(self, frame: &mut [u8], transport: Transport) {
        let Some(segment) = frame.get_mut(transport.start..) else { return };
        let Some(tcp) = segment.first_chunk_mut::<20>() else { return };
        let number = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let ahead = self.number.wrapping_sub(number);
        let bare = tcp[13] & (FIN | SYN | RST | ACK) == ACK;
        // One more for the FIN.
        if bare && ahead != 0 && ahead <= self.limit.saturating_add(1) {
            tcp[4..8].copy_from_slice(&self.number.to_be_bytes());
        }
    }
}

// RFC 9293 §3.1.
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
