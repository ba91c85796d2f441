//! Many connections at the same time: more than usual, more than speak, and more than there is memory for.

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::state::{State, together, unharmed_again};
use super::web;
use crate::case::Case;
use crate::client::{PAGE, Site, letters};
use crate::http::Connection;
use crate::network::Network;
use crate::tree::Tree;

/// The least RAM with which the `websuite` has a network, in whole MiB, with the firmware's part.
const LITTLE_RAM: u64 = 4 << 20;

pub(super) fn cases() -> Vec<Case> {
    let tap = |name, client| {
        let mut case = web(name, Network::tap()).client(client);
        case.deadline = Duration::from_secs(600);
        case
    };
    let parallel = |count| {
        let crowd = move |site: &Site| together(site, count);
        unharmed_again(format!("{count} at once"), crowd, crowd)
    };
    vec![
        tap("hard::crowd_300", parallel(300)),
        tap("hard::crowd_3000", parallel(3000)),
        // It mostly waits until the server has closed all, and forgotten them.
        tap("hard::silent_1000", unharmed_again("1000 who are silent", silent_before, silent))
            .beside(),
        tap(
            "hard::little_memory",
            unharmed_again("500 at once", |site| overload(site, 800), |site| overload(site, 500)),
        )
        .tree(Tree::KernelRam(LITTLE_RAM)),
    ]
}

fn open_all(site: &Site, count: usize) -> Result<Vec<Connection>> {
    let open = |number| site.open().with_context(|| format!("connection {number}"));
    (0..count).map(open).collect()
}

/// Who says nothing is in nobody's way, and hears from the server that it has waited long enough.
fn silent(site: &Site) -> Result<()> {
    let mut open = open_all(site, 1000)?;
    let mut kept = site.open()?;
    for _ in 0..100 {
        kept.get(PAGE.0)?.expect(200, PAGE.1)?;
    }
    site.serves()?;
    open.iter_mut().enumerate().try_for_each(|(number, connection)| {
        connection.closed().with_context(|| format!("silent connection {number}"))
    })
}

fn silent_before(site: &Site) -> Result<()> {
    silent(site)?;
    State::forgotten(site)
}

/// More connections than there is memory for. Who is answered has a whole answer; who is not is refused, or
/// waits in vain.
fn overload(site: &Site, count: usize) -> Result<()> {
    let before = State::of(site)?.counters;
    let (served, big, turned_away) =
        (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let visit = |number: usize| -> Result<()> {
        // A few ask for much.
        let (path, length) =
            if number % 50 == 7 { ("/chunked", 64 << 10) } else { (PAGE.0, PAGE.1.len()) };
        let Ok(mut connection) = open_soon(site) else {
            turned_away.fetch_add(1, Relaxed);
            return Ok(());
        };
        match connection.get(path) {
            Ok(answer) if answer.status == 200 => {
                ensure!(answer.body.len() == length, "{} bytes of {path}", answer.body.len());
                let expected = if path == PAGE.0 { PAGE.1.into() } else { letters(length) };
                ensure!(answer.body == expected, "a wrong answer: {:?}", answer.head);
                served.fetch_add(1, Relaxed);
                big.fetch_add(usize::from(path != PAGE.0), Relaxed);
            }
            Ok(answer) => ensure!(answer.status >= 500, "{:?}", answer.head),
            Err(_) => _ = turned_away.fetch_add(1, Relaxed),
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let visit = &visit;
        let all: Vec<_> = (0..count).map(|number| scope.spawn(move || visit(number))).collect();
        all.into_iter().try_for_each(|client| client.join().expect("it does not panic"))
    })?;
    let (served, big) = (served.into_inner(), big.into_inner());
    let (turned_away, now) = (turned_away.into_inner(), State::of(site)?.counters);
    let counted = now.refused + now.dropped - before.refused - before.dropped;
    let figures = format!(
        "{served} of {count} served ({big} long), {turned_away} turned away; {counted} counted"
    );
    super::figure(site, &figures);
    ensure!(served > 0, "nobody was served");
    ensure!(counted > 0, "there was memory enough, or nobody has counted: {figures}");
    Ok(())
}

/// A connection for who does not wait long.
fn open_soon(site: &Site) -> Result<Connection> {
    let patience = Duration::from_secs(10);
    let stream = TcpStream::connect_timeout(&site.address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(Connection::over(stream))
}
