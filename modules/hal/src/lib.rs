//! The machine under Wakeful: riscv64 in S-mode, over an SBI firmware.
//!
//! Owns what only one may own: the entry from the loader, the page table, trap vectors, the
//! interrupt controller, each hart's timer, the console, power. Knows no board: memory, harts,
//! clocks and devices come from the device tree ([`machine`]).
//!
//! Needs from above, as values at init: a source of frames for page tables and stacks
//! ([`paging::init`]), and handlers for the interrupts that somebody wants.
//!
//! The order of boot is in `modules/runtime/src/boot.rs`. What every unsafe block here leans on is
//! told in [`layout`] (who is mapped where) and [`trap`] (what an interrupt keeps).

#![no_std]
// Everything below concerns registers, addresses and instructions: this is where danger lives.
#![expect(unsafe_code, reason = "this crate drives the hardware")]

mod backtrace;
mod bytes;
pub mod console;
mod critical_section;
mod entry;
pub mod hart;
pub mod irq;
pub mod layout;
pub mod machine;
pub mod paging;
pub mod power;
pub mod record;
pub mod report;
pub mod sync;
pub mod timer;
pub mod trap;
mod uart;

/// Sets up interrupts, timer and console of the boot hart, after [`paging::init`].
///
/// Interrupts stay off until [`sync::interrupts_on`].
pub fn init(_: paging::Mapped) {
    power::init();
    irq::init();
    timer::init();
    init_hart();
    console::init();
}

/// Sets up interrupts and timer of a hart that [`hart::start_all`] started.
pub fn init_hart() {
    irq::init_hart();
    timer::init_hart();
    // SAFETY: `trap` handles both kinds.
    unsafe {
        riscv::register::sie::set_ssoft();
        riscv::register::sie::set_sext();
    }
}
