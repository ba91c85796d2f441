//! What the executor needs from the machine.

#![expect(unsafe_code, reason = "schedulers are found through words that harts keep")]

use core::{alloc::Layout, ptr, task::RawWakerVTable};

use wakeful_alloc::frames;
use wakeful_executor::{Hart, OUTSIDE, Platform, waker_vtable};
use wakeful_hal::{
    hart::{self, Local},
    layout::{PAGE_SIZE, phys_to_virt},
    sync::Hook,
};

/// The machine, as the executor sees it.
#[derive(Debug, Clone, Copy)]
pub struct Machine;

const _: () = assert!(OUTSIDE == hart::OUTSIDE);

static ALARM: Hook = Hook::new();

/// Sets what a hart does, before any task, after an interrupt has called `Hart::ring`.
pub fn set_alarm(alarm: fn()) {
    ALARM.set(alarm);
}

/// Lets this hart call what [`set_alarm`] said as soon as the task that runs is done with its turn. For
/// interrupt handlers.
pub fn ring() {
    // SAFETY: a hart that runs.
    unsafe { Machine::hart(hart::number()) }.ring();
}

/// The scheduler of a hart that must be there.
///
/// # Panics
///
/// If it is not.
pub(crate) fn existing(number: usize) -> &'static Hart<Machine> {
    assert!(number < Machine::harts(), "there is no hart {number}");
    // SAFETY: there is.
    unsafe { Machine::hart(number) }
}

/// The scheduler of a hart.
///
/// # Safety
///
/// The word is that of a hart below `Machine::harts()`.
unsafe fn scheduler(word: *mut ()) -> &'static Hart<Machine> {
    // SAFETY: `run.rs` sets it for each hart before that counts, to a scheduler that stays.
    unsafe { &*word.cast() }
}

// SAFETY: `here` is that of the hart's own flow of control: the trap entry sees to it. Words are set
// once. The vtable is one static.
unsafe impl Platform for Machine {
    const LARGEST: usize = hart::STACK_SIZE / 4;

    #[inline(always)]
    fn here() -> usize {
        hart::here()
    }

    #[inline(always)]
    unsafe fn local() -> &'static Hart<Self> {
        // SAFETY: by the contract this hart has entered, and before that its word was set.
        unsafe { scheduler(hart::local(Local::Task)) }
    }

    unsafe fn hart(number: usize) -> &'static Hart<Self> {
        // SAFETY: by the contract it is the boot hart, or was started after its word was set.
        unsafe { scheduler(hart::local_of(number, Local::Task)) }
    }

    fn harts() -> usize {
        hart::started()
    }

    #[cold]
    #[inline(never)] // or every wake would set up a frame for it
    fn interrupt(number: usize) {
        // A hart that is here is not asleep any more: it is handling an interrupt.
        if number != hart::number() {
            hart::interrupt(number);
        }
    }

    #[inline(always)]
    fn vtable() -> &'static RawWakerVTable {
        static VTABLE: RawWakerVTable = waker_vtable::<Machine>();
        &VTABLE
    }

    fn allocate(layout: Layout) -> *mut u8 {
        let count = layout.size().div_ceil(PAGE_SIZE);
        match frames::allocate(count, layout.align().max(PAGE_SIZE)) {
            Some(start) => phys_to_virt(start).as_mut_ptr(),
            None => ptr::null_mut(),
        }
    }

    fn alarm() {
        ALARM.call();
    }

    #[inline(always)]
    fn now() -> u64 {
        wakeful_hal::timer::now()
    }
}
