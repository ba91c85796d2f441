//! The facts about a machine.

use core::ops::Range;

use arrayvec::ArrayVec;

use crate::cells::same;
use crate::error::Error;
use crate::isa::Isa;
use crate::plic::Plic;
use crate::uart::Uart;
use crate::walk;

/// What the device tree says about the machine. All addresses are physical.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine<'a> {
    /// Who made it: `/model`, else the first of `/compatible`, else "".
    pub model: &'a str,
    /// RAM: sorted, disjoint, not touching. From a tree with more separate ranges the first 16
    /// are used; that costs RAM, nothing else.
    pub memory: ArrayVec<Range<u64>, 16>,
    /// What must be left alone: the memory reservation block and the enabled children of
    /// `/reserved-memory` that have a place. Sorted, disjoint, not touching. Children without
    /// `reg` ask for some memory rather than for this memory; they are ignored.
    pub reserved: ArrayVec<Range<u64>, 32>,
    /// The harts that an image in S-mode can use, in the order of the tree.
    pub harts: ArrayVec<Hart, 64>,
    /// How many harts are listed beside these: disabled, without MMU, or beyond the 64th.
    pub unusable_harts: u32,
    /// Ticks of the `time` register per second.
    pub timebase_hz: u64,
    /// The interrupt controller; the first one, where each socket has its own.
    pub plic: Option<Plic>,
    /// The console: what `/chosen/stdout-path` names, if it is like a 16550. Without that property
    /// the first enabled device that is.
    pub uart: Option<Uart>,
    /// The registers of SiFive's test device, through which a virtual machine is left
    /// (compatible `sifive,test0` or `sifive,test1`).
    pub test_device: Option<u64>,
    /// The command line, "" if there is none.
    pub bootargs: &'a str,
    /// Where the boot loader has put the initial RAM disk. Not part of [`reserved`](Self::reserved).
    pub initrd: Option<Range<u64>>,
}

impl<'a> Machine<'a> {
    /// Reads the facts from a flattened device tree. What stands in `blob` beyond the tree is
    /// ignored.
    ///
    /// # Errors
    ///
    /// If the blob is not a device tree or is damaged, if one of memory, usable hart and timer
    /// frequency is missing, and if memory or reservations are said in a way that cannot be kept
    /// to. A device that is described badly is not an error: it is not there.
    pub fn parse(blob: &'a [u8]) -> Result<Self, Error> {
        let mut machine = Self::new();
        machine.read(blob)?;
        Ok(machine)
    }

    /// A machine of which nothing is known, to be filled in by [`read`](Self::read).
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            model: "",
            memory: ArrayVec::new_const(),
            reserved: ArrayVec::new_const(),
            harts: ArrayVec::new_const(),
            unusable_harts: 0,
            timebase_hz: 0,
            plic: None,
            uart: None,
            test_device: None,
            bootargs: "",
            initrd: None,
        }
    }

    /// Does what [`parse`](Self::parse) does, in place: a machine is three kilobytes that need not
    /// be moved. What it said before is forgotten.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse). What has been read up to there then stays.
    pub fn read(&mut self, blob: &'a [u8]) -> Result<(), Error> {
        *self = Self::new();
        walk::read(blob, self)
    }
}

impl Default for Machine<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// A hart that can run an image in S-mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hart {
    /// Its `mhartid`, by which the SBI knows it.
    pub id: u64,
    /// The extensions that it has.
    pub isa: Isa,
    /// The largest virtual address space that it has.
    pub mmu: Mmu,
    /// The context of the PLIC that interrupts its S-mode, if there is one.
    pub plic_context: Option<u32>,
}

/// Schemes of address translation. A larger one implies the smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mmu {
    /// 39 bits, three levels.
    Sv39,
    /// 48 bits, four levels.
    Sv48,
    /// 57 bits, five levels.
    Sv57,
}

impl Mmu {
    /// From `mmu-type` of the RISC-V CPU binding. `riscv,none` and `riscv,sv32` are of no use.
    pub(crate) fn new(mmu_type: &[u8]) -> Option<Self> {
        [(b"riscv,sv39\0", Mmu::Sv39), (b"riscv,sv48\0", Mmu::Sv48), (b"riscv,sv57\0", Mmu::Sv57)]
            .iter()
            .find_map(|&(name, mmu)| same(mmu_type, name).then_some(mmu))
    }
}
