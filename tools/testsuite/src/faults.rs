//! Accesses that must end in a fault report.

use core::{arch::asm, hint::black_box, ptr};

use alloc::string::String;
use wakeful_hal::{sync, timer, trap};

use crate::{Outcome, run_on};

const SURVIVED: &str = "nothing happened";

pub(crate) fn write_text() -> Outcome {
    let text = write_text as *const () as *mut u32;
    // SAFETY: not safe at all: that is the case. The machine must stop here.
    unsafe { text.write_volatile(0) };
    Err(String::from(SURVIVED))
}

pub(crate) fn execute_data() -> Outcome {
    static CODE: [u32; 2] = [0x0000_8067, 0]; // ret
    let mut on_stack = CODE;
    let code = black_box(&mut on_stack).as_ptr();
    // SAFETY: as in `write_text`. `fence.i` first, so that a stale cache cannot be the reason.
    unsafe {
        asm!("fence.i");
        asm!("jalr {}", in(reg) code, out("ra") _);
    }
    Err(String::from(SURVIVED))
}

pub(crate) fn read_null() -> Outcome {
    // SAFETY: as in `write_text`. In assembly, because the compiler knows that null cannot be read.
    unsafe { asm!("ld {}, 0(zero)", out(reg) _) };
    Err(String::from(SURVIVED))
}

pub(crate) fn jump_null() -> Outcome {
    // SAFETY: as in `write_text`.
    unsafe { asm!("jalr zero", out("ra") _) };
    Err(String::from(SURVIVED))
}

/// OpenSBI gets this one first, and passes it on; and the next.
pub(crate) fn illegal_instruction() -> Outcome {
    // SAFETY: as in `write_text`.
    unsafe { asm!("unimp") };
    Err(String::from(SURVIVED))
}

pub(crate) fn read_missing_register() -> Outcome {
    // The page of the UART of QEMU's `virt` is mapped; behind its registers nobody answers.
    let register = wakeful_hal::layout::LINEAR_BASE + 0x1000_0800;
    // SAFETY: as in `write_text`.
    unsafe { ptr::with_exposed_provenance::<u64>(register).read_volatile() };
    Err(String::from(SURVIVED))
}

pub(crate) fn read_firmware() -> Outcome {
    let firmware = wakeful_hal::layout::LINEAR_BASE + 0x8000_0000;
    // SAFETY: as in `write_text`.
    unsafe { ptr::with_exposed_provenance::<u64>(firmware).read_volatile() };
    Err(String::from(SURVIVED))
}

pub(crate) fn write_constant() -> Outcome {
    static CONSTANT: [u64; 4] = [1, 2, 3, 4];
    // SAFETY: as in `write_text`.
    unsafe { black_box(&CONSTANT).as_ptr().cast_mut().write_volatile(0) };
    Err(String::from(SURVIVED))
}

pub(crate) fn stack_overflow() -> Outcome {
    recurse(0);
    Err(String::from(SURVIVED))
}

pub(crate) fn stack_overflow_on_another_hart() -> Outcome {
    run_on(1, recurse, 0);
    sync::wait_until(|| false);
    Err(String::from(SURVIVED))
}

/// The interrupt's own frame must hit the guard page: a loop that leaves no room for it.
pub(crate) fn stack_overflow_in_interrupt() -> Outcome {
    trap::set_timer_handler(|| {});
    timer::set(timer::now() + timer::frequency() / 100);
    // SAFETY: as in `write_text`. Leaves 64 bytes of this stack and waits for the timer.
    unsafe {
        asm!(
            "mv   s1, sp",
            "addi sp, {bottom}, 64",
            "2: wfi",
            "j    2b",
            bottom = in(reg) stack_bottom(),
            options(noreturn),
        )
    }
}

/// The lowest address of the stack that we are on.
fn stack_bottom() -> usize {
    unsafe extern "C" {
        safe static _stack: u8;
    }
    ptr::from_ref(&_stack).addr()
}

#[expect(unconditional_recursion, reason = "the case")]
#[inline(never)]
fn recurse(depth: usize) {
    let mut frame = [depth; 32];
    black_box(&mut frame);
    recurse(depth + 1);
    black_box(&frame);
}
