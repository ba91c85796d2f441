//! The web server `http`: what a request costs the whole machine, and what the server costs that
//! nobody visits.
//!
//! Guest instructions, on one hart and a tap: those that are executed while `wrk` or `ab` is at work,
//! without the idle machine's, by the number of requests. What peers need is measured in the same way
//! on the same emulator: Linux 6.12 with nginx 1.26, ArceOS of 2026-04, Hermit 0.13 with tokio. How
//! many requests there are in a second depends on this computer.

use std::path::Path;

use anyhow::{Context, Result};

use super::baseline::{self, Baseline};
use super::least;
use super::table::Row;
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
const TOLERANCE: f64 = 0.08;

const PACKAGE: &str = "http";
const PATH: &str = "/plaintext";

/// Boots per count of the boot; the least is taken.
const BOOTS: usize = 3;

/// A row, with what is shown beside it.
pub(super) struct Measured {
    pub(super) row: Row,
    /// What [`PEERS`] need.
    pub(super) peers: [&'static str; 3],
    pub(super) load: Option<Load>,
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
    rows.push(Measured {
        row: row("boot to first answer", boot_cost(file, &elf)?, "instr", 2e6, 0.5e6),
        // Theirs with the firmware's 10 to 13 million.
        peers: ["2.01 G", "54.8 M", "29.4 M"],
        load: None,
    });
    rows.push(Measured {
        row: row("least RAM for 16 connections", least_ram(file)?, "MiB", 12.0, 6.0),
        peers: ["104", "40", "80"],
        load: None,
    });
    rows.push(Measured {
        row: row("loadable", elf.loadable_bytes() as f64, "bytes", 262_144.0, 131_072.0),
        peers: ["37 M", "263 k", "923 k"],
        load: None,
    });
    Ok(rows)
}

/// Sets the rows of the baseline. Whether a machine sleeps well is a matter of limits only.
pub(super) fn remember(rows: &[Measured], baseline: &mut Baseline) {
    for Measured { row, load, .. } in rows.iter().filter(|measured| measured.row.goal > 0.0) {
        let tolerance = if load.is_some() { TOLERANCE } else { baseline::TOLERANCE };
        baseline.set_varying(GROUP, row.name, row.value, tolerance);
    }
}

fn row(name: &'static str, value: f64, unit: &'static str, gate: f64, goal: f64) -> Row {
    Row { name, value, unit, gate, goal }
}

/// All that is measured on one machine after the other.
fn under_load(file: &Path) -> Result<Vec<Measured>> {
    use Connections::{Fresh, KeptAlive};
    let machine = Counted::serving(file, 1, &[], None)?;
    let site = Counted::SITE.into();
    let nobody = machine.idle()?;
    // Once without counting: what is done for the first time is not what a request costs.
    load::wrk(site, PATH, (16, KeptAlive), 1)?;
    let measure = |name, (count, kind), gate, goal, peers| -> Result<Measured> {
        let (instructions, load) = machine.during(nobody, || match kind {
            // So long that it does not matter that connections are opened first.
            KeptAlive => load::wrk(site, PATH, (count, kind), if count > 64 { 10 } else { 5 }),
            Fresh => load::ab(site, PATH, (count, kind), 4000),
        })?;
        let load = load.flawless(1000).context(name)?;
        let value = (instructions / load.requests as f64).round();
        Ok(Measured { row: row(name, value, "instr", gate, goal), peers, load: Some(load) })
    };
    let mut rows = vec![
        measure("request, 1 connection", (1, KeptAlive), 19e3, 8e3, ["38 k", "", "418-845 k"])?,
        measure("request, 16 connections", (16, KeptAlive), 17e3, 7e3, ["34 k", "", "156-161 k"])?,
        measure("request, 64 connections", (64, KeptAlive), 17e3, 7e3, ["34 k", "", "156-161 k"])?,
        measure("request, 256 connections", (256, KeptAlive), 20e3, 7e3, ["38-44 k", "", ""])?,
        measure(
            "connection and request, 16 at once",
            (16, Fresh),
            60e3,
            25e3,
            ["130-137 k", "122 k", "708 k"],
        )?,
    ];
    let mut open = (0..100).map(|_| Connection::open(site)).collect::<Result<Vec<_>>>()?;
    open.iter_mut().try_for_each(|connection| connection.get(PATH)?.expect(200, ""))?;
    let idle = |name, value, peers| Measured {
        row: row(name, value, "instr/s", 1000.0, 0.0),
        peers,
        load: None,
    };
    rows.push(idle("idle", nobody, ["77-83 k", "all", "0"]));
    rows.push(idle("idle, 100 connections open", machine.idle()?, [""; 3]));
    Ok(rows)
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
