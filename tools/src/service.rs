//! Services: what a machine finds on this computer when it is the client.
//!
//! A case starts one before its machine, on a free port of 127.0.0.1, which a machine on user
//! networking reaches at 10.0.2.2. In the end the service says whether it has seen what it should.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::machine::Process;

/// What stands for the service's port in the boot arguments of a case.
pub(crate) const PORT: &str = "{port}";

/// What a machine may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// A web server that keeps connections: `GET` gets [`PAGE`] bytes, `POST` its own body. In the end
    /// it has had so many requests, on so many connections.
    Http { requests: u32, connections: u32 },
    /// An NTP server. In the end the console has the seconds since 1970 that it told.
    Time,
    /// mosquitto, for MQTT.
    Broker,
}

/// The size of each page.
pub(crate) const PAGE: usize = 1234;

/// How long a service may take until it serves.
const START: Duration = Duration::from_secs(30);

/// What the time on the console may differ from that of the answer.
const SECONDS_OFF: u64 = 5;

const MOSQUITTO: &str = "mosquitto";

/// A service that runs until it is dropped.
pub(crate) struct Running {
    service: Service,
    port: u16,
    seen: Arc<Seen>,
    _mosquitto: Option<Process>,
}

/// What the threads of a service share with their owner.
#[derive(Default)]
struct Seen {
    /// The owner is gone.
    over: AtomicBool,
    requests: AtomicU32,
    /// Those with a request.
    connections: AtomicU32,
    /// Seconds since 1970, at the last answer.
    told: AtomicU64,
}

impl Service {
    /// Programs that it cannot do without.
    pub(crate) fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Http { .. } | Self::Time => &[],
            Self::Broker => &[MOSQUITTO],
        }
    }

    /// Starts it. It keeps its files in `folder`.
    pub(crate) fn start(self, folder: &Path) -> Result<Running> {
        let seen = Arc::<Seen>::default();
        let mut mosquitto = None;
        let any_port = (Ipv4Addr::LOCALHOST, 0);
        let port = match self {
            Self::Http { .. } => {
                let listener = TcpListener::bind(any_port)?;
                let port = listener.local_addr()?.port();
                let seen = seen.clone();
                std::thread::spawn(move || serve_http(&listener, &seen));
                port
            }
            Self::Time => {
                let socket = UdpSocket::bind(any_port)?;
                let port = socket.local_addr()?.port();
                let seen = seen.clone();
                std::thread::spawn(move || tell_time(&socket, &seen));
                port
            }
            Self::Broker => {
                let (process, port) = broker(folder)?;
                mosquitto = Some(process);
                port
            }
        };
        Ok(Running { service: self, port, seen, _mosquitto: mosquitto })
    }
}

impl Running {
    /// Its port on this computer.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// An error unless it has seen what it should, from a machine with this console.
    pub(crate) fn content(&self, console: &str) -> Result<()> {
        match self.service {
            Service::Http { requests, connections } => {
                let had = (self.seen.requests.load(SeqCst), self.seen.connections.load(SeqCst));
                ensure!(
                    had == (requests, connections),
                    "the web server had {} requests on {} connections, not {requests} on {connections}",
                    had.0,
                    had.1
                );
            }
            Service::Time => {
                let told = self.seen.told.load(SeqCst);
                let seconds = |line: &str| {
                    let (head, _) = line.split_once(" seconds since 1970")?;
                    head.split(' ').next_back()?.parse::<u64>().ok()
                };
                let heard = console.lines().rev().find_map(seconds);
                let heard = heard.context("no seconds since 1970 on the console")?;
                ensure!(
                    heard.abs_diff(told) <= SECONDS_OFF,
                    "{heard} seconds since 1970 on the console; {told} were told"
                );
            }
            Service::Broker => {}
        }
        Ok(())
    }
}

impl Drop for Running {
    /// Its threads end, not only its process.
    fn drop(&mut self) {
        self.seen.over.store(true, SeqCst);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        match self.service {
            Service::Http { .. } => _ = TcpStream::connect(address),
            Service::Time => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
                _ = socket.and_then(|socket| socket.send_to(&[], address));
            }
            Service::Broker => {}
        }
    }
}

fn serve_http(listener: &TcpListener, seen: &Arc<Seen>) {
    for stream in listener.incoming().map_while(Result::ok) {
        if seen.over.load(SeqCst) {
            return;
        }
        let seen = seen.clone();
        std::thread::spawn(move || answer_all(stream, &seen));
    }
}

/// One connection. What is wrong with it is the client's to say.
fn answer_all(mut stream: TcpStream, seen: &Seen) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    for number in 0.. {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            break;
        }
        let [method, _path, version] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            bail!("no request: {line:?}")
        };
        let (mut length, mut keep) = (0, version == "HTTP/1.1");
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match (name.to_ascii_lowercase().as_str(), value.trim()) {
                ("content-length", value) => length = value.parse()?,
                ("connection", value) => keep = value.eq_ignore_ascii_case("keep-alive"),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if method == "GET" {
            body = vec![b'x'; PAGE];
        }
        seen.requests.fetch_add(1, SeqCst);
        if number == 0 {
            seen.connections.fetch_add(1, SeqCst);
        }
        let state = if keep { "keep-alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: {state}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), &body].concat())?;
        if !keep {
            break;
        }
    }
    Ok(())
}

/// The size of a packet without extensions (RFC 5905, section 7.3).
const PACKET: usize = 48;

/// From 1900, when NTP's time begins, to 1970, in seconds.
const ERA: u64 = 2_208_988_800;

fn tell_time(socket: &UdpSocket, seen: &Seen) {
    let mut question = [0; 2 * PACKET];
    while let Ok((count, from)) = socket.recv_from(&mut question) {
        if seen.over.load(SeqCst) {
            return;
        }
        let (Some(question), Ok(now)) =
            (question[..count].first_chunk(), SystemTime::now().duration_since(UNIX_EPOCH))
        else {
            continue;
        };
        seen.told.store(now.as_secs(), SeqCst);
        _ = socket.send_to(&time_answer(question, now), from);
    }
}

/// What a server says whose clock is right.
fn time_answer(question: &[u8; PACKET], now: Duration) -> [u8; PACKET] {
    let mut answer = [0; PACKET];
    answer[0] = 0x24; // Version 4, and from a server.
    answer[1] = 1; // Stratum: it has a clock of its own.
    answer[2] = 6; // Asked every 2^6 seconds.
    answer[3] = -20_i8 as u8; // Exact to 2^-20 seconds.
    answer[12..16].copy_from_slice(b"TEST");
    let seconds = (now.as_secs() + ERA) as u32;
    let fraction = ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000) as u32;
    let now = [seconds.to_be_bytes(), fraction.to_be_bytes()].concat();
    answer[16..24].copy_from_slice(&now); // When the clock was set,
    answer[24..32].copy_from_slice(&question[40..48]); // the question sent,
    answer[32..40].copy_from_slice(&now); // received,
    answer[40..48].copy_from_slice(&now); // and answered.
    answer
}

/// mosquitto, and its port.
fn broker(folder: &Path) -> Result<(Process, u16)> {
    let deadline = Instant::now() + START;
    let log = folder.join("mosquitto.log");
    // A port that is free may be taken the next moment: then there is another one.
    while Instant::now() < deadline {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let settings = folder.join("mosquitto.conf");
        let text =
            format!("user root\nlistener {port} {}\nallow_anonymous true\n", Ipv4Addr::LOCALHOST);
        std::fs::write(&settings, text)?;
        let output = File::create(&log)?;
        let mut command = Command::new(MOSQUITTO);
        command.arg("-v").arg("-c").arg(&settings);
        command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
        let process = Process::start(command)?;
        while Instant::now() < deadline && !process.has_ended()? {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() && !process.has_ended()? {
                return Ok((process, port));
            }
            std::thread::sleep(Duration::from_millis(10)); // It does not say when it listens.
        }
    }
    let log = std::fs::read_to_string(&log).unwrap_or_default();
    bail!("mosquitto does not serve after {START:?}:\n{log}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Connection, request};
    use crate::scratch::Scratch;

    fn start(service: Service) -> (Running, SocketAddr, Scratch) {
        let folder = Scratch::new("service").unwrap();
        let running = service.start(folder.path()).unwrap();
        let address = (Ipv4Addr::LOCALHOST, running.port()).into();
        (running, address, folder)
    }

    #[test]
    fn web_server_counts_what_it_answers() {
        let (running, address, _folder) = start(Service::Http { requests: 3, connections: 2 });
        let mut first = Connection::open(address).unwrap();
        assert_eq!(first.get("/").unwrap().body.len(), PAGE);
        first.send(b"POST /echo HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello").unwrap();
        first.answer().unwrap().unwrap().expect(200, "hello").unwrap();
        let reason = running.content("").unwrap_err().to_string();
        assert!(reason.contains("2 requests on 1 connections, not 3 on 2"), "{reason}");
        let mut second = Connection::open(address).unwrap();
        second.send(request("/").replace("HTTP/1.1", "HTTP/1.0").as_bytes()).unwrap();
        second.answer().unwrap().unwrap().expect(200, "xxx").unwrap();
        second.closed().unwrap();
        running.content("").unwrap();
    }

    #[test]
    fn time_is_told_and_compared() {
        let (running, address, _folder) = start(Service::Time);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(START)).unwrap();
        let mut question = [0; PACKET];
        question[40..].copy_from_slice(b"question");
        socket.send_to(&question, address).unwrap();
        let mut answer = [0; PACKET];
        assert_eq!(socket.recv(&mut answer).unwrap(), PACKET);
        assert_eq!((&answer[..4], &answer[24..32]), (&[0x24, 1, 6, 0xec][..], &b"question"[..]));
        let seconds = u32::from_be_bytes(*answer[40..].first_chunk().unwrap());
        let seconds = u64::from(seconds) - ERA;
        let says =
            |seconds| running.content(&format!("x\n{seconds} seconds since 1970, stratum 1\n"));
        says(seconds).unwrap();
        assert!(says(seconds + 60).is_err() && running.content("").is_err());
    }

    #[test]
    fn mosquitto_serves() {
        if crate::program::missing(Service::Broker.needs()).is_none() {
            let (_running, address, _folder) = start(Service::Broker);
            TcpStream::connect(address).unwrap();
        }
    }
}
