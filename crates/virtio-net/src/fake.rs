//! A machine and a device for tests: memory that knows who has it, registers that remember, and a device
//! that runs its rings by the specification, or not.

#![expect(unsafe_code, reason = "it is memory and a device")]

use std::{
    alloc::{Layout, alloc, dealloc},
    cell::RefCell,
    ops::Range,
    ptr::NonNull,
    rc::Rc,
};

use virtio_drivers::{
    Error, PAGE_SIZE, PhysAddr, Result,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    Card, Doorbell, Machine, RECEIVE, Region, SIZE, TRANSMIT, Wanted, features::VERSION_1, header,
};

/// What devices call an address, less what we call it.
const OFFSET: u64 = 1 << 60;

/// What is before and behind each piece of memory, to see who writes there.
const GUARD: usize = PAGE_SIZE;
const GUARDED: u8 = 0xa5;

/// A piece of memory that the device sees.
struct Piece {
    start: NonNull<u8>,
    len: usize,
}

impl Piece {
    fn new(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: of some size.
        let whole = NonNull::new(unsafe { alloc(layout) }).unwrap();
        // SAFETY: all within the piece. What is in it is not zero.
        let start = unsafe {
            whole.write_bytes(0x5a, layout.size());
            whole.write_bytes(GUARDED, GUARD);
            whole.byte_add(GUARD + len).write_bytes(GUARDED, GUARD);
            whole.byte_add(GUARD)
        };
        Self { start, len }
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len + 2 * GUARD, PAGE_SIZE).unwrap()
    }

    fn address(&self) -> PhysAddr {
        self.start.addr().get() as u64 + OFFSET
    }

    /// A range of it.
    fn find(&self, address: PhysAddr, len: usize) -> NonNull<u8> {
        let at = address.checked_sub(self.address()).expect("no memory there") as usize;
        assert!(at + len <= self.len, "outside of memory");
        // SAFETY: within the piece.
        unsafe { self.start.byte_add(at) }
    }

    fn read<const N: usize>(&self, address: PhysAddr) -> [u8; N] {
        let mut bytes = [0; N];
        self.read_into(address, &mut bytes);
        bytes
    }

    fn read_into(&self, address: PhysAddr, bytes: &mut [u8]) {
        let from = self.find(address, bytes.len());
        // SAFETY: that many bytes are there, and nobody writes to them meanwhile.
        unsafe { from.as_ptr().copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
    }

    fn write(&self, address: PhysAddr, bytes: &[u8]) {
        let to = self.find(address, bytes.len());
        // SAFETY: that many bytes are there, and nobody looks at them meanwhile.
        unsafe { to.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    fn read_u16(&self, address: PhysAddr) -> u16 {
        u16::from_le_bytes(self.read(address))
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: it came from `new`, and the card is gone.
        unsafe {
            let whole = self.start.byte_sub(GUARD);
            if !std::thread::panicking() {
                for guard in [whole, self.start.byte_add(self.len)] {
                    let guard = std::slice::from_raw_parts(guard.as_ptr(), GUARD);
                    assert!(*guard == [GUARDED; GUARD], "written outside of memory");
                }
            }
            dealloc(whole.as_ptr(), Self::layout(self.len));
        }
    }
}

/// How the device calls a range of our memory.
pub(crate) fn range(bytes: &[u8]) -> Range<PhysAddr> {
    let Range { start, end } = bytes.as_ptr_range();
    start.addr() as u64 + OFFSET..end.addr() as u64 + OFFSET
}

/// The registers, and what is behind them.
#[derive(Default)]
pub(crate) struct Device {
    pub(crate) is_legacy: bool,
    pub(crate) offered: u64,
    /// What it lets itself be talked into.
    pub(crate) refused: u64,
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: u16,
    pub(crate) entries: u32,
    /// It stays as it is when it is reset, for so many looks.
    pub(crate) slow: u32,
    pub(crate) status: u32,
    pub(crate) agreed: u64,
    pub(crate) resets: u32,
    pub(crate) rings: [u32; 2],
    /// How often it was asked for memory, and whether there is some.
    pub(crate) asked: u32,
    pub(crate) has_no_memory: bool,
    pub(crate) has_no_doorbells: bool,
    memory: Option<Piece>,
    queues: [Option<Queue>; 2],
    /// What it has of each, in the order in which it was given.
    has: [Vec<Given>; 2],
}

/// A queue, as the device sees it.
struct Queue {
    descriptors: PhysAddr,
    available: PhysAddr,
    used: PhysAddr,
    /// How many it has seen, and how many it has returned.
    seen: u16,
    returned: u16,
}

/// A buffer that a device was given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    pub(crate) id: u16,
    address: PhysAddr,
    pub(crate) len: usize,
}

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

impl Device {
    pub(crate) fn new(offered: u64) -> Self {
        let mac = [2, 1, 2, 3, 4, 5];
        Self { offered, mac, mtu: 1400, entries: 256, ..Self::default() }
    }

    /// A device from before virtio 1.0.
    pub(crate) fn legacy(offered: u64) -> Self {
        Self { is_legacy: true, ..Self::new(offered & !VERSION_1) }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.status & DeviceStatus::DRIVER_OK.bits() != 0
    }

    /// Bytes of its header, by what was agreed on.
    pub(crate) fn header(&self) -> usize {
        let long = self.agreed & (VERSION_1 | crate::features::MRG_RXBUF) != 0;
        if long { header::LONG } else { header::SHORT }
    }

    fn memory(&self) -> &Piece {
        self.memory.as_ref().unwrap()
    }

    /// Looks at what it was given, and sees that it is given nothing twice.
    pub(crate) fn look(&mut self, queue: u16) -> Vec<Given> {
        let queue = usize::from(queue);
        let Some(Queue { available, mut seen, descriptors, .. }) = self.queues[queue] else {
            return Vec::new();
        };
        let memory = self.memory();
        let index = memory.read_u16(available + 2);
        let mut new = Vec::new();
        while seen != index {
            let slot = u64::from(seen) % SIZE as u64;
            let id = memory.read_u16(available + 4 + 2 * slot);
            assert!(usize::from(id) < SIZE, "a descriptor that there is not");
            let at = descriptors + 16 * u64::from(id);
            let flags = memory.read_u16(at + 12);
            assert_eq!(flags, if queue == 0 { 2 } else { 0 }, "flags of a descriptor");
            let address = u64::from_le_bytes(memory.read(at));
            let len = u32::from_le_bytes(memory.read(at + 8)) as usize;
            memory.find(address, len);
            new.push(Given { id, address, len });
            seen = seen.wrapping_add(1);
        }
        for given in new {
            assert!(!self.has(given.range()), "given to the device twice");
            let has = &mut self.has[queue];
            assert!(
                cfg!(miri) || has.iter().all(|other| other.id != given.id),
                "a descriptor twice"
            );
            has.push(given);
        }
        if let Some(queue) = &mut self.queues[queue] {
            queue.seen = seen;
        }
        self.has[queue].clone()
    }

    /// Whether it has something of a range. (Of what it has looked at.)
    pub(crate) fn has(&self, range: Range<PhysAddr>) -> bool {
        if cfg!(miri) {
            return false; // too slow there
        }
        let overlaps = |it: &Given| it.range().start < range.end && range.start < it.range().end;
        self.has.iter().flatten().any(overlaps)
    }

    /// What is returned is interrupted for.
    pub(crate) fn interrupts(&self, queue: u16) -> bool {
        let queue = self.queues[usize::from(queue)].as_ref().unwrap();
        self.memory().read_u16(queue.available) & 1 == 0
    }

    /// Wants no notifications, or does.
    pub(crate) fn want_notifications(&self, queue: u16, wanted: bool) {
        let queue = self.queues[usize::from(queue)].as_ref().unwrap();
        self.memory().write(queue.used, &u16::from(!wanted).to_le_bytes());
    }

    /// Writes an entry of what it returns, `ahead` of what it has said. It is not said yet.
    pub(crate) fn write_used(&mut self, queue: u16, ahead: u16, id: u32, len: u32) {
        let Some(rings) = &self.queues[usize::from(queue)] else { return };
        let slot = u64::from(rings.returned.wrapping_add(ahead)) % SIZE as u64;
        self.memory().write(rings.used + 4 + 8 * slot, &id.to_le_bytes());
        self.memory().write(rings.used + 8 + 8 * slot, &len.to_le_bytes());
    }

    /// Says that it has returned so many more.
    pub(crate) fn publish(&mut self, queue: u16, count: u16) {
        let queue = usize::from(queue);
        let Some(Queue { used, ref mut returned, .. }) = self.queues[queue] else { return };
        let before = *returned;
        *returned = returned.wrapping_add(count);
        let returned = *returned;
        self.memory().write(used + 2, &returned.to_le_bytes());
        // Whatever is said there.
        for index in 0..count.min(SIZE as u16) {
            let slot = u64::from(before.wrapping_add(index)) % SIZE as u64;
            let id = u32::from_le_bytes(self.memory().read(used + 4 + 8 * slot));
            if let Some(at) = self.has[queue].iter().position(|has| u32::from(has.id) == id) {
                self.has[queue].remove(at);
            }
        }
    }

    /// Does nothing more with a queue, and does not care what it has.
    pub(crate) fn abandon(&mut self, queue: u16) {
        self.queues[usize::from(queue)] = None;
        self.has[usize::from(queue)].clear();
    }

    /// Returns one buffer.
    pub(crate) fn give_back(&mut self, queue: u16, id: u16, len: usize) {
        self.write_used(queue, 0, id.into(), len as u32);
        self.publish(queue, 1);
    }

    /// Receives a frame from the wire, into the buffers that it was given first. Whether it has enough.
    pub(crate) fn deliver(&mut self, frame: &[u8], header: Header) -> bool {
        let given = self.look(RECEIVE);
        self.deliver_into(&given, frame, header)
    }

    /// The same into these.
    pub(crate) fn deliver_into(&mut self, given: &[Given], frame: &[u8], header: Header) -> bool {
        let mut bytes = vec![0; self.header()];
        bytes.extend(frame);
        let (mut pieces, mut at) = (Vec::new(), 0);
        for given in given {
            let len = given.len.min(bytes.len() - at);
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
            self.write(given, &bytes[range.clone()]);
            self.write_used(RECEIVE, index as u16, given.id.into(), range.len() as u32);
        }
        self.publish(RECEIVE, pieces.len() as u16);
        true
    }
}

impl Device {
    /// Fills a buffer.
    pub(crate) fn write(&self, given: &Given, bytes: &[u8]) {
        assert!(bytes.len() <= given.len);
        self.memory().write(given.address, bytes);
    }

    /// Sends what it was given first: its header, and the frame.
    pub(crate) fn send(&mut self) -> Option<(Header, Vec<u8>)> {
        let given = *self.look(TRANSMIT).first()?;
        let sent = self.read(&given);
        self.give_back(TRANSMIT, given.id, 0);
        Some(sent)
    }

    /// What is to be sent.
    pub(crate) fn read(&self, given: &Given) -> (Header, Vec<u8>) {
        let mut bytes = vec![0; given.len];
        self.memory().read_into(given.address, &mut bytes);
        let frame = bytes.split_off(self.header());
        (Header::of(&bytes), frame)
    }
}

impl Given {
    pub(crate) fn range(&self) -> Range<PhysAddr> {
        self.address..self.address + self.len as u64
    }
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

/// What the driver has of a device. Cards never drop it, but they drop their doorbells, which keep the device.
pub(crate) struct Registers(*const RefCell<Device>);

impl Registers {
    fn device(&self) -> &RefCell<Device> {
        // SAFETY: as above.
        unsafe { &*self.0 }
    }
}

impl Transport for Registers {
    fn device_type(&self) -> DeviceType {
        DeviceType::Network
    }

    fn read_device_features(&mut self) -> u64 {
        self.device().borrow().offered
    }

    fn write_driver_features(&mut self, features: u64) {
        let mut device = self.device().borrow_mut();
        assert_eq!(features & !device.offered, 0, "features that are not offered");
        device.agreed = features;
    }

    fn max_queue_size(&mut self, _: u16) -> u32 {
        self.device().borrow().entries
    }

    fn notify(&mut self, _: u16) {
        unreachable!("there are doorbells")
    }

    fn get_status(&self) -> DeviceStatus {
        let mut device = self.device().borrow_mut();
        if device.slow > 0 {
            device.slow -= 1;
            return DeviceStatus::DRIVER;
        }
        DeviceStatus::from_bits_retain(device.status)
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let mut device = self.device().borrow_mut();
        if status.is_empty() {
            device.resets += 1;
            device.queues = [None, None];
            device.has = Default::default();
            device.agreed = 0;
        }
        let refuses = device.agreed & device.refused != 0;
        let status = if refuses { status - DeviceStatus::FEATURES_OK } else { status };
        device.status = status.bits();
    }

    fn set_guest_page_size(&mut self, size: u32) {
        assert_eq!(size as usize, PAGE_SIZE);
    }

    fn requires_legacy_layout(&self) -> bool {
        self.device().borrow().is_legacy
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        available: PhysAddr,
        used: PhysAddr,
    ) {
        assert_eq!(size as usize, SIZE);
        let mut device = self.device().borrow_mut();
        assert!(!device.is_live(), "a queue that is changed while the device works");
        assert_eq!((available - descriptors, used - descriptors), (16 * SIZE as u64, 4096));
        device.queues[usize::from(queue)] =
            Some(Queue { descriptors, available, used, seen: 0, returned: 0 });
    }

    fn queue_unset(&mut self, queue: u16) {
        self.device().borrow_mut().queues[usize::from(queue)] = None;
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.device().borrow().queues[usize::from(queue)].is_some()
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        unreachable!("interrupts are the owner's")
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let device = self.device().borrow();
        let mut bytes = [0; 12];
        bytes[..6].copy_from_slice(&device.mac);
        bytes[10..].copy_from_slice(&device.mtu.to_le_bytes());
        let bytes = bytes.get(offset..offset + size_of::<T>()).ok_or(Error::ConfigSpaceTooSmall)?;
        T::read_from_bytes(bytes).map_err(|_| Error::ConfigSpaceTooSmall)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> Result<()> {
        unreachable!("nothing is to be written there")
    }
}

/// Counts.
pub(crate) struct Bell {
    device: Rc<RefCell<Device>>,
    queue: u16,
}

impl Doorbell for Bell {
    fn ring(&self) {
        let mut device = self.device.borrow_mut();
        assert!(device.is_live(), "a device is told before it works");
        device.rings[usize::from(self.queue)] += 1;
    }
}

/// The machine.
struct Computer(Rc<RefCell<Device>>);

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
        let piece = device.memory.insert(Piece::new(bytes));
        // SAFETY: it lives as long as the device, which the card's doorbells keep.
        Some(unsafe { Region::new(piece.start, piece.address()) })
    }

    fn random(&mut self) -> u64 {
        0x0123_4567_89ab_cdef
    }
}

pub(crate) type FakeCard = Card<Registers, Bell>;

/// Starts a card, or says why not. Its reset may take some looks.
pub(crate) fn start(
    device: Device,
    wanted: Wanted,
) -> (core::result::Result<FakeCard, crate::Error>, Rc<RefCell<Device>>) {
    let device = Rc::new(RefCell::new(device));
    let registers = Registers(Rc::as_ptr(&device));
    let mut card = Card::new(registers, &mut Computer(device.clone()), wanted, &mut patience());
    if let Ok(card) = &mut card {
        card.begin();
    }
    (card, device)
}

/// So many looks.
pub(crate) fn patience() -> impl FnMut() -> bool {
    let mut left = 10;
    move || {
        left -= 1;
        left > 0
    }
}
