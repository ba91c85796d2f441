//! A machine and a device for tests: memory that knows who has it, registers that remember, and rings that a
//! device runs by the specification, or not. What it does with what it is given is for the tests of a driver.
//!
//! A driver keeps [`Registers`] and [`Bell`]s, and the test the [`Device`] behind them. Each mistake of a driver
//! that can be seen from here is a panic.

#![expect(unsafe_code, reason = "it is memory and a device")]
#![expect(missing_docs, reason = "names that say it all, for tests")]
#![expect(clippy::missing_panics_doc, reason = "to panic is what it is for")]

mod memory;
mod registers;

use std::{cell::RefCell, ops::Range, ptr::NonNull, rc::Rc};

use virtio_drivers::{
    PhysAddr,
    transport::{DeviceStatus, DeviceType},
};

use self::memory::Memory;
pub use self::{memory::range, registers::Registers};
use crate::{Doorbell, Machine, Region, SIZE, VERSION_1};

/// Queues that a device has at most.
const QUEUES: usize = 2;

/// The registers, and what is behind them.
#[derive(Debug)]
pub struct Device {
    pub kind: DeviceType,
    pub is_legacy: bool,
    pub offered: u64,
    /// What it lets itself be talked into.
    pub refused: u64,
    pub config: Vec<u8>,
    pub entries: u32,
    /// It does not notice that it is reset, for so many looks at its status.
    pub slow: u32,
    pub status: u32,
    pub agreed: u64,
    pub resets: u32,
    /// How often each doorbell was rung.
    pub rings: [u32; QUEUES],
    /// What it does at once when one is rung.
    pub on_ring: Option<fn(&mut Device)>,
    /// How often it was asked for memory, and whether there is some.
    pub asked: u32,
    pub has_no_memory: bool,
    pub has_no_doorbells: bool,
    /// Panics if a chain of a queue is not as it should be.
    check: fn(u16, &Chain),
    memory: Memory,
    queues: [Option<Queue>; QUEUES],
    /// What it has of each, in the order in which it was given.
    has: [Vec<Chain>; QUEUES],
}

/// A queue, as the device sees it.
#[derive(Debug)]
struct Queue {
    descriptors: PhysAddr,
    available: PhysAddr,
    used: PhysAddr,
    /// How many it has seen, and how many it has returned.
    seen: u16,
    returned: u16,
}

/// What a device was given by one entry: the number of the first descriptor, and what the chain describes.
#[derive(Debug, Clone, Copy)]
pub struct Chain {
    pub id: u16,
    parts: [Part; 3],
    count: usize,
}

/// A piece of memory that a descriptor describes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    pub address: PhysAddr,
    pub len: usize,
    /// It is for the device to write.
    pub writes: bool,
}

/// Flags of a descriptor.
const NEXT: u16 = 1;
const WRITE: u16 = 2;

impl Device {
    /// A device that offers this. `check` panics if a chain of a queue is not as it should be.
    #[must_use]
    pub fn of(kind: DeviceType, offered: u64, config: Vec<u8>, check: fn(u16, &Chain)) -> Self {
        Self {
            kind,
            is_legacy: false,
            offered,
            refused: 0,
            config,
            entries: 256,
            slow: 0,
            status: 0,
            agreed: 0,
            resets: 0,
            rings: [0; QUEUES],
            on_ring: None,
            asked: 0,
            has_no_memory: false,
            has_no_doorbells: false,
            check,
            memory: Memory::default(),
            queues: [None, None],
            has: Default::default(),
        }
    }

    /// It is from before virtio 1.0.
    #[must_use]
    pub fn as_legacy(self) -> Self {
        Self { is_legacy: true, offered: self.offered & !VERSION_1, ..self }
    }

    #[must_use]
    pub fn is_live(&self) -> bool {
        self.status & DeviceStatus::DRIVER_OK.bits() != 0
    }

    /// Looks at what it was given, and sees that it is given nothing twice. Returns all that it has.
    pub fn look(&mut self, queue: u16) -> Vec<Chain> {
        let index = usize::from(queue);
        let Some(Queue { available, mut seen, descriptors, .. }) = self.queues[index] else {
            return Vec::new();
        };
        let end = self.memory.read_u16(available + 2);
        while seen != end {
            let slot = u64::from(seen) % SIZE as u64;
            let id = self.memory.read_u16(available + 4 + 2 * slot);
            let chain = self.chain(descriptors, id);
            (self.check)(queue, &chain);
            for part in chain.parts() {
                self.memory.find(part.address, part.len);
                assert!(!self.has(part.range()), "given to the device twice");
            }
            let mut others = self.has[index].iter();
            assert!(cfg!(miri) || others.all(|other| other.id != id), "a descriptor twice");
            self.has[index].push(chain);
            seen = seen.wrapping_add(1);
        }
        if let Some(queue) = &mut self.queues[index] {
            queue.seen = seen;
        }
        self.has[index].clone()
    }

    /// What a descriptor describes, and those in which it goes on.
    fn chain(&self, descriptors: PhysAddr, id: u16) -> Chain {
        let mut chain = Chain { id, parts: Default::default(), count: 0 };
        let mut next = Some(id);
        while let Some(number) = next {
            assert!(usize::from(number) < SIZE, "a descriptor that there is not");
            let at = descriptors + 16 * u64::from(number);
            let address = u64::from_le_bytes(self.memory.read(at));
            let len = u32::from_le_bytes(self.memory.read(at + 8)) as usize;
            let flags = self.memory.read_u16(at + 12);
            assert_eq!(flags & !(NEXT | WRITE), 0, "flags of a descriptor");
            let writes = flags & WRITE != 0;
            // What is to be written comes last (§2.7.4.2).
            assert!(writes || chain.parts().iter().all(|part| !part.writes), "an order");
            chain.parts[chain.count] = Part { address, len, writes };
            chain.count += 1;
            next = (flags & NEXT != 0).then(|| self.memory.read_u16(at + 14));
        }
        chain
    }

    /// Whether it has something of a range. (Of what it has looked at.)
    #[must_use]
    pub fn has(&self, range: Range<PhysAddr>) -> bool {
        if cfg!(miri) {
            return false; // too slow there
        }
        let overlaps = |it: &Part| it.range().start < range.end && range.start < it.range().end;
        self.has.iter().flatten().flat_map(Chain::parts).any(overlaps)
    }

    /// What is returned is interrupted for.
    #[must_use]
    pub fn interrupts(&self, queue: u16) -> bool {
        let queue = self.queues[usize::from(queue)].as_ref().unwrap();
        self.memory.read_u16(queue.available) & 1 == 0
    }

    /// Wants no notifications, or does.
    pub fn want_notifications(&self, queue: u16, wanted: bool) {
        let queue = self.queues[usize::from(queue)].as_ref().unwrap();
        self.memory.write(queue.used, &u16::from(!wanted).to_le_bytes());
    }

    /// Writes an entry of what it returns, `ahead` of what it has said. It is not said yet.
    pub fn write_used(&mut self, queue: u16, ahead: u16, id: u32, len: u32) {
        let Some(rings) = &self.queues[usize::from(queue)] else { return };
        let slot = u64::from(rings.returned.wrapping_add(ahead)) % SIZE as u64;
        self.memory.write(rings.used + 4 + 8 * slot, &id.to_le_bytes());
        self.memory.write(rings.used + 8 + 8 * slot, &len.to_le_bytes());
    }

    /// Says that it has returned so many more.
    pub fn publish(&mut self, queue: u16, count: u16) {
        let queue = usize::from(queue);
        let Some(Queue { used, ref mut returned, .. }) = self.queues[queue] else { return };
        let before = *returned;
        *returned = returned.wrapping_add(count);
        let returned = *returned;
        self.memory.write(used + 2, &returned.to_le_bytes());
        // Whatever is said there.
        for index in 0..count.min(SIZE as u16) {
            let slot = u64::from(before.wrapping_add(index)) % SIZE as u64;
            let id = u32::from_le_bytes(self.memory.read(used + 4 + 8 * slot));
            if let Some(at) = self.has[queue].iter().position(|has| u32::from(has.id) == id) {
                self.has[queue].remove(at);
            }
        }
    }

    /// Returns one chain.
    pub fn give_back(&mut self, queue: u16, id: u16, len: usize) {
        self.write_used(queue, 0, id.into(), len as u32);
        self.publish(queue, 1);
    }

    /// Does nothing more with a queue, and does not care what it has.
    pub fn abandon(&mut self, queue: u16) {
        self.queues[usize::from(queue)] = None;
        self.has[usize::from(queue)].clear();
    }

    /// Writes to the beginning of what it has of this.
    pub fn write(&self, part: &Part, bytes: &[u8]) {
        assert!(bytes.len() <= part.len);
        self.memory.write(part.address, bytes);
    }

    #[must_use]
    pub fn read(&self, part: &Part) -> Vec<u8> {
        let mut bytes = vec![0; part.len];
        self.memory.read_into(part.address, &mut bytes);
        bytes
    }

    /// More memory that it sees, by both of its addresses.
    pub fn allocate(&mut self, len: usize) -> (NonNull<u8>, PhysAddr) {
        self.memory.allocate(len)
    }

    /// That it does not see any more: so it must not have it.
    pub fn free(&mut self, address: PhysAddr) {
        (0..QUEUES as u16).for_each(|queue| drop(self.look(queue)));
        let range = self.memory.free(address);
        assert!(!self.has(range) || std::thread::panicking(), "freed while the device has it");
    }

    /// It has come out of its reset.
    fn forget(&mut self) {
        self.queues = [None, None];
        self.has = Default::default();
        self.agreed = 0;
    }
}

impl Chain {
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts[..self.count]
    }
}

impl Part {
    #[must_use]
    pub fn range(&self) -> Range<PhysAddr> {
        self.address..self.address + self.len as u64
    }
}

/// Counts.
#[derive(Debug)]
pub struct Bell {
    device: Rc<RefCell<Device>>,
    queue: u16,
}

impl Doorbell for Bell {
    fn ring(&self) {
        let mut device = self.device.borrow_mut();
        assert!(device.is_live(), "a device is told before it works");
        device.rings[usize::from(self.queue)] += 1;
        if let Some(act) = device.on_ring {
            act(&mut device);
        }
    }
}

/// The machine that has the device.
#[derive(Debug)]
pub struct Computer(pub Rc<RefCell<Device>>);

impl Machine for Computer {
    type Doorbell = Bell;

    fn doorbell(&mut self, queue: u16) -> Option<Bell> {
        let has_doorbells = !self.0.borrow().has_no_doorbells;
        has_doorbells.then(|| Bell { device: self.0.clone(), queue })
    }

    fn memory(&mut self, bytes: usize) -> Option<Region> {
        let mut device = self.0.borrow_mut();
        device.asked += 1;
        if device.has_no_memory {
            return None;
        }
        let (start, address) = device.allocate(bytes);
        // SAFETY: it lives as long as the device, which the driver's doorbells keep.
        Some(unsafe { Region::new(start, address) })
    }
}

/// For a reset: so many looks.
pub fn patience() -> impl FnMut() -> bool {
    let mut left = 10;
    move || {
        left -= 1;
        left > 0
    }
}
