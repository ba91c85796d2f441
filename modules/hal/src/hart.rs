//! The harts: who is running, starting the others, and waking them.
//!
//! Harts get dense numbers in the order of the device tree, but the one that booted is always
//! number 0. `tp` points to the running hart's data from the first instruction of Rust on.

use core::{
    arch::asm,
    fmt,
    mem::offset_of,
    ops::Range,
    sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, AtomicUsize, Ordering},
};

use memory_addr::{PhysAddr, VirtAddr};
use sbi_rt::HartMask;

use crate::{
    entry::_start_secondary,
    layout::{PAGE_SIZE, STACKS_BASE, image, virt_to_phys},
    machine::{self, MAX_HARTS},
    paging,
};

/// Stack of each hart, in bytes; without optimisation eight times that. The boot hart's is in `link.ld`,
/// where both sizes stand again.
pub const STACK_SIZE: usize = if cfg!(unoptimized) { 512 << 10 } else { 64 << 10 };
/// Stack that unhandled exceptions report on, so that an overflow of the other can be reported.
pub const FAULT_STACK_SIZE: usize = 8 << 10;
/// Address space set aside for the two stacks of a hart and the guard pages below them.
const STACK_SLOT: usize = 1 << 20;

/// What a hart has for itself. A cache line each, so that harts do not disturb each other.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Hart {
    /// Page number of the root table: for `_start_secondary`, before paging is on.
    pub(crate) root_table: AtomicUsize,
    /// Top of its stack.
    pub(crate) stack: AtomicUsize,
    /// Top of its fault stack.
    pub(crate) fault_stack: AtomicUsize,
    /// Where it goes from `_start_secondary`. Null: nobody starts it.
    pub(crate) entry: AtomicPtr<()>,
    /// Its id in the device tree and for the firmware.
    pub(crate) id: AtomicUsize,
    /// Its dense number.
    number: AtomicU16,
    /// What [`here`] says: its number, or [`OUTSIDE`].
    pub(crate) here: AtomicU16,
    /// Its S-mode context at the interrupt controller, plus one; 0 if it has none.
    plic_context: AtomicU32,
    locals: [AtomicPtr<()>; LOCALS],
}

impl Hart {
    fn stack_range(&self) -> Range<usize> {
        let top = self.stack.load(Ordering::Relaxed);
        top.wrapping_sub(STACK_SIZE)..top
    }
}

/// What [`here`] says in an interrupt, and on a hart that has not called [`enter`].
pub const OUTSIDE: usize = 0xffff;

/// What a module above keeps for each hart: one word, in the hart's own cache line.
#[derive(Debug, Clone, Copy)]
pub enum Local {
    /// The scheduler's.
    Task,
    /// The timers'.
    Time,
}

const LOCALS: usize = 2;

pub(crate) static HARTS: [Hart; MAX_HARTS] = [const {
    Hart {
        root_table: AtomicUsize::new(0),
        stack: AtomicUsize::new(0),
        fault_stack: AtomicUsize::new(0),
        entry: AtomicPtr::new(core::ptr::null_mut()),
        id: AtomicUsize::new(0),
        number: AtomicU16::new(0),
        here: AtomicU16::new(0), // `OUTSIDE` before the hart runs; here zeros, to take no room in the image
        plic_context: AtomicU32::new(0),
        locals: [const { AtomicPtr::new(core::ptr::null_mut()) }; LOCALS],
    }
}; MAX_HARTS];

/// Why a hart does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartError {
    /// No memory for its stacks and its scheduler.
    NoMemory,
    /// The firmware refused, with this SBI error code.
    Firmware(isize),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("no memory for its stacks and its scheduler"),
            Self::Firmware(code) => write!(f, "the firmware refused (SBI error {code})"),
        }
    }
}

/// Harts that run Rust code.
static STARTED: AtomicUsize = AtomicUsize::new(1);

fn this() -> &'static Hart {
    let hart: *const Hart;
    // SAFETY: reads a register. `volatile` (no `pure`): code may one day move between harts.
    unsafe { asm!("mv {}, tp", out(reg) hart, options(nomem, nostack, preserves_flags)) };
    // SAFETY: `entry.rs` points `tp` into `HARTS` before any Rust runs, and nothing else writes it.
    unsafe { &*hart }
}

/// The running hart's number: 0 for the one that booted, then up without gaps.
pub fn number() -> usize {
    usize::from(this().number.load(Ordering::Relaxed))
}

/// Whose flow of control this is: the running hart's number, or [`OUTSIDE`] in an interrupt handler.
#[inline(always)]
pub fn here() -> usize {
    let here: usize;
    // SAFETY: reads a word of the hart's own that `tp` points to. Not `pure`: it changes with where
    // the code runs.
    unsafe {
        asm!("lhu {}, {offset}(tp)", out(reg) here, offset = const offset_of!(Hart, here),
            options(readonly, nostack, preserves_flags));
    }
    here
}

/// From now on the running hart's flow of control is known as its own: [`here`] says its number.
///
/// # Safety
///
/// This is no interrupt handler. Whoever relies on [`here`] is ready for this hart.
pub unsafe fn enter() {
    let this = this();
    this.here.store(this.number.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// What was [`set`](set_local) for the running hart.
#[inline(always)]
pub fn local(local: Local) -> *mut () {
    const OFFSET: usize = offset_of!(Hart, locals);
    let word;
    match local {
        // SAFETY: as in `here`.
        Local::Task => unsafe {
            asm!("ld {}, {offset}(tp)", out(reg) word, offset = const OFFSET,
                options(readonly, nostack, preserves_flags));
        },
        // SAFETY: as in `here`.
        Local::Time => unsafe {
            asm!("ld {}, {offset}(tp)", out(reg) word, offset = const OFFSET + size_of::<usize>(),
                options(readonly, nostack, preserves_flags));
        },
    }
    word
}

/// What was [`set`](set_local) for a hart, whose number is below [`MAX_HARTS`].
///
/// Relaxed: whoever knows of the hart knows of what was set before it was started.
#[inline]
pub fn local_of(number: usize, local: Local) -> *mut () {
    debug_assert!(number < MAX_HARTS);
    // The remainder is one instruction, and there is no way to panic.
    HARTS[number % MAX_HARTS].locals[local as usize].load(Ordering::Relaxed)
}

/// Sets what a module keeps for a hart, which need not run yet.
///
/// # Safety
///
/// The word is what its module takes it for, for good.
pub unsafe fn set_local(number: usize, local: Local, word: *mut ()) {
    HARTS[number].locals[local as usize].store(word, Ordering::Release);
}

/// The running hart's id, as the firmware and the device tree count.
pub fn id() -> usize {
    this().id.load(Ordering::Relaxed)
}

/// The running hart's S-mode context at the interrupt controller.
pub(crate) fn plic_context() -> Option<usize> {
    this().plic_context.load(Ordering::Relaxed).checked_sub(1).map(|context| context as usize)
}

pub(crate) fn set_plic_context(context: usize) {
    // The PLIC has 15,872 contexts at most (its specification, "Memory Map").
    this().plic_context.store(context as u32 + 1, Ordering::Relaxed);
}

/// How many harts run: 1 until [`start_all`].
pub fn started() -> usize {
    STARTED.load(Ordering::Acquire)
}

/// Says who the boot hart is.
pub(crate) fn set_boot_hart(id: usize) {
    debug_assert_eq!(image::stack().len(), STACK_SIZE, "link.ld differs");
    debug_assert_eq!(image::fault_stack().len(), FAULT_STACK_SIZE, "link.ld differs");
    this().stack.store(image::stack().end, Ordering::Relaxed);
    this().id.store(id, Ordering::Relaxed);
    this().here.store(OUTSIDE as u16, Ordering::Relaxed);
}

/// Starts every hart of the machine that does not run yet; each goes to `entry`, with interrupts
/// off and its own stack, and must not return.
///
/// `prepare` is called with each number before a hart gets it, and says whether there was memory for
/// what it does. Returns how many run afterwards. A hart that the firmware refuses is left out with its
/// error, and the next one gets its number.
pub fn start_all(
    prepare: fn(usize) -> bool,
    entry: extern "C" fn() -> !,
    mut refused: impl FnMut(usize, StartError),
) -> usize {
    let start_address = virt_to_phys(VirtAddr::from(&raw const _start_secondary as usize))
        .expect("the entry is in the image");
    for hart in &machine::machine().harts {
        let id = hart.id as usize;
        let number = started();
        if id == self::id() || number == MAX_HARTS {
            continue;
        }
        let this = &HARTS[number];
        // A hart that was refused leaves its stacks to the next one.
        if this.stack.load(Ordering::Relaxed) == 0 {
            let (fault_stack, stack) = stack_slot(number);
            let mapped = paging::map_new(fault_stack.clone());
            let mapped = mapped.and_then(|()| paging::map_new(stack.clone()));
            if mapped.is_err() || !prepare(number) {
                refused(id, StartError::NoMemory);
                continue;
            }
            this.stack.store(stack.end, Ordering::Relaxed);
            this.fault_stack.store(fault_stack.end, Ordering::Relaxed);
        }
        this.root_table.store(paging::root_page_number(), Ordering::Relaxed);
        this.here.store(OUTSIDE as u16, Ordering::Relaxed);
        this.id.store(id, Ordering::Relaxed);
        this.number.store(number as u16, Ordering::Relaxed); // below MAX_HARTS
        this.entry.store(entry as *mut (), Ordering::Release);
        let opaque: PhysAddr = virt_to_phys(VirtAddr::from(this as *const Hart as usize))
            .expect("HARTS is in the image");
        // The SBI call is a fence for the started hart: HSM hart_start orders what came before.
        let answer = sbi_rt::hart_start(id, start_address.as_usize(), opaque.as_usize());
        if answer.is_ok() {
            STARTED.store(number + 1, Ordering::Release);
        } else {
            this.entry.store(core::ptr::null_mut(), Ordering::Relaxed);
            refused(id, StartError::Firmware(answer.error as isize));
        }
    }
    started()
}

/// Interrupts another hart: it takes a software interrupt, or returns from `wfi`.
///
/// # Panics
///
/// If that hart does not run.
pub fn interrupt(number: usize) {
    assert!(number < started(), "hart {number} does not run");
    let id = HARTS[number].id.load(Ordering::Relaxed);
    // What the hart is interrupted for must be visible before the interrupt is. The SBI specification
    // does not say that the call is a fence, and the firmware's write goes to a device.
    // SAFETY: orders memory, changes nothing.
    unsafe { asm!("fence rw, rw", options(nostack, preserves_flags)) };
    // One hart, named by itself as the base of a mask of one bit: works for any id.
    let _ = sbi_rt::send_ipi(HartMask::from_mask_base(1, id));
}

/// Virtual addresses of the fault stack and the stack of a later hart. Guard pages lie below both.
fn stack_slot(number: usize) -> (Range<usize>, Range<usize>) {
    let fault = STACKS_BASE + number * STACK_SLOT + PAGE_SIZE;
    let stack = fault + FAULT_STACK_SIZE + PAGE_SIZE;
    (fault..fault + FAULT_STACK_SIZE, stack..stack + STACK_SIZE)
}

/// All stacks in use: of every started hart the fault stack and the stack.
pub(crate) fn stacks() -> impl Iterator<Item = Range<usize>> {
    HARTS[..started()].iter().flat_map(|hart| {
        let fault = hart.fault_stack.load(Ordering::Relaxed);
        [fault - FAULT_STACK_SIZE..fault, hart.stack_range()]
    })
}

/// How many bytes are left of the stack that this runs on. 0 if that is not the running hart's.
pub fn stack_left() -> usize {
    let sp: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mv {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    let stack = this().stack_range();
    if stack.contains(&sp) { sp - stack.start } else { 0 }
}

/// Where further stacks are: behind those that harts begin with.
const MORE_STACKS: usize = STACKS_BASE + MAX_HARTS * STACK_SLOT;
/// How many there is address space for.
const MOST_STACKS: usize = MORE_STACKS.wrapping_neg() / (PAGE_SIZE + STACK_SIZE);

/// A stack that nobody runs on yet, with a guard page below.
#[derive(Debug)]
pub struct NewStack {
    top: usize,
}

impl NewStack {
    /// Makes one of [`STACK_SIZE`] bytes of physical memory, if there is address space, and memory for page
    /// tables. It stays in the map.
    pub fn new(memory: PhysAddr) -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        if number >= MOST_STACKS {
            return None;
        }
        let top = MORE_STACKS + (number + 1) * (PAGE_SIZE + STACK_SIZE);
        paging::map_at(top - STACK_SIZE..top, memory).ok()?;
        Some(Self { top })
    }

    /// Leaves the running hart's stack for this one, for good, and goes on with `then`: which is told how many
    /// bytes of the old stack, from its start, were not in use, and `word`. The rest stays as it is.
    pub fn enter(self, then: extern "C" fn(usize, usize) -> !, word: usize) -> ! {
        let unused = stack_left();
        this().stack.store(self.top, Ordering::Relaxed);
        // SAFETY: an empty stack, of which nobody else knows. Nothing on the old one is needed here any more;
        // the chain of frames begins anew.
        unsafe {
            asm!(
                "mv   sp, {top}",
                "li   s0, 0",
                "li   ra, 0",
                "jr   {then}",
                top = in(reg) self.top,
                then = in(reg) then,
                in("a0") unused,
                in("a1") word,
                options(noreturn)
            )
        }
    }
}

/// Whether `address` is in a guard page: an access there is a stack overflow.
pub(crate) fn is_in_guard_page(address: usize) -> bool {
    stacks().any(|stack| (stack.start - PAGE_SIZE..stack.start).contains(&address))
}
