//! Clients: what this computer does with a machine that serves, and what it expects of it.
//!
//! Each constructor makes one [`Client`]; a case lists those that visit its machine, one after the
//! other. Where a client needs a program that is not installed, its case is ignored. After every
//! mischief an ordinary request must still be answered.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpStream, UdpSocket,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt::Linger};
use tungstenite::Message;

use crate::http::{Connection, PATIENCE, request};
use crate::load::{self, Connections, Load};
use crate::namespace;
use crate::network;
use crate::peer::{self, Peer};
use crate::program;
use crate::workspace;

/// What every mischief asks for in the end, and what it gets.
pub(crate) const PAGE: (&str, &str) = ("/plaintext", "Hello, World!");

/// What a browser may take, with its start.
const BROWSER_PATIENCE: Duration = Duration::from_secs(60);

/// Someone who visits a server.
#[derive(Clone)]
pub(crate) struct Client {
    what: String,
    needs: &'static [&'static str],
    act: Arc<Act>,
}

type Act = dyn Fn(&Site) -> Result<()> + Send + Sync;

/// The server.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    /// For the client's files; it is kept if the case fails.
    pub(crate) folder: PathBuf,
    /// Who is beside it on the network, if that is a part of this tool.
    pub(crate) peer: Option<Peer>,
}

/// A connection that is read and written, by this computer or by the peer.
pub(crate) trait Stream: Read + Write + Send {
    /// Says that no more is sent.
    fn shut(&self) -> Result<()>;
}

impl Stream for TcpStream {
    fn shut(&self) -> Result<()> {
        Ok(self.shutdown(Shutdown::Write)?)
    }
}

impl Stream for peer::Stream {
    fn shut(&self) -> Result<()> {
        self.finish();
        Ok(())
    }
}

impl Client {
    pub(crate) fn new(
        what: impl Into<String>,
        act: impl Fn(&Site) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { what: what.into(), needs: &[], act: Arc::new(act) }
    }

    pub(crate) fn needing(mut self, programs: &'static [&'static str]) -> Self {
        self.needs = programs;
        self
    }

    /// It goes to another port of the machine.
    pub(crate) fn port(self, port: u16) -> Self {
        self.at(move |address| Ok((address.ip(), port).into()))
    }

    /// It goes to that IPv6 address of the machine, as soon as somebody listens there.
    pub(crate) fn ipv6(self, ip: Ipv6Addr) -> Self {
        self.at(move |address| {
            // Addresses of a link say which link.
            let scope = if ip.is_unicast_link_local() { namespace::tap_index()? } else { 0 };
            let address = SocketAddrV6::new(ip, address.port(), 0, scope).into();
            let deadline = Instant::now() + PATIENCE;
            while let Err(error) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
                ensure!(Instant::now() < deadline, "nobody at {address}: {error}");
                std::thread::sleep(Duration::from_millis(20)); // A refusal comes at once.
            }
            Ok(address)
        })
    }

    fn at(self, other: impl Fn(SocketAddr) -> Result<SocketAddr> + Send + Sync + 'static) -> Self {
        let act = self.act;
        Self { act: Arc::new(move |site| act(&site.at(other(site.address)?))), ..self }
    }

    /// Programs that it cannot do without.
    pub(crate) fn needs(&self) -> &'static [&'static str] {
        self.needs
    }

    /// Returns when it is content; an error says why it is not.
    pub(crate) fn visit(&self, site: &Site) -> Result<()> {
        (self.act)(site).with_context(|| self.what.clone())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Site {
    pub(crate) fn open(&self) -> Result<Connection> {
        ensure!(self.peer.is_none(), "only the peer reaches this machine");
        Connection::open(self.address)
    }

    /// A connection by whatever way there is: from the peer, or from this computer.
    pub(crate) fn connect(&self) -> Result<Connection<Box<dyn Stream>>> {
        Ok(Connection::over(self.stream(self.address.port())?))
    }

    /// The same without a protocol, to any port.
    pub(crate) fn stream(&self, port: u16) -> Result<Box<dyn Stream>> {
        self.patient_stream(port, PATIENCE)
    }

    /// The same for who waits that long for each step.
    pub(crate) fn patient_stream(&self, port: u16, patience: Duration) -> Result<Box<dyn Stream>> {
        let SocketAddr::V4(mut address) = self.address else { bail!("not by IPv6") };
        address.set_port(port);
        Ok(match &self.peer {
            Some(peer) => Box::new(peer.connect(address, patience)?),
            None => {
                let stream = Connection::open(address.into())?.into_stream();
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                Box::new(stream)
            }
        })
    }

    /// The peer, in a case that has one.
    pub(crate) fn peer(&self) -> Result<&Peer> {
        self.peer.as_ref().context("this needs a peer")
    }

    /// It still answers.
    pub(crate) fn serves(&self) -> Result<()> {
        let answer = self.connect().and_then(|mut connection| connection.get(PAGE.0));
        answer.and_then(|answer| answer.expect(200, PAGE.1)).context("it no longer serves")
    }

    /// The same machine at another address or port.
    fn at(&self, address: SocketAddr) -> Self {
        Self { address, folder: self.folder.clone(), peer: self.peer.clone() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// One request, on a connection of its own. The body contains `text`.
pub(crate) fn get(path: &'static str, status: u16, text: &'static str) -> Client {
    Client::new(format!("GET {path}"), move |site| site.open()?.get(path)?.expect(status, text))
}

/// Many requests on one connection, one after the other.
pub(crate) fn kept_alive(requests: usize) -> Client {
    Client::new(format!("{requests} requests on one connection"), move |site| {
        let mut connection = site.open()?;
        (0..requests).try_for_each(|_| connection.get(PAGE.0)?.expect(200, PAGE.1))
    })
}

/// Many requests on one connection at once; answers come in order.
pub(crate) fn pipelined(requests: usize) -> Client {
    Client::new(format!("{requests} requests in a pipeline"), move |site| {
        let mut connection = site.open()?;
        // Every other one is for something that is not there: order can be seen.
        let pair = [request(PAGE.0), request("/no-such-page")].concat();
        connection.send(pair.repeat(requests / 2).as_bytes())?;
        for number in 0..requests / 2 * 2 {
            let answer = connection.answer()?.with_context(|| format!("closed after {number}"))?;
            answer.expect(if number % 2 == 0 { 200 } else { 404 }, "")?;
        }
        Ok(())
    })
}

/// A request that comes byte by byte.
pub(crate) fn slow() -> Client {
    Client::new("a request byte by byte", |site| {
        let mut connection = site.open()?;
        for byte in request(PAGE.0).bytes() {
            connection.send(&[byte])?;
            std::thread::sleep(Duration::from_millis(2)); // The pace, and nothing is awaited.
        }
        connection.answer()?.context("closed without an answer")?.expect(200, PAGE.1)
    })
}

/// What the server does with bytes that are no ordinary request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// It answers with this status.
    Status(u16),
    /// It answers that the client or itself is at fault (4xx, 5xx), or just closes the connection.
    Refusal,
    /// It closes the connection without an answer.
    Closed,
}

/// Raw bytes.
pub(crate) fn raw(bytes: &'static [u8], reaction: Reaction) -> Client {
    Client::new(format!("{:?}", String::from_utf8_lossy(bytes)), move |site| {
        react(site, bytes, reaction)
    })
}

fn react(site: &Site, bytes: &[u8], reaction: Reaction) -> Result<()> {
    let mut connection = site.open()?;
    // It may refuse before it has seen everything: then sending fails, and the answer may be lost.
    let sent =
        connection.send(bytes).and_then(|()| Ok(connection.stream().shutdown(Shutdown::Write)?));
    let answer = match (connection.answer(), sent) {
        (Err(_), Err(_)) => None,
        (answer, _) => answer?,
    };
    match (reaction, &answer) {
        (Reaction::Status(expected), Some(answer)) if answer.status == expected => {}
        (Reaction::Refusal, Some(answer)) if answer.status >= 400 => {}
        (Reaction::Refusal | Reaction::Closed, None) => {}
        (_, Some(answer)) => bail!("{reaction:?} expected, not {:?}", answer.head),
        (_, None) => bail!("{reaction:?} expected, not a closed connection"),
    }
    site.serves()
}

/// All of `tools/requests`: files with raw requests, in folders that say what becomes of them:
/// a status, `refused` or `closed`.
pub(crate) fn corpus() -> Client {
    Client::new("tools/requests", |site| {
        let mut wrong = Vec::new();
        for (file, reaction) in corpus_files()? {
            if let Err(error) = react(site, &std::fs::read(&file)?, reaction) {
                wrong.push(format!("{}: {error:#}", file.display()));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
}

fn corpus_files() -> Result<Vec<(PathBuf, Reaction)>> {
    let files = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        files.sort();
        Ok(files)
    };
    let mut found = Vec::new();
    for folder in files(&workspace::root().join("tools/requests"))? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let reaction = match name.as_str() {
            "refused" => Reaction::Refusal,
            "closed" => Reaction::Closed,
            status => Reaction::Status(status.parse().with_context(|| {
                format!("{} is neither a status nor `refused` nor `closed`", folder.display())
            })?),
        };
        found.extend(files(&folder)?.into_iter().map(|file| (file, reaction)));
    }
    Ok(found)
}

/// A request line, a header and a body that no server should keep in memory.
pub(crate) fn huge() -> Client {
    const SIZE: usize = 1 << 20;
    Client::new("a huge request", |site| {
        let long = "a".repeat(SIZE);
        react(
            site,
            format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
            Reaction::Refusal,
        )
        .context("by its path")?;
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n");
        react(site, request.as_bytes(), Reaction::Refusal).context("by a header")?;
        let headers = "X: y\r\n".repeat(SIZE / 6);
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        react(site, request.as_bytes(), Reaction::Refusal).context("by its headers")
    })
}

/// Connections that are all open at the same time; each of them is served.
pub(crate) fn parallel(connections: usize) -> Client {
    Client::new(format!("{connections} connections at once"), move |site| {
        let mut open = open_all(site, connections)?;
        for connection in &mut open {
            connection.send(request(PAGE.0).as_bytes())?;
        }
        for (number, connection) in open.iter_mut().enumerate() {
            let answer = connection.answer().with_context(|| format!("connection {number}"))?;
            answer.with_context(|| format!("connection {number} closed"))?.expect(200, PAGE.1)?;
        }
        site.serves()
    })
}

/// Connections over which nothing comes; others are served all the same.
pub(crate) fn silent(connections: usize) -> Client {
    Client::new(format!("{connections} connections that never speak"), move |site| {
        let _open = open_all(site, connections)?;
        site.serves()
    })
}

/// Clients who ask, say nothing for a while, and ask again; each answer is the connection's. Then they say
/// nothing, and the server has the patience for that which it is said to have, and not much more.
pub(crate) fn resting(connections: usize, pause: Duration, patience: Duration) -> Client {
    Client::new(format!("{connections} connections at rest"), move |site| {
        let mut open = open_all(site, connections)?;
        let mut asked = Instant::now();
        for round in 0..2 {
            if round > 0 {
                std::thread::sleep(pause); // The pace, and nothing is awaited.
            }
            asked = Instant::now();
            for (number, connection) in open.iter_mut().enumerate() {
                let answer = connection.get(PAGE.0).with_context(|| format!("connection {number}"));
                answer?.expect(200, PAGE.1)?;
            }
        }
        for (number, connection) in open.iter_mut().enumerate() {
            connection.closed().with_context(|| format!("connection {number}"))?;
            let after = asked.elapsed();
            ensure!(after >= patience, "connection {number} was closed after {after:?}");
        }
        let after = asked.elapsed();
        ensure!(after < 2 * patience, "the last one was closed after {after:?}");
        site.serves()
    })
}

/// More that ask at the same time than there may: each gets what it has asked for, or the news that there is no
/// room, or a reset where there is none for that either. There are some who are served, and some who are not.
pub(crate) fn crowded(path: &'static str, connections: usize) -> Client {
    Client::new(format!("{connections} times {path} at once"), move |site| {
        let mut open = open_all(site, connections)?;
        for connection in &mut open {
            connection.send(request(path).as_bytes())?;
        }
        let (mut served, mut refused) = (0, 0);
        for (number, connection) in open.iter_mut().enumerate() {
            let answer = connection.answer().with_context(|| format!("connection {number}"))?;
            match answer.map(|answer| answer.status) {
                Some(200) => served += 1,
                Some(503) | None => refused += 1,
                Some(status) => bail!("connection {number}: status {status}"),
            }
        }
        ensure!(served > 0 && refused > 0, "{served} were served, {refused} refused");
        site.serves()
    })
}

fn open_all(site: &Site, connections: usize) -> Result<Vec<Connection>> {
    let open = |number| site.open().with_context(|| format!("connection {number}"));
    (0..connections).map(open).collect()
}

/// Connections that are reset as soon as they are open, perhaps before the server has accepted them.
pub(crate) fn reset(connections: usize) -> Client {
    Client::new(format!("{connections} connections reset at once"), move |site| {
        for _ in 0..connections {
            let connection = site.open()?;
            setsockopt(connection.stream(), Linger, &linger { l_onoff: 1, l_linger: 0 })?;
        }
        site.serves()
    })
}

/// Connections that go away in the middle: of a request, and of an answer.
pub(crate) fn fickle(connections: usize) -> Client {
    Client::new(format!("{connections} connections that go away in the middle"), move |site| {
        for number in 0..connections {
            let request = request(PAGE.0);
            let part = if number % 2 == 0 { &request[..request.len() / 2] } else { &request };
            site.open()?.send(part.as_bytes())?;
        }
        site.serves()
    })
}

/// A client that says that it will say no more is answered.
pub(crate) fn half_closed() -> Client {
    Client::new("a half-closed connection", |site| {
        let mut connection = site.open()?;
        connection.send(request(PAGE.0).as_bytes())?;
        connection.stream().shutdown(Shutdown::Write)?;
        connection.answer()?.context("closed without an answer")?.expect(200, PAGE.1)
    })
}

/// Clients who keep their end open when the server has closed its own: others are served.
pub(crate) fn lingering(connections: usize) -> Client {
    Client::new(format!("{connections} connections that linger"), move |site| {
        let mut open = open_all(site, connections)?;
        for connection in &mut open {
            let request =
                format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", PAGE.0);
            connection.send(request.as_bytes())?;
            connection.answer()?.context("closed without an answer")?.expect(200, PAGE.1)?;
            connection.closed()?;
        }
        site.serves()
    })
}

/// `curl`, which must find `text`.
pub(crate) fn curl(path: &'static str, text: &'static str) -> Client {
    let act = move |site: &Site| {
        let answer = program::output(curl_command(site, path), BROWSER_PATIENCE)?;
        ensure!(answer.contains(text), "no {text:?} in {answer:?}");
        Ok(())
    };
    Client::new(format!("curl {path}"), act).needing(&["curl"])
}

fn curl_command(site: &Site, path: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "20"]).arg(site.url(path));
    curl
}

/// What the package `websuite` has for long bodies: the alphabet without its end, again and again.
pub(crate) fn letters(count: usize) -> Vec<u8> {
    (b'a'..=b'w').cycle().take(count).collect()
}

/// Fails at the first byte that is not as in [`letters`].
pub(crate) fn are_letters(bytes: &[u8], count: usize) -> Result<()> {
    let expected = letters(count);
    let wrong = bytes.iter().zip(&expected).position(|(byte, expected)| byte != expected);
    ensure!(wrong.is_none(), "byte {wrong:?} of {} is wrong", bytes.len());
    ensure!(bytes.len() == count, "{} bytes instead of {count}", bytes.len());
    Ok(())
}

/// A long body, twice on one connection, which so knows where it ends.
pub(crate) fn body(path: &'static str, bytes: usize) -> Client {
    Client::new(format!("{bytes} bytes of {path}"), move |site| {
        let mut connection = site.open()?;
        (0..2).try_for_each(|_| {
            let answer = connection.get(path)?;
            answer.expect(200, "")?;
            are_letters(&answer.body, bytes)
        })
    })
}

/// The same by `curl`.
pub(crate) fn curl_body(path: &'static str, bytes: usize) -> Client {
    let act = move |site: &Site| {
        are_letters(program::output(curl_command(site, path), BROWSER_PATIENCE)?.as_bytes(), bytes)
    };
    Client::new(format!("curl {path}"), act).needing(&["curl"])
}

/// Server-sent events: so many, numbered, each when it happens and not with the next one. Then the
/// connection is closed, since nothing else says that this was all.
pub(crate) fn events(path: &'static str, count: usize, pause: Duration) -> Client {
    Client::new(format!("events of {path}"), move |site| {
        let mut connection = site.open()?;
        connection.send(request(path).as_bytes())?;
        let head = connection.head()?.to_ascii_lowercase();
        ensure!(head.contains("content-type: text/event-stream"), "no events: {head:?}");
        let (mut text, mut last) = (String::new(), None);
        for number in 1..=count {
            let event = format!("event:number\ndata:{number}\n\n");
            while !text.contains(&event) {
                let piece = connection.piece()?;
                ensure!(!piece.is_empty(), "closed before event {number}: {text:?}");
                text.push_str(&String::from_utf8_lossy(&piece));
            }
            let now = Instant::now();
            if let Some(last) = last.replace(now) {
                let after = now - last;
                // Half of it: this computer may have been late with the one before.
                ensure!(after >= pause / 2, "event {number} came {after:?} after the one before");
            }
        }
        connection.closed()
    })
}

/// A body that is longer than what the server keeps of it, twice on one connection.
pub(crate) fn upload(path: &'static str, bytes: usize) -> Client {
    Client::new(format!("{bytes} bytes to {path}"), move |site| {
        let body = letters(bytes);
        let mut connection = site.open()?;
        for _ in 0..2 {
            connection.send(post(path, bytes).as_bytes())?;
            connection.send(&body)?;
            let answer = connection.answer()?.context("closed without an answer")?;
            answer.expect(200, &receipt(&body))?;
        }
        Ok(())
    })
}

/// The same by `curl`, which asks first whether it may (RFC 9110 §10.1.1).
pub(crate) fn curl_upload(path: &'static str, bytes: usize) -> Client {
    let act = move |site: &Site| {
        let (file, body) = (site.folder.join("upload"), letters(bytes));
        std::fs::write(&file, &body)?;
        let mut curl = curl_command(site, path);
        curl.args(["--header", "Content-Type: text/plain", "--data-binary"]);
        curl.arg(format!("@{}", file.display()));
        let (answer, receipt) = (program::output(curl, BROWSER_PATIENCE)?, receipt(&body));
        ensure!(answer.contains(&receipt), "no {receipt:?} in {answer:?}");
        Ok(())
    };
    Client::new(format!("curl to {path}"), act).needing(&["curl"])
}

fn post(path: &str, bytes: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: wakeful.test\r\nContent-Length: {bytes}\r\n\r\n")
}

/// What `websuite` says that it got.
pub(crate) fn receipt(body: &[u8]) -> String {
    let add = |sum: u32, &byte: &u8| sum.rotate_left(5) ^ u32::from(byte);
    format!(r#"{{"bytes":{},"checksum":{}}}"#, body.len(), body.iter().fold(0, add))
}

/// Slow answers, all at once: together they take as long as one.
pub(crate) fn slow_answers(path: &'static str, requests: usize, each: Duration) -> Client {
    Client::new(format!("{requests} times {path} at once"), move |site| {
        let mut open = open_all(site, requests)?;
        let begin = Instant::now();
        for connection in &mut open {
            connection.send(request(path).as_bytes())?;
        }
        for connection in &mut open {
            connection.answer()?.context("closed without an answer")?.expect(200, "")?;
        }
        let took = begin.elapsed();
        ensure!(took >= each, "done after {took:?}");
        ensure!(took < each * (requests as u32) / 2, "{took:?}: one after the other");
        Ok(())
    })
}

/// The server ends when it is asked to: who waits for an answer gets it, who has nothing to wait for is
/// told, and nobody is accepted any more.
pub(crate) fn graceful_stop(stop: &'static str, slow: &'static str) -> Client {
    Client::new(format!("GET {stop}"), move |site| {
        let (mut idle, mut waiting, mut stopping) = (site.open()?, site.open()?, site.open()?);
        idle.get(PAGE.0)?.expect(200, PAGE.1)?;
        waiting.send(request(slow).as_bytes())?;
        // Now it is being answered: requests are taken in the order in which they come.
        stopping.get(stop)?.expect(200, "stopping")?;
        stopping.closed()?;
        idle.closed()?;
        ensure!(site.open().is_err(), "somebody was accepted");
        waiting.answer()?.context("closed without an answer")?.expect(200, "at last")?;
        waiting.closed()
    })
}

/// Requests whose handlers panic: each costs its connection, which is reset, and a little memory; others go on.
pub(crate) fn panics(count: u64) -> Client {
    /// Most bytes that one may cost: two frames of its stack, its future, its share of tables.
    const MOST: u64 = 24 << 10;
    Client::new(format!("{count} requests that panic"), move |site| {
        let mut kept = site.open()?;
        let before = given_up(&mut kept)?;
        for number in 0..count {
            let paths = ["/panic", "/panic-after-a-wait", "/panic-in-body"];
            let mut connection = site.open()?;
            connection.send(request(paths[number as usize % paths.len()]).as_bytes())?;
            let end = connection.into_stream().read_to_end(&mut Vec::new());
            let end = end.map_err(|error| error.kind());
            ensure!(end == Err(ErrorKind::ConnectionReset), "{number}: not reset, but {end:?}");
            kept.get(PAGE.0)?.expect(200, PAGE.1)?;
        }
        let after = given_up(&mut kept)?;
        let tasks = after.tasks - before.tasks;
        let lost = before.free.saturating_sub(after.free) / count;
        println!("a request that panics costs {lost} bytes");
        ensure!(tasks == count, "{tasks} tasks instead of {count} have panicked");
        ensure!(after.connections == 1, "there are {} connections", after.connections);
        ensure!(lost <= MOST, "each costs {lost} bytes");
        Ok(())
    })
}

#[derive(serde::Deserialize)]
struct GivenUp {
    tasks: u64,
    connections: u64,
    free: u64,
}

fn given_up(connection: &mut Connection) -> Result<GivenUp> {
    let answer = connection.get("/given-up")?;
    Ok(serde_json::from_slice(&answer.body)?)
}

/// A request that the machine does not survive.
pub(crate) fn last_request(path: &'static str) -> Client {
    Client::new(format!("GET {path}"), move |site| site.open()?.send(request(path).as_bytes()))
}

/// Bytes to and fro at once; then this side says goodbye, and the rest still comes back.
pub(crate) fn tcp_echo(bytes: usize) -> Client {
    Client::new(format!("{bytes} bytes to and fro"), move |site| {
        let connection = site.open()?;
        let mut sending = connection.stream().try_clone()?;
        let sender = std::thread::spawn(move || {
            sending.write_all(&letters(bytes))?;
            sending.shutdown(Shutdown::Write)
        });
        let mut echo = Vec::new();
        let read = connection.stream().read_to_end(&mut echo);
        read.with_context(|| format!("after {} bytes", echo.len()))?;
        are_letters(&echo, bytes)?;
        sender.join().expect("it does not panic").context("cannot send")
    })
}

/// Datagrams of all sizes come back, each as it was. One that no frame has room for does not, which
/// nobody minds.
pub(crate) fn udp_echo() -> Client {
    Client::new("datagrams to and fro", |site| {
        let any: IpAddr = match site.address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(site.address)?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let most = if site.address.is_ipv4() { 1472 } else { 1452 };
        // The first one finds out whether somebody listens.
        exchange(&socket, b"knock", 40)?;
        for size in (0..most).step_by(97).chain([1, most - 1, most]) {
            exchange(&socket, &letters(size), 3).with_context(|| format!("{size} bytes"))?;
        }
        socket.send(&letters(4000))?;
        exchange(&socket, b"still there?", 3)
    })
}

/// Sends until it comes back: no single datagram has to arrive.
fn exchange(socket: &UdpSocket, bytes: &[u8], attempts: usize) -> Result<()> {
    let mut echo = [0; 4096];
    for _ in 0..attempts {
        socket.send(bytes)?;
        // Late echoes of others are passed over.
        while let Ok(count) = socket.recv(&mut echo) {
            if &echo[..count] == bytes {
                return Ok(());
            }
        }
    }
    bail!("it does not come back")
}

/// `ping`.
pub(crate) fn ping() -> Client {
    let act = |site: &Site| {
        let mut ping = Command::new("ping");
        ping.args(["-n", "-q", "-c", "3", "-i", "0.2", "-W", "5"]).arg(match site.address {
            SocketAddr::V6(address) if address.scope_id() != 0 => {
                format!("{}%{}", address.ip(), network::TAP)
            }
            address => address.ip().to_string(),
        });
        let answer = program::output(ping, BROWSER_PATIENCE)?;
        ensure!(answer.contains(" 0% packet loss"), "{answer}");
        Ok(())
    };
    Client::new("ping", act).needing(&["ping"])
}

/// `wrk` for some seconds, without an error.
pub(crate) fn wrk(connections: u32, kind: Connections, seconds: u32) -> Client {
    let what = format!("wrk with {connections} connections, {kind:?}");
    let load = move |site: &Site| load::wrk(site.address, PAGE.0, (connections, kind), seconds);
    under_load(what, load, u64::from(connections)).needing(&["wrk"])
}

/// `ab` for a number of requests, without an error.
pub(crate) fn ab(connections: u32, kind: Connections, requests: u32) -> Client {
    let what = format!("ab with {connections} connections, {kind:?}");
    let load = move |site: &Site| load::ab(site.address, PAGE.0, (connections, kind), requests);
    under_load(what, load, u64::from(requests)).needing(&["ab"])
}

fn under_load(
    what: String,
    load: impl Fn(&Site) -> Result<Load> + Send + Sync + 'static,
    least: u64,
) -> Client {
    Client::new(what, move |site| {
        load(site)?.flawless(least)?;
        site.serves()
    })
}

const CHROMIUM: &str = "chromium";

/// A browser: `text` is in the page that it shows, scripts included, and the page is not blank.
pub(crate) fn browser(path: &'static str, text: &'static str) -> Client {
    let act = move |site: &Site| {
        let page = program::output(chromium(site, path, "--dump-dom"), BROWSER_PATIENCE)?;
        ensure!(page.contains(text), "no {text:?} in the page {page:?}");
        let picture = site.folder.join("page.png");
        let shot = format!("--screenshot={}", picture.display());
        program::output(chromium(site, path, &shot), BROWSER_PATIENCE)?;
        let size = picture.metadata().context("there is no picture")?.len();
        // A blank page of this size takes less.
        ensure!(size > 4000, "the picture {} seems to be blank", picture.display());
        Ok(())
    };
    Client::new(format!("a browser at {path}"), act).needing(&[CHROMIUM])
}

fn chromium(site: &Site, path: &str, action: &str) -> Command {
    let mut command = Command::new(CHROMIUM);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--window-size=800,600", "--virtual-time-budget=5000"])
        .arg(format!("--user-data-dir={}", site.folder.join("browser").display()))
        .arg(action)
        .arg(site.url(path));
    command
}

/// A WebSocket whose other end echoes texts and bytes of several sizes, and answers a ping.
pub(crate) fn websocket_echo(path: &'static str) -> Client {
    Client::new(format!("WebSocket {path}"), move |site| {
        let url = format!("ws://{}{path}", site.address);
        let (mut socket, _) = tungstenite::client(url, site.open()?.into_stream())
            .map_err(|error| anyhow::anyhow!("no handshake: {error}"))?;
        let sizes = [0, 1, 125, 126, 1000, 65_535, 65_536];
        let texts = sizes.map(|size| Message::text("wake up! ".repeat(size / 9)));
        let bytes = sizes.map(|size| Message::binary(vec![0xa5; size]));
        for message in texts.into_iter().chain(bytes) {
            socket.send(message.clone())?;
            let echo = socket.read()?;
            ensure!(echo == message, "{echo:?} instead of {message:?}");
        }
        socket.send(Message::Ping("awake?".into()))?;
        let pong = socket.read()?;
        ensure!(pong == Message::Pong("awake?".into()), "{pong:?} for a ping");
        socket.close(None)?;
        loop {
            match socket.read() {
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
                Err(error) => return Err(error).context("while closing"),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::WebServer;
    use crate::scratch::Scratch;

    /// Clients on a server of this computer, except those whose programs are missing.
    fn visit(clients: &[Client]) -> Result<()> {
        let folder = Scratch::new("client")?;
        let server = WebServer::start(Ipv4Addr::LOCALHOST)?;
        let site = Site { address: server.address(), folder: folder.path().into(), peer: None };
        let possible = clients.iter().filter(|client| program::missing(client.needs()).is_none());
        possible.into_iter().try_for_each(|client| client.visit(&site))
    }

    #[test]
    fn contented_clients() {
        visit(&[
            get("/plaintext", 200, "Hello"),
            get("/nowhere", 404, ""),
            kept_alive(10),
            pipelined(10),
            slow(),
            raw(b"nonsense\r\n\r\n", Reaction::Status(400)),
            huge(),
            parallel(30),
            silent(30),
            reset(30),
            fickle(10),
            half_closed(),
            lingering(10),
            websocket_echo("/echo"),
        ])
        .unwrap();
    }

    #[test]
    fn programs_as_clients() {
        visit(&[
            curl("/plaintext", "Hello, World!"),
            wrk(4, Connections::KeptAlive, 1),
            wrk(4, Connections::Fresh, 1),
            ab(4, Connections::KeptAlive, 100),
            ab(4, Connections::Fresh, 100),
        ])
        .unwrap();
    }

    #[test]
    fn browser_shows_the_page() {
        visit(&[browser("/plaintext", "Hello, World!")]).unwrap();
    }

    #[test]
    fn discontent_has_a_reason() {
        let reason = |client| format!("{:#}", visit(&[client]).unwrap_err());
        assert!(reason(get("/plaintext", 200, "Goodbye")).contains("no \"Goodbye\" in the body"));
        assert!(
            reason(get("/nowhere", 200, "")).contains("GET /nowhere: status 404 instead of 200")
        );
        let raw = raw(b"GET /plaintext HTTP/1.1\r\n\r\n", Reaction::Refusal);
        assert!(reason(raw).contains("Refusal expected, not \"HTTP/1.1 200 OK"));
        assert!(reason(websocket_echo("/plaintext")).contains("no handshake"));
    }

    #[test]
    fn corpus_is_complete_and_well_named() {
        let files = corpus_files().unwrap();
        let reactions = |reaction| files.iter().filter(|file| file.1 == reaction).count();
        assert!(reactions(Reaction::Refusal) > 10 && reactions(Reaction::Status(200)) > 3);
        assert!(files.iter().all(|(file, _)| file.metadata().unwrap().len() > 0));
    }
}
