//! A million tasks with a sleep each: how much memory they take, on a machine that has not much more.

use anyhow::Result;

use super::rows::{self, Build};
use super::table::Row;

const MIB: f64 = (1 << 20) as f64;

/// Builds the image and fills a machine.
pub(super) fn measure() -> Result<Row> {
    let case = rows::case("-- case=million").smp(1).memory("80M");
    let console = rows::console(&case, &Build::PLAIN.image()?)?;
    let value = rows::value(&console, "million-bytes")? / MIB;
    Ok(Row { name: "1,000,000 tasks, each in a sleep", value, unit: "MiB", gate: 64.0, goal: 48.0 })
}
