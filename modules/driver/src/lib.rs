//! The machine's devices: found at boot, and virtio driven.
//!
//! [`start`] looks through the device tree for virtio devices and PCI hosts, gives PCI devices
//! their addresses (nobody else does on QEMU's `virt`), starts those that this image has a driver
//! for, and says in one console line for each what became of it. A device that cannot be used is
//! such a line, never a panic. Nothing that a device writes is trusted to be in range. (What it
//! writes where is another matter: without an IOMMU any device reaches all memory.)
//!
//! Owns the registers of these devices and the memory that they write to; both for good. Needs
//! frames, interrupts and the final map; no executor: whoever polls a card or serves a disk gives it a
//! waker; and no heap but for buffers of disks.
//!
//! Features: `net` ([`net`], the network card), `blk` ([`blk`], disks), `rng` (virtio-rng feeds [`random_u64`]).

#![no_std]
#![cfg_attr(
    not(all(feature = "rng", any(feature = "net", feature = "blk"))),
    expect(dead_code, reason = "what drivers need is there, whichever of them are")
)]

#[cfg(feature = "blk")]
extern crate alloc;

#[cfg(feature = "blk")]
pub mod blk;
#[cfg(any(feature = "net", feature = "blk"))]
mod interrupt;
mod memory;
#[cfg(feature = "net")]
pub mod net;
mod pci;
mod random;
mod registers;
#[cfg(feature = "rng")]
mod rng;
mod virtio;

use core::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

#[cfg(feature = "blk")]
use arrayvec::ArrayVec;
pub use random::random_u64;
use virtio_drivers::transport::DeviceType;
use wakeful_hal::{console, machine};

use crate::virtio::{Device, Error, Place};

/// What was found and can be used.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Devices {
    /// The first network card.
    #[cfg(feature = "net")]
    pub net: Option<net::Card>,
    /// The disks, in the order in which they were found: by MMIO, by PCI.
    #[cfg(feature = "blk")]
    pub blk: ArrayVec<blk::Disk, { blk::MAX }>,
}

/// Finds and starts the machine's devices. Once, at boot, on the hart that their interrupts are to
/// go to, with interrupts on. A second call finds nothing: the devices are taken.
pub fn start() -> Devices {
    static STARTED: AtomicBool = AtomicBool::new(false);
    let mut devices = Devices::default();
    if STARTED.swap(true, Ordering::Relaxed) {
        return devices;
    }
    let found = match wakeful_devicetree::devices(machine::device_tree_blob()) {
        Ok(found) => found,
        Err(error) => {
            console::print(format_args!("wakeful: no devices: {error}\n"));
            return devices;
        }
    };
    random::seed(found.rng_seed);
    for place in &found.virtio {
        if let Some((kind, place, device)) = virtio::find(place) {
            devices.take(kind, place, device);
        }
    }
    for host in &found.pci {
        pci::scan(host, |kind, place, device| devices.take(kind, place, device));
    }
    devices
}

/// Whether this image drives such a device.
fn has_driver(kind: DeviceType) -> bool {
    (cfg!(feature = "net") && kind == DeviceType::Network)
        || (cfg!(feature = "blk") && kind == DeviceType::Block)
        || (cfg!(feature = "rng") && kind == DeviceType::EntropySource)
}

impl Devices {
    /// Starts a device that was found, and reports. `device` is asked only for what has a driver.
    fn take(
        &mut self,
        kind: DeviceType,
        place: Place,
        device: impl FnOnce() -> Result<Device, Error>,
    ) {
        let name = Name(kind);
        if !has_driver(kind) {
            let hint = Hint(kind);
            console::print(format_args!("wakeful: {name} at {place}: {hint}\n"));
            return;
        }
        let started = device().and_then(|device| self.start(kind, device));
        match started {
            Ok(Started { interrupt: Some(source), what }) => console::print(format_args!(
                "wakeful: {name} at {place}, interrupt {source}: {what}\n"
            )),
            Ok(Started { interrupt: None, what }) => {
                console::print(format_args!("wakeful: {name} at {place}: {what}\n"));
            }
            Err(error) => {
                console::print(format_args!("wakeful: {name} at {place} is not used: {error}\n"));
            }
        }
    }

    /// Starts a device that has a driver.
    fn start(&mut self, kind: DeviceType, device: Device) -> Result<Started, Error> {
        match kind {
            #[cfg(feature = "net")]
            DeviceType::Network => {
                if self.net.is_some() {
                    return Err(Error::OnePerImage);
                }
                let interrupt = device.interrupt;
                let card = self.net.insert(net::Card::start(device)?);
                Ok(Started { interrupt, what: What::Net { mac: card.mac(), mtu: card.mtu() } })
            }
            #[cfg(feature = "blk")]
            DeviceType::Block => {
                if self.blk.is_full() {
                    return Err(Error::TooManyDisks);
                }
                let interrupt = device.interrupt;
                let disk = blk::Disk::start(device, self.blk.len())?;
                self.blk.push(disk);
                Ok(Started { interrupt, what: What::Blk(disk.geometry()) })
            }
            #[cfg(feature = "rng")]
            DeviceType::EntropySource => {
                Ok(Started { interrupt: None, what: What::Rng { bytes: rng::seed(device)? } })
            }
            _ => {
                let _ = device;
                Err(Error::NoDriver)
            }
        }
    }
}

/// What to say of a device that works.
struct Started {
    interrupt: Option<u32>,
    what: What,
}

enum What {
    #[cfg(feature = "net")]
    Net {
        mac: [u8; 6],
        mtu: usize,
    },
    #[cfg(feature = "blk")]
    Blk(&'static blk::Geometry),
    Rng {
        bytes: usize,
    },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            #[cfg(feature = "net")]
            Self::Net { mac: [a, b, c, d, e, g], mtu } => {
                write!(f, "MAC {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}, MTU {mtu}")
            }
            #[cfg(feature = "blk")]
            Self::Blk(geometry) => {
                let (size, unit) = match geometry.bytes() >> 10 {
                    kib @ ..10_240 => (kib, "KiB"),
                    kib => (kib >> 10, "MiB"),
                };
                let read_only = if geometry.read_only { ", read-only" } else { "" };
                write!(f, "{size} {unit} in blocks of {} bytes{read_only}", geometry.block_size)
            }
            Self::Rng { bytes } => write!(f, "gave {bytes} random bytes"),
        }
    }
}

/// How QEMU calls such a device.
struct Name(DeviceType);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            DeviceType::Network => "virtio-net",
            DeviceType::Block => "virtio-blk",
            DeviceType::Console => "virtio-console",
            DeviceType::EntropySource => "virtio-rng",
            DeviceType::MemoryBalloon => "virtio-balloon",
            DeviceType::ScsiHost => "virtio-scsi",
            DeviceType::_9P => "virtio-9p",
            DeviceType::GPU => "virtio-gpu",
            DeviceType::Input => "virtio-input",
            DeviceType::Socket => "virtio-vsock",
            DeviceType::Crypto => "virtio-crypto",
            DeviceType::Sound => "virtio-sound",
            other => return write!(f, "virtio device of type {}", other as u8),
        })
    }
}

/// What would drive such a device.
struct Hint(DeviceType);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let feature = match self.0 {
            DeviceType::Network => "net",
            DeviceType::Block => "blk",
            DeviceType::EntropySource => "rng",
            _ => return f.write_str("Wakeful has no driver for it"),
        };
        write!(f, "no driver in this image (add the feature `{feature}`)")
    }
}
