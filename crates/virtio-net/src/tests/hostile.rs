//! A device that breaks the rules.

use super::*;
use crate::{
    Fault, TRANSMIT,
    fake::{Given, patience},
};

/// What the device does is a fault; the card stands still then, and works again when it is restarted.
fn is_fault(expected: Fault, device: Device, act: impl FnOnce(&mut Device)) {
    let mut pair = Pair::new(device);
    (0..3).for_each(|number| pair.transmit(&bytes(number, 100), Work::default()));
    let mut device = pair.device.borrow_mut();
    device.look(RECEIVE);
    device.look(TRANSMIT);
    act(&mut device);
    drop(device);
    while let Some(frame) = pair.card.receive() {
        pair.card.release(frame);
    }
    while pair.card.has_room() {
        pair.transmit(&bytes(0, 100), Work::default());
    }
    assert_eq!(pair.card.fault(), Some(expected));
    assert_eq!(pair.device.borrow().status, 0);
    assert!(pair.card.receive().is_none() && !pair.card.rest(false) && !pair.card.rest(true));
    pair.card.restart(&mut patience()).unwrap();
    assert_eq!(pair.empty(), SIZE);
    recovers(&mut pair);
}

/// The card works, and no buffer is lost.
fn recovers(pair: &mut Pair) {
    for number in 0..MANY {
        let frame = pair.receive(&bytes(number, 300));
        pair.card.release(frame);
        assert!(pair.card.has_room());
        pair.transmit(&bytes(number, 300), Work::default());
        pair.sends(&bytes(number, 300));
    }
    assert_eq!(pair.card.fault(), None);
    assert!(cfg!(miri) || pair.empty() == SIZE);
}

fn each() -> [Device; 3] {
    [Device::new(ALL), Device::legacy(ALL), Device::new(VERSION_1)]
}

#[test]
fn buffers_that_it_does_not_have() {
    for queue in [RECEIVE, TRANSMIT] {
        for id in [SIZE as u32, 255, 256, 65_535, 65_536, u32::MAX] {
            for device in each() {
                is_fault(Fault::Buffer, device, |device| {
                    device.write_used(queue, 0, id, 100);
                    device.publish(queue, 1);
                });
            }
        }
    }
}

#[test]
fn one_buffer_twice() {
    for device in each() {
        is_fault(Fault::Buffer, device, |device| {
            let given = device.look(RECEIVE)[5];
            device.fill(&given, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
            device.write_used(RECEIVE, 0, given.id.into(), 100);
            device.write_used(RECEIVE, 1, given.id.into(), 100);
            device.publish(RECEIVE, 2);
        });
    }
    // The oldest of what is sent, and another one.
    for id in [0, 1] {
        for device in each() {
            is_fault(Fault::Buffer, device, |device| {
                device.write_used(TRANSMIT, 0, id, 0);
                device.write_used(TRANSMIT, 1, id, 0);
                device.publish(TRANSMIT, 2);
            });
        }
    }
}

#[test]
fn more_than_it_has() {
    for queue in [RECEIVE, TRANSMIT] {
        for count in [129, 1000, u16::MAX] {
            for device in each() {
                is_fault(Fault::Buffer, device, |device| device.publish(queue, count));
            }
        }
    }
}

#[test]
fn lengths_that_cannot_be() {
    for len in [0, 1, 9, 2049, 65_536, u32::MAX] {
        for device in each() {
            is_fault(Fault::Length, device, |device| {
                device.write_used(RECEIVE, 0, 3, len);
                device.publish(RECEIVE, 1);
            });
        }
    }
}

/// Writes a frame of two buffers that says it has so many, of so many bytes.
fn merged(device: &mut Device, says: u16, lens: [u32; 2]) {
    let given = device.look(RECEIVE);
    let mut header = [0; 12];
    header[10..].copy_from_slice(&says.to_le_bytes());
    device.fill(&given[0], &header);
    for (index, len) in lens.into_iter().enumerate() {
        device.write_used(RECEIVE, index as u16, given[index].id.into(), len);
    }
    device.publish(RECEIVE, 2);
}

#[test]
fn counts_of_buffers_that_cannot_be() {
    for says in [0, 3, 128, 129, 256, 65_535] {
        for device in [Device::new(ALL), Device::legacy(ALL)] {
            is_fault(Fault::Count, device, |device| merged(device, says, [2048, 2048]));
        }
    }
    for len in [0, 2049, u32::MAX] {
        is_fault(Fault::Length, Device::new(ALL), |device| merged(device, 2, [2048, len]));
    }
}

#[test]
fn a_frame_longer_than_can_be() {
    is_fault(Fault::Length, Device::new(ALL), |device| {
        assert!(device.deliver(&bytes(0, 14 + 65_536 + 1), Header::default()));
    });
}

/// Steps, and runs of them, each with a seed of its own.
const STEPS: usize = if cfg!(miri) { 100 } else { 500 };
const RUNS: u64 = if cfg!(miri) { 2 } else { 250 };

/// A device that does what it should for a while, and then anything. The seed is printed; with
/// `WAKEFUL_NET_SEED=N` there is that one run.
#[test]
fn anything() {
    let seed = std::env::var("WAKEFUL_NET_SEED").ok().and_then(|text| text.parse().ok());
    let mut faults = 0;
    for seed in seed.map_or(0..RUNS, |seed| seed..seed + 1) {
        println!("WAKEFUL_NET_SEED={seed}");
        let mut storm = Storm::new(seed);
        (0..STEPS).for_each(|_| storm.step());
        faults += storm.faults;
        storm.end();
    }
    // It did break rules.
    assert!(faults > RUNS);
}

struct Storm {
    pair: Pair,
    random: u64,
    /// It tells lies from now on, one in so many steps.
    lies: usize,
    /// Frames that were received, and what was in them then.
    kept: Vec<(Frame, Vec<u8>)>,
    number: usize,
    faults: u64,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let kinds = [Device::new(ALL), Device::legacy(ALL), Device::new(VERSION_1)];
        let device = kinds.into_iter().nth(seed as usize % 3).unwrap();
        let lies = [10, 30, 100, usize::MAX][seed as usize % 4];
        let (random, kept) = (seed.wrapping_add(1), Vec::new());
        Self { pair: Pair::new(device), random, lies, kept, number: 0, faults: 0 }
    }

    /// A number below that.
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % limit
    }

    fn step(&mut self) {
        self.number += 1;
        match self.below(8) {
            0 | 1 => self.deliver(),
            2 => self.receive(),
            3 => self.release(),
            4 => self.transmit(),
            5 => self.send(),
            6 => {
                let want_room = self.below(4) == 0;
                self.pair.card.rest(want_room);
                self.pair.card.busy();
            }
            _ => self.pair.card.look_at_status(),
        }
        if self.below(self.lies) == 0 && self.number > 20 {
            self.lie();
        }
        if self.pair.card.fault().is_some() && self.below(3) == 0 {
            self.faults += 1;
            // Not at once, perhaps.
            self.pair.device.borrow_mut().slow = [0, 3, 100][self.number % 3];
            let _ = self.pair.card.restart(&mut patience());
            self.pair.device.borrow_mut().slow = 0;
        }
        let mut device = self.pair.device.borrow_mut();
        device.look(TRANSMIT);
        // What is given is not a frame's.
        device.look(RECEIVE);
        assert!(self.kept.iter().all(|(frame, _)| !device.has(range(frame))), "a frame's memory");
    }

    fn deliver(&mut self) {
        let longest = if cfg!(miri) { 3000 } else { 65_550 };
        let len =
            [60, 61, 99, 1514, 1400, 2030, 2037, 2037, 2100, 2500, 9000.min(longest), longest]
                [self.below(12)];
        let flags = self.below(256) as u8;
        let mut device = self.pair.device.borrow_mut();
        if device.is_live() && (len < 2037 || device.agreed & MRG_RXBUF != 0) {
            device.deliver(&bytes(self.number, len), Header::flags(flags));
        }
    }

    fn receive(&mut self) {
        if let Some(frame) = self.pair.card.receive() {
            let _ = frame.is_checked();
            let bytes = frame.to_vec();
            self.kept.push((frame, bytes));
        }
    }

    fn release(&mut self) {
        for _ in 0..self.below(8) {
            if !self.kept.is_empty() {
                // In order, often.
                let index = if self.below(2) == 0 { 0 } else { self.below(self.kept.len()) };
                let (frame, bytes) = self.kept.remove(index);
                assert!(*frame == *bytes, "a frame changed");
                self.pair.card.release(frame);
            }
        }
    }

    fn transmit(&mut self) {
        for _ in 0..self.below(4) {
            if !self.pair.card.has_room() {
                return;
            }
            let longest = self.pair.card.offload().longest;
            let len = [60, 400, 1000, 1514, longest][self.below(5)];
            self.pair.transmit(&bytes(self.number, len), Work::default());
        }
    }

    /// The device sends something, in any order.
    fn send(&mut self) {
        for _ in 0..self.below(8) {
            let given = self.pair.device.borrow_mut().look(TRANSMIT);
            if !given.is_empty() {
                let given = given[self.below(given.len())];
                self.pair.device.borrow_mut().give_back(TRANSMIT, given.id, 0);
            }
        }
    }

    fn lie(&mut self) {
        let queue = self.below(2) as u16;
        let given = self.pair.device.borrow_mut().look(queue);
        if given.is_empty() {
            return;
        }
        let one = given[self.below(given.len())];
        match self.below(5) {
            0 => self.return_anything(queue),
            1 | 2 if queue == RECEIVE => self.say_anything(one),
            _ => self.pair.device.borrow_mut().status |= 64, // DEVICE_NEEDS_RESET
        }
    }

    /// Buffers that it does not have, or has not written, or returned before, and more than it has said; then
    /// nothing more, as nobody knows what it has.
    fn return_anything(&mut self, queue: u16) {
        for _ in 0..1 + self.below(4) {
            let (kind, number, small) = (self.below(4), self.below(1 << 32), self.below(150));
            let mut device = self.pair.device.borrow_mut();
            match kind {
                0 => device.write_used(queue, 0, small as u32, number as u32),
                1 => device.write_used(queue, 0, number as u32, small as u32),
                // What is there already.
                2 => {}
                _ => device.publish(queue, number as u16),
            }
            device.publish(queue, 1 + (number % 3) as u16);
        }
        self.pair.device.borrow_mut().abandon(queue);
    }

    /// Any header and any length.
    fn say_anything(&mut self, given: Given) {
        let (mut header, len) = ([0; 12], self.below(2300));
        let bytes = self.below(1 << 32).to_le_bytes();
        match self.below(2) {
            0 => header[..8].copy_from_slice(&bytes),
            _ => header[10] = bytes[0] % 4,
        }
        let mut device = self.pair.device.borrow_mut();
        device.fill(&given, &header);
        device.give_back(RECEIVE, given.id, len);
    }

    /// Whatever happened: restarted, it has all buffers and works.
    fn end(mut self) {
        self.pair.card.restart(&mut patience()).unwrap();
        for (frame, bytes) in self.kept.drain(..) {
            assert!(*frame == *bytes, "a frame changed");
            self.pair.card.release(frame);
        }
        recovers(&mut self.pair);
    }
}
