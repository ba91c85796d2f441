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
use wakeful_virtio::{Error as Setup, VERSION_1, agree, begin, check_queue, offered, reset};

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
    /// In the first steps with it.
    Setup(Setup),
    NoInterrupt,
    Interrupt(irq::Error),
    TooManyInterrupts,
    NoDriver,
    #[cfg(feature = "net")]
    OnePerImage,
    #[cfg(feature = "blk")]
    TooManyDisks,
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
            Self::Setup(error) => error.fmt(f),
            Self::NoInterrupt => f.write_str("the device tree gives it no interrupt"),
            Self::Interrupt(error) => error.fmt(f),
            Self::TooManyInterrupts => f.write_str("too many devices interrupt"),
            Self::NoDriver => f.write_str("this image has no driver for it"),
            #[cfg(feature = "net")]
            Self::OnePerImage => f.write_str("only the first such device is used"),
            #[cfg(feature = "blk")]
            Self::TooManyDisks => {
                write!(f, "only the first {} such devices are used", crate::blk::MAX)
            }
            Self::Silent => f.write_str("it does not answer"),
            Self::Library(error) => error.fmt(f),
        }
    }
}

impl From<Setup> for Error {
    fn from(error: Setup) -> Self {
        Self::Setup(error)
    }
}

impl From<virtio_drivers::Error> for Error {
    fn from(error: virtio_drivers::Error) -> Self {
        match error {
            virtio_drivers::Error::DmaError => Self::Setup(Setup::NoMemory),
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
    /// Resets the device, and agrees on nothing but whether its interface is a legacy one. (Without `EVENT_IDX`
    /// notifications are masked by flags; without `INDIRECT` each buffer is one descriptor.)
    pub(crate) fn negotiate(&mut self) -> Result<(), Error> {
        self.reset()?;
        let chosen = offered(&mut *self.transport)? & VERSION_1;
        Ok(agree(&mut *self.transport, chosen)?)
    }

    /// Stops the device. Whether it forgot everything.
    pub(crate) fn reset(&mut self) -> Result<(), Error> {
        Ok(reset(&mut *self.transport, &mut patience())?)
    }

    /// The device may work from now on.
    pub(crate) fn finish(&mut self) {
        begin(&mut *self.transport);
    }

    /// The queue's doorbell.
    pub(crate) fn doorbell(&self, queue: u16) -> Result<Doorbell, Error> {
        self.doorbells.of(queue).ok_or(Setup::NoDoorbell.into())
    }

    /// A queue of `SIZE` entries.
    pub(crate) fn queue<const SIZE: usize>(
        &mut self,
        queue: u16,
    ) -> Result<virtio_drivers::queue::VirtQueue<crate::memory::Memory, SIZE>, Error> {
        check_queue(&mut *self.transport, queue, SIZE as u16)?;
        let (indirect, event_index) = (false, false);
        Ok(virtio_drivers::queue::VirtQueue::new(
            &mut *self.transport,
            queue,
            indirect,
            event_index,
        )?)
    }
}
