//! The final map: who may do what where. Replaces the boot map, which allows too much.
//!
//! One Sv39 table for all harts, built through [`page_table_multiarch`], which presets the A and D
//! bits. Nothing is both writable and executable, under any name: of RAM the linear map has what is
//! free and nothing else, so neither the image nor what the firmware keeps for itself. See
//! [`layout`](crate::layout) for the picture.

use core::{
    arch::asm,
    mem::ManuallyDrop,
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

use memory_addr::{MemoryAddr, PhysAddr, VirtAddr};
use page_table_multiarch::{
    MappingFlags, PageSize,
    PagingError::{self, AlreadyMapped, MappedToHugePage, NotMapped},
    PagingHandler, PagingResult,
    riscv::Sv39PageTable,
};
use spin::Once;

use crate::{
    hart,
    layout::{LINEAR_SIZE, PAGE_SIZE, image, phys_to_virt},
    machine::{self, Machine},
    sync::IrqLock,
};

/// Gives a run of frames: (how many, alignment in bytes) → physical address.
pub type FrameSource = fn(usize, usize) -> Option<PhysAddr>;

static FRAMES: Once<FrameSource> = Once::new();
static TABLE: IrqLock<Option<Table>> = IrqLock::new(None);
static ROOT: AtomicUsize = AtomicUsize::new(0);

/// A frame for the table that a crumb may need: it is mapped when there is no other frame.
static SPARE: IrqLock<Option<PhysAddr>> = IrqLock::new(None);
/// How many of `machine::crumbs` somebody has.
static CRUMBS_GIVEN: AtomicUsize = AtomicUsize::new(0);

/// MODE in `satp` (Privileged specification, "Supervisor Address Translation and Protection").
const MODE_SV39: usize = 8 << 60;

/// Never dropped: harts run on it to the end.
type Table = ManuallyDrop<Sv39PageTable<Tables>>;

/// Where page tables come from.
struct Tables;

impl PagingHandler for Tables {
    fn alloc_frames(num: usize, align: usize) -> Option<PhysAddr> {
        FRAMES.get()?(num, align).or_else(|| SPARE.lock().take_if(|_| num == 1))
    }

    /// Never called: the table is never dropped and tables are not freed by unmapping.
    fn dealloc_frames(_: PhysAddr, _: usize) {}

    fn phys_to_virt(address: PhysAddr) -> VirtAddr {
        phys_to_virt(address)
    }
}

const READ: MappingFlags = MappingFlags::READ;
const READ_WRITE: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);
const READ_EXECUTE: MappingFlags = MappingFlags::READ.union(MappingFlags::EXECUTE);

/// The final map is in force.
#[derive(Debug)]
pub struct Mapped(());

/// Builds the final map and switches this hart to it.
pub fn init(_: &'static Machine<'static>, frames: FrameSource) -> PagingResult<Mapped> {
    FRAMES.call_once(|| frames);
    let mut table = ManuallyDrop::new(Sv39PageTable::try_new()?);

    let physical = image::physical();
    let delta = image::all().start.wrapping_sub(physical.start);
    let mut map_image = |range: Range<usize>, flags| {
        let phys = PhysAddr::from(range.start.wrapping_sub(delta));
        map(&mut table, VirtAddr::from(range.start), phys, range.len(), flags)
    };
    map_image(image::text(), READ_EXECUTE)?;
    map_image(image::rodata(), READ)?;
    map_image(image::data(), READ_WRITE)?;
    map_image(image::fault_stack(), READ_WRITE)?;
    map_image(image::stack_and_kept(), READ_WRITE)?;

    for part in machine::large_parts() {
        map_linear(&mut table, part, READ_WRITE)?;
    }
    for crumb in machine::crumbs().take(CRUMBS_GIVEN.load(Ordering::Relaxed)) {
        map_linear(&mut table, crumb, READ_WRITE)?;
    }
    // Still read when the machine's facts are: their strings lie in it.
    map_linear(&mut table, machine::device_tree(), READ)?;
    *SPARE.lock() = frames(1, PAGE_SIZE);

    let root = table.root_paddr().as_usize() / PAGE_SIZE;
    *TABLE.lock() = Some(table);
    ROOT.store(root, Ordering::Relaxed);
    // SAFETY: the new table maps what runs now (text, data, this stack) at the same addresses.
    unsafe { asm!("csrw satp, {}", "sfence.vma", in(reg) MODE_SV39 | root, options(nostack)) };
    Ok(Mapped(()))
}

/// Makes the registers of a device accessible; returns where.
///
/// The range may be of any alignment; mapping a page twice is fine.
pub fn map_device(address: PhysAddr, size: usize) -> PagingResult<VirtAddr> {
    let end = address.as_usize().checked_add(size).filter(|&end| end <= LINEAR_SIZE);
    let end = end.ok_or(PagingError::NoMemory)?;
    let mut table = TABLE.lock();
    let table = table.as_mut().ok_or(NotMapped)?;
    map_linear(table, address.as_usize()..end, READ_WRITE)?;
    flush_other_harts();
    Ok(phys_to_virt(address))
}

/// Maps one more piece of RAM, gives it to `give`, and says whether there was one.
///
/// These are the ends of free ranges that share a large page with something else (the image, the
/// firmware, the device tree), so they take small pages, up to 511 each. Mapping them at boot would
/// more than double its instructions, for memory that few machines ever need.
pub fn map_more(give: impl FnOnce(Range<PhysAddr>)) -> bool {
    let crumb = loop {
        let next = CRUMBS_GIVEN.load(Ordering::Relaxed);
        let Some(crumb) = machine::crumbs().nth(next) else { return false };
        let (order, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        if CRUMBS_GIVEN.compare_exchange(next, next + 1, order, failure).is_err() {
            continue; // another hart has taken it
        }
        // Without a table the boot map is in force, which has it, and `init` will map it.
        let mapped = TABLE
            .lock()
            .as_mut()
            .is_none_or(|table| map_linear(table, crumb.clone(), READ_WRITE).is_ok());
        if mapped {
            flush_other_harts();
            break crumb;
        } // else too little memory for its tables: lost, but there may be others
    };
    give(PhysAddr::from(crumb.start)..PhysAddr::from(crumb.end));
    let mut spare = SPARE.lock();
    if let (None, Some(frames)) = (*spare, FRAMES.get()) {
        *spare = frames(1, PAGE_SIZE);
    }
    true
}

/// A hart may remember that a page was missing (Privileged specification, SFENCE.VMA).
fn flush_other_harts() {
    if hart::started() > 1 {
        let everyone = sbi_rt::HartMask::from_mask_base(0, usize::MAX);
        let _ = sbi_rt::remote_sfence_vma(everyone, 0, usize::MAX);
    }
}

/// Maps fresh memory at whole pages of address space that no hart has used yet.
pub(crate) fn map_new(range: Range<usize>) -> PagingResult {
    let frames = Tables::alloc_frames(range.len() / PAGE_SIZE, PAGE_SIZE);
    map_at(range, frames.ok_or(PagingError::NoMemory)?)
}

/// The same, of this memory.
pub(crate) fn map_at(range: Range<usize>, memory: PhysAddr) -> PagingResult {
    let mut table = TABLE.lock();
    let table = table.as_mut().ok_or(NotMapped)?;
    map(table, VirtAddr::from(range.start), memory, range.len(), READ_WRITE)?;
    flush_other_harts();
    Ok(())
}

/// Page number of the table's root, as `satp` wants it.
pub(crate) fn root_page_number() -> usize {
    ROOT.load(Ordering::Relaxed)
}

/// Maps `range` in the linear map.
fn map_linear(table: &mut Table, range: Range<usize>, flags: MappingFlags) -> PagingResult {
    let range = range.start.align_down(PAGE_SIZE)..range.end.next_multiple_of(PAGE_SIZE);
    let start = phys_to_virt(PhysAddr::from(range.start));
    map(table, start, PhysAddr::from(range.start), range.len(), flags)
}

/// Maps whole pages with the largest pages that fit. What is mapped already stays as it is.
fn map(
    table: &mut Table,
    mut virt: VirtAddr,
    mut phys: PhysAddr,
    mut len: usize,
    flags: MappingFlags,
) -> PagingResult {
    let mut cursor = table.cursor();
    while len > 0 {
        let fits = |size: PageSize| {
            let size = size as usize;
            len >= size && (virt.as_usize() | phys.as_usize()).is_multiple_of(size)
        };
        let mut size = match () {
            () if !fits(PageSize::Size2M) => PageSize::Size4K,
            () if !fits(PageSize::Size1G) => PageSize::Size2M,
            () => PageSize::Size1G,
        };
        let done = loop {
            match (cursor.map(virt, phys, size, flags), size) {
                (Ok(()), _) => break size as usize,
                (Err(PagingError::NoMemory | PagingError::NotAligned), _) => {
                    return Err(PagingError::NoMemory);
                }
                // Part of this stretch is mapped: look closer. (The library takes a large page at
                // physical address 0 for a table that is not there, and says `NotMapped`.)
                (Err(AlreadyMapped | MappedToHugePage | NotMapped), PageSize::Size1G) => {
                    size = PageSize::Size2M
                }
                (Err(AlreadyMapped | MappedToHugePage | NotMapped), PageSize::Size2M) => {
                    size = PageSize::Size4K
                }
                (Err(AlreadyMapped | MappedToHugePage | NotMapped), _) => break PAGE_SIZE,
            }
        };
        virt += done;
        phys += done;
        len -= done;
    }
    Ok(())
}
