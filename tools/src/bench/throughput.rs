//! The same work on one hart and on several: what part of it the busiest hart does, and what part of the time it takes.
//!
//! The instructions have gates: work that is not shared, harts that wake each other, and those that spin are in them. A
//! hart that sleeps executes none, so whether harts that should work wait asleep is seen in the time alone. That is only
//! told, as it depends on who else wants this computer's processors: the same image took 0.57, 0.69, 0.98 and 1.29 of
//! the time within a quarter of a minute.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::rows::{self, Build};
use super::table::Row;
use crate::board::{self, Board};
use crate::icount::{self, Mark, Plugin};
use crate::scratch::Scratch;

/// How many harts, the names of their rows, and what the busiest one may do at most. The goal is an equal part.
const ROWS: [(u32, &str, &str, f64); 2] = [
    (2, "64 tasks on 2 harts: the busier", "64 tasks on 2 harts: time", 0.55),
    (4, "64 tasks on 4 harts: the busiest", "64 tasks on 4 harts: time", 0.3),
];

/// Builds the image and runs the work on one, two and four harts.
pub(super) fn measure() -> Result<Vec<Row>> {
    let file = Build::PLAIN.image()?;
    let (part_of_one, time_of_one) = (busiest(&file, 1)?, time(&file, 1)?);
    let mut rows = Vec::new();
    for (harts, part, clock, gate) in ROWS {
        let value = busiest(&file, harts)? / part_of_one;
        let goal = rounded(1.0 / f64::from(harts));
        rows.push(Row { name: part, value: rounded(value), unit: "of 1 hart", gate, goal });
        let value = time(&file, harts)? / time_of_one;
        let (gate, goal) = (f64::INFINITY, f64::NEG_INFINITY);
        rows.push(Row { name: clock, value, unit: "of 1 hart", gate, goal });
    }
    Ok(rows)
}

/// As the table prints it.
fn rounded(part: f64) -> f64 {
    (part * 100.0).round() / 100.0
}

/// Microseconds.
fn time(file: &Path, harts: u32) -> Result<f64> {
    let console = rows::console(&rows::case("-- case=throughput").smp(harts), file)?;
    rows::value(&console, "throughput-us")
}

/// Instructions of the hart that executes most of them, of the firmware as well.
fn busiest(file: &Path, harts: u32) -> Result<f64> {
    let plugin = Plugin::build(&Board::find(board::DEFAULT)?)?;
    let folder = Scratch::new("throughput")?;
    let out = folder.path().join("counts");
    let mut case = rows::case("-- case=throughput").smp(harts);
    case.options.extra.extend(plugin.args(&out, &rows::places(file)?));
    rows::console(&case, file)?;
    let most = spans(&icount::marks(&out)?).into_values().max();
    Ok(most.context("the image passed no marks")? as f64)
}

/// What each hart has executed between its first mark and its last one.
fn spans(marks: &[Mark]) -> HashMap<u64, u64> {
    let mut first = HashMap::new();
    let mut spans = HashMap::new();
    for mark in marks.iter().filter(|mark| rows::is_on_purpose(mark)) {
        let begin = *first.entry(mark.hart).or_insert(mark.instructions);
        spans.insert(mark.hart, mark.instructions - begin);
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hart_is_busy_from_its_first_mark_to_its_last() {
        let mark = |hart, mark, instructions| Mark {
            hart,
            mark,
            instructions,
            firmware: 0,
            amo: 0,
            lr: 0,
            sc: 0,
        };
        // A trap comes before all others, and behind them.
        let marks = [
            mark(0, 1, 10),
            mark(0, 0, 100),
            mark(1, 0, 50),
            mark(0, 0, 150),
            mark(1, 0, 350),
            mark(0, 1, 900),
        ];
        assert_eq!(spans(&marks), HashMap::from([(0, 50), (1, 300)]));
    }
}
