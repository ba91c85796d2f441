//! The QEMU test suite: runs [`crate::cases`] in parallel and reports.
//!
//! Images are built first, one after the other, with cargo's progress in view; then the cases run,
//! each in a QEMU of its own. Those that mostly wait begin with the first, and a few of them run
//! beside the others. A failed case shows why, the command line that repeats it, and the console.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use anyhow::{Result, bail};
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
    let selected: Vec<Case> = cases::all()?
        .into_iter()
        .filter(|case| !args.is_filtered_out(&trial_of(case, || Ok(Completion::Completed))))
        .collect();
    if selected.is_empty() {
        bail!("there is no such case (`cargo wakeful test --list` names all)");
    }
    scratch::sweep()?;
    let images = Arc::new(if args.list { Images::default() } else { Images::build(&selected) });
    machine::end_all_on_interrupt()?;
    let mut beside: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    let mut trials = Vec::new();
    for case in selected {
        let (images, of) = (images.clone(), case.clone());
        let left_out = args.list || (case.soak && !args.ignored && !args.include_ignored);
        let waits = case.beside && !left_out;
        let run = move || perform(&case, &images);
        trials.push(if waits {
            let (sender, result) = mpsc::channel();
            beside.push(Box::new(move || _ = sender.send(run())));
            trial_of(&of, move || result.recv().unwrap_or_else(|_| Err("it has panicked".into())))
        } else {
            trial_of(&of, run)
        });
    }
    run_beside(beside);
    let conclusion = libtest_mimic::run(args, trials);
    Ok(if conclusion.has_failed() { 101 } else { 0 })
}

/// How many cases that mostly wait run beside the others.
const BESIDE: usize = 6;

/// Runs these one after the other in a few threads of their own. They end with the process, if not before.
fn run_beside(tasks: Vec<Box<dyn FnOnce() + Send>>) {
    let tasks = Arc::new(Mutex::new(tasks.into_iter()));
    for _ in 0..BESIDE {
        let tasks = tasks.clone();
        std::thread::spawn(move || {
            // Not `while let`: the lock is not held while the task runs.
            loop {
                let next = tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(task) = next else { return };
                task();
            }
        });
    }
}

fn trial_of(
    case: &Case,
    run: impl FnOnce() -> Result<Completion, Failed> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(case.name, run).with_ignored_flag(case.soak)
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
