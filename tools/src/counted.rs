//! A machine whose instructions are counted while it runs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::board::{self, Board};
use crate::boot;
use crate::console::Console;
use crate::icount::{self, Plugin};
use crate::machine::Machine;
use crate::network::{MACHINE, Network};
use crate::qemu::{CommandLine, Options};
use crate::scratch::Scratch;

/// How long a machine may take until it is ready.
const BOOT: Duration = Duration::from_secs(60);

/// How long it gets to fall asleep after it had something to do.
const SETTLE: Duration = Duration::from_millis(500);

/// Within so long one that has nothing to do any more is found to be at rest.
const REST: Duration = Duration::from_secs(30);

/// How long it is watched when it is idle.
const WATCHED: Duration = Duration::from_secs(5);

/// A machine that is ready for whatever it is asked.
pub(crate) struct Counted {
    line: CommandLine,
    out: PathBuf,
    printed: Arc<Printed>,
    machine: Machine,
    /// Held to the end: nobody hangs up.
    keyboard: ChildStdin,
    _folder: Scratch,
}

/// All that a machine has printed.
#[derive(Default)]
struct Printed {
    text: Mutex<Text>,
    /// There is more of it, or nothing more will be.
    news: Condvar,
}

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    ended: bool,
}

impl Counted {
    /// Boots `image` on the default board, with `places` and `blocks` for the plugin, and waits until
    /// its console is as `ready` wants it.
    pub(crate) fn boot(
        image: &Path,
        mut options: Options,
        places: &[(&str, u64)],
        blocks: Option<&Path>,
        ready: impl Fn(&[u8]) -> bool,
    ) -> Result<Self> {
        let board = Board::find(board::DEFAULT)?;
        let folder = Scratch::new("counted")?;
        let out = folder.path().join("counts");
        let args = Plugin::build(&board)?.args(&out, places);
        options.extra.extend(match blocks {
            Some(blocks) => icount::with_blocks(args, blocks),
            None => args,
        });
        let line = CommandLine::new(&board, image, &options, folder.path())?;
        let (machine, keyboard, output) = Machine::start_captured(&line)?;
        let printed = Arc::new(Printed::default());
        let printing = printed.clone();
        std::thread::spawn(move || {
            boot::pieces(output)
                .into_iter()
                .for_each(|piece| printing.change(|text| text.bytes.extend(piece)));
            printing.change(|text| text.ended = true);
        });
        let counted = Self { line, out, printed, machine, keyboard, _folder: folder };
        counted.prints(BOOT, ready)?;
        Ok(counted)
    }

    /// Waits until its console is as `ready` wants it.
    pub(crate) fn prints(&self, patience: Duration, ready: impl Fn(&[u8]) -> bool) -> Result<()> {
        let more = |text: &mut Text| !ready(&text.bytes) && !text.ended;
        let text = self.printed.lock();
        let waited = self.printed.news.wait_timeout_while(text, patience, more);
        let (text, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (ready, ended) = (ready(&text.bytes), text.ended);
        drop(text);
        match (ready, ended) {
            (true, _) => Ok(()),
            (false, true) => bail!("the machine ended early\n{}", self.report()),
            (false, false) => bail!("not what was waited for in {patience:?}\n{}", self.report()),
        }
    }

    /// Types something on its console.
    pub(crate) fn types(&self, text: &str) -> Result<()> {
        (&self.keyboard).write_all(text.as_bytes()).context("the machine has hung up")
    }

    /// Boots `image` on the tap of this thread's namespace, with a static address, and waits until it
    /// says that it serves.
    pub(crate) fn serving(
        image: &Path,
        harts: u32,
        places: &[(&str, u64)],
        blocks: Option<&Path>,
    ) -> Result<Self> {
        let options = Options { smp: Some(harts), ..Options::default() };
        Self::serving_with(image, options, places, blocks)
    }

    /// The same on a machine with more than that.
    pub(crate) fn serving_with(
        image: &Path,
        options: Options,
        places: &[(&str, u64)],
        blocks: Option<&Path>,
    ) -> Result<Self> {
        let options = Options { network: Some(Network::tap()), ..options };
        Self::boot(image, options, places, blocks, says_that_it_serves)
    }

    /// Where a machine of [`Counted::serving`] serves.
    pub(crate) const SITE: (std::net::Ipv4Addr, u16) = (MACHINE, 80);

    /// Instructions so far.
    pub(crate) fn total(&self) -> Result<u64> {
        icount::total(&self.out)
    }

    /// Those of them that are below the place `firmware`.
    pub(crate) fn below(&self) -> Result<u64> {
        icount::below(&self.out)
    }

    /// Instructions up to the place `from`.
    pub(crate) fn before(&self) -> Result<u64> {
        icount::before(&self.out)
    }

    /// Instructions that `task` makes it execute, with what follows until it sleeps again, and
    /// without those that it would have executed anyhow, `idle` in each second.
    pub(crate) fn during<T>(
        &self,
        idle: f64,
        task: impl FnOnce() -> Result<T>,
    ) -> Result<(f64, T)> {
        let (begin, before) = (Instant::now(), self.total()?);
        let done = task().with_context(|| self.report())?;
        std::thread::sleep(SETTLE);
        let (seconds, after) = (begin.elapsed().as_secs_f64(), self.total()?);
        Ok(((after - before) as f64 - idle * seconds, done))
    }

    /// Waits until it has done what it does some time after it had something to do.
    pub(crate) fn rests(&self) -> Result<()> {
        const PAUSE: Duration = Duration::from_millis(1500);
        const FEW: u64 = 10_000;
        let deadline = Instant::now() + REST;
        let mut before = self.total()?;
        loop {
            std::thread::sleep(PAUSE); // Nothing tells that it does nothing.
            let now = self.total()?;
            if now - before < FEW {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} instructions in {PAUSE:?}: {}", now - before, self.report());
            }
            before = now;
        }
    }

    /// Instructions in each second in which nobody wants anything.
    pub(crate) fn idle(&self) -> Result<f64> {
        std::thread::sleep(SETTLE);
        let said = self.said().len();
        let (begin, before) = (Instant::now(), self.total()?);
        std::thread::sleep(WATCHED);
        let (seconds, after) = (begin.elapsed().as_secs_f64(), self.total()?);
        if self.said().len() != said || self.machine.has_ended()? {
            bail!("the idle machine ended or printed something: {}", self.report());
        }
        Ok(((after - before) as f64 / seconds).round())
    }

    /// All that it has printed.
    pub(crate) fn said(&self) -> Vec<u8> {
        self.printed.lock().bytes.clone()
    }

    fn report(&self) -> String {
        format!("{}\n{}", self.line, String::from_utf8_lossy(&self.said()))
    }
}

impl Printed {
    fn lock(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Text)) {
        change(&mut self.lock());
        self.news.notify_all();
    }
}

/// Whether a machine that has printed this is ready for requests.
pub(crate) fn says_that_it_serves(printed: &[u8]) -> bool {
    let mut console = Console::new(|_| Vec::new());
    console.feed(printed, &mut Vec::new());
    console.serving().is_some()
}
