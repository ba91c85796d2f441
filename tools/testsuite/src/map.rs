//! The final map, read back from the page tables that the hart uses.

use alloc::format;
use core::{arch::asm, ops::Range};

use wakeful::println;
use wakeful_hal::layout::{LINEAR_BASE, image};

use crate::{Outcome, ensure};

const VALID: u64 = 1;
const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 2;
const EXECUTE: u64 = 1 << 3;
const USER: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 6;
const DIRTY: u64 = 1 << 7;

/// A stretch of the address space under one entry.
struct Leaf {
    virt: usize,
    phys: Range<usize>,
    bits: u64,
}

/// Nothing is writable and executable, under any name; A and D are preset; null is unmapped.
pub(crate) fn rights() -> Outcome {
    let satp: usize;
    // SAFETY: reads a register.
    unsafe { asm!("csrr {}, satp", out(reg) satp) };
    let mut counts = [0_usize; 3];
    let mut executable = 0..0;
    let mut check = |leaf: Leaf| {
        let Leaf { virt, phys, bits } = leaf;
        ensure(bits & USER == 0, || format!("{virt:#x} is for user mode"))?;
        ensure(bits & ACCESSED != 0, || format!("{virt:#x} has no A bit"))?;
        ensure(bits & DIRTY != 0 || bits & WRITE == 0, || format!("{virt:#x} has no D bit"))?;
        ensure(bits & WRITE == 0 || bits & EXECUTE == 0, || format!("{virt:#x} is W and X"))?;
        ensure(virt >= LINEAR_BASE, || format!("{virt:#x} in the lower half is mapped"))?;
        let text = image::physical().start..image::physical().start + image::text().len();
        let holds_text = phys.start < text.end && text.start < phys.end;
        ensure(!(holds_text && bits & WRITE != 0), || format!("{virt:#x} is text, writable"))?;
        if bits & WRITE != 0 {
            ensure(!image::rodata().contains(&virt), || format!("{virt:#x} is a constant"))?;
        }
        let guards = [image::stack().start, image::fault_stack().start].map(|start| start - 4096);
        ensure(!guards.contains(&virt), || format!("the guard page {virt:#x} is mapped"))?;
        if bits & EXECUTE != 0 {
            ensure(image::text().contains(&virt), || format!("{virt:#x} is executable"))?;
            executable.end += phys.len();
        }
        counts[match phys.len() >> 12 {
            1 => 0,
            512 => 1,
            _ => 2,
        }] += 1;
        Ok(())
    };
    walk(satp << 12, 2, 0, &mut check)?;
    ensure(executable.end == image::text().len(), || format!("{} bytes of text", executable.end))?;
    println!("pages: {} of 4 KiB, {} of 2 MiB, {} of 1 GiB", counts[0], counts[1], counts[2]);
    Ok(())
}

fn walk(
    table: usize,
    level: usize,
    base: usize,
    check: &mut dyn FnMut(Leaf) -> Outcome,
) -> Outcome {
    // Bits 43 to 0 of satp are the page number.
    let table = table & ((1 << 56) - 1);
    // SAFETY: a page table, in the linear map, that nobody changes now.
    let entries = unsafe { &*((LINEAR_BASE + table) as *const [u64; 512]) };
    for (index, &bits) in entries.iter().enumerate() {
        if bits & VALID == 0 {
            continue;
        }
        let size = 4096_usize << (9 * level);
        let mut virt = base + index * size;
        if level == 2 && index >= 256 {
            virt |= usize::MAX << 39;
        }
        let phys = (bits >> 10 << 12) as usize & ((1 << 56) - 1);
        if bits & (READ | WRITE | EXECUTE) == 0 {
            walk(phys, level - 1, virt, check)?;
        } else {
            check(Leaf { virt, phys: phys..phys + size, bits })?;
        }
    }
    Ok(())
}
