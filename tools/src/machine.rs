//! Running machines: QEMU processes, none of which outlives the tool; nor do the programs beside them.
//!
//! Every process is registered while it runs. It is ended when its owner drops it, and when the
//! tool is interrupted by Ctrl-C, SIGTERM or SIGHUP: see [`end_all_on_interrupt`].

use std::io::{BufRead, BufReader, IsTerminal, PipeReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::qemu::CommandLine;
use crate::scratch;

/// How long a process may take to put the terminal in order and leave after it was asked to.
const PATIENCE: Duration = Duration::from_secs(2);

/// The exit code of a program that Ctrl-C ended.
const INTERRUPT_CODE: i32 = 130;

static RUNNING: Mutex<Vec<Weak<Mutex<Child>>>> = Mutex::new(Vec::new());
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A program that runs. Dropping it ends it.
pub(crate) struct Process(Arc<Mutex<Child>>);

/// A machine that has been switched on. Dropping it switches it off.
pub(crate) struct Machine {
    qemu: Process,
    /// Passes on what QEMU has to say.
    relay: Option<JoinHandle<()>>,
}

impl Machine {
    /// Starts QEMU on the tool's own stdin. What the console prints comes out of the pipe; what
    /// QEMU has to say goes to stderr, except the news that it was asked to leave.
    pub(crate) fn start_interactive(line: &CommandLine) -> Result<(Self, PipeReader)> {
        let (output, console) = std::io::pipe().context("cannot make a pipe")?;
        let (complaints, stderr) = std::io::pipe().context("cannot make a pipe")?;
        let mut command = line.command();
        command.stdin(Stdio::inherit()).stdout(console).stderr(stderr);
        let mut machine = Self::start(command)?.0;
        machine.relay = Some(std::thread::spawn(move || {
            let lines = BufReader::new(complaints).lines().map_while(Result::ok);
            lines
                .filter(|line| !line.contains("terminating on signal"))
                .for_each(|line| eprintln!("{line}"));
        }));
        Ok((machine, output))
    }

    /// Starts QEMU between two pipes. What QEMU itself has to say comes out with the console.
    pub(crate) fn start_captured(line: &CommandLine) -> Result<(Self, ChildStdin, PipeReader)> {
        let (output, console) = std::io::pipe().context("cannot make a pipe")?;
        let mut command = line.command();
        command.stdin(Stdio::piped()).stderr(console.try_clone()?).stdout(console);
        let (machine, input) = Self::start(command)?;
        Ok((machine, input.expect("stdin is a pipe"), output))
    }

    fn start(command: Command) -> Result<(Self, Option<ChildStdin>)> {
        let qemu = Process::start(command)?;
        let input = lock(&qemu.0).stdin.take();
        Ok((Self { qemu, relay: None }, input))
    }

    /// Waits for QEMU to end and returns its exit code. Never returns in a tool that has been
    /// interrupted.
    pub(crate) fn wait(&mut self) -> Result<i32> {
        let code = self.qemu.wait()?;
        if let Some(relay) = self.relay.take() {
            _ = relay.join();
        }
        Ok(code)
    }

    /// Whether QEMU has ended by itself.
    pub(crate) fn has_ended(&self) -> Result<bool> {
        self.qemu.has_ended()
    }

    /// Cuts its power: QEMU does nothing more, not even what it was about to do.
    pub(crate) fn cut(&self) -> Result<()> {
        let mut child = lock(&self.qemu.0);
        child.kill().context("cannot kill QEMU")?;
        child.wait().context("cannot wait for QEMU")?;
        Ok(())
    }

    /// Ends QEMU if it still runs.
    pub(crate) fn end(&self) {
        end(&self.qemu.0);
    }
}

impl Process {
    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&self) -> Result<bool> {
        Ok(status_within(&self.0, Duration::ZERO)?.is_some())
    }

    /// Starts a program.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut running = lock(&RUNNING);
        let program = command.get_program().to_owned();
        let child =
            command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let child = Arc::new(Mutex::new(child));
        running.retain(|child| child.strong_count() > 0);
        running.push(Arc::downgrade(&child));
        Ok(Self(child))
    }

    /// Waits for it to end and returns its exit code. Never returns in a tool that has been
    /// interrupted.
    pub(crate) fn wait(&mut self) -> Result<i32> {
        let status = loop {
            if let Some(status) = status_within(&self.0, PATIENCE)? {
                break status;
            }
        };
        while INTERRUPTED.load(Ordering::SeqCst) {
            std::thread::park(); // The thread that handles the interrupt ends the tool.
        }
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end(&self.0);
    }
}

/// From now on an interrupt ends all processes and then the tool, with one line and exit code 130.
pub(crate) fn end_all_on_interrupt() -> Result<()> {
    let terminal = terminal_settings();
    ctrlc::set_handler(move || {
        INTERRUPTED.store(true, Ordering::SeqCst);
        // Held to the end: one that is about to be started must not slip through.
        let running = lock(&RUNNING);
        running.iter().filter_map(Weak::upgrade).for_each(|child| end(&child));
        if let Some(settings) = &terminal {
            _ = Command::new("stty").arg(settings).stdin(Stdio::inherit()).status();
        }
        scratch::remove_all();
        eprintln!("\nwakeful: interrupted");
        std::process::exit(INTERRUPT_CODE);
    })
    .context("cannot watch for interrupts")
}

/// The state of the terminal, in case QEMU cannot put it in order itself.
fn terminal_settings() -> Option<String> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    let output = Command::new("stty").arg("-g").stdin(Stdio::inherit()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Asks the program to leave, which lets QEMU restore the terminal, and insists if it does not.
fn end(child: &Mutex<Child>) {
    let still_runs = |child: &Mutex<Child>| matches!(lock(child).try_wait(), Ok(None));
    if !still_runs(child) {
        return;
    }
    // Not reaped yet, so the process id is still its own. The library itself only sends SIGKILL.
    let id = lock(child).id().to_string();
    _ = Command::new("kill").arg(id).stderr(Stdio::null()).status();
    if !matches!(status_within(child, PATIENCE), Ok(Some(_))) {
        let mut child = lock(child);
        _ = child.kill();
        _ = child.wait();
    }
}

fn status_within(child: &Mutex<Child>, patience: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = lock(child).try_wait().context("cannot ask how a program ended")? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
