//! The two registers that are touched while a device works: its doorbell and its interrupt status.
//!
//! The transports of `virtio-drivers` need `&mut` for both, and PCI's asks the device at each ring
//! where the doorbell is. These stand alone: a ring is one store, and the interrupt handler shares
//! nothing with whoever holds the device.

#![expect(unsafe_code, reason = "registers are raw addresses")]

use core::{arch::asm, ptr::NonNull};

/// Tells the device that there is something new in a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doorbell {
    register: NonNull<u8>,
    /// 32 bits (MMIO, Virtio 1.2 §4.2.2 `QueueNotify`) or 16 (PCI, §4.1.5.2).
    wide: bool,
    queue: u16,
}

// SAFETY: writing it twice at once is writing it twice.
unsafe impl Send for Doorbell {}

impl Doorbell {
    /// # Safety
    ///
    /// `register` is the mapped doorbell of that queue, aligned to its width.
    pub(crate) unsafe fn new(register: NonNull<u8>, wide: bool, queue: u16) -> Self {
        Self { register, wide, queue }
    }
}

impl wakeful_virtio::Doorbell for Doorbell {
    #[inline]
    fn ring(&self) {
        // SAFETY: by the contract of `new`. The fence orders stores to memory before that to the
        // register.
        unsafe {
            asm!("fence w, o", options(nostack));
            if self.wide {
                self.register.cast::<u32>().write_volatile(u32::from(self.queue));
            } else {
                self.register.cast::<u16>().write_volatile(self.queue);
            }
        }
    }
}

/// The reason of an interrupt: the configuration has changed, or the device asks for a reset.
pub(crate) const CONFIGURATION: u32 = 1 << 1;

/// Says why the device has interrupted, and makes it stop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum InterruptStatus {
    /// Virtio 1.2 §4.2.2: `InterruptStatus`, followed by `InterruptACK`.
    Mmio(NonNull<u32>),
    /// Virtio 1.2 §4.1.4.5: reading it acknowledges.
    Pci(NonNull<u8>),
}

impl InterruptStatus {
    /// Acknowledges what there is, and returns it: a bit for each reason.
    ///
    /// # Safety
    ///
    /// It is the mapped register of a device.
    #[inline]
    pub(crate) unsafe fn acknowledge(self) -> u32 {
        // SAFETY: by this function's contract. What the device wrote to memory before it interrupted
        // is seen by reads after the fence.
        unsafe {
            let status = match self {
                Self::Mmio(register) => {
                    let status = register.read_volatile();
                    if status != 0 {
                        register.add(1).write_volatile(status);
                    }
                    status
                }
                Self::Pci(register) => u32::from(register.read_volatile()),
            };
            asm!("fence iorw, iorw", options(nostack));
            status
        }
    }
}
