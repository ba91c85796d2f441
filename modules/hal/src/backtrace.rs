//! Who called whom, as return addresses. The runner turns them into names and lines.
//!
//! With `-Cforce-frame-pointers=yes` (this repository's `.cargo/config.toml`) the frame records tell
//! exactly. A project without that flag has no records of its own: there, or where a chain breaks,
//! the rest of the stack is searched for words that follow a call instruction. Those may be left
//! over from calls that are long done; they carry a question mark.

use core::{arch::asm, ops::Range};

use crate::{hart, layout::image, report::Report};

/// The most addresses that are printed.
const MAX_FRAMES: usize = 32;

/// A longer recursion than fits on a stack is a broken chain.
const MAX_REPEATS: usize = hart::STACK_SIZE / 16;

/// Prints the callers of the function that this is inlined into.
#[inline(always)]
pub(crate) fn print_here(report: &Report) {
    let (pc, fp, sp): (usize, usize, usize);
    // SAFETY: reads registers.
    unsafe { asm!("auipc {}, 0", "mv {}, s0", "mv {}, sp", out(reg) pc, out(reg) fp, out(reg) sp) };
    print(report, pc, 0, fp, sp);
}

/// Prints the backtrace of code that stopped at `pc`, with these in `ra`, `s0` and `sp`.
pub(crate) fn print(report: &Report, pc: usize, ra: usize, mut fp: usize, sp: usize) {
    report.print(format_args!("backtrace:\n  pc {pc:#018x}\n"));
    let mut left = MAX_FRAMES;
    // A jump into nowhere has made no frame yet.
    if !image::text().contains(&pc) && image::text().contains(&ra) {
        report.print(format_args!("  at {ra:#018x}\n"));
    }
    let (mut last, mut repeats) = (0, 0);
    // Everything below is popped already or belongs to frames that are done.
    let mut searched = sp;
    // A frame record lies just below where the frame pointer points: previous fp, return address
    // (RISC-V ELF psABI, "Frame Pointer Convention").
    while let Some(stack) = stack_around(fp.wrapping_sub(1)) {
        if !fp.is_multiple_of(16) || fp < stack.start + 16 || left == 0 || repeats > MAX_REPEATS {
            break;
        }
        // SAFETY: 16 aligned bytes within a mapped stack.
        let [previous, return_address] = unsafe { *((fp - 16) as *const [usize; 2]) };
        if return_address == 0 {
            return print_repeats(report, repeats); // where this hart began
        }
        if !image::text().contains(&return_address) {
            break;
        }
        searched = fp;
        if return_address == last {
            repeats += 1; // a recursion: one line stands for all
        } else {
            print_repeats(report, repeats);
            report.print(format_args!("  at {return_address:#018x}\n"));
            (last, repeats) = (return_address, 0);
            left -= 1;
        }
        // Towards the root, except from the fault stack to the one that failed.
        if stack.contains(&(previous.wrapping_sub(1))) && previous <= fp {
            break;
        }
        fp = previous;
    }
    print_repeats(report, repeats);
    if let Some(stack) = stack_around(searched) {
        for address in (searched.next_multiple_of(8)..stack.end).step_by(8) {
            if left == 0 {
                return report.print(format_args!("  ...\n"));
            }
            // SAFETY: an aligned word within a mapped stack.
            let word = unsafe { *(address as *const usize) };
            if follows_call(word) {
                report.print(format_args!("  at {word:#018x} ?\n"));
                left -= 1;
            }
        }
    }
}

fn print_repeats(report: &Report, repeats: usize) {
    if repeats > 0 {
        report.print(format_args!("  ... and {repeats} times more\n"));
    }
}

fn stack_around(address: usize) -> Option<Range<usize>> {
    hart::stacks().find(|stack| stack.contains(&address))
}

/// Whether the instruction before `address` is a call (one that links to `ra`).
fn follows_call(address: usize) -> bool {
    let text = image::text();
    if !address.is_multiple_of(2) || address < text.start + 4 || address >= text.end {
        return false;
    }
    let half = |at: usize| -> u32 {
        // SAFETY: aligned, and within the text by the check above.
        u32::from(unsafe { *(at as *const u16) })
    };
    let compressed = half(address - 2);
    let full = half(address - 4) | compressed << 16;
    // c.jalr (Unprivileged specification, "RVC"): 1001 rs1≠0 00000 10
    let c_jalr = compressed & 0xf07f == 0x9002 && compressed & 0x0f80 != 0;
    // jal ra / jalr ra: opcodes 1101111 and 1100111 with rd = 1
    let jal = full & 0xfff == 0x0ef || full & 0x7fff == 0x00e7;
    c_jalr || jal
}
