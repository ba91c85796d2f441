//! The web server `files`: what a file costs that is on a disk, and what it costs Linux with nginx.
//!
//! Ours is read from the disk each time. Linux has it in memory: that is where it keeps what it has read.

use std::path::Path;

use anyhow::{Context, Result};

use super::http::{self, Cost, Measured, Visit};
use super::table::Row;
use crate::counted::Counted;
use crate::disk::{Disk, Table};
use crate::qemu::Options;

/// The example.
pub(super) const PACKAGE: &str = "files";

/// A file of both machines, and what is measured of it.
pub(super) struct File {
    pub(super) row: &'static str,
    /// As it is asked for. `tools/linux-peer.sh` makes it for Linux.
    pub(super) path: &'static str,
    bytes: usize,
    /// What is counted is what a byte costs, not what a request costs.
    is_long: bool,
    /// Fewer answers say nothing.
    least: u64,
    gate: f64,
    goal: f64,
}

pub(super) const SHORT: &str = "a file of 1,000 bytes";
pub(super) const LONG: &str = "a byte of a file of 1 MiB";

pub(super) const ALL: [File; 2] = [
    File {
        row: SHORT,
        path: "/short.txt",
        bytes: 1000,
        is_long: false,
        least: 500,
        gate: 50e3,
        goal: 25e3,
    },
    File {
        row: LONG,
        path: "/long.txt",
        bytes: 1 << 20,
        is_long: true,
        least: 10,
        gate: 4.0,
        goal: 1.0,
    },
];

/// Of so many the one that costs least counts: what is sent together varies.
const TIMES: usize = 3;

impl File {
    /// What it costs a machine that serves it and executes `idle` instructions a second anyhow.
    pub(super) fn cost(&self, machine: &Counted, idle: f64) -> Result<Cost> {
        let connections = if self.is_long { 1 } else { 16 };
        let load = Visit::KeptAlive { connections, seconds: 2 };
        let what = (Counted::SITE.into(), self.path);
        let mut least: Option<Cost> = None;
        for _ in 0..TIMES {
            let cost = http::cost_of(machine, idle, what, load, self.least).context(self.path)?;
            if least.as_ref().is_none_or(|least| cost.instructions < least.instructions) {
                least = Some(cost);
            }
        }
        let mut cost = least.context("nothing was measured")?;
        if self.is_long {
            cost.instructions /= self.bytes as f64;
        }
        Ok(cost)
    }
}

/// Measures it in a namespace.
pub(super) fn measure(image: &Path) -> Result<Vec<Measured>> {
    let files = ALL.iter().map(|file| (file.path.trim_start_matches('/').into(), file.bytes));
    let disks = vec![Disk::files(files.collect(), Table::None)];
    let options = Options { smp: Some(1), disks, ..Options::default() };
    let machine = Counted::serving_with(image, options, &[], None)?;
    let idle = machine.idle()?;
    let row = |file: &File| -> Result<Measured> {
        let Cost { instructions, load } = file.cost(&machine, idle)?;
        let unit = if file.is_long { "instr/B" } else { "instr" };
        let &File { row: name, gate, goal, .. } = file;
        Ok(Measured::new(Row { name, value: instructions, unit, gate, goal }, [""; 3]).under(load))
    };
    ALL.iter().map(row).collect()
}
