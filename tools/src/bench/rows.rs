//! The rows of the package `benchsuite`: run on the machine, counted by the plugin, added up here.
//!
//! The lines that the image prints are described in `tools/benchsuite/src/measure.rs`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::limits;
use crate::board::{self, Board};
use crate::boot;
use crate::case::{Case, Image};
use crate::icount::{self, Mark, Plugin};
use crate::image::Elf;
use crate::scratch::Scratch;
use crate::workspace::{self, Profile};

/// The function that the plugin watches.
const MARK: &str = "bench_mark";

/// The row of pairs with nothing between.
const MARKS: &str = "bench/marks";

/// Runs; the least of each row is taken. They are alike unless an interrupt comes.
const RUNS: usize = 3;

/// A way to compile the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Build {
    /// As the baseline calls it.
    pub(super) name: &'static str,
    /// As the table calls it.
    pub(super) title: &'static str,
    /// What the compiler may use beyond the target's own.
    features: &'static [&'static str],
}

impl Build {
    /// The one that the gates are for.
    pub(super) const GATED: Self = Self {
        name: "rv64gc_zba_zbb_zbs",
        title: "rv64gc with Zba, Zbb, Zbs",
        features: &["zba", "zbb", "zbs"],
    };

    /// What users get who set nothing.
    pub(super) const PLAIN: Self = Self { name: "rv64gc", title: "rv64gc", features: &[] };

    pub(super) const ALL: [Self; 2] = [Self::GATED, Self::PLAIN];

    /// The ELF file, built now if need be.
    pub(super) fn image(self) -> Result<PathBuf> {
        workspace::build_outside("benchsuite", self.features)
    }
}

/// What one operation costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    /// Instructions; or whatever else the row is about.
    pub(super) number: f64,
    /// For instructions.
    pub(super) atomics: Option<Atomics>,
}

/// Atomic operations among the instructions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Atomics {
    /// Of one instruction.
    pub(super) amo: f64,
    /// Pairs of load-reserved and store-conditional.
    pub(super) lr_sc: f64,
}

impl Atomics {
    pub(super) fn all(self) -> f64 {
        self.amo + self.lr_sc
    }
}

/// The rows by name: `contender/row`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rows(HashMap<String, Cost>);

impl Rows {
    /// One row of one contender.
    pub(super) fn get(&self, contender: &str, row: &str) -> Option<Cost> {
        self.0.get(&format!("{contender}/{row}")).copied()
    }

    /// The rows of one contender, in the order of the table.
    pub(super) fn of(&self, contender: &str) -> impl Iterator<Item = (&'static str, Cost)> {
        limits::ALL
            .iter()
            .filter_map(move |limit| Some((limit.row, self.get(contender, limit.row)?)))
    }

    /// Keeps what is less.
    fn least(mut self, other: Self) -> Self {
        for (name, cost) in other.0 {
            let least = self.0.entry(name).or_insert(cost);
            if cost.number < least.number {
                *least = cost;
            }
        }
        self
    }
}

/// Builds the image and runs its rows, on one hart.
pub(super) fn measure(build: Build) -> Result<Rows> {
    let file = build.image()?;
    let mark = address_of_mark(&file)?;
    let plugin = Plugin::build(&Board::find(board::DEFAULT)?)?;
    let folder = Scratch::new("bench-rows")?;
    let out = folder.path().join("counts");
    let mut case = Case::new("bench-rows", Image::Package("benchsuite", Profile::Release)).smp(1);
    case.deadline = Duration::from_secs(300);
    case.options.extra = plugin.args(&out, &[("mark", mark)]).into();
    let mut least = Rows::default();
    for _ in 0..RUNS {
        let attempt = boot::attempt(&case, &file)?;
        if let Err(reason) = attempt.verdict {
            bail!("benchsuite fails: {reason}\n{}\n{}", attempt.command_line, attempt.console);
        }
        least = least.least(add_up(&attempt.console, &icount::marks(&out)?)?);
    }
    Ok(least)
}

fn address_of_mark(file: &Path) -> Result<u64> {
    let bytes = std::fs::read(file)?;
    let mark = Elf::parse(&bytes, file)?.symbol(MARK);
    mark.with_context(|| format!("{} has no symbol {MARK}", file.display()))
}

/// What the console says about rows, with the marks that belong to them.
fn add_up(console: &str, marks: &[Mark]) -> Result<Rows> {
    let mut rows = Rows::default();
    let mut rest = marks.iter();
    let mut pair = None;
    for line in console.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["value", name, number] => {
                rows.insert(name, Cost { number: number.parse()?, atomics: None })?;
            }
            ["row", name, skipped, pairs, operations, ref less @ ..] => {
                let (skipped, pairs, operations) =
                    (skipped.parse()?, pairs.parse()?, operations.parse()?);
                let marks: Vec<Mark> = rest.by_ref().take(skipped + 2 * pairs).copied().collect();
                ensure!(marks.len() == skipped + 2 * pairs, "too few marks for the row {name}");
                let sum = sum(&marks[skipped..]).with_context(|| format!("row {name}"))?;
                if name == MARKS {
                    pair = Some(sum.0 as f64 / pairs as f64);
                    continue;
                }
                let pair = pair.with_context(|| format!("the row {MARKS} does not come first"))?;
                let mut cost = sum.per_operation(pairs, operations, pair);
                match less {
                    [] => {}
                    ["less", other] => {
                        let other = rows.0.get(*other);
                        let other = other.with_context(|| format!("{line}: no such row before"))?;
                        cost.number -= other.number;
                    }
                    _ => bail!("not understood: {line}"),
                }
                rows.insert(name, cost)?;
            }
            _ => {} // The firmware talks, too.
        }
    }
    ensure!(rest.next().is_none(), "marks behind those of the last row");
    Ok(rows)
}

impl Rows {
    /// A row of the same name was the warm-up of this one.
    fn insert(&mut self, name: &str, cost: Cost) -> Result<()> {
        let row = name.split_once('/').map(|(_, row)| row);
        let known = limits::ALL.iter().any(|limit| Some(limit.row) == row);
        ensure!(known || name.starts_with("bench/"), "no limits are known for the row {name}");
        self.0.insert(name.into(), cost);
        Ok(())
    }
}

/// Instructions, AMO, LR and SC within pairs of marks.
struct Sum(u64, u64, u64, u64);

fn sum(marks: &[Mark]) -> Result<Sum> {
    let mut sum = Sum(0, 0, 0, 0);
    for &[begin, end] in marks.as_chunks().0 {
        let forward = begin.hart == end.hart && begin.instructions < end.instructions;
        ensure!(forward, "no pair of marks: {begin:?}, {end:?}");
        sum.0 += end.instructions - begin.instructions;
        sum.1 += end.amo - begin.amo;
        sum.2 += end.lr - begin.lr;
        sum.3 += end.sc - begin.sc;
    }
    Ok(sum)
}

impl Sum {
    fn per_operation(&self, pairs: usize, operations: usize, pair: f64) -> Cost {
        let per_operation = |count: f64| count / (pairs * operations) as f64;
        let Sum(instructions, amo, lr, sc) = *self;
        Cost {
            number: per_operation(instructions as f64 - pair * pairs as f64),
            atomics: Some(Atomics {
                amo: per_operation(amo as f64),
                lr_sc: per_operation(lr.max(sc) as f64),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn mark(instructions: u64, amo: u64) -> Mark {
        Mark { hart: 0, instructions, amo, lr: 0, sc: 0 }
    }

    const CALIBRATION: [Mark; 2] = [mark(10, 0), mark(14, 0)];

    #[test]
    fn rows_are_added_up() {
        let console = "OpenSBI v1\nrow bench/marks 0 1 1\nrow bench/loop 0 1 10\n\
                       row embassy/wake 1 2 1\nrow embassy/wake-again 0 1 10 less bench/loop\n\
                       value embassy/bytes-per-task 32\n";
        let mut marks = CALIBRATION.to_vec();
        marks.extend([mark(100, 0), mark(134, 0)]); // The loop: 30 for 10.
        marks.push(mark(200, 0)); // Skipped.
        marks.extend([mark(210, 1), mark(254, 3), mark(300, 3), mark(344, 5)]); // 40 each.
        marks.extend([mark(400, 5), mark(514, 15)]); // 110 for 10.
        let rows = add_up(console, &marks).unwrap();
        let cost = |number, amo| Cost { number, atomics: Some(Atomics { amo, lr_sc: 0.0 }) };
        assert_eq!(rows.get("embassy", "wake"), Some(cost(40.0, 2.0)));
        assert_eq!(rows.get("embassy", "wake-again"), Some(cost(8.0, 1.0)));
        let bytes = rows.get("embassy", "bytes-per-task");
        assert_eq!(bytes, Some(Cost { number: 32.0, atomics: None }));
        assert_eq!(rows.get("wakeful", "wake"), None);
        let in_order: Vec<_> = rows.of("embassy").map(|(row, _)| row).collect();
        assert_eq!(in_order, ["wake", "wake-again", "bytes-per-task"]);
    }

    #[test]
    fn the_last_of_two_rows_counts() {
        let console = "row bench/marks 0 1 1\nrow embassy/wake 0 1 1\nrow embassy/wake 0 1 1\n";
        let marks = [&CALIBRATION[..], &[mark(20, 0), mark(100, 0), mark(200, 0), mark(244, 0)]];
        let rows = add_up(console, &marks.concat()).unwrap();
        assert_eq!(rows.get("embassy", "wake").unwrap().number, 40.0);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let error =
            |console: &str, marks: &[Mark]| format!("{:#}", add_up(console, marks).unwrap_err());
        let calibrated = |line: &str| format!("row bench/marks 0 1 1\n{line}\n");
        assert!(error("row bench/marks 0 1 1", &[mark(1, 0)]).contains("too few marks"));
        assert!(error("", &[mark(1, 0)]).contains("behind those of the last row"));
        assert!(error("row embassy/wake 0 1 1", &CALIBRATION).contains("does not come first"));
        let three = [&CALIBRATION[..], &CALIBRATION[..]].concat();
        assert!(error(&calibrated("row embassy/nonsense 0 1 1"), &three).contains("no limits"));
        let unknown = calibrated("row embassy/wake 0 1 1 less bench/nothing");
        assert!(error(&unknown, &three).contains("no such row"));
        let backwards = [&CALIBRATION[..], &[mark(9, 0), mark(8, 0)]].concat();
        assert!(error(&calibrated("row embassy/wake 0 1 1"), &backwards).contains("no pair"));
    }

    #[test]
    fn an_interrupted_run_does_not_count() {
        let rows =
            |number| Rows(HashMap::from([("embassy/wake".into(), Cost { number, atomics: None })]));
        assert_eq!(Rows::default().least(rows(50.0)).least(rows(48.0)), rows(48.0));
        assert_eq!(rows(48.0).least(rows(50.0)), rows(48.0));
    }
}
