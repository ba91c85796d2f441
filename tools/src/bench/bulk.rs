//! Much in one direction: what a byte costs the machine that takes it, and the one that gives it.
//!
//! With and without the card's help: checksums that it computes, and segments that it cuts and puts together
//! (virtio 1.2 §5.1.3). Without, the card offers none of that.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::http::Measured;
use super::table::Row;
use crate::counted::{self, Counted};
use crate::http::PATIENCE;
use crate::network::Network;
use crate::qemu::Options;

/// It takes at port 9 what comes, and gives at port 19.
pub(super) const PACKAGE: &str = "websuite";

/// How much.
const BYTES: usize = 64 << 20;

/// How often.
const TIMES: usize = 3;

/// What the card of QEMU offers unless it is told not to.
const OFFERS: [&str; 10] = [
    "csum",
    "gso",
    "guest_csum",
    "guest_tso4",
    "guest_tso6",
    "guest_ecn",
    "host_tso4",
    "host_tso6",
    "host_ecn",
    "mrg_rxbuf",
];

/// Which way the bytes go, seen from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

/// What is measured.
struct Transfer {
    name: &'static str,
    /// Whether the card helps.
    offload: bool,
    way: Way,
    /// Instructions for a byte.
    gate: f64,
    goal: f64,
    peers: [&'static str; 3],
}

const PLAIN: Transfer = Transfer {
    name: "64 MiB in, no offload",
    offload: false,
    way: Way::In,
    gate: 4.0,
    goal: 2.0,
    peers: ["5.56", "", ""],
};

const HELPED: Transfer = Transfer {
    name: "64 MiB in",
    offload: true,
    gate: 2.0,
    goal: 0.5,
    peers: ["0.6", "", ""],
    ..PLAIN
};

const ALL: [Transfer; 4] = [
    PLAIN,
    Transfer { name: "64 MiB out, no offload", way: Way::Out, ..PLAIN },
    HELPED,
    Transfer { name: "64 MiB out", way: Way::Out, ..HELPED },
];

/// Measures the package `websuite` in a namespace.
pub(super) fn measure(file: &Path) -> Result<Vec<Measured>> {
    let mut rows = Vec::new();
    for Transfer { name, offload, way, gate, goal, peers } in ALL {
        let options = Options { smp: Some(1), network: Some(Network::tap()), ..Options::default() };
        let machine = boot(file, options, offload)?;
        let value = cost(&machine, way).context(name)?;
        let row = Row { name, value, unit: "instr/B", gate, goal };
        rows.push(Measured::new(row, peers).varying());
    }
    Ok(rows)
}

/// Boots a machine whose card helps or does not.
pub(super) fn boot(image: &Path, mut options: Options, offload: bool) -> Result<Counted> {
    if !offload {
        let off = |offer| ["-global".into(), format!("virtio-net-device.{offer}=off")];
        options.extra.extend(OFFERS.into_iter().flat_map(off));
    }
    Counted::boot(image, options, &[], None, counted::says_that_it_serves)
}

/// Instructions for a byte that goes this way.
pub(super) fn cost(machine: &Counted, way: Way) -> Result<f64> {
    let idle = machine.idle()?;
    machine.during(0.0, || transfer(way, 1 << 20))?; // Not the first time.
    // How often Linux acknowledges varies, by a tenth of the whole: the least of some.
    let mut least = f64::INFINITY;
    for _ in 0..TIMES {
        let (instructions, ()) = machine.during(idle, || transfer(way, BYTES))?;
        least = least.min(instructions);
    }
    Ok(least / BYTES as f64)
}

/// Moves so many bytes in, or all that port 19 gives out.
fn transfer(way: Way, bytes: usize) -> Result<()> {
    let port = if way == Way::In { 9 } else { 19 };
    let mut stream = TcpStream::connect((Counted::SITE.0, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut piece = vec![b'b'; 64 << 10];
    let mut rest = bytes;
    if way == Way::In {
        while rest > 0 {
            let count = rest.min(piece.len());
            stream.write_all(&piece[..count])?;
            rest -= count;
        }
        stream.shutdown(Shutdown::Write)?;
        ensure!(stream.read(&mut piece)? == 0, "port 9 says something");
        return Ok(());
    }
    let mut got = 0;
    loop {
        match stream.read(&mut piece)? {
            0 => break,
            count => got += count,
        }
    }
    ensure!(got == BYTES, "{got} bytes instead of {BYTES}");
    Ok(())
}
