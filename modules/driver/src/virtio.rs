//! A virtio device that was found: where it is, how to talk to it, and the first steps of talking
//! (Virtio 1.2 §3.1.1).

#![expect(unsafe_code, reason = "the registers of devices are mapped here")]

use core::{fmt, mem::ManuallyDrop, ptr::NonNull};

use memory_addr::PhysAddr;
use virtio_drivers::transport::{
    DeviceStatus, DeviceType, DeviceTypeError, SomeTransport, Transport,
    mmio::{MmioError, MmioTransport, VirtIOHeader},
    pci::VirtioPciError,
};
use wakeful_devicetree::VirtioMmio;
use wakeful_hal::{console, irq, paging, timer};

use crate::{
    pci,
    registers::{Doorbell, InterruptStatus},
};

/// Registers of the MMIO transport (Virtio 1.2 §4.2.2), in bytes from its base.
const QUEUE_NOTIFY: usize = 0x50;
const INTERRUPT_STATUS: usize = 0x60;
const VERSION: usize = 0x04;
/// Where what differs between types of devices begins.
const CONFIG: usize = 0x100;

/// `VIRTIO_F_VERSION_1`: not the legacy interface (Virtio 1.2 §6).
pub(crate) const VERSION_1: u64 = 1 << 32;

/// Feature bits that belong to all types of devices (Virtio 1.2 §2.2).
const RESERVED_FEATURES: u64 = ((1 << 42) - 1) & !((1 << 24) - 1);

/// How long a device may take for its reset, as a part of a second. Real ones take microseconds.
const RESET_PART: u64 = 10;

/// Where a device is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Mmio { base: u64, legacy: bool },
    Pci { device: u8, function: u8 },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Mmio { base, legacy: true } => write!(f, "{base:x} (virtio-mmio, legacy)"),
            Self::Mmio { base, legacy: false } => write!(f, "{base:x} (virtio-mmio)"),
            Self::Pci { device, function } => {
                write!(f, "00:{device:02x}.{function} (virtio-pci)")
            }
        }
    }
}

/// Why a device is not used.
#[derive(Debug)]
pub(crate) enum Error {
    /// No memory for the page tables that map its registers, or they are out of reach.
    NotMapped,
    Mmio(MmioError),
    Pci(VirtioPciError),
    PciCapabilities,
    PciNoPlace {
        size: u64,
    },
    NoReset,
    OldInterface,
    FeaturesRefused,
    NoInterrupt,
    Interrupt(irq::Error),
    TooManyInterrupts,
    QueueTooSmall {
        queue: u16,
        entries: u32,
        needed: usize,
    },
    NoDoorbell,
    NoMemory,
    NoAddress,
    NoDriver,
    OnePerImage,
    Silent,
    Library(virtio_drivers::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMapped => f.write_str("its registers cannot be mapped"),
            Self::Mmio(error) => error.fmt(f),
            Self::Pci(error) => error.fmt(f),
            Self::PciCapabilities => f.write_str("its PCI capabilities make no sense"),
            Self::PciNoPlace { size } => {
                write!(f, "the PCI host has no place for {size:#x} bytes of registers")
            }
            Self::NoReset => f.write_str("it does not come out of its reset"),
            Self::OldInterface => f.write_str("it offers no VIRTIO_F_VERSION_1"),
            Self::FeaturesRefused => f.write_str("it refuses the features that we chose"),
            Self::NoInterrupt => f.write_str("the device tree gives it no interrupt"),
            Self::Interrupt(error) => error.fmt(f),
            Self::TooManyInterrupts => f.write_str("too many devices interrupt"),
            Self::QueueTooSmall { queue, entries, needed } => {
                write!(f, "its queue {queue} has {entries} entries, not {needed}")
            }
            Self::NoDoorbell => f.write_str("its doorbell is outside of its registers"),
            Self::NoMemory => f.write_str("out of memory"),
            Self::NoAddress => f.write_str("its configuration has no address"),
            Self::NoDriver => f.write_str("this image has no driver for it"),
            Self::OnePerImage => f.write_str("only the first such device is used"),
            Self::Silent => f.write_str("it does not answer"),
            Self::Library(error) => error.fmt(f),
        }
    }
}

impl From<virtio_drivers::Error> for Error {
    fn from(error: virtio_drivers::Error) -> Self {
        match error {
            virtio_drivers::Error::DmaError => Self::NoMemory,
            error => Self::Library(error),
        }
    }
}

/// A device that somebody is to drive.
#[derive(Debug)]
pub(crate) struct Device {
    /// Never dropped: that of PCI then waits for a reset, however long it takes.
    pub(crate) transport: ManuallyDrop<SomeTransport<'static>>,
    /// Its source at the interrupt controller.
    pub(crate) interrupt: Option<u32>,
    pub(crate) status: InterruptStatus,
    pub(crate) doorbells: Doorbells,
}

/// Where the doorbells of its queues are.
#[derive(Debug)]
pub(crate) enum Doorbells {
    /// One for all.
    Mmio(NonNull<u8>),
    Pci(pci::Doorbells),
}

impl Doorbells {
    /// That of a queue, if there is one.
    pub(crate) fn of(&self, queue: u16) -> Option<Doorbell> {
        match self {
            Self::Mmio(base) => {
                // SAFETY: within the registers, aligned as they are.
                Some(unsafe { Doorbell::new(base.byte_add(QUEUE_NOTIFY), true, queue) })
            }
            Self::Pci(doorbells) => doorbells.get(queue),
        }
    }
}

/// How long a device may take for its reset: `true` until then, from now on.
pub(crate) fn patience() -> impl FnMut() -> bool {
    let deadline = timer::now() + timer::frequency() / RESET_PART;
    move || timer::now() <= deadline
}

/// Looks what is at a place that the device tree names. `None` if it is empty, or too odd to say
/// what it is.
pub(crate) fn find(
    node: &VirtioMmio,
) -> Option<(DeviceType, Place, impl FnOnce() -> Result<Device, Error> + use<>)> {
    let (size, interrupt) = (node.size as usize, node.interrupt);
    let place = |legacy| Place::Mmio { base: node.base, legacy };
    if !node.base.is_multiple_of(4) || size < CONFIG {
        return None;
    }
    let Ok(base) = paging::map_device(PhysAddr::from(node.base as usize), size) else {
        let (base, error) = (node.base, Error::NotMapped);
        console::print(format_args!("wakeful: device at {base:x} (virtio-mmio): {error}\n"));
        return None;
    };
    let base = NonNull::new(base.as_mut_ptr())?;
    // SAFETY: the device tree says that these are the registers of a virtio device; mapped for good,
    // `size` bytes, and nobody else has them: each node is looked at once.
    let (version, mut transport) = unsafe {
        let version = base.byte_add(VERSION).cast::<u32>().read_volatile();
        (version, MmioTransport::new(base.cast::<VirtIOHeader>(), size))
    };
    let kind = match &mut transport {
        Ok(transport) => {
            // Whatever the firmware did with it: from now on it writes to no memory.
            transport.set_status(DeviceStatus::empty());
            transport.device_type()
        }
        Err(MmioError::InvalidDeviceID(DeviceTypeError::InvalidDeviceType(0))) => return None,
        Err(error) => {
            let place = place(version == 1);
            console::print(format_args!("wakeful: device at {place}: {error}\n"));
            return None;
        }
    };
    let device = move || {
        Ok(Device {
            transport: ManuallyDrop::new(transport.map_err(Error::Mmio)?.into()),
            interrupt,
            // SAFETY: within the registers.
            status: InterruptStatus::Mmio(unsafe { base.byte_add(INTERRUPT_STATUS) }.cast()),
            doorbells: Doorbells::Mmio(base),
        })
    };
    Some((kind, place(version == 1), device))
}

impl Device {
    /// Resets the device and agrees on features: those of `wanted`, given what it offers. Says what
    /// was agreed on.
    ///
    /// Wanted features are of the device's type: of the others only `VERSION_1` is taken, where it is
    /// offered. No `EVENT_IDX`, so that notifications are masked by flags; no `INDIRECT`, as each of
    /// our buffers is one descriptor.
    pub(crate) fn negotiate(
        &mut self,
        wanted: impl FnOnce(&SomeTransport<'static>, u64) -> u64,
    ) -> Result<u64, Error> {
        self.reset()?;
        let transport = &mut *self.transport;
        let mut status = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
        transport.set_status(status);
        let offered = transport.read_device_features();
        let version_1 = offered & VERSION_1;
        if version_1 == 0 && !transport.requires_legacy_layout() {
            return Err(Error::OldInterface);
        }
        let agreed = wanted(transport, offered) & offered & !RESERVED_FEATURES | version_1;
        transport.write_driver_features(agreed);
        // A legacy device knows no such step, and has the features that were written.
        if !transport.requires_legacy_layout() {
            status |= DeviceStatus::FEATURES_OK;
            transport.set_status(status);
            if !transport.get_status().contains(DeviceStatus::FEATURES_OK) {
                return Err(Error::FeaturesRefused);
            }
        }
        // In bytes; a legacy device is told where a queue is in such pages.
        transport.set_guest_page_size(virtio_drivers::PAGE_SIZE as u32);
        Ok(agreed)
    }

    /// Stops the device. Whether it forgot everything.
    pub(crate) fn reset(&mut self) -> Result<(), Error> {
        let mut patience = patience();
        self.transport.set_status(DeviceStatus::empty());
        while self.transport.get_status() != DeviceStatus::empty() {
            if !patience() {
                return Err(Error::NoReset);
            }
        }
        Ok(())
    }

    /// The device may work from now on.
    pub(crate) fn finish(&mut self) {
        let status = self.transport.get_status();
        self.transport.set_status(status | DeviceStatus::DRIVER_OK);
    }

    /// The queue's doorbell.
    pub(crate) fn doorbell(&self, queue: u16) -> Result<Doorbell, Error> {
        self.doorbells.of(queue).ok_or(Error::NoDoorbell)
    }

    /// A queue of `SIZE` entries.
    pub(crate) fn queue<const SIZE: usize>(
        &mut self,
        queue: u16,
    ) -> Result<virtio_drivers::queue::VirtQueue<crate::memory::Memory, SIZE>, Error> {
        let entries = self.transport.max_queue_size(queue);
        if (entries as usize) < SIZE {
            return Err(Error::QueueTooSmall { queue, entries, needed: SIZE });
        }
        let (indirect, event_index) = (false, false);
        Ok(virtio_drivers::queue::VirtQueue::new(
            &mut *self.transport,
            queue,
            indirect,
            event_index,
        )?)
    }
}
