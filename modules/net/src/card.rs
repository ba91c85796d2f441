//! The card, as the stack sees it.

use wakeful_driver::net;
use wakeful_stack::{Link, Work};

/// The machine's network card.
pub(crate) struct Card(pub(crate) net::Card);

impl Link for Card {
    type Frame = net::Frame;

    #[inline]
    fn has_room(&mut self) -> bool {
        self.0.has_room()
    }

    #[inline]
    fn transmit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> (Work, R)) -> R {
        self.0.transmit(len, |frame| fill(frame).1)
    }

    #[inline]
    fn receive(&mut self) -> Option<Self::Frame> {
        self.0.receive()
    }

    #[inline]
    fn release(&mut self, frame: Self::Frame) {
        self.0.release(frame);
    }

    fn mac(&self) -> [u8; 6] {
        self.0.mac()
    }

    #[inline]
    fn mtu(&self) -> usize {
        self.0.mtu()
    }
}
