//! The platform-level interrupt controller.

use arrayvec::ArrayVec;

use crate::cells::u32_at;
use crate::machine::Hart;

/// The platform-level interrupt controller (RISC-V PLIC specification 1.0.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plic {
    /// Where its registers start.
    pub base: u64,
    /// How many bytes they take.
    pub size: u64,
    /// How many interrupt sources it has; they are numbered from 1 to this.
    pub sources: u32,
}

/// Supervisor external interrupt, the number of `scause` (privileged architecture, table
/// "Supervisor cause register values").
const SUPERVISOR_EXTERNAL: u32 = 9;

/// Contexts that the PLIC specification has room for. Keeps a hostile list short.
const MAX_CONTEXTS: usize = 15872;

/// Source numbers that the PLIC specification has room for, 0 not included.
pub(crate) const MAX_SOURCES: u32 = 1023;

/// Gives each hart its S-mode context: the index of the entry of `interrupts-extended` that leads
/// to the supervisor external interrupt of its interrupt controller.
///
/// The index follows no rule (harts without S-mode have one context instead of two), so it is
/// looked up and never computed. An entry is a phandle and one cell, as `#interrupt-cells` of
/// `riscv,cpu-intc` is 1; an unused context has the number 0xffffffff. `phandles` are those of
/// the harts' interrupt controllers, in their order.
pub(crate) fn assign_contexts(
    interrupts_extended: &[u8],
    phandles: &[Option<u32>],
    harts: &mut ArrayVec<Hart, 64>,
) {
    let entries = interrupts_extended.as_chunks::<8>().0;
    for (context, entry) in entries.iter().take(MAX_CONTEXTS).enumerate() {
        if u32_at(entry, 4) != Some(SUPERVISOR_EXTERNAL) {
            continue;
        }
        let controller = u32_at(entry, 0);
        for (hart, &phandle) in harts.iter_mut().zip(phandles) {
            if phandle == controller && hart.plic_context.is_none() {
                hart.plic_context = Some(context as u32);
                break;
            }
        }
    }
}
