//! Requests that are too long, too slow, or have no end.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::state::{unharmed, unharmed_again};
use super::web;
use crate::case::Case;
use crate::client::{PAGE, Site};
use crate::http::Connection;
use crate::network::Network;

/// By when a client that is too slow has heard of it: ten seconds for a request, and a while for a busy
/// computer.
const LATE: Duration = Duration::from_secs(40);

/// Bytes of one piece of something too long, and how many pieces are sent at most.
const PIECE: usize = 16 << 10;
const PIECES: usize = 1024;

pub(super) fn cases() -> Vec<Case> {
    let on = |name, client| {
        let mut case = web(name, Network::tap()).client(client).beside();
        case.deadline = Duration::from_secs(600);
        case
    };
    let all = |site: &Site| slow(site, 200);
    let slow = unharmed_again("requests that are slow", all, all);
    vec![
        on("hard::endless_requests", unharmed("requests without an end", endless)),
        on("hard::slow_requests", slow),
    ]
}

/// What is too long is refused, with an answer or without one, before it has all been sent.
fn endless(site: &Site) -> Result<()> {
    let upload = |length: &str| {
        format!("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
    };
    let requests = [
        ("headers", "GET /plaintext HTTP/1.1\r\nHost: x\r\n".to_owned(), "Some: header\r\n"),
        ("a header", "GET /plaintext HTTP/1.1\r\nHost: x\r\nSome: ".to_owned(), "header"),
        ("a path", "GET /plain".to_owned(), "text"),
        ("a method", String::new(), "POST"),
        ("empty lines", String::new(), "\r\n"),
        (
            "a body where none is read",
            upload("99999999999").replace("/upload", "/plaintext"),
            "body",
        ),
        ("a length of a body", upload("99999999999999999999999999"), "body"),
        (
            "chunks of a head",
            "POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            "1;some=extension",
        ),
    ];
    for (what, head, more) in requests {
        refused(site, &head, more).with_context(|| format!("an endless request: {what}"))?;
        site.serves()?;
    }
    Ok(())
}

fn refused(site: &Site, head: &str, more: &str) -> Result<()> {
    let mut connection = site.open()?;
    let piece = more.repeat(PIECE / more.len());
    let mut sent = connection.send(head.as_bytes());
    for _ in 0..PIECES {
        if sent.is_err() {
            return Ok(()); // It does not want to hear any more.
        }
        sent = connection.send(piece.as_bytes());
    }
    // It may have swallowed all that, but not for a success.
    connection.stream().shutdown(std::net::Shutdown::Write)?;
    if let Ok(Some(answer)) = connection.answer() {
        ensure!(answer.status >= 400, "{:?}", answer.head);
    }
    Ok(())
}

/// Clients who say a letter at a time. Others are served; in the end the server has had enough.
fn slow(site: &Site, count: usize) -> Result<()> {
    let open = |number: usize| -> Result<Connection> {
        let mut connection = site.open()?;
        // Half of them are slow in the head, and half in the body.
        let head = match number % 2 {
            0 => "GET /plaintext HTTP/1.1\r\nHost: x\r\n",
            _ => "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
        };
        connection.send(head.as_bytes())?;
        connection.stream().set_nonblocking(true)?;
        Ok(connection)
    };
    let mut clients = (0..count).map(open).collect::<Result<Vec<_>>>()?;
    let begin = Instant::now();
    while !clients.is_empty() {
        let left = clients.len();
        ensure!(begin.elapsed() < LATE, "{left} slow requests are heard for more than {LATE:?}");
        clients.retain_mut(|client| {
            let mut bytes = [0; 256];
            let silent = matches!(
                client.stream().read(&mut bytes),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock
            );
            silent && client.stream().write_all(b"a").is_ok()
        });
        let begin = Instant::now();
        site.serves().with_context(|| format!("beside {left} slow clients"))?;
        let took = begin.elapsed();
        ensure!(took < Duration::from_secs(5), "{} takes {took:?} beside slow clients", PAGE.0);
        std::thread::sleep(Duration::from_millis(500)); // That is how slow they are.
    }
    super::figure(site, &format!("{count} slow requests ended after {:.1?}", begin.elapsed()));
    Ok(())
}
