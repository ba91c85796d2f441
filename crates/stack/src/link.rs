//! The seam to a network card, and how smoltcp sees it.

use core::ops::Deref;

use smoltcp::{
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    time::Instant,
};

use crate::classify::is_solicitation;

/// A network card: frames out. (Frames in are given to [`Stack::receive`](crate::Stack::receive).)
pub trait Link {
    /// A received frame, which the card lends until it gets it back.
    type Frame: Deref<Target = [u8]>;

    /// Whether a frame can be sent.
    fn has_room(&mut self) -> bool;

    /// Lets `fill` write a frame of `len` bytes, and sends it. Only after [`has_room`](Self::has_room) said
    /// yes.
    fn transmit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R;

    /// The next received frame.
    fn receive(&mut self) -> Option<Self::Frame>;

    /// Gives a frame back.
    fn release(&mut self, frame: Self::Frame);

    /// The card's address.
    fn mac(&self) -> [u8; 6];

    /// The longest IP packet, in bytes.
    fn mtu(&self) -> usize;
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
pub(crate) fn capabilities(mtu: usize) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ethernet;
    capabilities.max_transmission_unit = mtu + ETHERNET_HEADER;
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
        Some((Incoming(frame), Outgoing(self)))
    }

    #[inline]
    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_, 'a, L>> {
        self.full = !self.link.has_room();
        (!self.full).then_some(Outgoing(self))
    }

    #[inline]
    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.link.mtu())
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
pub(crate) struct Outgoing<'t, 'a, L>(&'t mut Port<'a, L>);

impl<L: Link> TxToken for Outgoing<'_, '_, L> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let port = self.0;
        port.link.transmit(len, |frame| {
            let result = f(frame);
            if !is_solicitation(frame) {
                port.sent += 1;
                port.data = data_in(frame);
                port.expected.mend(frame);
            }
            result
        })
    }
}

/// How many bytes of data a frame that smoltcp made has; all of it, if it is no TCP.
#[inline]
fn data_in(frame: &[u8]) -> usize {
    // smoltcp writes no IP options and extension headers.
    let (protocol, header) = match frame.get(12..14) {
        Some([0x08, 0x00]) => (frame.get(23), ETHERNET_HEADER + 20),
        _ => (frame.get(20), ETHERNET_HEADER + 40),
    };
    match (protocol, frame.get(header + 12)) {
        (Some(6), Some(offset)) => {
            frame.len().saturating_sub(header + usize::from(offset >> 4) * 4)
        }
        _ => frame.len(),
    }
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

/// The longest frame without data: Ethernet's header, IPv6's, and TCP's with all options.
const BARE: usize = ETHERNET_HEADER + 40 + 60;

impl Expected {
    #[inline]
    fn mend(self, frame: &mut [u8]) {
        if self.limit != 0 && frame.len() <= BARE {
            self.mend_bare(frame);
        }
    }

    fn mend_bare(self, frame: &mut [u8]) {
        // smoltcp writes no IP options and extension headers.
        let header = match frame.get(12..14) {
            Some([0x08, 0x00]) => ETHERNET_HEADER + 20,
            _ => ETHERNET_HEADER + 40,
        };
        let Some(segment) = frame.get_mut(header..) else { return };
        let length = segment.len();
        let Some(tcp) = segment.first_chunk_mut::<20>() else { return };
        let data = length.saturating_sub(usize::from(tcp[12] >> 4) * 4);
        let number = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let ahead = self.number.wrapping_sub(number);
        let bare = data == 0 && tcp[13] & (FIN | SYN | RST | ACK) == ACK;
        // One more for the FIN.
        if !bare || ahead == 0 || ahead > self.limit.saturating_add(1) {
            return;
        }
        tcp[4..8].copy_from_slice(&self.number.to_be_bytes());
        let sum = [tcp[16], tcp[17]];
        // smoltcp calculates it, by our `capabilities`: 0 is a sum like others.
        tcp[16..18].copy_from_slice(&adjusted(sum, number, self.number));
    }
}

/// A checksum after a word that it covers has changed (RFC 1624 §3).
fn adjusted(sum: [u8; 2], old: u32, new: u32) -> [u8; 2] {
    let halves = |word: u32| (word >> 16) + (word & 0xffff);
    let mut total = u32::from(!u16::from_be_bytes(sum)) + halves(!old) + halves(new);
    while total > 0xffff {
        total = halves(total);
    }
    (!(total as u16)).to_be_bytes()
}

// RFC 9293 §3.1.
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
