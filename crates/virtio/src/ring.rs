//! A queue's rings (Virtio 1.2 §2.7).
//!
//! Which descriptor belongs to which buffer is the driver's matter, and for good: so nothing is looked for, and
//! whoever has the buffer has the descriptor.

#![expect(unsafe_code, reason = "rings are shared with a device")]

use core::{
    fmt,
    mem::offset_of,
    sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence},
};

use virtio_drivers::transport::Transport;

use crate::{Doorbell, Region};

/// Entries of a queue. QEMU offers 256, and 1024 by PCI.
pub const SIZE: usize = 128;

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

/// A descriptor's flags: it goes on in another one; the device writes there.
const NEXT: u16 = 1;
const WRITE: u16 = 1 << 1;
/// A flag of the available ring: no interrupts. And of the used ring: no notifications.
const QUIET: u16 = 1;

/// Bytes of memory that a queue's rings need.
pub const BYTES: usize = size_of::<Shared>();

const _: () = assert!(BYTES == 8192 && SIZE.is_power_of_two());

/// The device says that it has returned more descriptors than it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun;

/// A queue's rings, and where we are in them.
pub struct Ring<B> {
    region: Region,
    doorbell: B,
    /// How many descriptors were given to the device, and how many were taken back, modulo 2¹⁶.
    given: u16,
    taken: u16,
}

impl<B> fmt::Debug for Ring<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { given, taken, .. } = self;
        f.debug_struct("Ring").field("given", given).field("taken", taken).finish_non_exhaustive()
    }
}

impl<B: Doorbell> Ring<B> {
    /// A ring in this memory. It does not work before it is [started](Self::start).
    ///
    /// # Safety
    ///
    /// It has [`BYTES`] bytes.
    pub unsafe fn new(region: Region, doorbell: B) -> Self {
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

    /// Empties the rings and tells a device of them that was reset. It is not to interrupt. Nothing is said of
    /// any descriptor then: it has to be written.
    pub fn start(&mut self, transport: &mut impl Transport, queue: u16) {
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

    /// How many descriptors were given to the device and not taken back. (Of a chain only the first counts.)
    #[inline]
    #[must_use]
    pub fn given(&self) -> u16 {
        self.given.wrapping_sub(self.taken)
    }

    /// Whether the device is to interrupt.
    #[inline]
    pub fn set_interrupts(&self, on: bool) {
        self.shared().available.flags.store(if on { 0 } else { QUIET }, Ordering::Relaxed);
    }

    /// Says that a buffer is there to be filled, whenever its descriptor is given.
    pub fn describe_empty(&self, number: u8, address: u64, len: usize) {
        self.describe(number, address, len);
        self.direct(number, true, None);
    }

    /// Says whether the device writes what a descriptor describes, or reads it (which it does at first), and in
    /// which other descriptor it goes on.
    #[inline]
    pub fn direct(&self, number: u8, writes: bool, next: Option<u8>) {
        if let Some(descriptor) = self.shared().descriptors.get(usize::from(number)) {
            let mut flags = if writes { WRITE } else { 0 };
            if let Some(next) = next {
                descriptor.next.store(next.into(), Ordering::Relaxed);
                flags |= NEXT;
            }
            descriptor.flags.store(flags, Ordering::Relaxed);
        }
    }

    /// Says where something is, and how many bytes.
    #[inline]
    pub fn describe(&self, number: u8, address: u64, len: usize) {
        if let Some(descriptor) = self.shared().descriptors.get(usize::from(number)) {
            descriptor.address.store(address, Ordering::Relaxed);
            descriptor.len.store(len as u32, Ordering::Relaxed);
        }
    }

    /// Gives the device a descriptor that it does not have, with those in which it goes on.
    ///
    /// # Safety
    ///
    /// What they describe is the device's, to read or to write, until it has returned the descriptor or has come
    /// out of a reset.
    #[inline]
    pub unsafe fn give(&mut self, number: u8) {
        let available = &self.shared().available;
        available.entries[usize::from(self.given) % SIZE].store(number.into(), Ordering::Relaxed);
        // All of the above, and the buffer, before that.
        available.index.store(self.given.wrapping_add(1), Ordering::Release);
        self.given = self.given.wrapping_add(1);
    }

    /// Tells the device of what was given, if it wants to be told.
    #[inline]
    pub fn announce(&self) {
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
    #[must_use]
    pub fn has_returned(&self) -> bool {
        self.returned() != 0
    }

    /// Takes the next descriptor that the device has returned: its number, and how many bytes it wrote.
    /// Both are only what it says.
    ///
    /// # Errors
    ///
    /// [`Overrun`]. The device is to be stopped.
    #[inline]
    pub fn take(&mut self) -> Result<Option<(usize, usize)>, Overrun> {
        let returned = self.returned();
        if returned == 0 {
            return Ok(None);
        }
        if returned > self.given() {
            return Err(Overrun);
        }
        let entry = &self.shared().used.entries[usize::from(self.taken) % SIZE];
        let (id, len) = (entry.id.load(Ordering::Relaxed), entry.len.load(Ordering::Relaxed));
        self.taken = self.taken.wrapping_add(1);
        Ok(Some((id as usize, len as usize)))
    }
}
