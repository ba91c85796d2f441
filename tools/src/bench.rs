//! Measurements against limits: one table, the less the better in every row.
//!
//! A gate is a limit that must hold; a goal is what the best of the others reach.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::board::{self, Board};
use crate::boot;
use crate::case::{Case, Image};
use crate::icount::{Counts, Plugin};
use crate::image::Elf;
use crate::machine;
use crate::scratch::Scratch;
use crate::tree::Tree;
use crate::workspace::{self, Profile};

/// Runs per count; the least is taken, since only disturbances differ.
const RUNS: usize = 5;

/// RAM that belongs to the firmware: what lies below the image's load address.
const FIRMWARE_KIB: u64 = 2048;

/// One measurement.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    value: f64,
    unit: &'static str,
    gate: f64,
    goal: f64,
}

/// Measures everything, prints the table, and returns the exit code: 1 if a gate is missed.
pub(crate) fn run() -> Result<i32> {
    let hello = workspace::build("hello", Profile::Release)?;
    machine::end_all_on_interrupt()?;
    let rows = measure(&hello)?;
    print!("{}", table(&rows));
    Ok(rows.iter().any(|row| row.value > row.gate).into())
}

fn measure(hello: &Path) -> Result<Vec<Row>> {
    let bytes = std::fs::read(hello)?;
    let elf = Elf::parse(&bytes, hello)?;
    let row = |name, value, unit, gate, goal| Row { name, value, unit, gate, goal };
    Ok(vec![
        row("hello: loadable", elf.loadable_bytes() as f64, "bytes", 49_152.0, 16_384.0),
        row(
            "hello: S-mode entry to main, 1 hart",
            boot_cost(hello, &elf, 1)?,
            "instr",
            250_000.0,
            70_000.0,
        ),
        row(
            "hello: S-mode entry to main, 4 harts",
            boot_cost(hello, &elf, 4)?,
            "instr",
            250_000.0,
            70_000.0,
        ),
        row("hello: least RAM above firmware", least_ram(hello)?, "MiB", 4.0, 1.0),
    ])
}

fn hello() -> Case {
    Case::new("bench", Image::Package("hello", Profile::Release)).sees("Hello from Wakeful!")
}

/// Guest instructions of the boot hart, from the kernel's first one to `main`.
fn boot_cost(file: &Path, elf: &Elf<'_>, harts: u32) -> Result<f64> {
    const MAIN: &str = "__wakeful_main";
    let main =
        elf.symbol(MAIN).with_context(|| format!("{} has no symbol {MAIN}", file.display()))?;
    let plugin = Plugin::build(&Board::find(board::DEFAULT)?)?;
    let folder = Scratch::new("bench")?;
    let out = folder.path().join("counts");
    let mut case = hello().smp(harts);
    case.options.extra = plugin.args(&out, elf.load_address(), main).into();
    let mut least = u64::MAX;
    for _ in 0..RUNS {
        let attempt = boot::attempt(&case, file)?;
        if let Err(reason) = attempt.verdict {
            bail!(
                "hello does not run on {harts} harts: {reason}\n{}\n{}",
                attempt.command_line,
                attempt.console
            );
        }
        least = least.min(Counts::read(&out)?.between());
    }
    Ok(least as f64)
}

/// The least RAM with which hello succeeds, in MiB beyond the firmware's part.
///
/// QEMU itself needs 5 MiB to lay out image and device tree, so the machine has plenty, and only
/// the device tree that the kernel gets says less.
fn least_ram(file: &Path) -> Result<f64> {
    const STEP_KIB: u64 = 16;
    const ENOUGH_KIB: u64 = 64 * 1024;
    let succeeds = |kib: u64| -> Result<bool> {
        let mut case = hello().tree(Tree::KernelRam(kib << 10));
        case.deadline /= 6; // Whatever happens then, it need not be the end of the machine.
        Ok(boot::attempt(&case, file)?.verdict.is_ok())
    };
    let (mut too_little, mut enough) = (FIRMWARE_KIB / STEP_KIB, ENOUGH_KIB / STEP_KIB);
    if !succeeds(enough * STEP_KIB)? {
        bail!("hello does not even run in {ENOUGH_KIB} KiB of RAM");
    }
    while enough - too_little > 1 {
        let middle = too_little.midpoint(enough);
        if succeeds(middle * STEP_KIB)? {
            enough = middle;
        } else {
            too_little = middle;
        }
    }
    Ok((enough * STEP_KIB - FIRMWARE_KIB) as f64 / 1024.0)
}

fn table(rows: &[Row]) -> String {
    let mut text = format!("{:<38}{:>11}{:>11}{:>11}\n", "", "measured", "gate", "goal");
    for row in rows {
        let judgement = match row.value {
            value if value <= row.goal => "goal reached",
            value if value <= row.gate => "",
            _ => "GATE MISSED",
        };
        let [value, gate, goal] = [row.value, row.gate, row.goal].map(number);
        let line =
            format!("{:<38}{value:>11}{gate:>11}{goal:>11} {:<6}{judgement}", row.name, row.unit);
        _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Digits in groups of three; two decimals unless the number is whole.
fn number(value: f64) -> String {
    if value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(number(49152.0), "49,152");
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(7.0), "7");
        assert_eq!(number(1.625), "1.62");
    }

    #[test]
    fn table_says_which_limits_hold() {
        let row = |value| Row { name: "x", value, unit: "bytes", gate: 20.0, goal: 10.0 };
        let text = table(&[row(9.0), row(15.0), row(21.0)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("goal reached"));
        assert!(lines[2].ends_with("bytes"));
        assert!(lines[3].ends_with("GATE MISSED"));
    }
}
