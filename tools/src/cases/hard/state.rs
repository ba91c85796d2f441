//! What every hard time ends with: the machine serves, and has in use what it had before.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::client::{Client, PAGE, Site};
use crate::http::request;

/// What `/state` of the `websuite` says.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct State {
    pub(super) connections: usize,
    handshakes: usize,
    ended: usize,
    buffered: usize,
    heap: usize,
    frames: usize,
    tasks: usize,
    pub(super) counters: Counters,
}

/// What the stack has counted.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Counters {
    frames: u64,
    connections: u64,
    pub(super) refused: u64,
    pub(super) cookies: u64,
    pub(super) dropped: u64,
    pub(super) conflicts: u64,
}

/// How long the machine may take until nobody who has gone is remembered: a minute for a connection on
/// which nothing is asked, half a minute for one that says goodbye to nobody, and two of those that wait
/// for an acknowledgement (`modules/http`, `crates/stack`). A busy computer takes longer for all.
const PATIENCE: Duration = Duration::from_secs(200);

/// For so many questions in a row the answer is the same on a machine at rest: for longer than an empty
/// buffer is kept (`crates/stack/src/rings.rs`).
const SAME: usize = 10;

/// By how much the heap may have grown for good, in bytes. The same trouble, or a crowd of that size, has been
/// there before, so that what is kept for good is there; but how far the stack's tables have shrunk since
/// (`Places::trim` of `crates/stack`) depends on who left last, its lists of wakers are as long as the most that
/// were woken at once, and a buffer more or less may be kept.
const SLACK: usize = 64 << 10;

/// How many frames of memory may have become the tables of tasks for good.
const TASKS: usize = 16;

/// More connections at once than the stack keeps memory for (`SPARE` in `crates/stack/src/tcp.rs`).
const USUAL: usize = 80;

impl State {
    pub(super) fn of(site: &Site) -> Result<Self> {
        let answer = site.connect()?.get("/state")?;
        answer.expect(200, "connections")?;
        serde_json::from_slice(&answer.body).context("/state says something else")
    }

    /// What it has in use when nobody but this client is there.
    fn at_rest(site: &Site) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let (mut last, mut same) = (Self::of(site)?, 0);
        while same < SAME {
            pause();
            let now = Self::of(site)?;
            let key = |state: &Self| (state.heap, state.buffered, state.tasks, state.frames);
            let rests = now.connections <= 1 && now.handshakes == 0 && key(&now) == key(&last);
            same = if rests { same + 1 } else { 0 };
            ensure!(Instant::now() < deadline, "it does not come to rest: {last}, {now}");
            last = now;
        }
        Ok(last)
    }

    /// Waits until connections that have ended are forgotten, a minute later.
    pub(super) fn forgotten(site: &Site) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while Self::of(site)?.ended > 0 {
            ensure!(
                Instant::now() < deadline,
                "connections are remembered for more than {PATIENCE:?}"
            );
            pause();
        }
        Ok(())
    }

    /// What of the machine is not as it was.
    fn difference(&self, now: &Self) -> Option<String> {
        let more = |what, now: usize, before: usize, slack: usize| {
            (now > before + slack).then(|| format!("{what}: {before} before, {now} now"))
        };
        more("connections", now.connections, self.connections, 0)
            .or_else(|| more("handshakes", now.handshakes, self.handshakes, 0))
            .or_else(|| more("tasks", now.tasks, self.tasks, 0))
            .or_else(|| more("bytes of buffers", now.buffered, self.buffered, 0))
            .or_else(|| more("bytes of the heap in use", now.heap, self.heap, SLACK))
            .or_else(|| more("frames of memory in use", now.frames, self.frames, TASKS))
    }

    /// Waits until all is as it was.
    fn restored(&self, site: &Site) -> Result<()> {
        let begin = Instant::now();
        let mut now = Self::of(site)?;
        while let Some(difference) = self.difference(&now) {
            if begin.elapsed() > PATIENCE {
                bail!(
                    "not as before, after {PATIENCE:?}: {difference}\nbefore: {self}\nnow: {now}"
                );
            }
            pause();
            now = Self::of(site)?;
        }
        let took = begin.elapsed();
        super::figure(site, &format!("as before after {took:.1?}\n  before {self}\n  now {now}"));
        Ok(())
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, handshakes, ended, buffered, heap, frames, tasks, counters } = self;
        let Counters { frames: received, connections: accepted, .. } = counters;
        let Counters { refused, cookies, dropped, conflicts, .. } = counters;
        write!(
            f,
            "{connections} connections, {handshakes} handshakes, {ended} ended, {buffered} bytes of buffers, \
             {heap} bytes of the heap, {frames} more frames, {tasks} tasks; in all {received} frames, \
             {accepted} connections, {refused} refused, {cookies} cookies, {dropped} dropped, {conflicts} conflicts"
        )
    }
}

/// Between two questions: who asks keeps the machine awake.
fn pause() {
    std::thread::sleep(Duration::from_millis(200));
}

/// A client that makes `mischief`, and then finds the machine as it was.
pub(super) fn unharmed(
    what: impl Into<String>,
    mischief: impl Fn(&Site) -> Result<()> + Send + Sync + 'static,
) -> Client {
    unharmed_again(what, |_| Ok(()), mischief)
}

/// The same on a machine to which `before` has happened already: what it keeps for good, for connections to
/// come, it has then.
pub(super) fn unharmed_again(
    what: impl Into<String>,
    before: impl Fn(&Site) -> Result<()> + Send + Sync + 'static,
    mischief: impl Fn(&Site) -> Result<()> + Send + Sync + 'static,
) -> Client {
    Client::new(what, move |site| {
        together(site, USUAL).context("in good times")?;
        before(site).context("the first time")?;
        let before = State::at_rest(site)?;
        mischief(site)?;
        site.serves()?;
        before.restored(site)?;
        site.serves()
    })
}

/// Connections that are all open, with a request and an answer on each.
pub(super) fn together(site: &Site, count: usize) -> Result<()> {
    let connect = |number| site.connect().with_context(|| format!("connection {number}"));
    let mut open = (0..count).map(connect).collect::<Result<Vec<_>>>()?;
    open.iter_mut().try_for_each(|connection| connection.send(request(PAGE.0).as_bytes()))?;
    for (number, connection) in open.iter_mut().enumerate() {
        let answer = connection.answer().with_context(|| format!("connection {number}"))?;
        answer.with_context(|| format!("connection {number} closed"))?.expect(200, PAGE.1)?;
    }
    Ok(())
}
