//! The rows of the package `benchsuite`: run on the machine, counted by the plugin, added up here.
//!
//! The lines that the image prints are described in `tools/benchsuite/src/measure.rs`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{blk, limits};
use crate::board::{self, Board};
use crate::boot;
use crate::case::{Case, Image};
use crate::icount::{self, Mark, Plugin};
use crate::image::Elf;
use crate::scratch::Scratch;
use crate::workspace::{self, Profile};

/// The functions that the plugin watches, in the order of [`Mark::mark`].
const WATCHED: [&str; 2] = ["bench_mark", "trap_entry"];

/// The boots, by their case and number of harts.
const BOOTS: [(&str, u32); 2] = [("-- case=rows", 1), ("-- case=harts", 2)];

/// The row of pairs with nothing between.
const MARKS: &str = "bench/marks";

/// Runs of each boot; the least of each row is taken. They are alike unless an interrupt comes.
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
    /// Instructions of the firmware, beside ours.
    pub(super) firmware: f64,
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

/// Builds the image and runs its rows.
pub(super) fn measure(build: Build) -> Result<Rows> {
    let mut least = Rows::default();
    for (append, harts) in BOOTS {
        least = least.least(measure_case(build, case(append).smp(harts))?);
    }
    Ok(least)
}

/// Builds the image and runs the rows of one case.
pub(super) fn measure_case(build: Build, mut case: Case) -> Result<Rows> {
    let file = build.image()?;
    let plugin = Plugin::build(&Board::find(board::DEFAULT)?)?;
    let folder = Scratch::new("bench-rows")?;
    let out = folder.path().join("counts");
    case.options.extra.extend(plugin.args(&out, &places(&file)?));
    let mut least = Rows::default();
    for _ in 0..RUNS {
        let console = console(&case, &file)?;
        least = least.least(add_up(&console, &icount::marks(&out)?)?);
    }
    Ok(least)
}

/// A boot of the image, with plenty of time.
pub(super) fn case(append: &str) -> Case {
    let image = Image::Package("benchsuite", Profile::Release);
    let mut case = Case::new("bench-rows", image).append(append);
    case.deadline = Duration::from_secs(300);
    case
}

/// What a boot of the image prints. It must succeed.
pub(super) fn console(case: &Case, file: &Path) -> Result<String> {
    let attempt = boot::attempt(case, file)?;
    match attempt.verdict {
        Ok(()) => Ok(attempt.console),
        Err(reason) => {
            bail!("benchsuite fails: {reason}\n{}\n{}", attempt.command_line, attempt.console)
        }
    }
}

/// The number that the console gives for our row.
pub(super) fn value(console: &str, row: &str) -> Result<f64> {
    let prefix = format!("value {}/{row} ", limits::OURS);
    let number = console.lines().find_map(|line| line.strip_prefix(&prefix));
    let number = number.with_context(|| format!("nothing says {prefix:?}\n{console}"))?;
    Ok(number.trim().parse()?)
}

/// What the plugin is told about the image.
pub(super) fn places(file: &Path) -> Result<Vec<(&'static str, u64)>> {
    let bytes = std::fs::read(file)?;
    let elf = Elf::parse(&bytes, file)?;
    // Whoever runs below the image is not of the image.
    let mut places = vec![("firmware", elf.load_address())];
    for name in WATCHED {
        let mark = elf.symbol(name);
        let mark = mark.with_context(|| format!("{} has no symbol {name}", file.display()))?;
        places.push(("mark", mark));
    }
    Ok(places)
}

/// A mark that the image has passed on purpose, and the last time before that the hart had entered a
/// trap.
#[derive(Clone, Copy)]
struct Passed {
    mark: Mark,
    trap: Option<Mark>,
}

/// Whether the image has passed this one on purpose.
pub(super) fn is_on_purpose(mark: &Mark) -> bool {
    WATCHED[mark.mark as usize] == WATCHED[0]
}

/// The purposeful ones of the marks.
fn passed(marks: &[Mark]) -> Vec<Passed> {
    let mut traps = HashMap::new();
    let mut passed = Vec::new();
    for &mark in marks {
        if is_on_purpose(&mark) {
            passed.push(Passed { mark, trap: traps.get(&mark.hart).copied() });
        } else {
            traps.insert(mark.hart, mark);
        }
    }
    passed
}

/// What the console says about rows, with the marks that belong to them.
fn add_up(console: &str, marks: &[Mark]) -> Result<Rows> {
    let mut rows = Rows::default();
    let marks = passed(marks);
    let mut rest = marks.iter().copied();
    let mut pair = None;
    for line in console.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["value", name, number] => {
                rows.insert(name, Cost { number: number.parse()?, firmware: 0.0, atomics: None })?;
            }
            ["row", name, skipped, pairs, operations, ref options @ ..] => {
                let (skipped, pairs, operations): (usize, usize, usize) =
                    (skipped.parse()?, pairs.parse()?, operations.parse()?);
                let options = Options::parse(options).with_context(|| line.to_owned())?;
                let count = skipped + pairs * if options.interrupts { 1 } else { 2 };
                let marks: Vec<Passed> = rest.by_ref().take(count).collect();
                ensure!(marks.len() == count, "too few marks for the row {name}");
                let pairs = options.pairs(&marks[skipped..]);
                let sum = pairs.and_then(|pairs| options.sum(&pairs));
                let sum = sum.with_context(|| format!("row {name}"))?;
                if name == MARKS {
                    pair = Some(sum.instructions as f64 / sum.pairs as f64);
                    continue;
                }
                let pair = pair.with_context(|| format!("the row {MARKS} does not come first"))?;
                // Half of a pair's cost comes before the place that is watched.
                let pair = if options.interrupts { pair / 2.0 } else { pair };
                let mut cost = sum.per_operation(operations, pair);
                if let Some(other) = options.less {
                    let other = rows.0.get(other);
                    let other = other.with_context(|| format!("{line}: no such row before"))?;
                    cost.number -= other.number;
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
        let known = limits::ALL.iter().any(|limit| Some(limit.row) == row)
            || blk::ROWS.iter().any(|limit| Some(limit.row) == row);
        ensure!(known || name.starts_with("bench/"), "no limits are known for the row {name}");
        self.0.insert(name.into(), cost);
        Ok(())
    }
}

/// What a row line says behind the numbers.
#[derive(Default)]
struct Options<'a> {
    less: Option<&'a str>,
    interrupts: bool,
    median: bool,
}

impl<'a> Options<'a> {
    fn parse(words: &[&'a str]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "less" => options.less = Some(words.next().context("less than what?")?),
                "interrupts" => options.interrupts = true,
                "median" => options.median = true,
                _ => bail!("{word} is not understood"),
            }
        }
        Ok(options)
    }

    /// Beginnings and ends.
    fn pairs(&self, marks: &[Passed]) -> Result<Vec<[Mark; 2]>> {
        if !self.interrupts {
            let pairs = marks.as_chunks().0.iter();
            return Ok(pairs.map(|pair: &[Passed; 2]| pair.map(|passed| passed.mark)).collect());
        }
        let begins_with_trap = |passed: &Passed| {
            Ok([passed.trap.context("no interrupt comes before a mark")?, passed.mark])
        };
        marks.iter().map(begins_with_trap).collect()
    }

    /// All pairs together, or the one in the middle.
    fn sum(&self, pairs: &[[Mark; 2]]) -> Result<Sum> {
        let sums: Result<Vec<Sum>> = pairs.iter().map(Sum::of).collect();
        let mut sums = sums?;
        if self.median {
            sums.sort_by_key(|sum| sum.instructions);
            return sums.get(sums.len() / 2).copied().context("no pairs");
        }
        Ok(sums.into_iter().fold(Sum::default(), Sum::plus))
    }
}

/// What lies within pairs of marks.
#[derive(Clone, Copy, Default)]
struct Sum {
    pairs: usize,
    instructions: u64,
    firmware: u64,
    amo: u64,
    lr: u64,
    sc: u64,
}

impl Sum {
    fn of([begin, end]: &[Mark; 2]) -> Result<Self> {
        let forward = begin.hart == end.hart && begin.instructions < end.instructions;
        ensure!(forward, "no pair of marks: {begin:?}, {end:?}");
        let firmware = end.firmware - begin.firmware;
        Ok(Self {
            pairs: 1,
            instructions: end.instructions - begin.instructions - firmware,
            firmware,
            amo: end.amo - begin.amo,
            lr: end.lr - begin.lr,
            sc: end.sc - begin.sc,
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            pairs: self.pairs + other.pairs,
            instructions: self.instructions + other.instructions,
            firmware: self.firmware + other.firmware,
            amo: self.amo + other.amo,
            lr: self.lr + other.lr,
            sc: self.sc + other.sc,
        }
    }

    /// What one of the `operations` of each pair costs, where an empty pair costs `pair`.
    fn per_operation(&self, operations: usize, pair: f64) -> Cost {
        let per_operation = |count: f64| count / (self.pairs * operations) as f64;
        Cost {
            number: per_operation(self.instructions as f64 - pair * self.pairs as f64),
            firmware: per_operation(self.firmware as f64),
            atomics: Some(Atomics {
                amo: per_operation(self.amo as f64),
                lr_sc: per_operation(self.lr.max(self.sc) as f64),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn mark(instructions: u64, amo: u64) -> Mark {
        Mark { hart: 0, mark: 0, instructions, firmware: 0, amo, lr: 0, sc: 0 }
    }

    const fn trap(hart: u64, instructions: u64) -> Mark {
        Mark { hart, mark: 1, ..mark(instructions, 0) }
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
        let cost = |number, amo| Cost {
            number,
            firmware: 0.0,
            atomics: Some(Atomics { amo, lr_sc: 0.0 }),
        };
        assert_eq!(rows.get("embassy", "wake"), Some(cost(40.0, 2.0)));
        assert_eq!(rows.get("embassy", "wake-again"), Some(cost(8.0, 1.0)));
        let bytes = rows.get("embassy", "bytes-per-task");
        assert_eq!(bytes, Some(Cost { number: 32.0, firmware: 0.0, atomics: None }));
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
    fn interrupts_begin_pairs() {
        let console = "row bench/marks 0 1 1\nrow wakeful/interrupt-idle 1 2 1 interrupts\n";
        let mut marks = CALIBRATION.to_vec();
        marks.extend([trap(0, 20), mark(30, 0)]); // Skipped.
        marks.extend([trap(0, 100), trap(0, 200), trap(1, 777), mark(252, 1)]);
        marks.extend([trap(0, 300), mark(352, 2)]);
        let cost = add_up(console, &marks).unwrap().get("wakeful", "interrupt-idle").unwrap();
        assert_eq!(cost.number, 50.0); // Half of the 4 that a pair costs is taken off.
        let error = add_up(console, &[&CALIBRATION[..], &[mark(1, 0); 3]].concat()).unwrap_err();
        assert!(format!("{error:#}").contains("no interrupt"), "{error:#}");
    }

    #[test]
    fn traps_do_not_count_elsewhere() {
        let console = "row bench/marks 0 1 1\nrow wakeful/wake 0 1 1\n";
        let marks = [&CALIBRATION[..], &[mark(20, 0), trap(0, 30), mark(64, 0)]].concat();
        assert_eq!(add_up(console, &marks).unwrap().get("wakeful", "wake").unwrap().number, 40.0);
    }

    #[test]
    fn the_firmware_is_counted_apart() {
        let console = "row bench/marks 0 1 1\nrow wakeful/wake 0 1 1\n";
        let end = Mark { firmware: 900, ..mark(964, 0) };
        let marks = [&CALIBRATION[..], &[mark(20, 0), end]].concat();
        let cost = add_up(console, &marks).unwrap().get("wakeful", "wake").unwrap();
        assert_eq!((cost.number, cost.firmware), (40.0, 900.0));
    }

    #[test]
    fn the_median_is_not_moved_by_one() {
        let console = "row bench/marks 0 1 1\nrow wakeful/wake 0 3 1 median\n";
        let ends = [44, 9_044, 44].into_iter().enumerate();
        let pairs = ends.flat_map(|(index, end)| {
            let begin = 10_000 * (index as u64 + 1);
            [mark(begin, 0), mark(begin + end, 0)]
        });
        let marks: Vec<Mark> = CALIBRATION.into_iter().chain(pairs).collect();
        assert_eq!(add_up(console, &marks).unwrap().get("wakeful", "wake").unwrap().number, 40.0);
    }

    #[test]
    fn values_are_found() {
        let console = "OpenSBI\r\nvalue wakeful/million-bytes 42\r\n";
        assert_eq!(value(console, "million-bytes").unwrap(), 42.0);
        assert!(value(console, "million").is_err());
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
        assert!(error(&calibrated("row embassy/wake 0 1 1 more"), &three).contains("more is not"));
        let backwards = [&CALIBRATION[..], &[mark(9, 0), mark(8, 0)]].concat();
        assert!(error(&calibrated("row embassy/wake 0 1 1"), &backwards).contains("no pair"));
    }

    #[test]
    fn an_interrupted_run_does_not_count() {
        let cost = |number| Cost { number, firmware: 0.0, atomics: None };
        let rows = |number| Rows(HashMap::from([("embassy/wake".into(), cost(number))]));
        assert_eq!(Rows::default().least(rows(50.0)).least(rows(48.0)), rows(48.0));
        assert_eq!(rows(48.0).least(rows(50.0)), rows(48.0));
    }
}
