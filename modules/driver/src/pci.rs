//! PCI: who is on the first bus, where their registers go, which interrupt they have.
//!
//! No firmware has set anything up on QEMU's `virt`; where one has (U-Boot, EDK2) its work is not
//! relied on. The bus is ours: every function is switched off when it is found, so nothing that the
//! firmware placed is in the way of what we place, and only those with a driver are switched on.
//! Devices behind bridges are not looked for: on the machines that we know they are put there by
//! hand.

#![expect(unsafe_code, reason = "the registers of devices are mapped here")]

use core::{mem::ManuallyDrop, ptr::NonNull};

use arrayvec::ArrayVec;
use memory_addr::PhysAddr;
use virtio_drivers::transport::{
    DeviceType,
    pci::{
        PciTransport, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_CAP_ISR_CFG,
        VIRTIO_PCI_CAP_NOTIFY_CFG,
        bus::{
            BarInfo, Command, ConfigurationAccess, DeviceFunction, DeviceFunctionInfo, HeaderType,
            MemoryBarType, PCI_CAP_ID_VNDR, PciRoot,
        },
        virtio_device_type,
    },
};
use wakeful_devicetree::{PciHost, Space, Window};
use wakeful_hal::{console, layout, paging};

use crate::{
    memory::Memory,
    registers::{Doorbell, InterruptStatus},
    virtio::{Device, Doorbells as AnyDoorbells, Error, Place},
};

/// The configuration space of one bus, in bytes: 32 devices with 8 functions of 4 KiB each (PCI
/// Express base specification, "Enhanced Configuration Access Mechanism").
const BUS_SIZE: u64 = 1 << 20;

/// What a function that is not there reads as.
const NOBODY: u32 = u32::MAX;

/// Words of the configuration space, in bytes from its start (PCI local bus specification 3.0 §6.1).
const CLASS: u8 = 0x08;
const HEADER: u8 = 0x0c;
const INTERRUPT: u8 = 0x3c;

/// Host bridges: class 6, subclass 0 (§D.7). They need no driver.
const HOST_BRIDGE: (u8, u8) = (6, 0);

/// Capabilities of a function that are looked at. 48 of 4 bytes fill the space that they can be in: a
/// longer list goes in circles.
const MAX_CAPABILITIES: usize = 48;

/// The capability of interrupts that are messages, and the bit of its first word that chooses them
/// (§6.8.2).
const MSI_X: u8 = 0x11;
const MSI_X_ENABLE: u32 = 1 << 31;

/// What a virtio device says in a capability (Virtio 1.2 §4.1.4), in bytes from its start.
const CAP_BAR: u8 = 4;
const CAP_OFFSET: u8 = 8;
const CAP_LENGTH: u8 = 12;
const CAP_NOTIFY_MULTIPLIER: u8 = 16;
/// Its smallest length, and that of the one with a multiplier.
const CAP_SIZE: u8 = 16;
const CAP_NOTIFY_SIZE: u8 = 20;

/// `queue_select` and `queue_notify_off` of the common configuration (Virtio 1.2 §4.1.4.3), and its
/// size, in bytes.
const QUEUE_SELECT: usize = 0x16;
const QUEUE_NOTIFY_OFF: usize = 0x1e;
const COMMON_SIZE: u32 = 0x38;

/// Looks at all functions of the first bus. `found` gets each virtio device, and what prepares it.
pub(crate) fn scan(
    host: &PciHost<'_>,
    mut found: impl FnMut(DeviceType, Place, &mut dyn FnMut() -> Result<Device, Error>),
) {
    let size = host.ecam_size.min(BUS_SIZE);
    // With the second bus it is one large page, which is sooner mapped than 256 small ones.
    let mapped = host.ecam_size.min(2 * BUS_SIZE);
    let Ok(ecam) = paging::map_device(PhysAddr::from(host.ecam as usize), mapped as usize) else {
        return console::print(format_args!("wakeful: PCI: its registers cannot be mapped\n"));
    };
    let Some(base) = NonNull::new(ecam.as_mut_ptr()).filter(|_| host.ecam.is_multiple_of(4)) else {
        return;
    };
    let ecam = Ecam { base: base.cast(), words: size as usize / 4 };
    let mut bus = Bus {
        ecam,
        root: PciRoot::new(ecam),
        rooms: host.windows.iter().copied().filter_map(Room::new).collect(),
    };
    for device in 0..32 {
        for function in 0..8 {
            let at = DeviceFunction { bus: 0, device, function };
            let Some(header) = bus.switch_off(at) else {
                if function == 0 {
                    break; // nobody here (§3.2.2.3.4)
                }
                continue;
            };
            match virtio_device_type(&header.info) {
                Some(kind) => found(kind, Place::Pci { device, function }, &mut || {
                    bus.start(at, |pin| host.interrupt(device, function, pin))
                }),
                None => header.report(at),
            }
            if !header.has_functions {
                break;
            }
        }
    }
}

struct Header {
    info: DeviceFunctionInfo,
    /// Whether there may be more functions than the first.
    has_functions: bool,
}

impl Header {
    /// Says what is not a virtio device.
    fn report(&self, at: DeviceFunction) {
        let DeviceFunctionInfo { vendor_id, device_id, class, subclass, .. } = self.info;
        let what = match self.info.header_type {
            _ if (class, subclass) == HOST_BRIDGE => return,
            HeaderType::PciPciBridge | HeaderType::PciCardbusBridge => {
                "a bridge; what is behind it is not looked for"
            }
            HeaderType::Standard | HeaderType::Unrecognised(_) => "Wakeful has no driver for it",
        };
        console::print(format_args!(
            "wakeful: PCI device {vendor_id:04x}:{device_id:04x} at {at}: {what}\n"
        ));
    }
}

struct Bus {
    /// For what `root` has no function for.
    ecam: Ecam,
    root: PciRoot<Ecam>,
    rooms: ArrayVec<Room, 8>,
}

impl Bus {
    /// Lets a function answer to nothing but its configuration, if it is there, and says what it is.
    fn switch_off(&mut self, at: DeviceFunction) -> Option<Header> {
        let id = self.ecam.read_word(at, 0);
        if id == NOBODY {
            return None;
        }
        let (class, header) =
            (self.ecam.read_word(at, CLASS), self.ecam.read_word(at, HEADER) >> 16);
        let header = Header {
            info: DeviceFunctionInfo {
                vendor_id: id as u16,
                device_id: (id >> 16) as u16,
                class: (class >> 24) as u8,
                subclass: (class >> 16) as u8,
                prog_if: (class >> 8) as u8,
                revision: class as u8,
                header_type: HeaderType::from(header as u8 & 0x7f),
            },
            has_functions: header & 0x80 != 0,
        };
        if (header.info.class, header.info.subclass) != HOST_BRIDGE {
            self.root.set_command(at, Command::INTERRUPT_DISABLE);
        }
        Some(header)
    }

    /// Gives a function its addresses and switches it on.
    fn start(
        &mut self,
        at: DeviceFunction,
        interrupt: impl FnOnce(u8) -> Option<u32>,
    ) -> Result<Device, Error> {
        let bars = self.place_bars(at)?;
        self.root.set_command(at, Command::MEMORY_SPACE | Command::BUS_MASTER);
        let device = self.transport(at, &bars, interrupt);
        if device.is_err() {
            self.root.set_command(at, Command::INTERRUPT_DISABLE);
        }
        device
    }

    /// Finds a place for all its memory, and says where it is: address and size by number of the base
    /// address register.
    fn place_bars(&mut self, at: DeviceFunction) -> Result<[(u64, u64); 6], Error> {
        let mut placed = [(0, 0); 6];
        let bars = self.root.bars(at).map_err(|error| Error::Pci(error.into()))?;
        for (index, bar) in bars.iter().enumerate() {
            // Ports stay off: a modern device has all it needs in memory.
            let Some(BarInfo::Memory { address_type, size, .. }) = *bar else { continue };
            let wide = address_type == MemoryBarType::Width64;
            // Those that can be anywhere go high, where there is more room.
            let rooms = self.rooms.iter_mut();
            let mut address = None;
            if wide {
                let mut high = rooms.filter(|room| room.wide);
                address = high.find_map(|room| room.take(size));
            }
            let address = address
                .or_else(|| {
                    self.rooms.iter_mut().filter(|room| !room.wide).find_map(|room| room.take(size))
                })
                .ok_or(Error::PciNoPlace { size })?;
            match wide {
                true => self.root.set_bar_64(at, index as u8, address),
                // It is from a window below 4 GiB.
                false => self.root.set_bar_32(at, index as u8, address as u32),
            }
            paging::map_device(PhysAddr::from(address as usize), size as usize)
                .map_err(|_| Error::NotMapped)?;
            placed[index] = (address, size);
        }
        Ok(placed)
    }

    fn transport(
        &mut self,
        at: DeviceFunction,
        bars: &[(u64, u64); 6],
        interrupt: impl FnOnce(u8) -> Option<u32>,
    ) -> Result<Device, Error> {
        // The library believes what the capabilities say: they are checked here before it reads them.
        let (mut common, mut notify, mut status) = (None, None, None);
        for (count, capability) in self.root.capabilities(at).enumerate() {
            if count == MAX_CAPABILITIES {
                return Err(Error::PciCapabilities);
            }
            if capability.id == MSI_X {
                // Interrupts come by the pin, whatever the firmware used.
                let word = self.ecam.read_word(at, capability.offset);
                self.ecam.write_word(at, capability.offset, word & !MSI_X_ENABLE);
            }
            let [length, kind] = capability.private_header.to_le_bytes();
            if capability.id != PCI_CAP_ID_VNDR || length < CAP_SIZE {
                continue;
            }
            // None may end behind the 256 bytes that there are.
            let last = capability.offset.checked_add(CAP_NOTIFY_SIZE);
            let read = |field| self.ecam.read_word(at, capability.offset + field);
            if last.is_none() {
                return Err(Error::PciCapabilities);
            }
            if !(VIRTIO_PCI_CAP_COMMON_CFG..=VIRTIO_PCI_CAP_DEVICE_CFG).contains(&kind) {
                continue;
            }
            let bar = bars.get(usize::from(read(CAP_BAR) as u8));
            let &(address, size) = bar.ok_or(Error::PciCapabilities)?;
            let (offset, length_there) = (read(CAP_OFFSET), read(CAP_LENGTH));
            let end = offset.checked_add(length_there).ok_or(Error::PciCapabilities)?;
            if u64::from(end) > size || length_there == 0 {
                return Err(Error::PciCapabilities);
            }
            let start = layout::phys_to_virt(PhysAddr::from(address as usize)).as_mut_ptr();
            let region = Region {
                // SAFETY: within the base address register's range, which is mapped.
                start: NonNull::new(unsafe { start.byte_add(offset as usize) })
                    .ok_or(Error::PciCapabilities)?,
                size: length_there,
            };
            // The first of a kind is preferred (Virtio 1.2 §4.1.4.1).
            match kind {
                VIRTIO_PCI_CAP_COMMON_CFG
                    if region.size >= COMMON_SIZE && offset.is_multiple_of(4) =>
                {
                    common.get_or_insert(region);
                }
                VIRTIO_PCI_CAP_NOTIFY_CFG
                    if length >= CAP_NOTIFY_SIZE && offset.is_multiple_of(2) =>
                {
                    notify.get_or_insert((region, read(CAP_NOTIFY_MULTIPLIER)));
                }
                VIRTIO_PCI_CAP_ISR_CFG => {
                    status.get_or_insert(region);
                }
                _ => {}
            }
        }
        let transport = PciTransport::new::<Memory, _>(&mut self.root, at).map_err(Error::Pci)?;
        let (Some(common), Some((notify, multiplier)), Some(status)) = (common, notify, status)
        else {
            return Err(Error::PciCapabilities);
        };
        let pin = (self.ecam.read_word(at, INTERRUPT) >> 8) as u8;
        Ok(Device {
            transport: ManuallyDrop::new(transport.into()),
            interrupt: interrupt(pin),
            status: InterruptStatus::Pci(status.start),
            doorbells: AnyDoorbells::Pci(Doorbells { common: common.start, notify, multiplier }),
        })
    }
}

/// A window, as far as it is free.
struct Room {
    next: u64,
    end: u64,
    /// For 64-bit base address registers only.
    wide: bool,
}

impl Room {
    /// The library takes what a device sees for what a hart sees: other windows are of no use.
    fn new(window: Window) -> Option<Self> {
        let wide = match window.space {
            Space::Io => return None,
            Space::Memory32 => false,
            Space::Memory64 => true,
        };
        let end = window.pci.checked_add(window.size)?;
        let reach = if wide { layout::LINEAR_SIZE as u64 } else { 1 << 32 };
        if window.pci != window.cpu || end > reach {
            return None;
        }
        // A base address of 0 means none.
        Some(Self { next: window.pci.max(layout::PAGE_SIZE as u64), end, wide })
    }

    /// Takes a place for registers: aligned to their size, and a page at least, as pages are mapped.
    fn take(&mut self, size: u64) -> Option<u64> {
        if !size.is_power_of_two() {
            return None;
        }
        let align = size.max(layout::PAGE_SIZE as u64);
        let start = self.next.checked_next_multiple_of(align)?;
        let end = start.checked_add(align).filter(|&end| end <= self.end)?;
        self.next = end;
        Some(start)
    }
}

/// A part of the registers.
#[derive(Debug, Clone, Copy)]
struct Region {
    start: NonNull<u8>,
    size: u32,
}

/// Where a device's doorbells are.
#[derive(Debug)]
pub(crate) struct Doorbells {
    common: NonNull<u8>,
    notify: Region,
    /// Bytes from one doorbell to the next.
    multiplier: u32,
}

impl Doorbells {
    /// The doorbell of a queue (Virtio 1.2 §4.1.4.4), if it is where it may be.
    pub(crate) fn get(&self, queue: u16) -> Option<Doorbell> {
        // SAFETY: both are within the common configuration, and aligned to 2.
        let number = unsafe {
            self.common.byte_add(QUEUE_SELECT).cast::<u16>().write_volatile(queue);
            self.common.byte_add(QUEUE_NOTIFY_OFF).cast::<u16>().read_volatile()
        };
        let offset = u32::from(number).checked_mul(self.multiplier)?;
        if offset.checked_add(2)? > self.notify.size || !offset.is_multiple_of(2) {
            return None;
        }
        // SAFETY: within the region; aligned, as its start is.
        Some(unsafe { Doorbell::new(self.notify.start.byte_add(offset as usize), false, queue) })
    }
}

/// The configuration space of the first bus.
#[derive(Debug, Clone, Copy)]
struct Ecam {
    base: NonNull<u32>,
    words: usize,
}

impl Ecam {
    fn word(&self, at: DeviceFunction, register: u8) -> Option<NonNull<u32>> {
        let function =
            usize::from(at.bus) << 8 | usize::from(at.device) << 3 | usize::from(at.function);
        let index = (function << 12 | usize::from(register)) / 4;
        // SAFETY: within the space, as checked.
        (index < self.words).then(|| unsafe { self.base.add(index) })
    }
}

impl ConfigurationAccess for Ecam {
    fn read_word(&self, at: DeviceFunction, register: u8) -> u32 {
        // SAFETY: `scan` has mapped it.
        self.word(at, register).map_or(NOBODY, |word| unsafe { word.read_volatile() })
    }

    fn write_word(&mut self, at: DeviceFunction, register: u8, data: u32) {
        if let Some(word) = self.word(at, register) {
            // SAFETY: as above.
            unsafe { word.write_volatile(data) };
        }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        *self
    }
}
