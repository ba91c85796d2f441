//! A network card for tests: what a device of [`wakeful_virtio::fake`] does with frames.

use std::{cell::RefCell, ops::Range, rc::Rc};

use virtio_drivers::transport::DeviceType;
use wakeful_virtio::fake::{Bell, Chain, Computer, Part, Registers};
pub(crate) use wakeful_virtio::fake::{Device, patience, range};

use crate::{
    Card, RECEIVE, TRANSMIT, Wanted,
    features::{MRG_RXBUF, VERSION_1},
    header,
};

/// A buffer that a device was given.
pub(crate) type Given = Chain;

/// The device's header before a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) flags: u8,
    pub(crate) kind: u8,
    pub(crate) header: u16,
    pub(crate) size: u16,
    pub(crate) start: u16,
    pub(crate) offset: u16,
    pub(crate) buffers: u16,
}

/// What a network card can.
pub(crate) trait Network: Sized {
    /// A device of today.
    fn new(offered: u64) -> Self;

    /// A device from before virtio 1.0.
    fn legacy(offered: u64) -> Self;

    fn set_mtu(&mut self, mtu: u16);

    /// Bytes of its header, by what was agreed on.
    fn header(&self) -> usize;

    /// Fills a buffer.
    fn fill(&self, given: &Given, bytes: &[u8]);

    /// Receives a frame from the wire, into the buffers that it was given first. Whether it has enough.
    fn deliver(&mut self, frame: &[u8], header: Header) -> bool;

    /// The same into these.
    fn deliver_into(&mut self, given: &[Given], frame: &[u8], header: Header) -> bool;

    /// Sends what it was given first: its header, and the frame.
    fn send(&mut self) -> Option<(Header, Vec<u8>)>;

    /// What is to be sent.
    fn frame(&self, given: &Given) -> (Header, Vec<u8>);
}

/// Where the MTU is in the configuration, behind what matters to nobody here.
const MTU: Range<usize> = 10..12;

impl Network for Device {
    fn new(offered: u64) -> Self {
        let mut config = vec![0; MTU.end];
        config[..6].copy_from_slice(&[2, 1, 2, 3, 4, 5]);
        let mut device = Self::of(DeviceType::Network, offered, config, check);
        device.set_mtu(1400);
        device
    }

    fn legacy(offered: u64) -> Self {
        Self::new(offered).as_legacy()
    }

    fn set_mtu(&mut self, mtu: u16) {
        self.config[MTU].copy_from_slice(&mtu.to_le_bytes());
    }

    fn header(&self) -> usize {
        let long = self.agreed & (VERSION_1 | MRG_RXBUF) != 0;
        if long { header::LONG } else { header::SHORT }
    }

    fn fill(&self, given: &Given, bytes: &[u8]) {
        self.write(only(given), bytes);
    }

    fn deliver(&mut self, frame: &[u8], header: Header) -> bool {
        let given = self.look(RECEIVE);
        self.deliver_into(&given, frame, header)
    }

    fn deliver_into(&mut self, given: &[Given], frame: &[u8], header: Header) -> bool {
        let mut bytes = vec![0; self.header()];
        bytes.extend(frame);
        let (mut pieces, mut at) = (Vec::new(), 0);
        for given in given {
            let len = only(given).len.min(bytes.len() - at);
            pieces.push((given, at..at + len));
            at += len;
            if at == bytes.len() {
                break;
            }
        }
        if at < bytes.len() {
            return false;
        }
        let buffers = if header.buffers == 0 { pieces.len() as u16 } else { header.buffers };
        bytes[..10].copy_from_slice(&Header { buffers, ..header }.bytes()[..10]);
        if let Some(place) = bytes.get_mut(10..12).filter(|_| self.header() == header::LONG) {
            place.copy_from_slice(&buffers.to_le_bytes());
        }
        for (index, (given, range)) in pieces.iter().enumerate() {
            self.fill(given, &bytes[range.clone()]);
            self.write_used(RECEIVE, index as u16, given.id.into(), range.len() as u32);
        }
        self.publish(RECEIVE, pieces.len() as u16);
        true
    }

    fn send(&mut self) -> Option<(Header, Vec<u8>)> {
        let given = *self.look(TRANSMIT).first()?;
        let sent = self.frame(&given);
        self.give_back(TRANSMIT, given.id, 0);
        Some(sent)
    }

    fn frame(&self, given: &Given) -> (Header, Vec<u8>) {
        let mut bytes = self.read(only(given));
        let frame = bytes.split_off(self.header());
        (Header::of(&bytes), frame)
    }
}

/// A buffer is one descriptor.
fn only(given: &Given) -> &Part {
    let [part] = given.parts() else { panic!("not one descriptor") };
    part
}

/// The device writes what it receives, and reads what it sends.
fn check(queue: u16, chain: &Chain) {
    assert_eq!(only(chain).writes, queue == RECEIVE, "flags of a descriptor");
}

impl Header {
    pub(crate) fn flags(flags: u8) -> Self {
        Self { flags, ..Self::default() }
    }

    fn bytes(self) -> Vec<u8> {
        let words = [self.header, self.size, self.start, self.offset, self.buffers];
        let kind = [self.flags, self.kind];
        kind.into_iter().chain(words.into_iter().flat_map(u16::to_le_bytes)).collect()
    }

    fn of(bytes: &[u8]) -> Self {
        let word =
            |at| bytes.get(at..at + 2).map_or(0, |word| u16::from_le_bytes([word[0], word[1]]));
        Self {
            flags: bytes[0],
            kind: bytes[1],
            header: word(2),
            size: word(4),
            start: word(6),
            offset: word(8),
            buffers: word(10),
        }
    }
}

pub(crate) type FakeCard = Card<Registers, Bell>;

/// Starts a card, or says why not. Its reset may take some looks.
pub(crate) fn start(
    device: Device,
    wanted: Wanted,
) -> (core::result::Result<FakeCard, crate::Error>, Rc<RefCell<Device>>) {
    let device = Rc::new(RefCell::new(device));
    let (registers, mut computer) = (Registers::new(&device), Computer(device.clone()));
    let random = || 0x0123_4567_89ab_cdef;
    let mut card = Card::new(registers, &mut computer, wanted, random, &mut patience());
    if let Ok(card) = &mut card {
        card.begin();
    }
    (card, device)
}
