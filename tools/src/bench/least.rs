//! The least memory that is enough.

use anyhow::{Result, bail};

use crate::boot;
use crate::case::Case;
use crate::tree::Tree;

/// RAM that belongs to the firmware: what lies below the image's load address.
pub(super) const FIRMWARE_KIB: u64 = 2048;

const ENOUGH_KIB: u64 = 64 * 1024;

/// The least RAM, in KiB and with the firmware's part, with which the case passes on a kernel that
/// runs `elf`, to within `step_kib`.
///
/// QEMU itself needs 5 MiB to lay out image and device tree, so the machine has plenty, and only
/// the device tree that the kernel gets says less.
pub(super) fn ram(case: &Case, elf: &std::path::Path, step_kib: u64) -> Result<u64> {
    let passes = |kib: u64| -> Result<bool> {
        let mut case = case.clone().tree(Tree::KernelRam(kib << 10));
        case.deadline /= 6; // Whatever happens then, it need not be the end of the machine.
        Ok(boot::attempt(&case, elf)?.verdict.is_ok())
    };
    let (mut too_little, mut enough) = (FIRMWARE_KIB / step_kib, ENOUGH_KIB / step_kib);
    if !passes(enough * step_kib)? {
        bail!("{} does not even run in {ENOUGH_KIB} KiB of RAM", elf.display());
    }
    while enough - too_little > 1 {
        let middle = too_little.midpoint(enough);
        if passes(middle * step_kib)? {
            enough = middle;
        } else {
            too_little = middle;
        }
    }
    Ok(enough * step_kib)
}
