//! Device interrupts: the PLIC and one handler for each of its sources.
//!
//! The PLIC numbers its contexts (hart and privilege mode) as the chip designer liked; the device
//! tree says which one is a hart's S-mode. A source goes to the hart that registered its handler.

use core::{
    fmt,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
};

use memory_addr::{MemoryAddr, PhysAddr};
use spin::Once;

use crate::{hart, layout::PAGE_SIZE, machine::machine, paging, sync};

/// Sources that can have a handler: 1 to 255. (The specification allows 1023, real boards stay
/// below 255.)
const MAX_SOURCES: usize = 256;

/// Size of all registers, and where those of the contexts begin, in bytes (PLIC specification,
/// "Memory Map").
const MAX_SIZE: u64 = 0x400_0000;
const CONTEXTS: u64 = 0x20_0000;
const CONTEXT_SIZE: u64 = 0x1000;

/// Runs when its source interrupts, with interrupts off. Gets the word it was registered with.
pub type Handler = fn(usize);

struct Slot {
    handler: AtomicPtr<()>,
    data: AtomicUsize,
}

static SLOTS: [Slot; MAX_SOURCES] =
    [const { Slot { handler: AtomicPtr::new(core::ptr::null_mut()), data: AtomicUsize::new(0) } };
        MAX_SOURCES];

static PLIC: Once<&'static plic::Plic> = Once::new();

/// Why a source cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The machine has no PLIC, or none that serves the running hart.
    NoController,
    /// There is no such source on this machine.
    NoSuchSource(u32),
    /// Somebody else handles it.
    Taken(u32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoController => f.write_str("no interrupt controller serves this hart"),
            Self::NoSuchSource(source) => write!(f, "there is no interrupt source {source}"),
            Self::Taken(source) => write!(f, "interrupt source {source} has a handler already"),
        }
    }
}

/// Finds the PLIC and silences its sources. Without one, [`register`] answers with an error.
pub(crate) fn init() {
    let Some(facts) = &machine().plic else { return };
    let address = PhysAddr::from(facts.base as usize);
    let size = facts.size.min(MAX_SIZE);
    if size < CONTEXTS + CONTEXT_SIZE || !address.is_aligned(PAGE_SIZE) {
        return; // no PLIC looks like that
    }
    let Ok(registers) = paging::map_device(address, size as usize) else { return };
    // SAFETY: the device tree says that a PLIC is there. Its registers are mapped for good, up to
    // `size`, and none behind is used: `find_context` sees to that.
    let plic = unsafe { plic::Plic::from_addr(registers.as_usize()) };
    for source in 1..=facts.sources {
        plic.set_priority(source, 0); // never interrupts
    }
    PLIC.call_once(|| plic);
}

/// Prepares the running hart's context: all sources that are not silent may come.
pub(crate) fn init_hart() {
    let (Some(plic), Some(context)) = (PLIC.get(), find_context()) else { return };
    hart::set_plic_context(context);
    let sources = machine().plic.as_ref().map_or(0, |plic| plic.sources);
    for source in 1..=sources {
        plic.disable(source, context);
    }
    plic.set_threshold(context, 0);
}

/// The running hart's S-mode context, if the PLIC has registers for it.
fn find_context() -> Option<usize> {
    let id = hart::id() as u64;
    let facts = machine().harts.iter().find(|hart| hart.id == id)?;
    let context = facts.plic_context.map(u64::from)?;
    let end = CONTEXTS + (context + 1) * CONTEXT_SIZE;
    (end <= machine().plic.as_ref()?.size).then_some(context as usize)
}

/// Gives a source a handler and lets it interrupt the running hart.
///
/// The handler runs with interrupts off: it should wake somebody and return.
pub fn register(source: u32, handler: Handler, data: usize) -> Result<(), Error> {
    let plic = PLIC.get().ok_or(Error::NoController)?;
    let context = hart::plic_context().ok_or(Error::NoController)?;
    let known = machine().plic.as_ref().map_or(0, |plic| plic.sources);
    let slot = match SLOTS.get(source as usize) {
        Some(slot) if (1..=known).contains(&source) => slot,
        _ => return Err(Error::NoSuchSource(source)),
    };
    slot.handler
        .compare_exchange(
            core::ptr::null_mut(),
            handler as *mut (),
            Ordering::AcqRel,
            Ordering::Relaxed,
        )
        .map_err(|_| Error::Taken(source))?;
    // Not before it is ours. The source is still silent.
    slot.data.store(data, Ordering::Release);
    // Enabling reads and writes a word that holds 32 sources: no handler of this hart may come between.
    let restore = sync::interrupts_off();
    plic.enable(source, context);
    // Last: when a priority is written QEMU 7.2 looks whether a source is pending already, and not
    // when one is enabled. (1 is the lowest that interrupts.)
    plic.set_priority(source, 1);
    sync::interrupts_restore(restore);
    Ok(())
}

/// Claims, handles and completes what is pending for this hart.
pub(crate) fn dispatch() {
    let (Some(plic), Some(context)) = (PLIC.get(), hart::plic_context()) else { return };
    while let Some(source) = plic.claim(context) {
        if let Some(slot) = SLOTS.get(source.get() as usize) {
            let handler = slot.handler.load(Ordering::Acquire);
            if !handler.is_null() {
                // SAFETY: `register` stores nothing but `Handler`s.
                let handler = unsafe { core::mem::transmute::<*mut (), Handler>(handler) };
                handler(slot.data.load(Ordering::Acquire));
            }
        }
        plic.complete(context, source);
    }
}
