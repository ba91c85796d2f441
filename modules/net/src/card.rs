//! The card, as the stack sees it.

use core::num::NonZeroUsize;

use wakeful_driver::net;
use wakeful_stack::{Link, Offload, PartialChecksum, Segments, Work};

/// The machine's network card.
pub(crate) struct Card(pub(crate) net::Card);

impl Link for Card {
    type Frame = net::Frame;

    #[inline]
    fn offload(&self) -> Offload {
        let net::Offload { checksums, segments_ipv4, longest, .. } = self.0.offload();
        let segments = NonZeroUsize::new(longest).filter(|_| segments_ipv4);
        Offload { checksums, segments }
    }

    #[inline]
    fn has_room(&mut self) -> bool {
        self.0.has_room()
    }

    #[inline]
    fn transmit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> (Work, R)) -> R {
        self.0.transmit(len, |frame| {
            let (work, result) = fill(frame);
            (translated(work), result)
        })
    }

    #[inline]
    fn is_checked(frame: &Self::Frame) -> bool {
        frame.is_checked()
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

/// In the card's words.
#[inline]
fn translated(work: Work) -> net::Work {
    net::Work {
        checksum: work
            .checksum
            .map(|PartialChecksum { start, offset }| net::PartialChecksum { start, offset }),
        segments: work.segments.map(|Segments { header, size }| net::Segments {
            header,
            size,
            ipv6: false,
        }),
    }
}
