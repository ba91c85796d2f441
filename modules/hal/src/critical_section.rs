//! The critical section of the machine, for crates that ask for one (`critical-section`).
//!
//! In it nobody else runs: no interrupt on this hart, and no other hart in the section. There is
//! one for the whole machine, so it is for a few instructions; nothing in it may wait or turn
//! interrupts on. Sections nest. An [`IrqLock`] may be taken inside, but then no section may begin
//! anywhere while that lock is held.
//!
//! Nothing else may bring an implementation: leave the feature `critical-section-single-hart` of
//! the riscv crate off, as it would keep no other hart out.
//!
//! [`IrqLock`]: crate::sync::IrqLock

use core::{
    hint,
    sync::atomic::{AtomicU32, Ordering},
};

use critical_section::{Impl, RawRestoreState};

use crate::{
    hart,
    sync::{interrupts_off, interrupts_restore},
};

struct Section;

critical_section::set_impl!(Section);

/// Whose section it is: [`NOBODY`], or a hart's number plus one.
///
/// Invariant: a hart writes its own name over `NOBODY` and `NOBODY` over its own name, both with
/// its interrupts off, and keeps them off in between. So a hart that reads its own name is inside,
/// and one that is not inside never does.
static OWNER: AtomicU32 = AtomicU32::new(NOBODY);
const NOBODY: u32 = 0;

/// What a section found, for its end: interrupts off (0) or on (1), or that it is inside another.
const INTERRUPTS_OFF: RawRestoreState = 0;
const INSIDE: RawRestoreState = 2;

// SAFETY: between `acquire` and the `release` that ends the outermost section, `OWNER` names this
// hart, so every other hart waits, and this hart's interrupts are off, so it runs nothing else. The
// next owner reads (Acquire) what the last one wrote (Release) to `OWNER`.
unsafe impl Impl for Section {
    #[inline]
    unsafe fn acquire() -> RawRestoreState {
        let were_on = interrupts_off();
        // Only now: with interrupts on, the caller could move to another hart after asking.
        let me = hart::number() as u32 + 1;
        if OWNER.load(Ordering::Relaxed) == me {
            return INSIDE;
        }
        if OWNER.compare_exchange(NOBODY, me, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return wait(were_on);
        }
        u8::from(were_on)
    }

    #[inline]
    unsafe fn release(restore: RawRestoreState) {
        if restore != INSIDE {
            OWNER.store(NOBODY, Ordering::Release);
            interrupts_restore(restore != INTERRUPTS_OFF);
        }
    }
}

/// Enters, once the other harts let this one; interrupts are on meanwhile if they were.
///
/// No ticket lock, though it would be fair: whoever has drawn a ticket must not be interrupted, as
/// the handler would draw a later one and wait for ever. So every wait would delay interrupts by
/// the sections of all other harts; and under QEMU a hart whose thread the host has put aside would
/// keep those behind it out of a section that is free. Sections are short and far between: the
/// luckless hart gets in.
#[cold]
fn wait(were_on: bool) -> RawRestoreState {
    loop {
        interrupts_restore(were_on);
        while OWNER.load(Ordering::Relaxed) != NOBODY {
            hint::spin_loop();
        }
        interrupts_off();
        let me = hart::number() as u32 + 1;
        if OWNER.compare_exchange(NOBODY, me, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return u8::from(were_on);
        }
    }
}
