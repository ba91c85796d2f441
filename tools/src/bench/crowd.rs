//! Many connections that are open and say nothing: what they take, and whether the others pay for them.
//!
//! They are kept alive, each of them has asked once, and asks again in the end. In between others put the server
//! under load, as if nobody else were there.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::http::{self, Cost, Measured, Visit};
use super::table::Row;
use crate::counted::Counted;
use crate::http::{Connection, request};

/// How many there are, and what a row says of it.
const SIZES: [(usize, &str); 4] = [
    (1, "a request beside 1 idle connection"),
    (100, "a request beside 100"),
    (1000, "a request beside 1,000"),
    (10_000, "a request beside 10,000"),
];

/// So many say something at the same time while they are opened: less than a listener's backlog.
const AT_ONCE: usize = 128;

/// Files that this tool needs beside its connections.
const OTHER_FILES: u64 = 100;

/// What the others do meanwhile.
const LOAD: Visit = Visit::KeptAlive { connections: 16, seconds: 3 };

const PATH: &str = "/plaintext";

/// Measures `http` on a machine of its own, in a namespace.
pub(super) fn measure(file: &Path) -> Result<Vec<Measured>> {
    allow_files()?;
    let machine = Counted::serving(file, 1, &[], None)?;
    let site = Counted::SITE.into();
    let quiet = machine.idle()?;
    http::warm_up()?;
    let mut witness = Connection::open(site)?;
    let alone = http::cost(&machine, quiet, LOAD)?.instructions;
    machine.rests()?;
    let before = taken(&mut witness)?;
    let mut crowd = Crowd { site, open: Vec::new() };
    let mut rows = Vec::new();
    let mut each = 0.0;
    for (size, name) in SIZES {
        crowd.grow(size).with_context(|| format!("{} of {size} are open", crowd.open.len()))?;
        machine.rests()?;
        each = (taken(&mut witness)? - before) / size as f64;
        let Cost { instructions, load } = http::cost(&machine, quiet, LOAD).context(name)?;
        let part = instructions / alone;
        let row = Row { name, value: part, unit: "of alone", gate: 1.3, goal: 1.05 };
        rows.push(Measured::new(row, [""; 3]).under(load));
    }
    crowd.ask().context("those that were idle ask again")?;
    let row = Row {
        name: "an idle connection of 10,000",
        value: each.round(),
        unit: "bytes",
        gate: 8192.0,
        goal: 2048.0,
    };
    rows.push(Measured::new(row, ["4.2 k", "384 Ki", ">128 Ki"]).varying());
    Ok(rows)
}

/// Connections that are kept alive.
struct Crowd {
    site: SocketAddr,
    open: Vec<Connection>,
}

impl Crowd {
    /// Opens connections until there are so many; each of them is answered once.
    fn grow(&mut self, size: usize) -> Result<()> {
        while self.open.len() < size {
            let first = self.open.len();
            for _ in first..size.min(first + AT_ONCE) {
                self.open.push(Connection::open(self.site)?);
            }
            answer(&mut self.open[first..])?;
        }
        Ok(())
    }

    /// All of them are answered once more.
    fn ask(&mut self) -> Result<()> {
        self.open.chunks_mut(AT_ONCE).try_for_each(answer)
    }
}

/// Sends a request on each, and then awaits the answers.
fn answer(connections: &mut [Connection]) -> Result<()> {
    for connection in &mut *connections {
        connection.send(request(PATH).as_bytes())?;
    }
    for connection in connections {
        connection.answer()?.context("closed without an answer")?.expect(200, "Hello, World!")?;
    }
    Ok(())
}

/// Bytes that the machine says are taken: frames, without what is free in those of the heap.
fn taken(connection: &mut Connection) -> Result<f64> {
    let answer = connection.get("/stats")?;
    answer.expect(200, "heap_free")?;
    let stats: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let bytes = |name| stats[name].as_f64().with_context(|| format!("{name} is no number"));
    Ok(bytes("memory")? - bytes("memory_free")? - bytes("heap_free")?)
}

/// Lets this tool have as many files as it needs.
fn allow_files() -> Result<()> {
    let most = SIZES.iter().map(|&(size, _)| size as u64).max().unwrap_or_default() + OTHER_FILES;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < most {
        ensure!(hard >= most, "{most} files must be open at the same time, and {hard} may");
        setrlimit(Resource::RLIMIT_NOFILE, most, hard)?;
    }
    Ok(())
}
