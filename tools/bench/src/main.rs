//! Races Wakeful's executor and timers against their peers, on this computer, all in one run.
//!
//! ```text
//! cargo run --release -p wakeful-bench --target host-tuple -- [--quick] [--row SUBSTRING]
//! ```
//!
//! What the rows are is in [`rows`], how they are measured in [`race`], what every contender is
//! given to do in [`workload`]; the contenders are in [`executors`] and [`timers`], a file each.
//! On a shared computer times are good only beside the times of the same run: what counts is the
//! ratio. The exit code is 1 if the best peer beats Wakeful by far in a row, 2 for bad arguments: what is gated
//! narrowly is counted on the machine, by `cargo wakeful bench`.

mod allocations;
mod executors;
mod race;
mod random;
mod rows;
mod table;
mod timers;
mod workload;

use std::process::ExitCode;

use crate::race::{Lane, quantile, race};
use crate::rows::{NOTES, PENDING, Row, TIMER_ROWS};
use crate::timers::Batch;

const HELP: &str = "\
Races Wakeful's executor and timers against their peers, on this computer.

  --quick          a few seconds instead of a minute: does it run at all?
  --row SUBSTRING  only rows whose title contains this
  --help           this

Exit code 1: in some row Wakeful needs more than 1.5 times what the best peer needs.";

#[derive(Debug, Default, PartialEq)]
struct Options {
    quick: bool,
    help: bool,
    row: Option<String>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--help" | "-h" => options.help = true,
                "--row" => options.row = Some(arguments.next().ok_or("--row needs a SUBSTRING")?),
                _ => return Err(format!("unknown argument {argument}")),
            }
        }
        Ok(options)
    }

    fn wants(&self, title: &str) -> bool {
        self.row.as_ref().is_none_or(|part| title.contains(part))
    }
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Err(reason) => {
            eprintln!("{reason}\n\n{HELP}");
            ExitCode::from(2)
        }
        Ok(options) if options.help => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(options) => {
            println!("{NOTES}");
            let mut report = Report::default();
            race_executors(&options, &mut report);
            race_timers(&options, &mut report);
            report.end();
            ExitCode::from(u8::from(!report.missed.is_empty()))
        }
    }
}

fn race_executors(options: &Options, report: &mut Report) {
    let (operations, rounds) = if options.quick { (4_000, 11) } else { (20_000, 81) };
    for row in Row::ALL.into_iter().filter(|row| options.wants(row.title())) {
        let rounds = if row.is_exact() { 1 } else { rounds };
        let table = race_again(|| race(&executors::entrants(row, operations), 1, rounds));
        for lanes in table {
            report.row("executors, ns", row.title(), &lanes, row.gate());
        }
    }
}

fn race_timers(options: &Options, report: &mut Report) {
    let operations = if options.quick { 1_000 } else { 5_000 };
    let clock = timers::clock_overhead();
    for pending in PENDING {
        let titles = TIMER_ROWS.map(|name| format!("{name}, {} pending", grouped(pending)));
        if !titles.iter().any(|title| options.wants(title)) {
            continue;
        }
        let rounds = if options.quick && pending >= 100_000 { 1 } else { 11 };
        let batch = Batch { pending, operations, clock };
        let table = race_again(|| race(&timers::entrants(batch), titles.len(), rounds));
        for (title, lanes) in titles.iter().zip(&table).filter(|(title, _)| options.wants(title)) {
            report.row("timers, ns", title, lanes, Some(table::BY_FAR));
        }
    }
}

/// Races until no row is behind, three times at most: what is only noise does not come thrice.
fn race_again(race: impl Fn() -> Vec<Vec<Lane>>) -> Vec<Vec<Lane>> {
    let mut table = race();
    for _ in 0..2 {
        if !table.iter().any(|lanes| table::is_behind(lanes)) {
            break;
        }
        table = race();
    }
    table
}

/// Prints rows as they come in, and remembers what must be said at the end.
#[derive(Default)]
struct Report {
    table: &'static str,
    behind: Vec<String>,
    missed: Vec<String>,
    noise: Vec<f64>,
}

impl Report {
    fn row(&mut self, table: &'static str, title: &str, lanes: &[Lane], gate: Option<f64>) {
        if self.table != table {
            self.table = table;
            let names: Vec<_> = lanes.iter().map(|lane| lane.name).collect();
            println!("\n{}", table::head(table, &names));
        }
        println!("{}", table::row(title, lanes, gate));
        match gate {
            Some(gate) if table::misses(gate, lanes) => self.missed.push(title.to_owned()),
            Some(_) if table::is_behind(lanes) => self.behind.push(title.to_owned()),
            _ => {}
        }
        self.noise.extend(lanes.iter().filter_map(Lane::noise));
    }

    fn end(&self) {
        if let Some(noise) = quantile(&self.noise, 0.5) {
            println!(
                "\nNoise: the median of the rounds is {:.0} % above what counts.",
                noise * 100.0
            );
        }
        for title in &self.behind {
            println!("behind the best peer: {title}");
        }
        for title in &self.missed {
            println!("GATE MISSED {title}");
        }
    }
}

/// Digits in groups of three.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
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
    fn arguments_are_understood_or_refused() {
        let parse = |line: &str| Options::parse(line.split_whitespace().map(str::to_owned));
        let options = parse("--quick --row yield").unwrap();
        assert!(options.quick && options.wants("yield, 1 task") && !options.wants("fan"));
        assert!(parse("").unwrap().wants("anything"));
        assert!(parse("--row").is_err());
        assert!(parse("quick").is_err());
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!(grouped(10), "10");
        assert_eq!(grouped(1_000_000), "1,000,000");
    }
}
