//! One test case on one machine: booted, watched to its end or deadline, and judged.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::board::Board;
use crate::case::{Case, End};
use crate::console::Console;
use crate::expect::Progress;
use crate::machine::Machine;
use crate::qemu::CommandLine;
use crate::scratch::Scratch;

/// A number that all deadlines are multiplied with, for slow computers.
const SCALE: &str = "WAKEFUL_TEST_TIMEOUT_SCALE";

/// More text than this on a console is a failure of its own.
const MOST_TEXT: usize = 1 << 20;

/// A machine that has been watched to its end.
pub(crate) struct Attempt {
    /// How it was started, to be pasted into a shell.
    pub(crate) command_line: String,
    /// Its console, with names for addresses.
    pub(crate) console: String,
    /// What was not as the case expects.
    pub(crate) verdict: Result<(), String>,
}

/// Boots `elf` as the case says. An error means that there was no machine to watch.
pub(crate) fn attempt(case: &Case, elf: &Path) -> Result<Attempt> {
    let board = Board::find(case.board)?;
    let scratch = Scratch::new(case.name)?;
    let line = command_line(case, &board, elf, scratch.path())?;
    let (console, verdict) = watch(case, elf, &line)?;
    if verdict.is_err() {
        scratch.keep(); // The command line names files in it.
    }
    Ok(Attempt { command_line: line.to_string(), console, verdict })
}

fn command_line(case: &Case, board: &Board, elf: &Path, folder: &Path) -> Result<CommandLine> {
    let mut options = case.options.clone();
    if case.end != End::Seen {
        options.extra.push("-no-reboot".into()); // Firmware resets when it crashes: once is enough.
    }
    let line = CommandLine::new(board, elf, &options, folder)?;
    let Some(tree) = case.tree else { return Ok(line) };
    let prepared = tree.prepare(&line, elf, folder)?;
    options.extra.extend(prepared.args);
    CommandLine::new(board, &prepared.elf, &options, folder)
}

/// Runs the machine to its end. Returns its console, and what was wrong.
fn watch(case: &Case, elf: &Path, line: &CommandLine) -> Result<(String, Result<(), String>)> {
    let limit = case.deadline.mul_f64(scale()?);
    let deadline = Instant::now() + limit;
    let (mut machine, mut keyboard, output) = Machine::start_captured(line)?;
    let output = pieces(output);
    let mut console = Console::of(elf);
    let mut shown = Vec::new();
    let mut text = String::new();
    let mut progress = Progress::new(&case.script);
    let ending = loop {
        match output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(piece) => console.feed(&piece, &mut shown),
            Err(RecvTimeoutError::Disconnected) => break Ending::Exited(machine.wait()?),
            Err(RecvTimeoutError::Timeout) => break Ending::TimedOut(limit),
        }
        text.push_str(&String::from_utf8_lossy(&shown));
        shown.clear();
        let typed = progress.advance(&text);
        // A machine that has just ended cannot be typed at; that it ended is seen in a moment.
        _ = keyboard.write_all(typed.as_bytes());
        match console.halted() {
            Some(code) => break Ending::Exited(code),
            None if case.end == End::Seen && progress.complete() => break Ending::Seen,
            None if text.len() > MOST_TEXT => break Ending::TooLong,
            None => {}
        }
    };
    machine.end();
    let verdict = judge(case, ending, &progress, &text);
    Ok((text, verdict))
}

/// Why a machine is no longer watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Exited(i32),
    Seen,
    TimedOut(Duration),
    TooLong,
}

fn judge(case: &Case, ending: Ending, progress: &Progress<'_>, text: &str) -> Result<(), String> {
    let script = progress.verdict(text).map_err(|mismatch| mismatch.to_string());
    let end = match (ending, case.end) {
        (Ending::Exited(code), End::Exit(expected)) if code == expected => Ok(()),
        (Ending::Seen, End::Seen) => Ok(()),
        (Ending::Exited(code), End::Exit(expected)) => {
            Err(format!("exit code {code} instead of {expected}"))
        }
        (Ending::Exited(code), End::Seen) => Err(format!("ended too early, with exit code {code}")),
        (Ending::TimedOut(limit), _) => {
            Err(format!("still running after {limit:?} (deadlines grow with {SCALE}=N)"))
        }
        (Ending::TooLong, _) => Err(format!("printed more than {MOST_TEXT} bytes")),
        (Ending::Seen, End::Exit(_)) => {
            unreachable!("only End::Seen stops a machine that has been seen")
        }
    };
    match (end, script) {
        (Ok(()), script) => script,
        (end, Ok(())) => end,
        (Err(end), Err(script)) => Err(format!("{end}; {script}")),
    }
}

/// Reads in a thread of its own, so that the reader's owner can keep an eye on the time.
pub(crate) fn pieces(mut output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut bytes) {
            if sender.send(bytes[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

fn scale() -> Result<f64> {
    let Ok(text) = std::env::var(SCALE) else { return Ok(1.0) };
    let scale = text.parse().ok().filter(|scale| (0.01..=1000.0).contains(scale));
    scale.with_context(|| format!("{SCALE} is {text:?}; it must be a number between 0.01 and 1000"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Image, exit};
    use crate::workspace::Profile;

    fn judged(case: &Case, ending: Ending, text: &str) -> Result<(), String> {
        let mut progress = Progress::new(&case.script);
        progress.advance(text);
        judge(case, ending, &progress, text)
    }

    #[test]
    fn exit_code_and_text_must_both_be_right() {
        let case =
            Case::new("x", Image::Package("x", Profile::Dev)).sees("oops").exits(exit::PANIC);
        assert_eq!(judged(&case, Ending::Exited(101), "oops"), Ok(()));
        assert!(
            judged(&case, Ending::Exited(0), "oops")
                .unwrap_err()
                .contains("exit code 0 instead of 101")
        );
        assert!(judged(&case, Ending::Exited(101), "").unwrap_err().contains("oops"));
        let both = judged(&case, Ending::TimedOut(Duration::from_secs(60)), "").unwrap_err();
        assert!(both.contains("still running after 60s") && both.contains("oops"), "{both}");
    }

    #[test]
    fn machines_that_should_keep_running_must() {
        let case = Case::new("x", Image::Package("x", Profile::Dev)).sees("up").ends_when_seen();
        assert_eq!(judged(&case, Ending::Seen, "up"), Ok(()));
        assert!(judged(&case, Ending::Exited(0), "up").unwrap_err().contains("too early"));
    }
}
