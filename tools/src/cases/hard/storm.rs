//! Connections that come to nothing, in numbers.

use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt::Linger};

use super::state::unharmed_again;
use super::web;
use crate::case::Case;
use crate::client::{PAGE, Site};
use crate::http::{Connection, request};
use crate::network::Network;

/// How many connections are begun at the same time.
const THREADS: usize = 8;

pub(super) fn cases() -> Vec<Case> {
    let tap = |name, client| {
        let mut case = web(name, Network::tap()).client(client);
        case.deadline = Duration::from_secs(600);
        case
    };
    let flood = unharmed_again(
        "a SYN flood",
        |site| syn_flood(site, 10_000),
        |site| syn_flood(site, 100_000),
    );
    let mut flood = web("hard::syn_flood", Network::peer()).client(flood).beside();
    flood.deadline = Duration::from_secs(600);
    let storm = || unharmed_again("resets", |site| resets(site, 1000), |site| resets(site, 10_000));
    // The first time fills the stack's memory of connections that have ended.
    let churn =
        || unharmed_again("churn", |site| churn(site, 64, 1000), |site| churn(site, 64, 1000));
    vec![
        flood,
        tap("hard::reset_storm", storm()),
        tap("hard::reset_storm_4_harts", storm()).smp(4),
        tap("hard::churn", churn()),
        tap("hard::churn_4_harts", churn()).smp(4),
    ]
}

/// SYNs from nobody, at full speed. Meanwhile who has a connection is served, and who comes as well.
fn syn_flood(site: &Site, count: u64) -> Result<()> {
    let (peer, SocketAddr::V4(address)) = (site.peer()?, site.address) else {
        bail!("a flood of IPv4 only");
    };
    let mut kept = site.connect()?;
    kept.get(PAGE.0)?.expect(200, PAGE.1)?;
    let begin = Instant::now();
    peer.syn_flood(count, SocketAddrV4::new(*address.ip(), address.port()));
    let (mut requests, mut connections) = (0, 0);
    while peer.flood_left() > 0 {
        let answer = kept.get(PAGE.0).context("on a connection from before the flood")?;
        answer.expect(200, PAGE.1)?;
        requests += 1;
        if requests % 10 == 0 {
            let left = peer.flood_left();
            site.serves().with_context(|| format!("with {left} SYNs to come"))?;
            connections += 1;
        }
    }
    let took = begin.elapsed();
    super::figure(
        site,
        &format!("{count} SYNs in {took:.1?}: {requests} requests, {connections} new connections"),
    );
    site.serves().context("after the flood")
}

/// Connections that are reset before anything, after the request, and in the middle of an answer.
fn resets(site: &Site, count: usize) -> Result<()> {
    let begin = Instant::now();
    in_threads(count, |number| {
        let mut connection = site.open()?;
        match number % 3 {
            0 => {}
            1 => connection.send(request(PAGE.0).as_bytes())?,
            _ => {
                connection.send(request("/big").as_bytes())?;
                ensure!(!connection.piece()?.is_empty(), "closed instead of an answer");
            }
        }
        Ok(setsockopt(connection.stream(), Linger, &linger { l_onoff: 1, l_linger: 0 })?)
    })?;
    super::figure(site, &format!("{count} resets in {:.1?}", begin.elapsed()));
    Ok(())
}

/// Connections with one request each, to their end.
fn churn(site: &Site, clients: usize, each: usize) -> Result<()> {
    let begin = Instant::now();
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", PAGE.0);
    std::thread::scope(|scope| {
        let visit = || {
            (0..each).try_for_each(|number| {
                one_request(site, &request).with_context(|| format!("connection {number}"))
            })
        };
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(visit)).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("it does not panic"))
    })?;
    let took = begin.elapsed();
    super::figure(site, &format!("{} connections in {took:.1?}", clients * each));
    Ok(())
}

fn one_request(site: &Site, request: &str) -> Result<()> {
    let mut connection: Connection<TcpStream> = site.open()?;
    connection.send(request.as_bytes())?;
    connection.answer()?.context("closed without an answer")?.expect(200, PAGE.1)?;
    connection.closed()
}

/// Does something so many times, in a few threads.
pub(super) fn in_threads(count: usize, task: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return Ok(());
        }
        if let Err(error) = task(number) {
            next.store(count, Ordering::Relaxed); // One is enough.
            return Err(error.context(format!("number {number}")));
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })
}
