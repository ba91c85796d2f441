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
    /// How long the last of them was, in bytes.
    pub(crate) length: usize,
    /// There was no room for a frame.
    pub(crate) full: bool,
}

impl<'a, L: Link> Port<'a, L> {
    pub(crate) fn new(link: &'a mut L, frame: Option<&'a [u8]>) -> Self {
        Self { link, frame, sent: 0, length: 0, full: false }
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
                port.length = len;
            }
            result
        })
    }
}
