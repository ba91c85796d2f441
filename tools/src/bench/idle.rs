//! A machine with nothing to do: how many instructions it executes.
//!
//! `benchsuite` awaits what never comes, with no timer set. Every instruction counts, the firmware's
//! too.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::rows::Build;
use super::table::Row;
use crate::board::{self, Board};
use crate::boot;
use crate::icount::{self, Plugin};
use crate::machine::Machine;
use crate::qemu::{CommandLine, Options};
use crate::scratch::Scratch;

/// How long the machine may take until it has nothing to do.
const BOOT: Duration = Duration::from_secs(60);

/// How long it gets to fall asleep after it has said so.
const SETTLE: Duration = Duration::from_millis(500);

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(5);

/// Builds the image and watches it on one hart and on four.
pub(super) fn measure() -> Result<Vec<Row>> {
    let image = Build::PLAIN.image()?;
    let row = |name, harts| -> Result<Row> {
        let value = per_second(&image, harts)?;
        Ok(Row { name, value, unit: "instr/s", gate: 1000.0, goal: 0.0 })
    };
    Ok(vec![row("idle, 1 hart", 1)?, row("idle, 4 harts", 4)?])
}

fn per_second(image: &Path, harts: u32) -> Result<f64> {
    let board = Board::find(board::DEFAULT)?;
    let plugin = Plugin::build(&board)?;
    let folder = Scratch::new("bench-idle")?;
    let out = folder.path().join("counts");
    let options = Options {
        smp: Some(harts),
        append: Some("-- case=idle".into()),
        extra: plugin.args(&out, &[]).into(),
        ..Options::default()
    };
    let line = CommandLine::new(&board, image, &options, folder.path())?;
    // The keyboard is held to the end: nobody types, and nobody hangs up.
    let (machine, _keyboard, output) = Machine::start_captured(&line)?;
    let output = boot::pieces(output);
    wait_for_idle(&output)?;
    std::thread::sleep(SETTLE);
    let (begin, before) = (Instant::now(), icount::total(&out)?);
    std::thread::sleep(WATCHED);
    let (seconds, after) = (begin.elapsed().as_secs_f64(), icount::total(&out)?);
    if output.try_recv() != Err(TryRecvError::Empty) {
        bail!("the idle machine ended or printed something\n{line}");
    }
    machine.end();
    Ok(((after - before) as f64 / seconds).round())
}

/// Until the machine has printed the line that says so.
fn wait_for_idle(output: &Receiver<Vec<u8>>) -> Result<()> {
    let deadline = Instant::now() + BOOT;
    let mut console = Vec::new();
    loop {
        match output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(piece) => console.extend(piece),
            Err(error) => {
                let reason = match error {
                    RecvTimeoutError::Timeout => "should have been idle by now",
                    RecvTimeoutError::Disconnected => "ended early",
                };
                bail!("benchsuite {reason}\n{}", String::from_utf8_lossy(&console));
            }
        }
        if says_idle(&console) {
            return Ok(());
        }
    }
}

fn says_idle(console: &[u8]) -> bool {
    let ended = |line: &&[u8]| line.ends_with(b"\n");
    console
        .split_inclusive(|&byte| byte == b'\n')
        .filter(ended)
        .any(|line| line.trim_ascii() == b"idle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_a_whole_line() {
        assert!(says_idle(b"OpenSBI\r\nidle\r\n"));
        assert!(!says_idle(b"OpenSBI\r\nidle"));
        assert!(!says_idle(b"not idle\n"));
    }
}
