//! What the user sees: a table of the machine's rows, and one of the contenders' for each build.

use std::fmt::Write as _;

use super::limits::{self, Gate, Limit, OURS, PEER};
use super::rows::{Build, Cost, Rows};
use super::{blk, http};
use crate::load::Load;

/// One measurement of the machine as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    /// Infinite if there is none.
    pub(super) gate: f64,
    /// Likewise, minus infinity.
    pub(super) goal: f64,
}

const GOAL: &str = "goal reached";
const MISSED: &str = "GATE MISSED";

pub(super) fn of_machine(rows: &[Row]) -> String {
    let mut text = format!("{}\n", head(""));
    rows.iter().for_each(|row| _ = writeln!(text, "{}", line(row).trim_end()));
    text
}

/// The same, with what peers need, and what load has shown.
pub(super) fn of_http(rows: &[http::Measured]) -> String {
    let mut text = format!("{:<95}", head("http, on a tap"));
    http::PEERS.iter().for_each(|peer| _ = write!(text, "{peer:>13}"));
    text.push('\n');
    for http::Measured { row, peers, .. } in rows {
        let mut line = format!("{:<95}", line(row));
        peers.iter().for_each(|peer| _ = write!(line, "{peer:>13}"));
        _ = writeln!(text, "{}", line.trim_end());
    }
    let clock = |name, [requests, median, p99]: [&str; 3]| {
        format!("{name:<40}{requests:>11}{median:>11}{p99:>11}")
    };
    let mut title = clock("by the clock", ["requests/s", "50 %, ms", "99 %, ms"]);
    if rows.iter().any(|rows| rows.linux.is_some()) {
        _ = write!(title, "    ours to Linux': {:>9}{:>9}{:>9}", "requests", "50 %", "99 %");
    }
    _ = writeln!(text, "\n{title}");
    for (rows, load) in rows.iter().filter_map(|rows| Some((rows, rows.load.as_ref()?))) {
        let [requests, median, p99] = by_the_clock(load);
        let cells = [requests.round(), median, p99].map(number);
        let mut line = clock(rows.row.name, cells.each_ref().map(String::as_str));
        if let Some(linux) = rows.linux.as_ref().map(by_the_clock) {
            let ratios = [requests / linux[0], median / linux[1], p99 / linux[2]];
            line.push_str("                    ");
            ratios.iter().for_each(|ratio| _ = write!(line, "{:>9}", format!("{ratio:.2}×")));
        }
        _ = writeln!(text, "{line}");
    }
    text
}

/// What disks cost, and what they cost Linux with its program and its kernel alone.
pub(super) fn of_blk(rows: &[blk::Measured]) -> String {
    let [program, kernel, part] = ["Linux+fio", "its kernel", "part"];
    let mut text = format!("{:<95}", head("blk, on virtio-mmio"));
    _ = writeln!(text, "{program:>13}{kernel:>13}{part:>8}");
    for blk::Measured { row, linux } in rows {
        let mut line = format!("{:<95}", line(row));
        if let Some(linux) = linux {
            let [all, kernel] = [linux.instructions, linux.kernel].map(|it| number(it.round()));
            let part = format!("{:.2}", row.value / linux.instructions);
            _ = write!(line, "{all:>13}{kernel:>13}{part:>8}");
        }
        _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Requests per second, median and 99th percentile in milliseconds.
fn by_the_clock(load: &Load) -> [f64; 3] {
    let [median, p99] = [load.median, load.p99].map(|time| time.as_secs_f64() * 1000.0);
    [load.per_second, median, p99]
}

fn head(title: &str) -> String {
    format!("{title:<40}{:>11}{:>11}{:>11}", "measured", "gate", "goal")
}

fn line(row: &Row) -> String {
    let judgement = match row.value {
        value if value <= row.goal => GOAL,
        value if value <= row.gate => "",
        _ => MISSED,
    };
    let [value, gate, goal] = [row.value, row.gate, row.goal].map(limit);
    format!("{:<40}{value:>11}{gate:>11}{goal:>11} {:<10}{judgement}", row.name, row.unit)
}

/// Blank if there is none.
fn limit(value: f64) -> String {
    if value.is_finite() { number(value) } else { String::new() }
}

/// The table of one build, and the gates that are missed. Atomics are AMO, `+` pairs of LR and SC.
pub(super) fn of_contenders(build: Build, rows: &Rows) -> (String, Vec<String>) {
    let gated = build == Build::GATED;
    let mut text = format!("{:<40}{OURS:>17}{PEER:>17}\n", build.title);
    let (gate, goal) = if gated { ("gate", "goal") } else { ("", "") };
    let [instr, atomics] = ["instr", "atomics"];
    let head = format!("{:<40}{instr:>8}{atomics:>9}{instr:>8}{atomics:>9}{gate:>9}{goal:>6}", "");
    _ = writeln!(text, "{}", head.trim_end());
    let mut missed = Vec::new();
    for limit in limits::ALL {
        let [ours, peer] = [OURS, PEER].map(|contender| rows.get(contender, limit.row));
        if ours.is_none() && peer.is_none() {
            continue;
        }
        let mut line = format!("{:<40}{}{}", limit.title, cells(ours), cells(peer));
        if gated {
            let judgement = judge(limit, ours, peer);
            if judgement == MISSED {
                let cells = cells(ours).split_whitespace().collect::<Vec<_>>().join(", ");
                let gate = limit.gate;
                missed.push(format!("{}: {}: {cells}, the gate is {gate}", build.name, limit.row));
            }
            let goal = limit.goal.map_or_else(String::new, number);
            _ = write!(line, "{:>9}{goal:>6}  {judgement}", limit.gate.to_string());
        }
        if let Some(firmware) = ours.map(|ours| ours.firmware).filter(|&count| count >= 0.05) {
            _ = write!(line, "  firmware: {}", number(firmware.round()));
        }
        _ = writeln!(text, "{}", line.trim_end());
    }
    (text, missed)
}

fn judge(limit: &Limit, ours: Option<Cost>, peer: Option<Cost>) -> &'static str {
    let Some(ours) = ours else { return "" };
    let gate = match limit.gate {
        Gate::Most(gate) | Gate::WithAtomics(gate, _) => gate,
        Gate::Peer => peer.map_or(f64::INFINITY, |peer| peer.number),
        Gate::None => f64::INFINITY,
    };
    let most_atomics = match limit.gate {
        Gate::WithAtomics(_, atomics) => atomics,
        _ => f64::INFINITY,
    };
    let atomics = ours.atomics.map_or(0.0, |atomics| atomics.all());
    // A row as a whole costs a few instructions more than its operations.
    let [number, atomics] = [ours.number, atomics].map(|count| (count * 10.0).round() / 10.0);
    match number {
        _ if atomics > most_atomics => MISSED,
        number if number > gate => MISSED,
        number if limit.goal.is_some_and(|goal| number <= goal) => GOAL,
        number if peer.is_some_and(|peer| number > peer.number) => "behind the peer",
        _ => "",
    }
}

fn cells(cost: Option<Cost>) -> String {
    let Some(cost) = cost else { return format!("{:>8}{:>9}", "-", "") };
    let short = |value: f64| number((value * 10.0).round() / 10.0);
    let atomics = match cost.atomics {
        None => String::new(),
        Some(atomics) if atomics.lr_sc == 0.0 => short(atomics.amo),
        Some(atomics) => format!("{}+{}", short(atomics.amo), short(atomics.lr_sc)),
    };
    format!("{:>8}{atomics:>9}", short(cost.number))
}

impl std::fmt::Display for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Most(most) => f.write_str(&number(most)),
            Self::WithAtomics(most, atomics) => write!(f, "{}, {}", number(most), number(atomics)),
            Self::Peer => f.write_str("peer"),
            Self::None => Ok(()),
        }
    }
}

/// Digits in groups of three; up to two decimals.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, digits) = whole.split_at(whole.len() - whole.trim_start_matches('-').len());
    let mut grouped = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match decimals.trim_end_matches('0') {
        "" => grouped,
        decimals => format!("{grouped}.{decimals}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows::Atomics;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(number(49152.0), "49,152");
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(7.0), "7");
        assert_eq!(number(1.625), "1.62");
        assert_eq!(number(47.6), "47.6");
        assert_eq!(number(-100.5), "-100.5");
    }

    #[test]
    fn table_says_which_limits_hold() {
        let row = |value| Row { name: "x", value, unit: "bytes", gate: 20.0, goal: 10.0 };
        let text = of_machine(&[row(9.0), row(15.0), row(21.0)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("goal reached"));
        assert!(lines[2].ends_with("bytes"));
        assert!(lines[3].ends_with("GATE MISSED"));
        let free = Row { gate: f64::INFINITY, goal: f64::NEG_INFINITY, ..row(9.0) };
        let words: Vec<_> =
            of_machine(&[free]).lines().nth(1).map(str::to_owned).into_iter().collect();
        assert_eq!(words[0].split_whitespace().collect::<Vec<_>>(), ["x", "9", "bytes"]);
    }

    fn cost(number: f64, amo: f64, lr_sc: f64) -> Cost {
        Cost { number, firmware: 0.0, atomics: Some(Atomics { amo, lr_sc }) }
    }

    #[test]
    fn a_row_is_judged_by_gate_goal_and_peer() {
        let limit = |gate| Limit { row: "x", title: "x", gate, goal: Some(32.0) };
        let with_atomics = limit(Gate::WithAtomics(44.0, 2.0));
        let peer = Some(cost(40.0, 3.0, 1.0));
        let judged =
            |limit: Limit, number, amo, lr_sc| judge(&limit, Some(cost(number, amo, lr_sc)), peer);
        assert_eq!(judged(with_atomics, 32.04, 2.0, 0.0), GOAL);
        assert_eq!(judged(with_atomics, 39.0, 2.0, 0.0), "");
        assert_eq!(judged(with_atomics, 44.0, 2.0, 0.0), "behind the peer");
        assert_eq!(judged(with_atomics, 45.0, 2.0, 0.0), MISSED);
        assert_eq!(judged(with_atomics, 30.0, 2.0, 1.0), MISSED);
        assert_eq!(judged(limit(Gate::Peer), 41.0, 0.0, 0.0), MISSED);
        assert_eq!(judged(limit(Gate::Most(40.0)), 41.0, 9.0, 0.0), MISSED);
        assert_eq!(judged(limit(Gate::None), 39.0, 9.0, 0.0), "");
        assert_eq!(judge(&with_atomics, None, peer), "");
    }

    #[test]
    fn cells_show_both_kinds_of_atomics() {
        let words = |cost| cells(cost).split_whitespace().map(String::from).collect::<Vec<_>>();
        assert_eq!(words(Some(cost(47.642, 2.125, 1.0))), ["47.6", "2.1+1"]);
        assert_eq!(words(Some(cost(44.0, 2.0, 0.0))), ["44", "2"]);
        assert_eq!(words(Some(Cost { number: 32.0, firmware: 0.0, atomics: None })), ["32"]);
        assert_eq!(words(None), ["-"]);
    }
}
