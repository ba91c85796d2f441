//! Numbers that others cannot guess: for sequence numbers, ports and names, and good enough for keys
//! if a good source was there.
//!
//! What goes in, at [`start`](crate::start): 32 bytes of virtio-rng, where the machine has one and the
//! image the feature `rng`; the loader's `rng-seed` in the device tree, which QEMU makes anew for
//! each boot; and the machine's clock. The clock alone is weak: who knows when the machine was
//! booted, to the millisecond, has ten thousand times to try. Before `start` there is nothing, and
//! the numbers are the same at each boot.

use wakeful_hal::{sync::IrqLock, timer};
use wakeful_random::Generator;

/// Locked for as long as a block takes: a thousand instructions.
static GENERATOR: IrqLock<Generator> = IrqLock::new(Generator::new());

/// Adds randomness, and what the clock says.
pub(crate) fn seed(bytes: &[u8]) {
    let now = timer::now();
    let mut generator = GENERATOR.lock();
    generator.mix(bytes);
    generator.mix(&now.to_ne_bytes());
}

/// A number that others cannot guess, on any hart and in any context. How good it is depends on the
/// machine: see the feature `rng`.
#[must_use]
pub fn random_u64() -> u64 {
    GENERATOR.lock().next_u64()
}
