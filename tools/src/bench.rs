//! Measurements against limits, against the peer, and against what was measured before. The less
//! the better in every row.
//!
//! A gate is a limit that must hold; a goal is what the best of the others reach. Guest instructions
//! are counted exactly, so a row that grows is a change of ours, or of the compiler: see
//! [`baseline`]. What runs on the machine is the package `benchsuite`.

mod baseline;
mod blk;
mod bulk;
mod crowd;
mod files;
mod fio;
mod harts;
mod hello;
mod http;
mod idle;
mod least;
mod limits;
mod linux;
mod million;
mod nginx;
mod rows;
mod table;
mod throughput;

use anyhow::{Result, bail};

use self::baseline::Baseline;
use self::rows::Build;
use self::table::Row;
use crate::machine;

/// Measures everything, prints tables, and returns the exit code: 1 if a gate is missed or a row is
/// above its baseline. Which ones is said once more at the end. With `update`, what is measured becomes the baseline.
pub(crate) fn run(update: bool) -> Result<i32> {
    machine::end_all_on_interrupt()?;
    let mut measured = Baseline::of_this_compiler()?;
    let before = Baseline::read();

    let mut machine = hello::measure()?;
    machine.push(million::measure()?);
    machine.iter().for_each(|row| measured.set("machine", row.name, row.value));
    machine.extend(idle::measure()?);
    machine.extend(throughput::measure()?);
    print!("{}", table::of_machine(&machine));
    let mut missed = missed_of("machine", &machine);

    match http::unavailable()? {
        None => {
            let rows = http::measure()?;
            http::remember(&rows, &mut measured);
            missed.extend(show_http(rows));
        }
        Some(reason) => {
            println!("\nhttp is not measured: {reason}");
            before.iter().for_each(|before| measured.take(http::GROUP, before));
        }
    }

    let rows = blk::measure()?;
    for blk::Measured { row, .. } in &rows {
        measured.set_varying(blk::GROUP, row.name, row.value, http::TOLERANCE);
    }
    missed.extend(show_blk(rows));

    for build in Build::ALL {
        let rows = rows::measure(build)?;
        for (name, cost) in rows.of(limits::OURS) {
            measured.set(build.name, name, cost.number);
            if let Some(atomics) = cost.atomics {
                measured.set(build.name, &format!("{name}, atomics"), atomics.all());
            }
        }
        let (text, of_build) = table::of_contenders(build, &rows);
        print!("\n{text}");
        missed.extend(of_build);
    }

    if update {
        measured.write()?;
        println!("\nwritten: {}", baseline::file().display());
        return Ok(verdict(&missed));
    }
    let comparison = before?.compare(&measured);
    print!("\n{comparison}");
    Ok(verdict(&missed).max(comparison.regressed().into()))
}

/// The rows that miss their gates, in words.
fn missed_of<'a>(group: &str, rows: impl IntoIterator<Item = &'a Row>) -> Vec<String> {
    let missed = rows.into_iter().filter(|row| row.value > row.gate);
    let words = |row: &Row| {
        let [value, gate] = [row.value, row.gate].map(table::number);
        let value = format!("{value} {}", row.unit);
        format!("{group}: {}: {}, the gate is {gate}", row.name, value.trim_end())
    };
    missed.map(words).collect()
}

/// Says what missed its gate. Returns the exit code.
fn verdict(missed: &[String]) -> i32 {
    missed.iter().for_each(|row| println!("GATE MISSED {row}"));
    (!missed.is_empty()).into()
}

/// Measures the web server only, and compares with nothing but the limits.
pub(crate) fn run_http() -> Result<i32> {
    machine::end_all_on_interrupt()?;
    if let Some(reason) = http::unavailable()? {
        bail!("{reason}");
    }
    Ok(verdict(&show_http(http::measure()?)))
}

/// Measures disks only.
pub(crate) fn run_blk() -> Result<i32> {
    machine::end_all_on_interrupt()?;
    Ok(verdict(&show_blk(blk::measure()?)))
}

/// Measures the peer as well, prints the table, and returns the gates that are missed.
fn show_blk(mut rows: Vec<blk::Measured>) -> Vec<String> {
    let linux = fio::measure();
    if let Ok(linux) = &linux {
        blk::compare(&mut rows, linux);
    }
    print!("\n{}", table::of_blk(&rows));
    if let Err(reason) = linux {
        println!("Linux is not measured: {reason:#}");
    }
    missed_of(blk::GROUP, rows.iter().map(|rows| &rows.row))
}

/// Measures the peer as well, prints the tables, and returns the gates that are missed.
fn show_http(mut rows: Vec<http::Measured>) -> Vec<String> {
    let linux = nginx::measure();
    if let Ok(linux) = &linux {
        http::compare(&mut rows, linux);
    }
    print!("\n{}", table::of_http(&rows));
    if let Err(reason) = linux {
        println!("Linux is not measured: {reason:#}");
    }
    missed_of(http::GROUP, rows.iter().map(|rows| &rows.row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_names_what_missed_its_gate() {
        let row = |name, value| Row { name, value, unit: "instr", gate: 2000.0, goal: 1.0 };
        let missed = missed_of("http", &[row("a request", 2000.0), row("an answer", 2001.5)]);
        assert_eq!(missed, ["http: an answer: 2,001.5 instr, the gate is 2,000"]);
        let part = Row { name: "a part", value: 0.8, unit: "", gate: 0.6, goal: 0.2 };
        assert_eq!(missed_of("http", &[part]), ["http: a part: 0.8, the gate is 0.6"]);
        assert_eq!((verdict(&missed), verdict(&[])), (1, 0));
    }
}
