//! Programs of this computer that tests and measurements use: whether they are there, and runs that
//! end in time.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::boot;
use crate::machine::Process;

/// The file of a program.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Which of the programs are not there, as a reason for leaving something out.
pub(crate) fn missing(programs: &[&str]) -> Option<String> {
    let missing: Vec<&str> =
        programs.iter().copied().filter(|program| on_path(program).is_none()).collect();
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
}

/// Runs the command to its end and returns what it prints; an error if it fails or takes longer
/// than `patience`.
pub(crate) fn output(mut command: Command, patience: Duration) -> Result<String> {
    let deadline = Instant::now() + patience;
    let shown = format!("{command:?}");
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stderr(writer.try_clone()?).stdout(writer);
    let mut process = Process::start(command)?; // Takes the other ends of the pipe along.
    let pieces = boot::pieces(reader);
    let mut text = Vec::new();
    loop {
        match pieces.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(piece) => text.extend(piece),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                bail!("not done after {patience:?}: {shown}\n{}", String::from_utf8_lossy(&text))
            }
        }
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    match process.wait()? {
        0 => Ok(text),
        code => bail!("exit code {code}: {shown}\n{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, patience: Duration) -> Result<String> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        output(command, patience)
    }

    #[test]
    fn output_failure_and_delay() {
        let minute = Duration::from_secs(60);
        assert_eq!(sh("echo out; echo err >&2", minute).unwrap(), "out\nerr\n");
        let failure = sh("echo why; exit 3", minute).unwrap_err().to_string();
        assert!(failure.contains("exit code 3") && failure.contains("why"), "{failure}");
        let begin = Instant::now();
        let late = sh("echo begun; exec sleep 60", Duration::from_millis(300)).unwrap_err();
        assert!(late.to_string().contains("begun"), "{late}");
        assert!(begin.elapsed() < minute);
    }

    #[test]
    fn missing_programs_are_named() {
        assert_eq!(missing(&["sh"]), None);
        assert_eq!(missing(&["sh", "no-such-program"]).unwrap(), "not installed: no-such-program");
    }
}
