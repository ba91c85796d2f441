//! What the device has: slots, each with a chain of descriptors, a header, a status byte, and a buffer.
//!
//! A chain is header, data, status (Virtio 1.2 §5.2.6), in descriptors `slot`, `COUNT + slot` and `2 * COUNT + slot`. So
//! the number by which the device returns a request is that of its slot. Where headers and status bytes are and what
//! follows what is written once; address, length and direction of the data for each request. A flush has no data: its
//! header goes on in the status byte, and after it in the data again.

#![expect(unsafe_code, reason = "headers and buffers are shared with a device")]

use core::{
    mem::{ManuallyDrop, offset_of},
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
};

use virtio_drivers::transport::Transport;
use wakeful_virtio::{Doorbell, Region, Ring, SIZE};

use crate::{
    Buffer, Error, Fault, REQUESTS,
    node::{Kind, Link, Stage},
};

/// Slots: a third of the descriptors, which leaves two unused.
pub(crate) const COUNT: usize = SIZE / 3;

const _: () = assert!(COUNT <= u64::BITS as usize);

/// What the device sees beside rings and buffers.
#[repr(C)]
struct Shared {
    headers: [Header; COUNT],
    statuses: [AtomicU8; COUNT],
}

#[repr(C)]
struct Header {
    kind: AtomicU32,
    reserved: AtomicU32,
    sector: AtomicU64,
}

/// Bytes of memory for headers and status bytes.
pub(crate) const BYTES: usize = size_of::<Shared>();

const _: () = assert!(size_of::<Header>() == 16 && BYTES <= 4096);
const _: () = assert!(cfg!(target_endian = "little"), "legacy devices have the processor's order");

/// How a request ended (§5.2.6), and that the device has not said so.
const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;
const SILENT: u8 = 0xff;

struct Slot<M> {
    /// Whose it is. `None` if nobody waits for it any more.
    owner: Option<Link<M>>,
    /// What the device has of it. `None` for a flush. Not dropped with the disk, as the device still has it then.
    buffer: Option<ManuallyDrop<M>>,
    /// Bytes of data.
    len: u32,
}

pub(crate) struct Slots<B, M> {
    ring: Ring<B>,
    region: Region,
    /// A bit for each slot that the device has not.
    free: u64,
    table: [Slot<M>; COUNT],
}

/// A slot, and how its request ended.
type Returned = (u8, Result<(), Error>);

const ALL: u64 = (1 << COUNT) - 1;

impl<B: Doorbell, M: Buffer> Slots<B, M> {
    /// # Safety
    ///
    /// The region has [`BYTES`] bytes, and is aligned to a page.
    pub(crate) unsafe fn new(ring: Ring<B>, region: Region) -> Self {
        // SAFETY: by this function's contract.
        unsafe { region.start().cast::<Shared>().write_bytes(0, 1) };
        let empty = || Slot { owner: None, buffer: None, len: 0 };
        Self { ring, region, free: ALL, table: [(); COUNT].map(|()| empty()) }
    }

    #[inline]
    fn shared(&self) -> &Shared {
        // SAFETY: `new` was given enough memory, and wrote to all of it. From then on there are only references like
        // this one, to atomics.
        unsafe { self.region.start().cast().as_ref() }
    }

    /// Begins with a device that was reset and has no request.
    pub(crate) fn start(&mut self, transport: &mut impl Transport) {
        self.ring.start(transport, REQUESTS);
        for slot in 0..COUNT {
            let address = |field: usize| self.region.address() + field as u64;
            let header = address(offset_of!(Shared, headers) + slot * size_of::<Header>());
            let status = address(offset_of!(Shared, statuses) + slot);
            let slot = slot as u8;
            self.ring.describe(slot, header, size_of::<Header>());
            self.ring.direct(slot, false, Some(data(slot)));
            self.ring.describe(end(slot), status, 1);
            self.ring.direct(end(slot), true, None);
        }
    }

    pub(crate) fn ring(&self) -> &Ring<B> {
        &self.ring
    }

    #[inline]
    pub(crate) fn has_free(&self) -> bool {
        self.free != 0
    }

    /// Gives a request to the device. It is not told.
    ///
    /// # Safety
    ///
    /// The caller has the disk's lock, and a reference to no state. There is a free slot.
    #[inline]
    pub(crate) unsafe fn submit(&mut self, owner: Link<M>) {
        // SAFETY: by this function's contract.
        let state = unsafe { owner.state() };
        let slot = self.free.trailing_zeros() as u8;
        debug_assert!(usize::from(slot) < COUNT);
        let shared = self.shared();
        let (Some(header), Some(status)) =
            (shared.headers.get(usize::from(slot)), shared.statuses.get(usize::from(slot)))
        else {
            return;
        };
        header.kind.store(state.kind as u32, Ordering::Relaxed);
        header.sector.store(state.place.sector, Ordering::Relaxed);
        status.store(SILENT, Ordering::Relaxed);
        let len = state.place.len;
        let buffer = state.buffer.take().map(ManuallyDrop::new);
        match &buffer {
            Some(buffer) => {
                let address = buffer.address() + state.place.start;
                self.ring.describe(data(slot), address, len as usize);
                self.ring.direct(data(slot), state.kind == Kind::Read, Some(end(slot)));
            }
            None => self.ring.direct(slot, false, Some(end(slot))),
        }
        state.stage = Stage::InFlight(slot);
        self.free &= self.free - 1;
        self.table[usize::from(slot)] = Slot { owner: Some(owner), buffer, len };
        // SAFETY: headers and status bytes are nobody else's. The buffer lies in the slot, and is taken out of it when
        // the device has returned the request or has come out of a reset; what is chosen of it is within.
        unsafe { self.ring.give(slot) };
    }

    /// Takes the next request that the device has returned. Its slot is still taken.
    #[inline]
    pub(crate) fn take(&mut self) -> Result<Option<Returned>, Fault> {
        let Some((id, written)) = self.ring.take()? else { return Ok(None) };
        if id >= COUNT || self.free & 1 << id != 0 {
            return Err(Fault::Request);
        }
        // Devices miscount, and nothing depends on it; but there is no room for more than that.
        if written > self.table[id].len as usize + 1 {
            return Err(Fault::Length);
        }
        let result = match self.shared().statuses[id].load(Ordering::Relaxed) {
            OK => Ok(()),
            IOERR => Err(Error::Device),
            UNSUPP => Err(Error::Unsupported),
            _ => return Err(Fault::Status),
        };
        Ok(Some((id as u8, result)))
    }

    /// Frees a slot: whose it was, and the buffer.
    ///
    /// # Safety
    ///
    /// The device has returned the request, or has come out of a reset since it was given it.
    #[inline]
    pub(crate) unsafe fn free(&mut self, slot: u8) -> (Option<Link<M>>, Option<M>) {
        let Slot { owner, buffer, .. } = &mut self.table[usize::from(slot)];
        let (owner, buffer) = (owner.take(), buffer.take().map(ManuallyDrop::into_inner));
        if buffer.is_none() {
            self.ring.direct(slot, false, Some(data(slot)));
        }
        self.free |= 1 << slot;
        (owner, buffer)
    }

    /// A slot that the device has.
    pub(crate) fn taken(&self) -> Option<u8> {
        let taken = !self.free & ALL;
        (taken != 0).then_some(taken.trailing_zeros() as u8)
    }

    /// Nobody waits for it any more.
    pub(crate) fn abandon(&mut self, slot: u8) {
        self.table[usize::from(slot)].owner = None;
    }

    /// The same of any slot that is somebody's: whose it was.
    pub(crate) fn abandon_any(&mut self) -> Option<Link<M>> {
        self.table.iter_mut().find_map(|slot| slot.owner.take())
    }
}

/// The descriptors of a slot's data and status. (Its number is that of the header's.)
#[inline]
fn data(slot: u8) -> u8 {
    COUNT as u8 + slot
}

#[inline]
fn end(slot: u8) -> u8 {
    2 * COUNT as u8 + slot
}
