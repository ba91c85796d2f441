//! The QEMU test suite: runs [`crate::cases`] in parallel and reports.
//!
//! Images are built first, one after the other, with cargo's progress in view; then the cases run,
//! each in a QEMU of its own. A failed case shows why, the command line that repeats it, and the
//! console.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::board::Board;
use crate::boot;
use crate::case::{Case, Image};
use crate::cases;
use crate::machine;
use crate::qemu;
use crate::scratch;
use crate::stranger::Stranger;
use crate::workspace;

/// Runs the cases that the arguments select and returns the exit code.
pub(crate) fn run(args: &Arguments) -> Result<i32> {
    let selected: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| !args.is_filtered_out(&Trial::test(case.name, || Ok(()))))
        .collect();
    scratch::sweep()?;
    let images = Arc::new(if args.list { Images::default() } else { Images::build(&selected) });
    machine::end_all_on_interrupt()?;
    let trials = selected.into_iter().map(|case| {
        let images = images.clone();
        Trial::ignorable_test(case.name, move || perform(&case, &images))
    });
    let conclusion = libtest_mimic::run(args, trials.collect());
    Ok(if conclusion.has_failed() { 101 } else { 0 })
}

/// The ELF files that were built, or why they were not.
#[derive(Default)]
struct Images {
    files: HashMap<Image, Result<PathBuf, String>>,
    /// Keeps its files.
    _stranger: Option<Stranger>,
}

impl Images {
    fn build(cases: &[Case]) -> Self {
        let mut images = Self::default();
        for case in cases {
            if images.files.contains_key(&case.image) {
                continue;
            }
            let file = match case.image {
                Image::Package(package, profile) => workspace::build(package, profile),
                Image::Stranger => Stranger::build().map(|stranger| {
                    let file = stranger.elf().to_owned();
                    images._stranger = Some(stranger);
                    file
                }),
            };
            images.files.insert(case.image.clone(), file.map_err(|error| format!("{error:#}")));
        }
        images
    }

    fn file(&self, image: &Image) -> Result<&Path, String> {
        match self.files.get(image) {
            Some(Ok(file)) => Ok(file),
            Some(Err(error)) => Err(error.clone()),
            None => Err(format!("{image:?} has not been built")),
        }
    }
}

fn perform(case: &Case, images: &Images) -> Result<Completion, Failed> {
    let board = Board::find(case.board).map_err(failed)?;
    if let Some(reason) = qemu::unavailable(&board) {
        return Ok(Completion::ignored_with(reason.replace('\n', "; ")));
    }
    if let Some(reason) = boot::unavailable(case) {
        return Ok(Completion::ignored_with(reason.replace('\n', "; ")));
    }
    let attempt = boot::attempt(case, images.file(&case.image)?).map_err(failed)?;
    attempt.verdict.map(|()| Completion::Completed).map_err(|reason| {
        let mut report = format!("{reason}\n\n{}\n\n", attempt.command_line);
        for row in attempt.console.lines() {
            _ = writeln!(report, "| {row}");
        }
        report.into()
    })
}

fn failed(error: anyhow::Error) -> Failed {
    format!("{error:#}").into()
}
