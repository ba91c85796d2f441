//! The web server `http`: what a request costs the whole machine, and what the server costs that
//! nobody visits.
//!
//! Guest instructions, on one hart and a tap: those that are executed while `wrk` or `ab` is at work,
//! without the idle machine's, by the number of requests. What peers need has been measured in the same
//! way on the same emulator: Linux 6.12 with nginx 1.26, ArceOS of 2026-04, Hermit 0.13 with tokio. How
//! many requests there are in a second depends on this computer: so [`super::linux`] is measured beside
//! us, each time.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};

use super::baseline::{self, Baseline};
use super::table::{self, Row};
use super::{bulk, crowd, files, harts, least};
use crate::case::{Case, Image};
use crate::client;
use crate::counted::Counted;
use crate::http::Connection;
use crate::image::Elf;
use crate::load::{self, Connections, Load};
use crate::namespace::{self, Ipv6};
use crate::network::Network;
use crate::program;
use crate::workspace::{self, Profile};

/// As the baseline calls the rows.
pub(super) const GROUP: &str = "http";

/// Rows under load vary that much.
pub(super) const TOLERANCE: f64 = 0.08;

const PACKAGE: &str = "http";
const PATH: &str = "/plaintext";

/// Rows that Linux is measured for as well.
pub(super) const ONE: &str = "request, 1 connection";
pub(super) const SIXTEEN: &str = "request, 16 connections";
pub(super) const SIXTY_FOUR: &str = "request, 64 connections";
pub(super) const FRESH: &str = "connection and request, 16 at once";
pub(super) const FRESH_64: &str = "connection and request, 64 at once";
pub(super) const FRESH_256: &str = "connection and request, 256 at once";

/// Boots per count of the boot; the least is taken.
const BOOTS: usize = 3;

/// A row, with what is shown beside it.
pub(super) struct Measured {
    pub(super) row: Row,
    /// What [`PEERS`] need.
    pub(super) peers: [String; 3],
    pub(super) load: Option<Load>,
    /// The same load on Linux.
    pub(super) linux: Option<Load>,
    /// It is not the same each time.
    varies: bool,
}

/// What a request costs under one load.
pub(super) struct Cost {
    pub(super) instructions: f64,
    pub(super) load: Load,
}

/// What visits a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Visit {
    /// Connections that are kept alive, for some seconds.
    KeptAlive { connections: u32, seconds: u32 },
    /// A number of requests, so many at once, on a connection each.
    Fresh { at_once: u32, requests: u32 },
}

pub(super) const PEERS: [&str; 3] = ["Linux+nginx", "ArceOS", "Hermit+tokio"];

/// Why this cannot be measured here.
pub(super) fn unavailable() -> Result<Option<String>> {
    if !workspace::apps()?.iter().any(|app| app == PACKAGE) {
        return Ok(Some(format!("there is no example {PACKAGE} yet")));
    }
    Ok(program::missing(&["wrk", "ab"]).or_else(namespace::unavailable))
}

/// Builds the image and measures it.
pub(super) fn measure() -> Result<Vec<Measured>> {
    let file = &workspace::build(PACKAGE, Profile::Release)?;
    let bytes = std::fs::read(file)?;
    let elf = Elf::parse(&bytes, file)?;
    let mut rows = namespace::inside(Ipv6::Off, || under_load(file))?;
    rows.extend(namespace::inside(Ipv6::Off, || crowd::measure(file))?);
    let suite = &workspace::build(bulk::PACKAGE, Profile::Release)?;
    rows.extend(namespace::inside(Ipv6::Off, || bulk::measure(suite))?);
    rows.extend(namespace::inside(Ipv6::Off, || harts::measure(suite))?);
    let server = &workspace::build(files::PACKAGE, Profile::Release)?;
    rows.extend(namespace::inside(Ipv6::Off, || files::measure(server))?);
    rows.extend([
        Measured::new(
            row("boot to first answer", boot_cost(file, &elf)?, "instr", 2e6, 0.5e6),
            // Theirs with the firmware's 10 to 13 million.
            ["2.01 G", "54.8 M", "29.4 M"],
        ),
        Measured::new(
            row("least RAM for 16 connections", least_ram(file)?, "MiB", 12.0, 6.0),
            ["104", "40", "80"],
        ),
        Measured::new(
            row("loadable", elf.loadable_bytes() as f64, "bytes", 262_144.0, 131_072.0),
            ["37 M", "263 k", "923 k"],
        ),
    ]);
    Ok(rows)
}

/// Puts what Linux has needed just now beside our rows, and adds rows for the parts of it that we need.
pub(super) fn compare(rows: &mut Vec<Measured>, linux: &[(&'static str, Cost)]) {
    for (name, theirs) in linux {
        let Some(ours) = rows.iter_mut().find(|ours| ours.row.name == *name) else { continue };
        ours.peers[0] = table::number(theirs.instructions);
        ours.linux = Some(theirs.load);
        let (title, gate, goal) = match *name {
            ONE => ("part of Linux's, 1 connection", 0.6, 0.2),
            SIXTEEN => ("part of Linux's, 16 connections", 0.6, 0.2),
            SIXTY_FOUR => ("part of Linux's, 64 connections", 0.6, 0.2),
            FRESH => ("part of Linux's, a connection for each", 0.6, 0.2),
            files::SHORT => ("part of Linux's, a file of 1,000 bytes", 1.0, 0.5),
            // It sends from where it keeps what it has read, and copies nothing.
            files::LONG => ("part of Linux's, a file of 1 MiB", f64::INFINITY, 1.0),
            _ => continue,
        };
        let part = ours.row.value / theirs.instructions;
        rows.push(Measured::new(row(title, part, "", gate, goal), [""; 3]));
    }
}

/// Sets the rows of the baseline. Whether a machine sleeps well is a matter of limits only.
pub(super) fn remember(rows: &[Measured], baseline: &mut Baseline) {
    for Measured { row, varies, .. } in rows.iter().filter(|measured| measured.row.goal > 0.0) {
        let tolerance = if *varies { TOLERANCE } else { baseline::TOLERANCE };
        baseline.set_varying(GROUP, row.name, row.value, tolerance);
    }
}

impl Measured {
    pub(super) fn new(row: Row, peers: [&str; 3]) -> Self {
        Self { row, peers: peers.map(String::from), load: None, linux: None, varies: false }
    }

    /// It is not the same each time.
    pub(super) fn varying(self) -> Self {
        Self { varies: true, ..self }
    }

    /// It was measured under this load.
    pub(super) fn under(self, load: Load) -> Self {
        Self { load: Some(load), ..self.varying() }
    }
}

fn row(name: &'static str, value: f64, unit: &'static str, gate: f64, goal: f64) -> Row {
    Row { name, value, unit, gate, goal }
}

/// All that is measured on one machine after the other.
fn under_load(file: &Path) -> Result<Vec<Measured>> {
    let machine = Counted::serving(file, 1, &[], None)?;
    let nobody = machine.idle()?;
    warm_up()?;
    let measure = |name, visit, gate, goal, peers| -> Result<Measured> {
        let Cost { instructions, load } = cost(&machine, nobody, visit).context(name)?;
        Ok(Measured::new(row(name, instructions, "instr", gate, goal), peers).under(load))
    };
    // So long that it does not matter that connections are opened first.
    let kept_alive = |connections| {
        let seconds = if connections > 64 { 10 } else { 5 };
        Visit::KeptAlive { connections, seconds }
    };
    let fresh = |at_once| Visit::Fresh { at_once, requests: 4000 };
    let mut rows = vec![
        measure(ONE, kept_alive(1), 19e3, 8e3, ["38 k", "", "418-845 k"])?,
        measure(SIXTEEN, kept_alive(16), 17e3, 7e3, ["34 k", "", "156-161 k"])?,
        measure(SIXTY_FOUR, kept_alive(64), 17e3, 7e3, ["34 k", "", "156-161 k"])?,
        measure("request, 256 connections", kept_alive(256), 20e3, 7e3, ["38-44 k", "", ""])?,
        measure(FRESH, fresh(16), 60e3, 25e3, ["130-137 k", "122 k", "708 k"])?,
        measure(FRESH_64, fresh(64), 60e3, 25e3, [""; 3])?,
        measure(FRESH_256, fresh(256), 60e3, 25e3, [""; 3])?,
    ];
    let site = Counted::SITE.into();
    let mut open = (0..100).map(|_| Connection::open(site)).collect::<Result<Vec<_>>>()?;
    open.iter_mut().try_for_each(|connection| connection.get(PATH)?.expect(200, ""))?;
    machine.rests()?; // After a second they give back what they do not need.
    let idle = |name, value, peers| Measured::new(row(name, value, "instr/s", 1000.0, 0.0), peers);
    rows.push(idle("idle", nobody, ["77-83 k", "all", "0"]));
    rows.push(idle("idle, 100 connections open", machine.idle()?, [""; 3]));
    Ok(rows)
}

/// Once without counting: what is done for the first time is not what a request costs.
pub(super) fn warm_up() -> Result<()> {
    load::wrk(Counted::SITE.into(), PATH, (16, Connections::KeptAlive), 1).map(drop)
}

/// What a request costs `machine`, which executes `idle` instructions a second anyhow.
pub(super) fn cost(machine: &Counted, idle: f64, visit: Visit) -> Result<Cost> {
    cost_of(machine, idle, (Counted::SITE.into(), PATH), visit, 1000)
}

/// The same, of a request for another path, perhaps of another server on it. There are at least so many answers.
pub(super) fn cost_of(
    machine: &Counted,
    idle: f64,
    (site, path): (SocketAddr, &str),
    visit: Visit,
    least: u64,
) -> Result<Cost> {
    let (instructions, load) = machine.during(idle, || match visit {
        Visit::KeptAlive { connections, seconds } => {
            load::wrk(site, path, (connections, Connections::KeptAlive), seconds)
        }
        Visit::Fresh { at_once, requests } => {
            load::ab(site, path, (at_once, Connections::Fresh), requests)
        }
    })?;
    let load = load.flawless(least)?;
    Ok(Cost { instructions: (instructions / load.requests as f64).round(), load })
}

/// Instructions from the kernel's first one until the first request is answered. The machine sleeps
/// while the client makes up its mind.
fn boot_cost(file: &Path, elf: &Elf<'_>) -> Result<f64> {
    let once = || -> Result<u64> {
        let machine = Counted::serving(file, 1, &[("from", elf.load_address())], None)?;
        Connection::open(Counted::SITE.into())?.get(PATH)?.expect(200, "")?;
        Ok(machine.total()? - machine.before()?)
    };
    let mut least = u64::MAX;
    for _ in 0..BOOTS {
        least = least.min(namespace::inside(Ipv6::Off, once)?);
    }
    Ok(least as f64)
}

/// The least RAM with which 16 connections are served, in MiB, the firmware's part included.
fn least_ram(file: &Path) -> Result<f64> {
    let case = Case::new("bench-http", Image::Package(PACKAGE, Profile::Release))
        .network(Network::tap())
        .client(client::wrk(16, Connections::KeptAlive, 2))
        .ends_when_seen();
    Ok(least::ram(&case, file, 128)? as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn linux_takes_its_column_and_becomes_a_limit() {
        let load = Load {
            requests: 1000,
            errors: 0,
            per_second: 100.0,
            median: Duration::from_millis(4),
            p99: Duration::from_millis(8),
        };
        let ours = Measured::new(row(SIXTEEN, 17_000.0, "instr", 17e3, 7e3), ["34 k", "", "156 k"]);
        let mut rows = vec![ours.under(load)];
        let faster = Load { per_second: 200.0, median: Duration::from_millis(2), ..load };
        compare(&mut rows, &[(SIXTEEN, Cost { instructions: 20_000.0, load: faster })]);
        assert_eq!((rows.len(), rows[0].peers[0].as_str(), rows[1].row.value), (2, "20,000", 0.85));
        let text = table::of_http(&rows);
        assert!(text.contains("GATE MISSED"), "{text}");
        let ratios: Vec<&str> = text.lines().last().unwrap().split_whitespace().rev().collect();
        assert_eq!(&ratios[..3], ["1.00×", "2.00×", "0.50×"], "{text}");
    }
}
