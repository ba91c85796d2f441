//! Disks: what reads and writes cost the whole machine, in guest instructions, on one hart.
//!
//! [`super::fio`] measures Linux. Ours is the case `disk` of `benchsuite`; it counts all that the machine
//! does between the first request of a row and the last, the firmware as well.

use std::fs::File;
use std::io::Write;

use anyhow::{Context, Result};

use super::limits;
use super::rows::{self, Build};
use super::table::Row;
use crate::disk;
use crate::qemu::Options;
use crate::scratch::Scratch;
use crate::virtio::Virtio;

/// The rows. Random ones are of 4 KiB, sequential ones of 1 MiB.
pub(super) const READ: &str = "random read, 1 at a time";
pub(super) const READ_32: &str = "random read, 32 at once";
pub(super) const READ_MIB: &str = "sequential read, a MiB";
pub(super) const WRITE: &str = "random write, 1 at a time";
pub(super) const WRITE_32: &str = "random write, 32 at once";
pub(super) const WRITE_MIB: &str = "sequential write, a MiB";

/// A row, in the image and here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) row: &'static str,
    name: &'static str,
}

/// All of them.
pub(super) const ROWS: [Limit; 6] = [
    Limit { row: "disk-read", name: READ },
    Limit { row: "disk-read-32", name: READ_32 },
    Limit { row: "disk-read-mib", name: READ_MIB },
    Limit { row: "disk-write", name: WRITE },
    Limit { row: "disk-write-32", name: WRITE_32 },
    Limit { row: "disk-write-mib", name: WRITE_MIB },
];

/// As the baseline calls them.
pub(super) const GROUP: &str = "blk";

/// Parts of what Linux needs.
const GATE: f64 = 0.5;
const GOAL: f64 = 0.2;

/// What it costs us, and what Linux, if that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) row: Row,
    pub(super) linux: Option<Cost>,
}

/// Measures ours. The limits are Linux's to set.
pub(super) fn measure() -> Result<Vec<Measured>> {
    let disk = Disk::new()?;
    let mut case = rows::case("-- case=disk");
    case.options = Options { append: case.options.append.take(), ..disk.machine() };
    let rows = rows::measure_case(Build::PLAIN, case)?;
    let measured = |limit: Limit| {
        let cost = rows.get(limits::OURS, limit.row);
        let cost = cost.with_context(|| format!("nothing says {:?}", limit.row))?;
        let value = cost.number + cost.firmware;
        let (gate, goal) = (f64::INFINITY, f64::NEG_INFINITY);
        let row = Row { name: limit.name, value, unit: "instr", gate, goal };
        Ok(Measured { row, linux: None })
    };
    ROWS.into_iter().map(measured).collect()
}

/// What Linux needs sets the limits.
pub(super) fn compare(rows: &mut [Measured], linux: &[(&'static str, Cost)]) {
    for Measured { row, linux: theirs } in rows {
        if let Some((_, cost)) = linux.iter().find(|(name, _)| *name == row.name) {
            (row.gate, row.goal) = (GATE * cost.instructions, GOAL * cost.instructions);
            *theirs = Some(*cost);
        }
    }
}

/// What a read or a write costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    pub(super) instructions: f64,
    /// Those of the kernel among them.
    pub(super) kernel: f64,
}

/// A disk of 256 MiB without a hole in it, so that QEMU reads everything from a file. It is the same for
/// all who are measured.
pub(super) struct Disk(Scratch);

impl Disk {
    const MIB: usize = 256;

    pub(super) fn new() -> Result<Self> {
        let disk = Self(Scratch::new("disk")?);
        let file = disk.file();
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&file)?;
            let letters: Vec<u8> = (b'A'..=b'Z').cycle().take(1 << 20).collect();
            (0..Self::MIB).try_for_each(|_| file.write_all(&letters))
        };
        write().with_context(|| format!("cannot write {}", file.display()))?;
        Ok(disk)
    }

    /// A machine that has it, on virtio-mmio as it is since virtio 1.0. Files are cached by this computer, as they are
    /// when nothing is said.
    pub(super) fn machine(&self) -> Options {
        let disks = vec![disk::Disk::new(self.file())];
        Options { smp: Some(1), virtio: Some(Virtio::Mmio), disks, ..Options::default() }
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("disk")
    }
}
