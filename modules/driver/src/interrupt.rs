//! From a source of the interrupt controller to the wakers of the devices behind it.
//!
//! PCI devices share four lines, so one source may be several devices: the handler asks each. It
//! acknowledges and wakes, nothing else, and takes no lock.

#![expect(unsafe_code, reason = "the handler reads registers")]

use core::{
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering},
};

use atomic_waker::AtomicWaker;
use wakeful_hal::irq;

use crate::{
    registers::{CONFIGURATION, InterruptStatus},
    virtio::Error,
};

/// Devices with interrupts that one image can have.
const MAX: usize = 8;

/// No further device.
const NONE: usize = usize::MAX;

/// A device that interrupts.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Whom to wake.
    pub(crate) waker: AtomicWaker,
    /// It has interrupted for a change of its configuration.
    has_changed: AtomicBool,
    /// Its register, null until it is attached, and whether that is [`InterruptStatus::Pci`].
    status: AtomicPtr<u8>,
    is_pci: AtomicBool,
    source: AtomicU32,
    /// Index of the next device of the same source.
    next: AtomicUsize,
}

static ENDPOINTS: [Endpoint; MAX] = [const {
    Endpoint {
        waker: AtomicWaker::new(),
        has_changed: AtomicBool::new(false),
        status: AtomicPtr::new(ptr::null_mut()),
        is_pci: AtomicBool::new(false),
        source: AtomicU32::new(0),
        next: AtomicUsize::new(NONE),
    }
}; MAX];

static USED: AtomicUsize = AtomicUsize::new(0);

/// Lets a device interrupt this hart: whoever is registered at the endpoint is woken.
///
/// # Safety
///
/// `status` is the mapped register of a device, for good, and nobody else reads it.
pub(crate) unsafe fn attach(
    source: u32,
    status: InterruptStatus,
) -> Result<&'static Endpoint, Error> {
    let index = USED.fetch_add(1, Ordering::Relaxed);
    let endpoint = ENDPOINTS.get(index).ok_or(Error::TooManyInterrupts)?;
    endpoint.set_status(Some(status));
    endpoint.source.store(source, Ordering::Relaxed);
    let sharing = ENDPOINTS[..index]
        .iter()
        .find(|other| other.source.load(Ordering::Relaxed) == source && other.status().is_some());
    if let Some(first) = sharing {
        endpoint.next.store(first.next.load(Ordering::Relaxed), Ordering::Relaxed);
        // Publishes the endpoint to the handler.
        first.next.store(index, Ordering::Release);
    } else if let Err(error) = irq::register(source, on_interrupt, index) {
        endpoint.set_status(None);
        return Err(Error::Interrupt(error));
    }
    Ok(endpoint)
}

fn on_interrupt(first: usize) {
    let mut next = first;
    while let Some(endpoint) = ENDPOINTS.get(next) {
        // SAFETY: `attach` sets nothing else.
        let status = endpoint.status().map_or(0, |status| unsafe { status.acknowledge() });
        if status != 0 {
            if status & CONFIGURATION != 0 {
                endpoint.has_changed.store(true, Ordering::Relaxed);
            }
            endpoint.waker.wake();
        }
        next = endpoint.next.load(Ordering::Acquire);
    }
}

impl Endpoint {
    /// Whether the device has interrupted for a change of its configuration, or of its state, since this
    /// was asked last.
    #[inline]
    pub(crate) fn has_changed(&self) -> bool {
        self.has_changed.load(Ordering::Relaxed) && self.has_changed.swap(false, Ordering::Relaxed)
    }

    fn set_status(&self, status: Option<InterruptStatus>) {
        let (register, is_pci) = match status {
            None => (ptr::null_mut(), false),
            Some(InterruptStatus::Mmio(register)) => (register.as_ptr().cast(), false),
            Some(InterruptStatus::Pci(register)) => (register.as_ptr(), true),
        };
        self.is_pci.store(is_pci, Ordering::Relaxed);
        self.status.store(register, Ordering::Relaxed);
    }

    /// Relaxed: the handler comes to it by what publishes it, and then it stays as it is.
    fn status(&self) -> Option<InterruptStatus> {
        let register = NonNull::new(self.status.load(Ordering::Relaxed))?;
        Some(match self.is_pci.load(Ordering::Relaxed) {
            false => InterruptStatus::Mmio(register.cast()),
            true => InterruptStatus::Pci(register),
        })
    }
}
