//! Clients who are no longer there, or no longer listen, in each state of a connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::state::{State, unharmed};
use super::transfer::SOURCE;
use super::web;
use crate::case::Case;
use crate::client::{PAGE, Site, are_letters};
use crate::http::request;
use crate::network::Network;
use crate::peer::{self, Peer, TcpControl};

/// How many clients there are of each kind.
const EACH: usize = 10;

/// How long a step takes at most.
const PATIENCE: Duration = Duration::from_secs(20);

/// By when the machine has forgotten who has closed nothing: `PATIENCE` of `crates/stack`, and a while.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// How long nobody reads.
const CLOSED: Duration = Duration::from_secs(60);

pub(super) fn cases() -> Vec<Case> {
    let on = |name, client| {
        let mut case = web(name, Network::peer()).client(client).beside();
        case.deadline = Duration::from_secs(600);
        case
    };
    vec![
        on("hard::half_open", unharmed("clients who do not close", half_open)),
        on("hard::vanished", unharmed("clients who are gone", vanished)),
        on("hard::window_closed", unharmed("nobody reads for a minute", window_closed)),
    ]
}

fn target(site: &Site) -> Result<(&Peer, SocketAddrV4)> {
    match site.address {
        SocketAddr::V4(address) => Ok((site.peer()?, address)),
        SocketAddr::V6(_) => bail!("only for IPv4"),
    }
}

const GOODBYE: &str = "GET /plaintext HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Clients who have their answer, and keep their end open for good. Others are served, and the machine
/// forgets them.
fn half_open(site: &Site) -> Result<()> {
    let (peer, address) = target(site)?;
    let mut open = Vec::new();
    for _ in 0..EACH {
        let mut stream = peer.connect(address, PATIENCE)?;
        stream.write_all(GOODBYE.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?; // to the server's end
        ensure!(answer.ends_with(PAGE.1), "{answer:?}");
        open.push(stream);
    }
    site.serves()?;
    let begin = Instant::now();
    while State::of(site)?.connections > 1 {
        let late = begin.elapsed() > FORGOTTEN;
        ensure!(!late, "{EACH} half-open connections are remembered after {FORGOTTEN:?}");
        std::thread::sleep(Duration::from_millis(500)); // Asking wakes the machine.
    }
    super::figure(site, &format!("half-open ones forgotten after {:.1?}", begin.elapsed()));
    Ok(())
}

/// Clients who are cut off: the machine hears nothing of them from some moment on.
fn vanished(site: &Site) -> Result<()> {
    let (peer, address) = target(site)?;
    let connect = || peer.connect(address, PATIENCE);
    for number in 0..EACH {
        // In the handshake: the machine's SYN is never acknowledged.
        let from = SocketAddrV4::new(crate::network::ROUTER, 5000 + number as u16);
        peer.kill(from.port());
        peer.send(peer::segment(from, address, TcpControl::Syn, (number as u32, None)));
        // After it.
        connect()?.vanish();
        // In the middle of a request.
        let mut stream = connect()?;
        stream.write_all(&request(PAGE.0).as_bytes()[..20])?;
        stream.acknowledged()?;
        stream.vanish();
        // Before the answer, or with a part of it.
        let mut stream = connect()?;
        stream.write_all(request("/slow").as_bytes())?;
        stream.acknowledged()?;
        stream.vanish();
        let mut stream = connect()?;
        stream.write_all(request("/big").as_bytes())?;
        stream.read_exact(&mut [0; 5000])?;
        stream.vanish();
        // While the connection is kept alive.
        let mut stream = connect()?;
        stream.write_all(request(PAGE.0).as_bytes())?;
        stream.read_exact(&mut [0; 100])?;
        stream.vanish();
        // When the server has said goodbye.
        let mut stream = connect()?;
        stream.write_all(GOODBYE.as_bytes())?;
        stream.read_to_string(&mut String::new())?;
        stream.vanish();
        // And having said it first: the server's own is never acknowledged.
        let stream = connect()?;
        stream.finish();
        stream.acknowledged()?;
        stream.vanish();
    }
    site.serves()
}

/// Nobody reads for a minute, and then everything is there.
fn window_closed(site: &Site) -> Result<()> {
    const BYTES: usize = 1 << 20;
    const ROOM: usize = 4096;
    let (peer, address) = target(site)?;
    let source = SocketAddrV4::new(*address.ip(), SOURCE);
    let mut stream = peer.connect_with(source, PATIENCE, ROOM)?;
    stream.write_all(format!("{BYTES}\n").as_bytes())?;
    peer.wait(PATIENCE, "a full window", |_| (stream.readable() == ROOM).then_some(()))?;
    let begin = Instant::now();
    let traffic = peer.traffic();
    while begin.elapsed() < CLOSED {
        site.serves().context("beside a window that is closed")?;
        std::thread::sleep(Duration::from_secs(5)); // The minute is what is tested.
    }
    let probes = peer.traffic().from_machine - traffic.from_machine;
    super::figure(site, &format!("{probes} frames in the minute, some of them to others"));
    let mut received = Vec::new();
    let read = stream.read_to_end(&mut received);
    read.with_context(|| format!("after {} bytes", received.len()))?;
    are_letters(&received, BYTES)
}
