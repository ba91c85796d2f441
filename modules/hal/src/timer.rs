//! Time: a counter that all harts share, and one deadline per hart.
//!
//! The deadline goes to the hart's own `stimecmp` where that exists (Sstc), otherwise to the
//! firmware. Both interrupt once: there is no tick.

use core::sync::atomic::{AtomicBool, Ordering};

use riscv::register::{sie, time};

use crate::machine::machine;

/// Whether `stimecmp` may be used.
static SSTC: AtomicBool = AtomicBool::new(false);

/// Ticks since the machine's counter started; [`frequency`] of them make a second.
#[inline]
pub fn now() -> u64 {
    time::read64()
}

/// Ticks per second (`timebase-frequency`).
pub fn frequency() -> u64 {
    machine().timebase_hz
}

/// Whether deadlines are set without a call to the firmware.
pub fn has_sstc() -> bool {
    SSTC.load(Ordering::Relaxed)
}

/// Chooses between Sstc and firmware.
pub(crate) fn init() {
    let everywhere =
        machine().harts.iter().all(|hart| hart.isa.contains(wakeful_devicetree::Extension::Sstc));
    SSTC.store(everywhere && stimecmp_answers(), Ordering::Relaxed);
}

/// Lets this hart's timer interrupt once a deadline is set.
pub(crate) fn init_hart() {
    if has_sstc() {
        clear();
        // SAFETY: enables an interrupt that `trap.rs` handles.
        unsafe { sie::set_stimer() };
    }
}

/// Makes the timer interrupt this hart at `deadline` (in ticks), instead of any earlier deadline.
///
/// One in the past interrupts at once.
#[inline]
pub fn set(deadline: u64) {
    if has_sstc() {
        write_stimecmp(deadline);
    } else {
        sbi_rt::set_timer(deadline);
        // SAFETY: enables an interrupt that `trap.rs` handles.
        unsafe { sie::set_stimer() };
    }
}

/// Forgets this hart's deadline.
#[inline]
pub fn clear() {
    if has_sstc() {
        write_stimecmp(u64::MAX);
    } else {
        // The firmware's timer stays as it is: masking is cheaper than calling it.
        // SAFETY: masks an interrupt.
        unsafe { sie::clear_stimer() };
    }
}

fn write_stimecmp(deadline: u64) {
    // SAFETY: CSR 0x14d is stimecmp (Sstc, "Supervisor Timer Register"); `SSTC` says it answers. Not
    // `nomem`: what the handler reads is written before.
    unsafe { core::arch::asm!("csrw 0x14d, {}", in(reg) deadline, options(nostack)) };
}

/// Whether the firmware lets us at `stimecmp`: the device tree tells what the hart has, but access
/// is refused unless `menvcfg.STCE` is set, which old firmware does not know of.
fn stimecmp_answers() -> bool {
    let answers: usize;
    // SAFETY: interrupts are off at boot. An illegal instruction goes to `stvec`, here the end of
    // the block (aligned to 4: direct mode), with `answers` still 0; it changes only trap CSRs.
    unsafe {
        core::arch::asm!(
            ".option push",
            ".option norvc",
            "lla   {old}, 2f",
            "csrrw {old}, stvec, {old}",
            "li    {answers}, 0",
            "csrr  {value}, 0x14d",
            "li    {answers}, 1",
            ".balign 4",
            "2: csrw stvec, {old}",
            ".option pop",
            old = out(reg) _,
            value = out(reg) _,
            answers = out(reg) answers,
            options(nostack),
        );
    }
    answers == 1
}
