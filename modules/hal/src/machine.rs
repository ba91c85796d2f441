//! What the machine is: the facts of its device tree, read once at boot.

use core::{
    cell::UnsafeCell,
    fmt,
    mem::MaybeUninit,
    ops::Range,
    slice,
    sync::atomic::{AtomicBool, Ordering},
};

use arrayvec::ArrayVec;
use memory_addr::{MemoryAddr, PhysAddr};
use wakeful_devicetree as devicetree;
pub use wakeful_devicetree::{Hart, Isa, Machine, Mmu, Plic, Uart, UartKind};

use crate::{
    hart,
    layout::{self, LARGE_PAGE_SIZE, LINEAR_SIZE, image, phys_to_virt},
};

/// The most harts that one image uses; further ones stay stopped.
pub const MAX_HARTS: usize = 64;

/// Written in place, once: it is large, and moving it about would be a tenth of boot.
static FACTS: FactsCell =
    FactsCell { facts: UnsafeCell::new(MaybeUninit::uninit()), known: AtomicBool::new(false) };

struct FactsCell {
    facts: UnsafeCell<MaybeUninit<Facts>>,
    /// From now on nobody writes.
    known: AtomicBool,
}

// SAFETY: written by `discover` alone, which needs the one `Entry`, while `known` is false; shared
// references are made only after that.
unsafe impl Sync for FactsCell {}

struct Facts {
    machine: Machine<'static>,
    device_tree: Range<usize>,
    /// RAM that nobody has.
    free: ArrayVec<Range<usize>, 64>,
}

impl Facts {
    fn new() -> Self {
        Self { machine: Machine::new(), device_tree: 0..0, free: ArrayVec::new_const() }
    }

    fn read(&mut self, address: usize, blob: &'static [u8]) -> Result<(), Error> {
        self.machine.read(blob)?;
        self.device_tree = address..address + blob.len();
        let taken = [image::physical(), self.device_tree.clone()]
            .map(|range| range.start as u64..range.end as u64);
        let holds_image = |ram: &Range<u64>| ram.start <= taken[0].start && taken[0].end <= ram.end;
        if !self.machine.memory.iter().any(holds_image) {
            return Err(Error::ImageOutsideMemory(image::physical()));
        }
        for range in &self.machine.free_memory(&taken) {
            let range = range.start as usize..range.end.min(LINEAR_SIZE as u64) as usize;
            if !range.is_empty() {
                self.free.push(range);
            }
        }
        Ok(())
    }
}

fn known_facts() -> Option<&'static Facts> {
    let known = FACTS.known.load(Ordering::Acquire);
    // SAFETY: see `FactsCell`: `known` says that they are written.
    known.then(|| unsafe { (*FACTS.facts.get()).assume_init_ref() })
}

fn facts() -> &'static Facts {
    known_facts().expect("the machine is discovered first")
}

/// The facts of this machine, if they are known yet.
pub(crate) fn known() -> Option<&'static Machine<'static>> {
    known_facts().map(|facts| &facts.machine)
}

/// What the entry code hands to Rust. Having one means: this is the boot hart, early.
#[derive(Debug)]
pub struct Entry {
    device_tree: usize,
}

impl Entry {
    /// # Safety
    ///
    /// To be called once, by the function that `entry.rs` jumps to, with that function's arguments.
    pub unsafe fn new(hart: usize, device_tree: usize, image: usize) -> Self {
        layout::set_image_base(image);
        hart::set_boot_hart(hart);
        Self { device_tree }
    }
}

/// Why the machine cannot be used.
#[derive(Debug)]
pub enum Error {
    /// The loader passed no device tree: `a1` does not point to readable memory.
    NoDeviceTree(usize),
    /// The device tree cannot be used.
    DeviceTree(devicetree::Error),
    /// The image is not in the RAM that the device tree describes: one of them is wrong.
    ImageOutsideMemory(Range<usize>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDeviceTree(address) => {
                write!(
                    f,
                    "no device tree at {address:#x}: the loader must pass its physical address \
                     in a1 (with U-Boot use booti, not go)"
                )
            }
            Self::DeviceTree(error) => error.fmt(f),
            Self::ImageOutsideMemory(image) => write!(
                f,
                "the image is at {:#x} to {:#x}, where the device tree has no memory",
                image.start, image.end
            ),
        }
    }
}

impl From<devicetree::Error> for Error {
    fn from(error: devicetree::Error) -> Self {
        Self::DeviceTree(error)
    }
}

/// Reads the device tree. Afterwards [`machine`] answers.
pub fn discover(entry: Entry) -> Result<&'static Machine<'static>, Error> {
    let address = entry.device_tree;
    // The specification asks for 8 (Devicetree v0.4 §5.1); null is what a loader without one passes.
    if address == 0
        || !address.is_multiple_of(8)
        || address > LINEAR_SIZE - devicetree::MAX_BLOB_LEN
    {
        return Err(Error::NoDeviceTree(address));
    }
    let start = phys_to_virt(PhysAddr::from(address)).as_ptr();
    // SAFETY: the boot map covers all of physical memory that the check above lets through. That
    // RAM is there is the loader's word; if it is not, an access fault says so.
    let header = unsafe { &*start.cast::<[u8; 8]>() };
    let len = devicetree::blob_len(header).map_err(|error| match error {
        devicetree::Error::NotADeviceTree { .. } => Error::NoDeviceTree(address),
        error => Error::DeviceTree(error),
    })?;
    // SAFETY: as above. The tree is reserved in `free_memory` and nobody writes to it.
    let blob = unsafe { slice::from_raw_parts(start, len) };
    // SAFETY: nobody else: see `FactsCell`.
    unsafe { &mut *FACTS.facts.get() }.write(Facts::new()).read(address, blob)?;
    FACTS.known.store(true, Ordering::Release);
    Ok(machine())
}

/// The facts of this machine.
///
/// # Panics
///
/// Before [`discover`].
pub fn machine() -> &'static Machine<'static> {
    &facts().machine
}

/// Free RAM in whole large pages, in ascending order, within the linear map. The rest comes from
/// [`paging::map_more`](crate::paging::map_more).
pub fn free_memory(_: &'static Machine<'static>) -> impl Iterator<Item = Range<PhysAddr>> {
    large_parts().map(|range| PhysAddr::from(range.start)..PhysAddr::from(range.end))
}

/// Free RAM in whole large pages.
pub(crate) fn large_parts() -> impl Iterator<Item = Range<usize>> {
    facts().free.iter().map(|range| split(range)[1].clone()).filter(|part| !part.is_empty())
}

/// The ends of free ranges that share a large page with something else: each less than that.
pub(crate) fn crumbs() -> impl Iterator<Item = Range<usize>> {
    let ends = facts().free.iter().flat_map(|range| {
        let [head, _, tail] = split(range);
        [head, tail]
    });
    ends.filter(|part| !part.is_empty())
}

/// Up to the first large page; the large pages; what is behind the last.
fn split(range: &Range<usize>) -> [Range<usize>; 3] {
    let first = range.start.next_multiple_of(LARGE_PAGE_SIZE).min(range.end);
    let last = range.end.align_down(LARGE_PAGE_SIZE).max(first);
    [range.start..first, first..last, last..range.end]
}

/// Where the device tree lies.
pub(crate) fn device_tree() -> Range<usize> {
    facts().device_tree.clone()
}

/// The flattened device tree: for drivers, which ask it for more than [`machine`] knows.
///
/// # Panics
///
/// Before [`discover`].
pub fn device_tree_blob() -> &'static [u8] {
    let range = device_tree();
    let start = phys_to_virt(PhysAddr::from(range.start)).as_ptr();
    // SAFETY: the tree that `discover` read, mapped before and after `paging::init`. It is reserved in
    // `free_memory` and nobody writes to it.
    unsafe { slice::from_raw_parts(start, range.len()) }
}
