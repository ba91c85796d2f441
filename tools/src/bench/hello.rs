//! The smallest application: how large it is, how long it takes to boot, how little memory it needs.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::least;
use super::table::Row;
use crate::board::{self, Board};
use crate::boot;
use crate::case::{Case, Image};
use crate::icount::{Counts, Plugin};
use crate::image::Elf;
use crate::scratch::Scratch;
use crate::workspace::{self, Profile};

/// Runs per count; the least is taken, since only disturbances differ.
const RUNS: usize = 5;

/// Builds hello and measures it.
pub(super) fn measure() -> Result<Vec<Row>> {
    let hello = &workspace::build("hello", Profile::Release)?;
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
    case.options.extra = plugin.args(&out, &[("from", elf.load_address()), ("to", main)]).into();
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
fn least_ram(file: &Path) -> Result<f64> {
    Ok((least::ram(&hello(), file, 16)? - least::FIRMWARE_KIB) as f64 / 1024.0)
}
