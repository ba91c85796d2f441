//! Randomness from the host: virtio-rng (Virtio 1.2 §5.4), asked once at boot.
//!
//! 32 bytes make a seed that cannot be guessed, and a generator needs no more. So the device is
//! asked, polled for a moment, and reset: it costs no interrupt and keeps no memory.

#![expect(unsafe_code, reason = "a buffer is shared with a device")]

use core::{hint, mem, slice};

use wakeful_alloc::frames;
use wakeful_hal::timer;
use wakeful_virtio::{Doorbell, Error as Setup};

use crate::{
    memory, random,
    virtio::{Device, Error},
};

/// Bytes that are asked for: the key of the generator.
const SEED: usize = 32;

/// The smallest queue, in entries: one is used. (QEMU offers 8.)
const SIZE: usize = 2;
const REQUESTS: u16 = 0;

/// How long the device may take, as a part of a second. QEMU takes less than a millisecond.
const PART: u64 = 10;

/// Has the device seed [`random_u64`](crate::random_u64). Says how many bytes it gave.
pub(crate) fn seed(mut device: Device) -> Result<usize, Error> {
    device.negotiate()?;
    let doorbell = device.doorbell(REQUESTS)?;
    let mut ring = device.queue::<SIZE>(REQUESTS)?;
    ring.set_dev_notify(false);
    let (frame, start) = memory::allocate(1).ok_or(Setup::NoMemory)?;
    // SAFETY: a frame of our own.
    unsafe { start.write_bytes(0, SEED) };
    device.finish();
    // SAFETY: the frame is ours, and nobody looks at it until the device returns it.
    let token = unsafe { ring.add(&[], &mut [slice::from_raw_parts_mut(start.as_ptr(), SEED)])? };
    doorbell.ring();
    let deadline = timer::now() + timer::frequency() / PART;
    while !ring.can_pop() && timer::now() < deadline {
        hint::spin_loop();
    }
    // SAFETY: what was added with that token.
    let written = unsafe {
        ring.pop_used(token, &[], &mut [slice::from_raw_parts_mut(start.as_ptr(), SEED)])
    };
    if device.reset().is_err() {
        // It may still write: it keeps its memory.
        mem::forget(ring);
        return Err(Setup::NoReset.into());
    }
    // SAFETY: the device has forgotten it.
    let bytes = unsafe { slice::from_raw_parts_mut(start.as_ptr(), SEED) };
    // Written or not: what is not random does no harm.
    random::seed(bytes);
    bytes.fill(0);
    // SAFETY: from `allocate`, and nobody uses it any more.
    unsafe { frames::free(frame, 1) };
    match written {
        Ok(written) if written > 0 => Ok((written as usize).min(SEED)),
        _ => Err(Error::Silent),
    }
}
