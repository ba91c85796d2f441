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
use crate::machine;

/// Measures everything, prints tables, and returns the exit code: 1 if a gate is missed or a row is
/// above its baseline. With `update`, what is measured becomes the baseline.
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
    let mut missed = machine.iter().any(|row| row.value > row.gate);

    match http::unavailable()? {
        None => {
            let rows = http::measure()?;
            http::remember(&rows, &mut measured);
            missed |= show_http(rows);
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
    missed |= show_blk(rows);

    for build in Build::ALL {
        let rows = rows::measure(build)?;
        for (name, cost) in rows.of(limits::OURS) {
            measured.set(build.name, name, cost.number);
            if let Some(atomics) = cost.atomics {
                measured.set(build.name, &format!("{name}, atomics"), atomics.all());
            }
        }
        let (text, all_held) = table::of_contenders(build, &rows);
        print!("\n{text}");
        missed |= !all_held;
    }

    if update {
        measured.write()?;
        println!("\nwritten: {}", baseline::file().display());
        return Ok(missed.into());
    }
    let comparison = before?.compare(&measured);
    print!("\n{comparison}");
    Ok((missed || comparison.regressed()).into())
}

/// Measures the web server only, and compares with nothing but the limits.
pub(crate) fn run_http() -> Result<i32> {
    machine::end_all_on_interrupt()?;
    if let Some(reason) = http::unavailable()? {
        bail!("{reason}");
    }
    Ok(show_http(http::measure()?).into())
}

/// Measures disks only.
pub(crate) fn run_blk() -> Result<i32> {
    machine::end_all_on_interrupt()?;
    Ok(show_blk(blk::measure()?).into())
}

/// Measures the peer as well, prints the table, and returns whether a gate is missed.
fn show_blk(mut rows: Vec<blk::Measured>) -> bool {
    let linux = fio::measure();
    if let Ok(linux) = &linux {
        blk::compare(&mut rows, linux);
    }
    print!("\n{}", table::of_blk(&rows));
    if let Err(reason) = linux {
        println!("Linux is not measured: {reason:#}");
    }
    rows.iter().any(|rows| rows.row.value > rows.row.gate)
}

/// Measures the peer as well, prints the tables, and returns whether a gate is missed.
fn show_http(mut rows: Vec<http::Measured>) -> bool {
    let linux = nginx::measure();
    if let Ok(linux) = &linux {
        http::compare(&mut rows, linux);
    }
    print!("\n{}", table::of_http(&rows));
    if let Err(reason) = linux {
        println!("Linux is not measured: {reason:#}");
    }
    rows.iter().any(|rows| rows.row.value > rows.row.gate)
}
