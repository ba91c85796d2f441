//! What was measured when the last change was accepted: `tools/baseline.toml`, checked in.
//!
//! A row that is more than 2 % above it is a regression and fails `cargo wakeful bench`. One that is
//! more than 2 % below is an invitation to lower the baseline, so that the gain is not lost again.
//! Rows that are measured under load vary by themselves: they have a tolerance of their own.
//! Both are done with `cargo wakeful bench --update`, in the commit that explains the change.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::table::number;
use crate::workspace;

/// What a row may differ from its baseline, as a part of it, unless it says otherwise.
pub(super) const TOLERANCE: f64 = 0.02;

const HEAD: &str = "\
# What `cargo wakeful bench` measured when the last change was accepted; it fails when a row is more
# than 2 % above, or 8 % if it is measured under load. Written by `cargo wakeful bench --update`.

";

/// The numbers of all rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Baseline {
    /// Its version: another one makes other code.
    compiler: String,
    /// By group and row.
    #[serde(flatten)]
    groups: BTreeMap<String, BTreeMap<String, f64>>,
    /// Those that vary from run to run, and by what part.
    #[serde(skip)]
    tolerances: BTreeMap<String, f64>,
}

/// Where it is.
pub(super) fn file() -> PathBuf {
    workspace::root().join("tools/baseline.toml")
}

impl Baseline {
    /// No rows yet.
    pub(super) fn of_this_compiler() -> Result<Self> {
        let output = Command::new("rustc").arg("--version").current_dir(workspace::root()).output();
        let output = output.context("cannot start rustc")?;
        ensure!(output.status.success(), "rustc does not tell its version");
        let compiler = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Self { compiler, groups: BTreeMap::new(), tolerances: BTreeMap::new() })
    }

    /// Adds a row. A thousandth is exact enough.
    pub(super) fn set(&mut self, group: &str, row: &str, value: f64) {
        let value = (value * 1000.0).round() / 1000.0;
        self.groups.entry(group.into()).or_default().insert(row.into(), value);
    }

    /// Adds a row that may differ from its baseline by the part `tolerance`.
    pub(super) fn set_varying(&mut self, group: &str, row: &str, value: f64, tolerance: f64) {
        self.set(group, row, value);
        self.tolerances.insert(full_name(group, row), tolerance);
    }

    /// Takes a group that cannot be measured here from another baseline.
    pub(super) fn take(&mut self, group: &str, from: &Self) {
        if let Some(rows) = from.groups.get(group) {
            self.groups.insert(group.into(), rows.clone());
        }
    }

    pub(super) fn read() -> Result<Self> {
        let text = std::fs::read_to_string(file()).with_context(|| {
            format!("cannot read {}; `cargo wakeful bench --update` makes it", file().display())
        })?;
        toml::from_str(&text).with_context(|| format!("{} is not understood", file().display()))
    }

    pub(super) fn write(&self) -> Result<()> {
        std::fs::write(file(), self.to_text()?)
            .with_context(|| format!("cannot write {}", file().display()))
    }

    fn to_text(&self) -> Result<String> {
        Ok(format!("{HEAD}{}", toml::to_string(self)?))
    }

    /// What has become of each row.
    pub(super) fn compare(&self, now: &Self) -> Comparison {
        let rows = |baseline: &Self| -> BTreeMap<String, f64> {
            let groups = baseline.groups.iter();
            groups
                .flat_map(|(group, rows)| {
                    rows.iter().map(move |(row, &value)| (full_name(group, row), value))
                })
                .collect()
        };
        let (before, now_rows) = (rows(self), rows(now));
        let mut comparison = Comparison {
            compilers: (self.compiler != now.compiler)
                .then(|| (self.compiler.clone(), now.compiler.clone())),
            ..Comparison::default()
        };
        for (row, &value) in &now_rows {
            let Some(&before) = before.get(row) else {
                comparison.added.push(row.clone());
                continue;
            };
            let change = Change { row: row.clone(), before, now: value };
            let tolerance = now.tolerances.get(row).copied().unwrap_or(TOLERANCE);
            if value > before * (1.0 + tolerance) {
                comparison.above.push(change);
            } else if value < before * (1.0 - tolerance) {
                comparison.below.push(change);
            }
        }
        comparison.gone = before.into_keys().filter(|row| !now_rows.contains_key(row)).collect();
        comparison
    }
}

fn full_name(group: &str, row: &str) -> String {
    format!("{group}: {row}")
}

/// Rows that are not as they were.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Comparison {
    above: Vec<Change>,
    below: Vec<Change>,
    /// Not in the baseline.
    added: Vec<String>,
    /// In the baseline, but not measured.
    gone: Vec<String>,
    /// The baseline's and this one, if they differ.
    compilers: Option<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Change {
    row: String,
    before: f64,
    now: f64,
}

impl Comparison {
    /// Whether it is worse than it was.
    pub(super) fn regressed(&self) -> bool {
        !self.above.is_empty() || !self.gone.is_empty()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Change { row, before, now } in &self.above {
            let [from, to] = [*before, *now].map(number);
            let by = if *before > 0.0 {
                format!(", {:.1} % more", (now / before - 1.0) * 100.0)
            } else {
                String::new()
            };
            writeln!(f, "REGRESSION  {row}: {to} instead of {from}{by}")?;
        }
        for row in &self.gone {
            writeln!(f, "REGRESSION  {row}: in the baseline, but no longer measured")?;
        }
        if let (true, Some((before, now))) = (self.regressed(), &self.compilers) {
            writeln!(f, "            the baseline was made by {before}, this by {now}")?;
        }
        for Change { row, before, now } in &self.below {
            let [from, to] = [*before, *now].map(number);
            let by = (1.0 - now / before) * 100.0;
            writeln!(f, "better      {row}: {to} instead of {from}, {by:.1} % less")?;
        }
        for row in &self.added {
            writeln!(f, "new         {row}")?;
        }
        match (self.regressed(), self.below.is_empty() && self.added.is_empty()) {
            (true, _) => writeln!(
                f,
                "if that is what it has to cost: cargo wakeful bench --update, and say why in the commit"
            ),
            (false, false) => {
                writeln!(f, "the baseline can be improved: cargo wakeful bench --update")
            }
            (false, true) => writeln!(f, "every row is at its baseline"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(rows: &[(&str, f64)]) -> Baseline {
        let mut baseline = Baseline {
            compiler: "rustc 1".into(),
            groups: BTreeMap::new(),
            tolerances: BTreeMap::new(),
        };
        rows.iter().for_each(|&(row, value)| baseline.set("rv64gc", row, value));
        baseline
    }

    #[test]
    fn survives_the_file() {
        let written = baseline(&[("hello: loadable", 30_000.0), ("wake", 40.0174)]);
        let text = written.to_text().unwrap();
        assert!(
            text.contains("\n[rv64gc]\n\"hello: loadable\" = 30000.0\nwake = 40.017\n"),
            "{text}"
        );
        assert_eq!(toml::from_str::<Baseline>(&text).unwrap(), written);
    }

    #[test]
    fn two_percent_are_tolerated_both_ways() {
        let before = baseline(&[("a", 100.0), ("b", 100.0)]);
        let comparison = before.compare(&baseline(&[("a", 102.0), ("b", 98.0)]));
        assert_eq!(comparison, Comparison::default());
        assert!(comparison.to_string().contains("at its baseline"));
    }

    #[test]
    fn rows_under_load_vary_more() {
        let before = baseline(&[("a", 100.0)]);
        let mut now = baseline(&[]);
        now.set_varying("rv64gc", "a", 107.0, 0.08);
        assert_eq!(before.compare(&now), Comparison::default());
        now.set_varying("rv64gc", "a", 109.0, 0.08);
        assert!(before.compare(&now).regressed());
    }

    #[test]
    fn groups_that_cannot_be_measured_stay_as_they_were() {
        let before = baseline(&[("a", 100.0)]);
        let mut now = baseline(&[]);
        now.groups.clear();
        now.take("rv64gc", &before);
        now.take("nothing", &before);
        assert_eq!(now, before);
    }

    #[test]
    fn more_is_a_regression() {
        let before = baseline(&[("a", 100.0), ("none", 0.0)]);
        let comparison = before.compare(&baseline(&[("a", 103.0), ("none", 1.0)]));
        assert!(comparison.regressed());
        let text = comparison.to_string();
        assert!(text.contains("REGRESSION  rv64gc: a: 103 instead of 100, 3.0 % more\n"), "{text}");
        assert!(text.contains("REGRESSION  rv64gc: none: 1 instead of 0\n"), "{text}");
        assert!(!text.contains("was made by"), "{text}");
    }

    #[test]
    fn less_and_new_are_news() {
        let before = baseline(&[("a", 100.0)]);
        let comparison = before.compare(&baseline(&[("a", 90.0), ("b", 1.0)]));
        assert!(!comparison.regressed());
        let text = comparison.to_string();
        assert!(text.contains("better      rv64gc: a: 90 instead of 100, 10.0 % less\n"), "{text}");
        assert!(text.contains("new         rv64gc: b\n"), "{text}");
        assert!(text.contains("--update"), "{text}");
    }

    #[test]
    fn a_row_cannot_be_lost_unnoticed() {
        let comparison = baseline(&[("a", 1.0)]).compare(&baseline(&[]));
        assert!(comparison.regressed());
        assert!(comparison.to_string().contains("rv64gc: a: in the baseline, but no longer"));
    }

    #[test]
    fn another_compiler_is_named() {
        let mut now = baseline(&[("a", 2.0)]);
        now.compiler = "rustc 2".into();
        let text = baseline(&[("a", 1.0)]).compare(&now).to_string();
        assert!(text.contains("made by rustc 1, this by rustc 2"), "{text}");
    }

    #[test]
    fn the_one_that_is_checked_in_is_understood() {
        Baseline::read().unwrap();
    }
}
