//! A queue's rings (Virtio 1.2 §2.7).
//!
//! A frame is one descriptor, always that with the number of its (first) buffer. So nothing is looked
//! for and nothing is linked, and whoever has the buffer has the descriptor.

#![expect(unsafe_code, reason = "rings are shared with a device")]

use core::{
    mem::offset_of,
    sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence},
};

use virtio_drivers::transport::Transport;

use crate::{Doorbell, Fault, SIZE, memory::Region};

/// What the device sees. It may write anywhere and at any time: so these are atomics, and what was read
/// once is not read again.
///
/// As legacy devices want it (§2.7.2): without gaps, the used ring in a page of its own.
#[repr(C, align(4096))]
struct Shared {
    descriptors: [Descriptor; SIZE],
    available: Available,
    used: Used,
}

#[repr(C)]
struct Descriptor {
    address: AtomicU64,
    len: AtomicU32,
    flags: AtomicU16,
    next: AtomicU16,
}

#[repr(C)]
struct Available {
    flags: AtomicU16,
    index: AtomicU16,
    entries: [AtomicU16; SIZE],
}

#[repr(C, align(4096))]
struct Used {
    flags: AtomicU16,
    index: AtomicU16,
    entries: [Entry; SIZE],
}

#[repr(C)]
struct Entry {
    id: AtomicU32,
    len: AtomicU32,
}

/// A descriptor's flag: the device writes there.
const WRITE: u16 = 1 << 1;
/// A flag of the available ring: no interrupts. And of the used ring: no notifications.
const QUIET: u16 = 1;

/// Bytes of memory that a queue's rings need.
pub(crate) const BYTES: usize = size_of::<Shared>();

const _: () = assert!(BYTES == 8192 && SIZE.is_power_of_two());

/// A queue's rings, and where we are in them.
pub(crate) struct Ring<B> {
    region: Region,
    doorbell: B,
    /// How many descriptors were given to the device, and how many were taken back, modulo 2¹⁶.
    given: u16,
    taken: u16,
}

impl<B: Doorbell> Ring<B> {
    /// # Safety
    ///
    /// It has [`BYTES`] bytes.
    pub(crate) unsafe fn new(region: Region, doorbell: B) -> Self {
        // SAFETY: aligned to a page, and large enough.
        unsafe { region.start().cast::<Shared>().write_bytes(0, 1) };
        Self { region, doorbell, given: 0, taken: 0 }
    }

    #[inline]
    fn shared(&self) -> &Shared {
        // SAFETY: `new` was given enough memory, and wrote to all of it. From then on there are only
        // references like this one, to atomics.
        unsafe { self.region.start().cast().as_ref() }
    }

    /// Empties the rings and tells a device of them that was reset. It is not to interrupt.
    pub(crate) fn start(&mut self, transport: &mut impl Transport, queue: u16) {
        (self.given, self.taken) = (0, 0);
        let shared = self.shared();
        shared.available.index.store(0, Ordering::Relaxed);
        shared.used.index.store(0, Ordering::Relaxed);
        shared.used.flags.store(0, Ordering::Relaxed);
        for descriptor in &shared.descriptors {
            descriptor.flags.store(0, Ordering::Relaxed);
        }
        self.set_interrupts(false);
        let address = |field: usize| self.region.address() + field as u64;
        let (descriptors, available) = (address(0), address(offset_of!(Shared, available)));
        let used = address(offset_of!(Shared, used));
        transport.queue_set(queue, SIZE as u32, descriptors, available, used);
    }

    /// How many descriptors the device has.
    #[inline]
    pub(crate) fn given(&self) -> u16 {
        self.given.wrapping_sub(self.taken)
    }

    /// Whether the device is to interrupt.
    #[inline]
    pub(crate) fn set_interrupts(&self, on: bool) {
        self.shared().available.flags.store(if on { 0 } else { QUIET }, Ordering::Relaxed);
    }

    /// Says that a buffer is there to be filled, whenever its descriptor is given.
    pub(crate) fn describe_empty(&self, number: u8, address: u64, len: usize) {
        self.describe(number, address, len);
        if let Some(descriptor) = self.shared().descriptors.get(usize::from(number)) {
            descriptor.flags.store(WRITE, Ordering::Relaxed);
        }
    }

    /// Says that something is there to be sent.
    #[inline]
    pub(crate) fn describe(&self, number: u8, address: u64, len: usize) {
        if let Some(descriptor) = self.shared().descriptors.get(usize::from(number)) {
            descriptor.address.store(address, Ordering::Relaxed);
            descriptor.len.store(len as u32, Ordering::Relaxed);
        }
    }

    /// Gives the device a descriptor that it does not have.
    #[inline]
    pub(crate) fn give(&mut self, number: u8) {
        let available = &self.shared().available;
        available.entries[usize::from(self.given) % SIZE].store(number.into(), Ordering::Relaxed);
        // All of the above, and the buffer, before that.
        available.index.store(self.given.wrapping_add(1), Ordering::Release);
        self.given = self.given.wrapping_add(1);
    }

    /// Tells the device of what was given, if it wants to be told.
    #[inline]
    pub(crate) fn announce(&self) {
        // It looks at what is given after it has said that it wants to be told: one of both sees the
        // other's.
        fence(Ordering::SeqCst);
        if self.shared().used.flags.load(Ordering::Relaxed) & QUIET == 0 {
            self.doorbell.ring();
        }
    }

    /// How many descriptors the device says that it has returned.
    #[inline]
    fn returned(&self) -> u16 {
        self.shared().used.index.load(Ordering::Acquire).wrapping_sub(self.taken)
    }

    /// Whether the device has returned something.
    #[inline]
    pub(crate) fn has_returned(&self) -> bool {
        self.returned() != 0
    }

    /// Takes the next descriptor that the device has returned: its number, and how many bytes it wrote.
    /// Both are only what it says.
    #[inline]
    pub(crate) fn take(&mut self) -> Result<Option<(usize, usize)>, Fault> {
        let returned = self.returned();
        if returned == 0 {
            return Ok(None);
        }
        if returned > self.given() {
            return Err(Fault::Buffer);
        }
        let entry = &self.shared().used.entries[usize::from(self.taken) % SIZE];
        let (id, len) = (entry.id.load(Ordering::Relaxed), entry.len.load(Ordering::Relaxed));
        self.taken = self.taken.wrapping_add(1);
        Ok(Some((id as usize, len as usize)))
    }
}
