//! The one walk over the tree, and what it takes from each node.

use core::ops::Range;

use arrayvec::ArrayVec;

use crate::blob::{Blob, Token, Tokens, is_called};
use crate::cells::{Cells, first_string, number, same, strings, take, text};
use crate::error::{Error, NodeName};
use crate::isa::Isa;
use crate::machine::{Hart, Machine, Mmu};
use crate::memory::{Full, insert};
use crate::plic::{MAX_SOURCES, Plic, assign_contexts};
use crate::properties::{Key, Properties};
use crate::uart::{Uart, UartKind};

/// How deep nodes are entered, the root included. What is deeper is not looked at; real trees
/// have two or three buses inside of each other.
const MAX_DEPTH: usize = 8;

/// How many UARTs are kept until it is known which one is the console.
const MAX_UARTS: usize = 12;

/// How many windows of a bus are looked at. Keeps the work linear: each device is translated
/// through the windows of every bus above it.
const MAX_WINDOWS: usize = 16;

/// Fills in an empty machine.
pub(crate) fn read<'a>(bytes: &'a [u8], machine: &mut Machine<'a>) -> Result<(), Error> {
    let blob = Blob::new(bytes)?;

    for entry in blob.reservations() {
        let name = b"/memreserve/";
        reserve(machine, range(entry?, name)?, name)?;
    }

    let mut walk = Walk {
        machine,
        node: Properties::new(blob.strings),
        path: ArrayVec::new(),
        phandles: ArrayVec::new(),
        contexts: &[],
        stdout_path: &[],
        aliases: None,
        last_isa: (&[], Isa::EMPTY),
        uarts: ArrayVec::new(),
    };
    walk.run(&blob)?;
    walk.resolve(&blob);

    let machine = walk.machine;
    if machine.memory.is_empty() {
        return Err(Error::NoMemory);
    }
    if machine.harts.is_empty() {
        return Err(Error::NoUsableHart { listed: machine.unusable_harts });
    }
    if machine.timebase_hz == 0 {
        return Err(Error::NoTimebase);
    }
    Ok(())
}

/// What a node is, as far as its place says.
#[derive(Clone, Copy)]
enum Kind {
    Root,
    /// A child of the root or of a bus: memory, a device, or a bus.
    Device,
    Chosen,
    Aliases,
    Cpus,
    Cpu,
    /// A child of a hart: its interrupt controller.
    CpuController,
    ReservedMemory,
    /// A child of `/reserved-memory`.
    Reservation,
    /// Nothing inside matters.
    Leaf,
}

impl Kind {
    /// What a child of such a node is; `None` if it does not matter.
    fn child(self, name: &[u8]) -> Option<Self> {
        match self {
            Kind::Root => {
                let known = ROOT_CHILDREN.iter().find(|known| same(name, known.0));
                Some(known.map_or(Kind::Device, |known| known.1))
            }
            Kind::Device => Some(Kind::Device),
            // Beside the harts stand `cpu-map` and the like.
            Kind::Cpus if is_called(name, b"cpu") => Some(Kind::Cpu),
            Kind::Cpu if is_called(name, b"interrupt-controller") => Some(Kind::CpuController),
            Kind::ReservedMemory => Some(Kind::Reservation),
            _ => None,
        }
    }
}

/// The children of the root that are not devices.
const ROOT_CHILDREN: [(&[u8], Kind); 4] = [
    (b"cpus", Kind::Cpus),
    (b"chosen", Kind::Chosen),
    (b"aliases", Kind::Aliases),
    (b"reserved-memory", Kind::ReservedMemory),
];

/// What a `compatible` says about a device.
#[derive(Clone, Copy)]
enum Role {
    /// Its devices can be reached like any memory (§4.5).
    Bus,
    Plic,
    Uart(UartKind),
    Test,
}

const ROLES: [(&[u8], Role); 8] = [
    (b"simple-bus", Role::Bus),
    (b"sifive,plic-1.0.0", Role::Plic),
    (b"riscv,plic0", Role::Plic),
    (b"ns16550a", Role::Uart(UartKind::Ns16550)),
    (b"ns16550", Role::Uart(UartKind::Ns16550)),
    (b"snps,dw-apb-uart", Role::Uart(UartKind::DesignWare)),
    (b"sifive,test0", Role::Test),
    (b"sifive,test1", Role::Test),
];

/// A node that is open.
#[derive(Clone, Copy)]
struct Open<'a> {
    kind: Kind,
    name: &'a [u8],
    /// How the `reg` of its children is written. Known from its first child on, as is the next.
    cells: Cells,
    /// Its `ranges`: how the addresses of its children translate to those of its siblings. Empty
    /// for no difference, which is also assumed where the property is missing.
    ranges: &'a [u8],
}

struct Walk<'m, 'a> {
    machine: &'m mut Machine<'a>,
    /// The properties of the node that is being collected.
    node: Properties<'a>,
    /// The open nodes from the root, without the one whose properties are being collected.
    path: ArrayVec<Open<'a>, MAX_DEPTH>,
    /// Of the interrupt controllers of the machine's harts, in their order.
    phandles: ArrayVec<Option<u32>, 64>,
    /// The `interrupts-extended` of the PLIC.
    contexts: &'a [u8],
    stdout_path: &'a [u8],
    /// Where the properties of `/aliases` start.
    aliases: Option<Tokens<'a>>,
    /// The last hart's `riscv,isa` and what it means: mostly all harts are alike.
    last_isa: (&'a [u8], Isa),
    uarts: ArrayVec<Console<'a>, MAX_UARTS>,
}

/// A UART and the names of the nodes that lead to it, without the root's.
struct Console<'a> {
    path: ArrayVec<&'a [u8], MAX_DEPTH>,
    uart: Uart,
}

impl<'a> Walk<'_, 'a> {
    /// Goes over all tokens.
    // Kept apart: in a frame with the machine, a few kilobytes large, each spilled variable of
    // this loop would take three instructions to reach.
    #[inline(never)]
    fn run(&mut self, blob: &Blob<'a>) -> Result<(), Error> {
        let mut tokens = blob.tokens();
        // The node whose properties are being collected: they stand before its children (§5.4.2).
        let mut current: Option<Open<'a>> = None;
        let mut root = Some(Kind::Root);
        // How many nodes are open from the first one on that does not matter.
        let mut skipping = 0_usize;
        while let Some(token) = tokens.next() {
            match token {
                Token::Property { .. } if skipping > 0 => {}
                Token::Property { name, value } => {
                    if current.is_none() || self.node.keep(name, value).is_none() {
                        break;
                    }
                }
                Token::Begin(_) if skipping > 0 => skipping += 1,
                Token::Begin(name) => {
                    if let Some(mut open) = current.take() {
                        self.complete(&mut open)?;
                        // There is room: no node is opened without.
                        let _ = self.path.try_push(open);
                    }
                    let kind = match self.path.last() {
                        Some(parent) => parent.kind.child(name),
                        None if root.is_some() => root.take(),
                        None => break,
                    };
                    if let Some(kind) = kind
                        && !self.path.is_full()
                    {
                        current = Some(Open { kind, name, cells: Cells::DEFAULT, ranges: &[] });
                        self.node.clear();
                        if let Kind::Aliases = kind {
                            self.aliases = Some(tokens);
                        }
                    } else {
                        skipping = 1;
                    }
                }
                Token::End if skipping > 0 => skipping -= 1,
                Token::End => {
                    if let Some(mut open) = current.take() {
                        self.complete(&mut open)?;
                    } else if self.path.pop().is_none() {
                        break;
                    }
                }
                Token::Done => {
                    let open = current.is_some() || !self.path.is_empty() || skipping > 0;
                    if root.is_some() || open {
                        break;
                    }
                    return Ok(());
                }
            }
        }
        Err(blob.damaged(&tokens))
    }

    /// Takes what matters from the node whose properties are now all known.
    #[inline(never)]
    fn complete(&mut self, open: &mut Open<'a>) -> Result<(), Error> {
        match open.kind {
            Kind::Root => {
                let model = self.node.get(Key::Model);
                let model = model.or_else(|| self.node.get(Key::Compatible));
                self.machine.model = text(model.unwrap_or(&[]));
                open.cells = self.node.cells();
            }
            Kind::Cpus => {
                self.take_timebase();
                open.cells = self.node.cells();
            }
            Kind::Cpu => {
                self.take_timebase();
                if !self.take_hart() {
                    self.machine.unusable_harts = self.machine.unusable_harts.saturating_add(1);
                    open.kind = Kind::Leaf;
                }
            }
            Kind::CpuController => {
                if let Some(phandle) = self.phandles.last_mut() {
                    *phandle = self.node.cell(Key::Phandle);
                }
                open.kind = Kind::Leaf;
            }
            Kind::Chosen => {
                self.take_chosen();
                open.kind = Kind::Leaf;
            }
            Kind::ReservedMemory => open.cells = self.node.cells(),
            Kind::Reservation => {
                let (mut reg, cells) = (self.reg(), self.cells());
                while !reg.is_empty() {
                    let range = take_range(&mut reg, cells, open.name)?;
                    reserve(self.machine, range, open.name)?;
                }
                open.kind = Kind::Leaf;
            }
            Kind::Device if self.path.len() == 1 && self.is_memory(open.name) => {
                let (mut reg, cells) = (self.reg(), self.cells());
                while !reg.is_empty() {
                    let range = take_range(&mut reg, cells, open.name)?;
                    // No place left: less RAM, as documented there.
                    let _ = insert(&mut self.machine.memory, range);
                }
                open.kind = Kind::Leaf;
            }
            Kind::Device => {
                if self.node.okay() && self.take_device(open.name) {
                    open.cells = self.node.cells();
                    open.ranges = self.node.get(Key::Ranges).unwrap_or(&[]);
                } else {
                    open.kind = Kind::Leaf;
                }
            }
            Kind::Aliases | Kind::Leaf => {}
        }
        Ok(())
    }

    /// How the `reg` of the node that is being completed is written.
    fn cells(&self) -> Cells {
        self.path.last().map_or(Cells::DEFAULT, |parent| parent.cells)
    }

    /// The node's `reg`, empty if the node is disabled.
    fn reg(&self) -> &'a [u8] {
        match self.node.get(Key::Reg) {
            Some(reg) if self.node.okay() => reg,
            _ => &[],
        }
    }

    /// `/cpus` has it, or each hart.
    fn take_timebase(&mut self) {
        if self.machine.timebase_hz == 0 {
            let hz = self.node.get(Key::TimebaseFrequency).and_then(number);
            self.machine.timebase_hz = hz.unwrap_or(0);
        }
    }

    /// Adds the hart of this node, if an image in S-mode can use it.
    fn take_hart(&mut self) -> bool {
        let node = &self.node;
        if !node.okay() {
            return false;
        }
        let Some(mmu) = node.get(Key::MmuType).and_then(Mmu::new) else {
            return false;
        };
        let mut reg = node.get(Key::Reg).unwrap_or(&[]);
        let Some(id) = take(&mut reg, self.cells().address) else {
            return false;
        };
        let isa = if let Some(list) = node.get(Key::RiscvIsaExtensions) {
            Isa::from_list(list)
        } else {
            let string = node.get(Key::RiscvIsa).unwrap_or(&[]);
            if !same(string, self.last_isa.0) {
                self.last_isa = (string, Isa::from_string(first_string(string)));
            }
            self.last_isa.1
        };
        let hart = Hart { id, isa, mmu, plic_context: None };
        self.machine.harts.try_push(hart).is_ok() && self.phandles.try_push(None).is_ok()
    }

    fn take_chosen(&mut self) {
        let node = &self.node;
        self.stdout_path = first_string(node.get(Key::StdoutPath).unwrap_or(&[]));
        self.machine.bootargs = text(node.get(Key::Bootargs).unwrap_or(&[]));
        let start = node.get(Key::InitrdStart).and_then(number);
        let end = node.get(Key::InitrdEnd).and_then(number);
        if let (Some(start), Some(end)) = (start, end)
            && start < end
        {
            self.machine.initrd = Some(start..end);
        }
    }

    /// Whether a child of the root is RAM, §3.4.
    fn is_memory(&self, name: &[u8]) -> bool {
        match self.node.get(Key::DeviceType) {
            Some(device_type) => same(device_type, b"memory\0"),
            None => is_called(name, b"memory"),
        }
    }

    /// Takes the device of this node, if it is a known one. Returns whether it is a bus with more
    /// devices.
    fn take_device(&mut self, name: &'a [u8]) -> bool {
        let compatible = self.node.get(Key::Compatible).unwrap_or(&[]);
        // The first string that is known decides: they go from the special to the general.
        let role =
            strings(compatible).find_map(|name| ROLES.iter().find(|known| same(name, known.0)));
        let Some(&(_, role)) = role else {
            return false;
        };
        if let Role::Bus = role {
            return true;
        }
        if let Some((base, size)) = self.registers() {
            match role {
                Role::Plic => self.take_plic(base, size),
                Role::Uart(kind) => self.take_uart(name, kind, base, size),
                Role::Test => {
                    self.machine.test_device.get_or_insert(base);
                }
                Role::Bus => {}
            }
        }
        false
    }

    fn take_plic(&mut self, base: u64, size: u64) {
        if let Some(sources) = self.node.cell(Key::RiscvNdev)
            && self.machine.plic.is_none()
        {
            self.machine.plic = Some(Plic { base, size, sources: sources.min(MAX_SOURCES) });
            self.contexts = self.node.get(Key::InterruptsExtended).unwrap_or(&[]);
        }
    }

    fn take_uart(&mut self, name: &'a [u8], kind: UartKind, base: u64, size: u64) {
        if let Some(uart) = Uart::new(kind, base, size, &self.node) {
            let mut path = ArrayVec::new();
            for name in self.path.iter().skip(1).map(|open| open.name).chain([name]) {
                // There is room: the root is not in it.
                let _ = path.try_push(name);
            }
            // One too many is not the console, unless the tree is very odd.
            let _ = self.uarts.try_push(Console { path, uart });
        }
    }

    /// Address and size of the device's first registers, as a hart sees them.
    fn registers(&self) -> Option<(u64, u64)> {
        let (mut address, size) = self.cells().take_pair(&mut self.node.get(Key::Reg)?)?;
        // From the innermost bus outward; the root has no ranges.
        for pair in self.path.windows(2).rev() {
            let [parent, bus] = pair else { continue };
            if !bus.ranges.is_empty() {
                address = translate(address, bus, parent.cells.address)?;
            }
        }
        Some((address, size))
    }

    /// What could be decided only with the whole tree seen.
    fn resolve(&mut self, blob: &Blob<'a>) {
        assign_contexts(self.contexts, &self.phandles, &mut self.machine.harts);

        let mut uarts = self.uarts.iter();
        let uart = if self.stdout_path.is_empty() {
            uarts.next()
        } else {
            // "serial0:115200n8": what follows the colon is for the driver (§3.6).
            let end = self.stdout_path.iter().position(|&byte| byte == b':');
            let mut path = &self.stdout_path[..end.unwrap_or(self.stdout_path.len())];
            if !path.starts_with(b"/") {
                path = self.alias(blob, path).unwrap_or(&[]);
            }
            uarts.find(|uart| uart.is_at(path))
        };
        self.machine.uart = uart.map(|console| console.uart);
    }

    /// The path that `/aliases` gives a name (§3.3).
    fn alias(&self, blob: &Blob<'a>, alias: &[u8]) -> Option<&'a [u8]> {
        let mut tokens = self.aliases?;
        while let Token::Property { name, value } = tokens.next_slowly()? {
            if same(first_string(blob.strings.get(name as usize..)?), alias) {
                return Some(first_string(value));
            }
        }
        None
    }
}

impl Console<'_> {
    fn is_at(&self, path: &[u8]) -> bool {
        let mut names = self.path.iter();
        let mut components = path.split(|&byte| byte == b'/').skip(1);
        loop {
            match (names.next(), components.next()) {
                (Some(name), Some(component)) if is_called(name, component) => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    }
}

/// Takes a range from the front of a node's `reg`.
#[inline(never)]
fn take_range(reg: &mut &[u8], cells: Cells, name: &[u8]) -> Result<Range<u64>, Error> {
    match cells.take_pair(reg) {
        Some(pair) => range(pair, name),
        None => Err(Error::BadReg { node: NodeName::new(name) }),
    }
}

/// The range of an address and a size. Its end has to be a number as well, so the last byte of
/// the address space is out of reach.
fn range((start, size): (u64, u64), name: &[u8]) -> Result<Range<u64>, Error> {
    match start.checked_add(size) {
        Some(end) => Ok(start..end),
        None => Err(Error::RangeOverflow { node: NodeName::new(name) }),
    }
}

#[inline(never)]
fn reserve(machine: &mut Machine<'_>, range: Range<u64>, name: &[u8]) -> Result<(), Error> {
    insert(&mut machine.reserved, range)
        .map_err(|Full| Error::TooManyReservations { node: NodeName::new(name) })
}

/// Where an address on a bus is seen from the bus's parent (§2.3.8).
fn translate(address: u64, bus: &Open<'_>, parent_cells: u8) -> Option<u64> {
    let mut ranges = bus.ranges;
    for _ in 0..MAX_WINDOWS {
        let child = take(&mut ranges, bus.cells.address)?;
        let parent = take(&mut ranges, parent_cells)?;
        let size = take(&mut ranges, bus.cells.size)?;
        if let Some(offset) = address.checked_sub(child)
            && offset < size
        {
            return parent.checked_add(offset);
        }
    }
    None
}
