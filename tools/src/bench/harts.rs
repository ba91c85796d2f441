//! The web server on one hart and on four: what a request costs, and how many there are in a second.
//!
//! Instructions are those of all harts. They vary with how the harts meet, so they have gates and no baseline. How
//! many requests there are in a second depends on the processors of this computer, so that is a ratio, and has no
//! gate.

use std::path::Path;

use anyhow::{Context, Result};

use super::http::{self, Measured, Visit};
use super::table::Row;
use crate::counted::Counted;
use crate::network::MACHINE;

/// A path, the name of its row, and what a request may cost on four harts, as a part of what it costs on one. There
/// is a hart that answers and another one that has the network, so a cheap answer costs more.
const ROWS: [(&str, &str, &str, f64); 2] = [
    ("/plaintext", "a cheap answer by 4 harts", "requests/s by 4 harts, cheap", 3.0),
    ("/costly", "a costly answer by 4 harts", "requests/s by 4 harts, costly", 1.5),
];

/// Fewer answers say nothing.
const LEAST: u64 = 100;

/// Where the package `websuite` serves on all harts.
const PORT: u16 = 8081;

/// Measures it in a namespace.
pub(super) fn measure(file: &Path) -> Result<Vec<Measured>> {
    let mut rows = Vec::new();
    let load = Visit::KeptAlive { connections: 64, seconds: 4 };
    let [one, four] = [1, 4].map(|harts| -> Result<_> {
        let machine = Counted::serving(file, harts, &[], None)?;
        let idle = machine.idle()?;
        let cost = |path| {
            let what = ((MACHINE, PORT).into(), path);
            http::cost_of(&machine, idle, what, load, LEAST).context(path)
        };
        ROWS.iter().map(|&(path, ..)| cost(path)).collect::<Result<Vec<_>>>()
    });
    for (((_, cost, speed, gate), one), four) in ROWS.into_iter().zip(one?).zip(four?) {
        let value = four.instructions / one.instructions;
        let row = Row { name: cost, value, unit: "of 1 hart", gate, goal: f64::NEG_INFINITY };
        rows.push(Measured::new(row, [""; 3]).under(four.load));
        let value = four.load.per_second / one.load.per_second;
        let row = Row {
            name: speed,
            value,
            unit: "of 1 hart",
            gate: f64::INFINITY,
            goal: f64::NEG_INFINITY,
        };
        rows.push(Measured::new(row, [""; 3]));
    }
    Ok(rows)
}
