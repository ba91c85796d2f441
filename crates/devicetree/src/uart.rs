//! The console's UART.

use crate::cells::u32_at;
use crate::properties::{Key, Properties};

/// A UART with the registers of a 16550.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uart {
    /// Where register 0 stands.
    pub base: u64,
    /// How many bytes the registers take.
    pub size: u64,
    /// Register `n` stands at `base + (n << reg_shift)`; at most 3.
    pub reg_shift: u8,
    /// How many bytes an access must have: 1 or 4.
    pub io_width: u8,
    /// Its number at the interrupt controller.
    pub irq: Option<u32>,
    /// Whose it is.
    pub kind: UartKind,
}

/// Variants of the 16550.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UartKind {
    /// As National Semiconductor made it (`ns16550a`, `ns16550`).
    Ns16550,
    /// Synopsys DesignWare (`snps,dw-apb-uart`): writing LCR while busy raises an interrupt.
    DesignWare,
}

impl Uart {
    /// From a complete node with the translated first range of its `reg`. `None` if it cannot be
    /// driven: other access widths, registers beyond its range.
    pub(crate) fn new(kind: UartKind, base: u64, size: u64, node: &Properties<'_>) -> Option<Self> {
        let reg_shift = node.cell(Key::RegShift).unwrap_or(0);
        let io_width = node.cell(Key::RegIoWidth).unwrap_or(1);
        let offset = u64::from(node.cell(Key::RegOffset).unwrap_or(0));
        if reg_shift > 3 || !matches!(io_width, 1 | 4) {
            return None;
        }
        let size = size.checked_sub(offset)?;
        // Eight registers, the last one with a whole access.
        if size < (7 << reg_shift) + u64::from(io_width) {
            return None;
        }
        Some(Self {
            base: base.checked_add(offset)?,
            size,
            reg_shift: reg_shift as u8,
            io_width: io_width as u8,
            // An entry of `interrupts-extended` starts with the controller.
            irq: node
                .cell(Key::Interrupts)
                .or_else(|| u32_at(node.get(Key::InterruptsExtended)?, 4)),
            kind,
        })
    }
}
