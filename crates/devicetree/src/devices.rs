//! The devices that drivers ask for: a walk of its own, after boot.
//!
//! Most images drive no device but the console, and the walk at boot is counted in instructions.
//! So what only drivers want to know is read here, in a second walk, by those who link one. It
//! trusts the blob as little as the first: bounded lists, linear work, no panic.

use arrayvec::ArrayVec;

use crate::blob::{Blob, Token};
use crate::cells::{Cells, same, strings, take, u32_at};
use crate::error::Error;
use crate::plic::MAX_SOURCES;

/// How deep nodes are entered, the root included, as in the walk at boot.
const MAX_DEPTH: usize = 8;

/// How many windows of a bus, and how many entries of an `interrupt-map`, are looked at. Keeps the
/// work linear. (A map has 4 pins for each of up to 32 devices.)
const MAX_WINDOWS: usize = 16;
const MAX_ROUTES: usize = 128;

/// What drivers ask the device tree for. All addresses are physical, as a hart sees them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Devices<'a> {
    /// The places of virtio devices (`virtio,mmio`), in the order of the tree. Many are empty: only
    /// their registers say so. The first 32.
    pub virtio: ArrayVec<VirtioMmio, 32>,
    /// The PCI host bridges whose configuration space is memory (`pci-host-ecam-generic`). The
    /// first 4.
    pub pci: ArrayVec<PciHost<'a>, 4>,
    /// Random bytes from the loader (`rng-seed` of `/chosen`), empty if there are none. Whoever
    /// could read the tree before knows them.
    pub rng_seed: &'a [u8],
}

/// Where a virtio device may be (Virtio 1.2 §4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioMmio {
    /// Where its registers start.
    pub base: u64,
    /// How many bytes they take.
    pub size: u64,
    /// Its source at the PLIC.
    pub interrupt: Option<u32>,
}

/// A PCI host bridge with an enhanced configuration space (binding `host-generic-pci`).
#[derive(Clone, Debug, PartialEq)]
pub struct PciHost<'a> {
    /// Where the configuration space of its first bus starts: 4 KiB for each function.
    pub ecam: u64,
    /// How many bytes the configuration space takes: 1 MiB for each bus.
    pub ecam_size: u64,
    /// Where the registers of devices can be put; the first 8.
    pub windows: ArrayVec<Window, 8>,
    interrupt_map: &'a [u8],
    interrupt_map_mask: &'a [u8],
    /// The phandle of the PLIC, and how many cells an address takes there.
    plic: Option<(u32, u8)>,
}

/// A range of addresses that a PCI host bridge passes on to its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// What kind of registers may be put there.
    pub space: Space,
    /// Its start as devices see it: what their base address registers are set to.
    pub pci: u64,
    /// Its start as a hart sees it.
    pub cpu: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// The kinds of PCI addresses (IEEE 1275 PCI binding §2.2.1.1, `ss`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Ports of the old kind.
    Io,
    /// Memory that a 32-bit base address register can name.
    Memory32,
    /// Memory that only a 64-bit base address register can name.
    Memory64,
}

impl PciHost<'_> {
    /// The source at the PLIC of a device on the first bus that interrupts through `pin` (1 to 4
    /// for INTA to INTD).
    #[must_use]
    pub fn interrupt(&self, device: u8, function: u8, pin: u8) -> Option<u32> {
        let (plic, plic_address_cells) = self.plic?;
        // Three cells of address, of which the first says bus, device and function, and the pin
        // (IEEE 1275 PCI binding §2.2.1.1, §4.1). Without a mask all of it counts.
        let unit = u32::from(device) << 11 | u32::from(function) << 8;
        let wanted = [unit, 0, 0, u32::from(pin)];
        let mask = |cell: usize| u32_at(self.interrupt_map_mask, cell * 4).unwrap_or(u32::MAX);
        let mut map = self.interrupt_map;
        for _ in 0..MAX_ROUTES {
            let mut fits = true;
            for (cell, &wanted) in wanted.iter().enumerate() {
                let entry = take(&mut map, 1)? as u32;
                fits &= (entry ^ wanted) & mask(cell) == 0;
            }
            // How long the rest of an entry is, is said by the controller that it leads to.
            if take(&mut map, 1)? as u32 != plic {
                return None;
            }
            map = map.get(usize::from(plic_address_cells) * 4..)?;
            let source = take(&mut map, 1)? as u32;
            if fits {
                return (1..=MAX_SOURCES).contains(&source).then_some(source);
            }
        }
        None
    }
}

/// Finds the devices that drivers ask for.
///
/// # Errors
///
/// If the blob is damaged. A device that is described badly, and one too many, is not there.
pub fn devices(blob: &[u8]) -> Result<Devices<'_>, Error> {
    let blob = Blob::new(blob)?;
    let mut devices = Devices::default();
    let mut plic = None;

    let mut names = Names::new(blob.strings);
    let mut tokens = blob.tokens();
    let mut path = ArrayVec::<Bus<'_>, MAX_DEPTH>::new();
    let mut node: Option<Node<'_>> = None;
    // How many nodes are open from the first one on that does not matter.
    let mut skipping = 0_usize;
    let mut root_seen = false;
    while let Some(token) = tokens.next_slowly() {
        match token {
            Token::Property { .. } if skipping > 0 => {}
            Token::Property { name, value } => {
                let Some(node) = &mut node else { break };
                if let Some(kept) = node.values.get_mut(names.key(name)) {
                    *kept = Some(value);
                }
            }
            Token::Begin(_) if skipping > 0 => skipping += 1,
            Token::Begin(name) => {
                let entered = match node.take() {
                    // The parent's properties are complete: they stand before its children.
                    Some(parent) => match parent.complete(&path, &mut devices, &mut plic) {
                        Some(bus) => path.try_push(bus).is_ok(),
                        None => {
                            // Its end is that of a node that is skipped.
                            skipping = 1;
                            false
                        }
                    },
                    None if path.is_empty() && root_seen => break,
                    None => true,
                };
                root_seen = true;
                if entered && !path.is_full() {
                    node = Some(Node::new(name));
                } else {
                    skipping += 1;
                }
            }
            Token::End if skipping > 0 => skipping -= 1,
            Token::End => {
                if let Some(node) = node.take() {
                    node.complete(&path, &mut devices, &mut plic);
                } else if path.pop().is_none() {
                    break;
                }
            }
            Token::Done => {
                if !root_seen || node.is_some() || !path.is_empty() || skipping > 0 {
                    break;
                }
                for host in &mut devices.pci {
                    host.plic = plic;
                }
                return Ok(devices);
            }
        }
    }
    Err(blob.damaged(&tokens))
}

/// A node that is open and whose children matter: the root or a simple bus.
struct Bus<'a> {
    /// How the `reg` of its children is written.
    cells: Cells,
    /// How the addresses of its children translate to those of its siblings. Empty for no
    /// difference, which is also assumed where the property is missing.
    ranges: &'a [u8],
}

/// The properties that matter here. Their order is that of [`NAMES`].
#[derive(Clone, Copy)]
enum Key {
    AddressCells,
    SizeCells,
    Compatible,
    Reg,
    Status,
    Ranges,
    Phandle,
    Interrupts,
    InterruptsExtended,
    InterruptMap,
    InterruptMapMask,
    RngSeed,
}

const NAMES: [&[u8]; 12] = [
    b"#address-cells\0",
    b"#size-cells\0",
    b"compatible\0",
    b"reg\0",
    b"status\0",
    b"ranges\0",
    b"phandle\0",
    b"interrupts\0",
    b"interrupts-extended\0",
    b"interrupt-map\0",
    b"interrupt-map-mask\0",
    b"rng-seed\0",
];

/// Which key's name stands where in the strings block. Names are compared once per place: a tree
/// repeats few names many times.
struct Names<'a> {
    strings: &'a [u8],
    /// A place and its key, by the lower bits of the place.
    known: [(u32, u8); 64],
}

impl<'a> Names<'a> {
    fn new(strings: &'a [u8]) -> Self {
        Self { strings, known: [(u32::MAX, 0); 64] }
    }

    /// The key, [`NAMES`]`.len()` for another name.
    fn key(&mut self, name: u32) -> usize {
        let known = &mut self.known[name as usize % 64];
        if known.0 != name {
            let here = self.strings.get(name as usize..).unwrap_or(&[]);
            let key = NAMES.iter().position(|name| here.starts_with(name));
            *known = (name, key.unwrap_or(NAMES.len()) as u8);
        }
        known.1.into()
    }
}

/// What a `compatible` says about a node.
#[derive(Clone, Copy)]
enum Role {
    Bus,
    Plic,
    Virtio,
    Pci,
}

const ROLES: [(&[u8], Role); 5] = [
    (b"simple-bus", Role::Bus),
    (b"sifive,plic-1.0.0", Role::Plic),
    (b"riscv,plic0", Role::Plic),
    (b"virtio,mmio", Role::Virtio),
    (b"pci-host-ecam-generic", Role::Pci),
];

/// A node whose properties are being collected.
struct Node<'a> {
    name: &'a [u8],
    values: [Option<&'a [u8]>; NAMES.len()],
}

impl<'a> Node<'a> {
    fn new(name: &'a [u8]) -> Self {
        Self { name, values: [None; NAMES.len()] }
    }

    fn get(&self, key: Key) -> Option<&'a [u8]> {
        self.values[key as usize]
    }

    fn cell(&self, key: Key) -> Option<u32> {
        u32_at(self.get(key)?, 0)
    }

    /// The first string that is known decides: they go from the special to the general.
    fn role(&self) -> Option<Role> {
        strings(self.get(Key::Compatible)?)
            .find_map(|name| ROLES.iter().find(|known| same(name, known.0)))
            .map(|known| known.1)
    }

    fn cells(&self) -> Cells {
        Cells::new(self.get(Key::AddressCells), self.get(Key::SizeCells))
    }

    /// Takes what matters from the node, whose properties are now all known. Its children matter if
    /// it is a bus.
    fn complete(
        &self,
        path: &[Bus<'a>],
        devices: &mut Devices<'a>,
        plic: &mut Option<(u32, u8)>,
    ) -> Option<Bus<'a>> {
        if path.is_empty() {
            return Some(Bus { cells: self.cells(), ranges: &[] });
        }
        if path.len() == 1 && self.name == b"chosen" {
            devices.rng_seed = self.get(Key::RngSeed).unwrap_or(&[]);
            return None;
        }
        // §2.3.4.
        let status = self.get(Key::Status).unwrap_or(b"okay\0");
        if !same(status, b"okay\0") && !same(status, b"ok\0") {
            return None;
        }
        match self.role()? {
            Role::Bus => {
                let ranges = self.get(Key::Ranges).unwrap_or(&[]);
                return Some(Bus { cells: self.cells(), ranges });
            }
            Role::Virtio => {
                let (base, size) = self.registers(path)?;
                let place = VirtioMmio { base, size, interrupt: self.interrupt() };
                // One too many is not there.
                let _ = devices.virtio.try_push(place);
            }
            Role::Pci => {
                let (ecam, ecam_size) = self.registers(path)?;
                let host = PciHost {
                    ecam,
                    ecam_size,
                    windows: self.windows(path),
                    interrupt_map: self.get(Key::InterruptMap).unwrap_or(&[]),
                    interrupt_map_mask: self.get(Key::InterruptMapMask).unwrap_or(&[]),
                    // The PLIC may come later.
                    plic: None,
                };
                let _ = devices.pci.try_push(host);
            }
            Role::Plic => {
                if plic.is_none() {
                    // As Linux, which takes no cells for a controller that does not say.
                    let cells = self.cell(Key::AddressCells).unwrap_or(0);
                    *plic =
                        Some((self.cell(Key::Phandle)?, u8::try_from(cells).unwrap_or(u8::MAX)));
                }
            }
        }
        None
    }

    /// The first source of the device at its interrupt controller, which is the PLIC: machines with
    /// another one have no handlers.
    fn interrupt(&self) -> Option<u32> {
        let extended = || u32_at(self.get(Key::InterruptsExtended)?, 4);
        let source = self.cell(Key::Interrupts).or_else(extended)?;
        (1..=MAX_SOURCES).contains(&source).then_some(source)
    }

    /// Address and size of the device's first registers, as a hart sees them.
    fn registers(&self, path: &[Bus<'a>]) -> Option<(u64, u64)> {
        let (address, size) = path.last()?.cells.take_pair(&mut self.get(Key::Reg)?)?;
        let address = translate(address, path)?;
        address.checked_add(size).map(|_| (address, size))
    }

    /// The windows of a PCI host bridge (IEEE 1275 PCI binding §4.1.1): an address there of three
    /// cells, an address here, a size.
    fn windows(&self, path: &[Bus<'a>]) -> ArrayVec<Window, 8> {
        let mut windows = ArrayVec::new();
        let mut ranges = self.get(Key::Ranges).unwrap_or(&[]);
        let parent_cells = path.last().map_or(Cells::DEFAULT, |parent| parent.cells).address;
        let size_cells = self.cells().size;
        let mut next = || {
            let kind = take(&mut ranges, 1)?;
            let pci = take(&mut ranges, 2)?;
            let cpu = take(&mut ranges, parent_cells)?;
            let size = take(&mut ranges, size_cells)?;
            Some((kind, pci, cpu, size))
        };
        while let Some((kind, pci, cpu, size)) = next() {
            let space = match kind >> 24 & 3 {
                1 => Space::Io,
                2 => Space::Memory32,
                3 => Space::Memory64,
                _ => continue, // configuration space
            };
            let whole = pci.checked_add(size).is_some();
            if let Some(cpu) = translate(cpu, path)
                && whole
                && cpu.checked_add(size).is_some()
                && windows.try_push(Window { space, pci, cpu, size }).is_err()
            {
                break;
            }
        }
        windows
    }
}

/// Where an address on the innermost bus of a path is seen by a hart (§2.3.8).
fn translate(mut address: u64, path: &[Bus<'_>]) -> Option<u64> {
    for pair in path.windows(2).rev() {
        let [parent, bus] = pair else { continue };
        if bus.ranges.is_empty() {
            continue;
        }
        let mut ranges = bus.ranges;
        let window = (0..MAX_WINDOWS).find_map(|_| {
            let window = || {
                let child = take(&mut ranges, bus.cells.address)?;
                let seen = take(&mut ranges, parent.cells.address)?;
                Some((child, seen, take(&mut ranges, bus.cells.size)?))
            };
            let (child, seen, size) = { window }()?;
            let offset = address.checked_sub(child)?;
            (offset < size).then(|| seen.checked_add(offset))
        });
        address = window??;
    }
    Some(address)
}
