//! A card and a device that keeps to the rules, or does not.

mod hostile;
mod long;
mod plain;
mod restart;

use std::{cell::RefCell, rc::Rc};

use crate::{
    Frame, RECEIVE, SIZE, Wanted, Work,
    fake::{Device, FakeCard, Header, Network, range, start},
    features::{
        CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, HOST_TSO4, HOST_TSO6, MAC, MRG_RXBUF, STATUS,
        VERSION_1,
    },
};

/// What a device offers that can do everything.
const ALL: u64 = MAC
    | STATUS
    | VERSION_1
    | CSUM
    | GUEST_CSUM
    | HOST_TSO4
    | HOST_TSO6
    | GUEST_TSO4
    | GUEST_TSO6
    | MRG_RXBUF;

/// More frames than there are buffers; not so where everything takes a thousand times as long.
const MANY: usize = if cfg!(miri) { 20 } else { 3 * SIZE };

/// A card that works, and its device.
struct Pair {
    card: FakeCard,
    device: Rc<RefCell<Device>>,
}

impl Pair {
    fn new(device: Device) -> Self {
        let (card, device) = start(device, Wanted::ALL);
        Self { card: card.unwrap(), device }
    }

    /// Every kind of device that there is.
    fn each() -> impl Iterator<Item = Self> {
        let plain = MAC | STATUS | VERSION_1;
        [
            Device::new(ALL),
            Device::new(plain),
            Device::legacy(ALL),
            Device::legacy(plain),
            Device::new(plain | CSUM | GUEST_CSUM),
        ]
        .map(Self::new)
        .into_iter()
    }

    /// The device receives a frame, and so does the card.
    fn receive(&mut self, bytes: &[u8]) -> Frame {
        self.deliver(bytes);
        self.take(bytes)
    }

    fn deliver(&mut self, bytes: &[u8]) {
        assert!(self.device.borrow_mut().deliver(bytes, Header::default()), "no buffers");
    }

    /// The next frame is this one.
    fn take(&mut self, bytes: &[u8]) -> Frame {
        let frame = self.card.receive().expect("a frame");
        assert!(*frame == *bytes, "another frame");
        self.check(&frame);
        frame
    }

    /// The device does not have the memory of a frame.
    fn check(&self, frame: &Frame) {
        let mut device = self.device.borrow_mut();
        device.look(RECEIVE);
        assert!(!device.has(range(frame)), "the device has the memory of a frame");
    }

    /// The card sends a frame into memory that is not the device's.
    fn transmit(&mut self, bytes: &[u8], work: Work) {
        let device = &self.device;
        self.card.transmit(bytes.len(), |frame| {
            let mut device = device.borrow_mut();
            device.look(crate::TRANSMIT);
            assert!(!device.has(range(frame)), "the device has the memory of a frame");
            frame.copy_from_slice(bytes);
            (work, ())
        });
    }

    /// The device sends the next frame, which is this one.
    fn sends(&self, bytes: &[u8]) -> Header {
        let (header, frame) = self.device.borrow_mut().send().expect("a frame");
        assert!(frame == bytes, "another frame");
        header
    }

    /// How many buffers the device has to receive.
    fn empty(&self) -> usize {
        self.device.borrow_mut().look(RECEIVE).len()
    }
}

/// A frame of so many bytes that is like no other.
fn bytes(number: usize, len: usize) -> Vec<u8> {
    if cfg!(miri) {
        return vec![number as u8; len]; // much faster there
    }
    (0..len).map(|at| (at * 7 + at / 251 + number * 31) as u8).collect()
}
