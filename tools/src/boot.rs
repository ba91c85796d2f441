//! One test case on one machine: booted, watched to its end or deadline, and judged.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::board::Board;
use crate::case::{Case, End};
use crate::client::Site;
use crate::console::Console;
use crate::expect::Progress;
use crate::http::{self, WebServer};
use crate::machine::Machine;
use crate::namespace::{self, Ipv6};
use crate::network;
use crate::network::{Address, Link, Network, ROUTER};
use crate::peer::{self, Peer};
use crate::program;
use crate::qemu::CommandLine;
use crate::scratch::Scratch;
use crate::service::{self, Service};

/// A number that all deadlines are multiplied with, for slow computers.
const SCALE: &str = "WAKEFUL_TEST_TIMEOUT_SCALE";

/// More text than this on a console is a failure of its own.
const MOST_TEXT: usize = 1 << 20;

/// How long clients may need when the machine has ended: as long as they wait for it, and a moment to say so.
const LAST_WORDS: Duration = http::PATIENCE.saturating_add(Duration::from_secs(1));

/// A machine that has been watched to its end.
pub(crate) struct Attempt {
    /// How it was started, to be pasted into a shell.
    pub(crate) command_line: String,
    /// Its console, with names for addresses.
    pub(crate) console: String,
    /// What was not as the case expects.
    pub(crate) verdict: Result<(), String>,
}

/// Why this computer cannot play the network of the case, or has no such clients.
pub(crate) fn unavailable(case: &Case) -> Option<String> {
    let mut programs = case.needs.to_vec();
    programs.extend(case.clients.iter().flat_map(|client| client.needs()));
    programs.extend(case.service.map(Service::needs).unwrap_or_default());
    programs.extend(case.options.disks.iter().flat_map(|disk| disk.needs().iter().copied()));
    let network = case.options.network;
    programs.extend(network.is_some_and(needs_dnsmasq).then_some(namespace::DNSMASQ));
    let is_on_tap = network.is_some_and(|network| network.link == Link::Tap);
    let no_tap = || is_on_tap.then(namespace::unavailable).flatten();
    program::missing(&programs).or_else(no_tap)
}

fn needs_dnsmasq(network: Network) -> bool {
    network.link == Link::Tap && network.address == Address::Dhcp
}

/// Boots `elf` as the case says. An error means that there was no machine to watch.
pub(crate) fn attempt(case: &Case, elf: &Path) -> Result<Attempt> {
    match case.options.network {
        Some(network) if network.link == Link::Tap => {
            namespace::inside(Ipv6::On, || attempt_here(case, elf))
        }
        _ => attempt_with_service(case, elf),
    }
}

/// What the machine asks for is there before it is.
fn attempt_with_service(case: &Case, elf: &Path) -> Result<Attempt> {
    let Some(service) = case.service else { return attempt_here(case, elf) };
    let scratch = Scratch::new("service")?;
    let service = service.start(scratch.path())?;
    let mut case = case.clone();
    if let Some(append) = &mut case.options.append {
        *append = append.replace(service::PORT, &service.port().to_string());
    }
    let mut attempt = attempt_here(&case, elf)?;
    let content = || service.content(&attempt.console).map_err(|error| format!("{error:#}"));
    attempt.verdict = attempt.verdict.and_then(|()| content());
    if attempt.verdict.is_err() {
        scratch.keep(); // There may be a log in it.
    }
    Ok(attempt)
}

/// In the namespace of this thread.
fn attempt_here(case: &Case, elf: &Path) -> Result<Attempt> {
    let mut case = case.clone();
    case.options.network = case.options.network.map(Network::settled).transpose()?;
    let board = Board::find(case.board)?;
    let scratch = Scratch::new(case.name)?;
    let _web_server = case.web_server.then(|| serve(&mut case)).transpose()?;
    if let Some(disks) = case.disks {
        let made = (disks.make)(scratch.path()).context("cannot make its disks")?;
        case.options.disks.extend(made);
    }
    let line = command_line(&case, &board, elf, scratch.path())?;
    let dnsmasq = case.options.network.is_some_and(needs_dnsmasq);
    let _dnsmasq = dnsmasq.then(|| namespace::dnsmasq(scratch.path())).transpose()?;
    let on_peer = case.options.network.is_some_and(|network| network.link == Link::Peer);
    let start = || Peer::start(scratch.path(), &case.peer, peer::seed()?);
    let running = on_peer.then(start).transpose()?;
    let peer = running.as_ref().map(peer::Running::peer);
    let (console, mut verdict) = watch(&case, elf, &line, scratch.path(), peer)?;
    if let (Err(reason), Some(running)) = (&mut verdict, running) {
        *reason += &format!("\n{}", running.traces(scratch.path()));
    }
    if let (Ok(()), Some(disks)) = (&verdict, case.disks) {
        let look = (disks.check)(scratch.path(), &console);
        verdict = look.map_err(|error| format!("its disks: {error:#}"));
    }
    if verdict.is_err() {
        scratch.keep(); // The command line names files in it.
    }
    let mut command_line = line.to_string();
    if case.options.network.is_some_and(|network| network.link == Link::Tap) {
        command_line = format!("{}\n{command_line}", namespace::by_hand());
    }
    Ok(Attempt { command_line, console, verdict })
}

/// Starts a web server where the machine finds it, and puts its port into the boot arguments.
fn serve(case: &mut Case) -> Result<WebServer> {
    let on_tap = case.options.network.is_some_and(|network| network.link == Link::Tap);
    // What user networking calls the router is this computer.
    let server = WebServer::start(if on_tap { ROUTER } else { Ipv4Addr::LOCALHOST })?;
    if let Some(append) = &mut case.options.append {
        *append = append.replace("PORT", &server.address().port().to_string());
    }
    Ok(server)
}

fn command_line(case: &Case, board: &Board, elf: &Path, folder: &Path) -> Result<CommandLine> {
    let mut options = case.options.clone();
    if case.end != End::Seen {
        options.extra.push("-no-reboot".into()); // Firmware resets when it crashes: once is enough.
    }
    let line = CommandLine::new(board, elf, &options, folder)?;
    let Some(tree) = case.tree else { return Ok(line) };
    let prepared = tree.prepare(&line, elf, folder)?;
    options.extra.extend(prepared.args);
    CommandLine::new(board, &prepared.elf, &options, folder)
}

/// What happens while a machine runs.
enum Event {
    Printed(Vec<u8>),
    /// Nothing more will be printed.
    Closed,
    /// The clients are done.
    Clients(Result<(), String>),
}

/// Runs the machine to its end. Returns its console, and what was wrong.
fn watch(
    case: &Case,
    elf: &Path,
    line: &CommandLine,
    folder: &Path,
    peer: Option<Peer>,
) -> Result<(String, Result<(), String>)> {
    let limit = case.deadline.mul_f64(scale()?);
    let deadline = Instant::now() + limit;
    let (mut machine, mut keyboard, output) = Machine::start_captured(line)?;
    let (sender, events) = mpsc::channel();
    let printing = sender.clone();
    std::thread::spawn(move || {
        read_pieces(output, |piece| printing.send(Event::Printed(piece)).is_ok());
        printing.send(Event::Closed)
    });
    let mut clients = Clients::of(case, folder, peer, sender);
    let mut console = Console::of(elf);
    let mut shown = Vec::new();
    let mut text = String::new();
    let mut progress = Progress::new(&case.script);
    let ending = loop {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Printed(piece)) => console.feed(&piece, &mut shown),
            Ok(Event::Closed) => {
                // Clients of a machine that ends by itself may have something left to look at.
                if clients.running()
                    && let Ok(Event::Clients(result)) = events.recv_timeout(LAST_WORDS)
                {
                    match result {
                        Ok(()) => clients = Clients::Done,
                        Err(reason) => break Ending::Discontent(reason),
                    }
                }
                break Ending::Exited(machine.wait()?);
            }
            Ok(Event::Clients(Ok(()))) => clients = Clients::Done,
            Ok(Event::Clients(Err(reason))) => break Ending::Discontent(reason),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                break Ending::TimedOut(limit);
            }
        }
        text.push_str(&take_text(&mut shown));
        let typed = progress.advance(&text);
        // A machine that has just ended cannot be typed at; that it ended is seen in a moment.
        _ = keyboard.write_all(typed.as_bytes());
        let unannounced = || case.options.network?.unannounced().filter(|_| progress.complete());
        // Of several servers that one is visited.
        let announced = console.serving().filter(|address| address.port() == network::HTTP);
        if let Some(address) = announced.or_else(unannounced) {
            clients = clients.started(address);
        }
        match console.halted() {
            Some(code) => break Ending::Exited(code),
            None if case.end == End::Seen && progress.complete() && clients.done() => {
                break Ending::Seen;
            }
            None if text.len() > MOST_TEXT => break Ending::TooLong,
            None => {}
        }
    };
    machine.end();
    let verdict = judge(case, ending, clients.done(), &progress, &text);
    Ok((text, verdict))
}

/// Takes what is there, but for the beginning of a character whose rest is yet to come.
fn take_text(bytes: &mut Vec<u8>) -> String {
    let begun = match bytes.utf8_chunks().last() {
        Some(last)
            if std::str::from_utf8(last.invalid()).is_err_and(|it| it.error_len().is_none()) =>
        {
            last.invalid().len()
        }
        _ => 0,
    };
    let rest = bytes.split_off(bytes.len() - begun);
    String::from_utf8_lossy(&std::mem::replace(bytes, rest)).into_owned()
}

/// How far the clients are.
enum Clients<'a> {
    /// They wait for the machine to say where it serves.
    Waiting {
        case: &'a Case,
        network: Network,
        folder: &'a Path,
        peer: Option<Peer>,
        events: Sender<Event>,
    },
    Running,
    Done,
}

impl<'a> Clients<'a> {
    fn of(case: &'a Case, folder: &'a Path, peer: Option<Peer>, events: Sender<Event>) -> Self {
        match case.options.network {
            Some(network) if !case.clients.is_empty() => {
                Self::Waiting { case, network, folder, peer, events }
            }
            _ => Self::Done,
        }
    }

    /// In a thread of their own, as the console must be watched as well.
    fn started(self, address: std::net::SocketAddr) -> Self {
        let Self::Waiting { case, network, folder, peer, events } = self else { return self };
        let site = Site { address: network.reached(address), folder: folder.into(), peer };
        let clients = case.clients.clone();
        std::thread::spawn(move || {
            let result = clients.iter().try_for_each(|client| client.visit(&site));
            events.send(Event::Clients(result.map_err(|error| format!("{error:#}"))))
        });
        Self::Running
    }

    fn running(&self) -> bool {
        matches!(self, Self::Running)
    }

    fn done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Why a machine is no longer watched.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ending {
    Exited(i32),
    Seen,
    TimedOut(Duration),
    TooLong,
    /// A client is not content with it.
    Discontent(String),
}

fn judge(
    case: &Case,
    ending: Ending,
    clients_done: bool,
    progress: &Progress<'_>,
    text: &str,
) -> Result<(), String> {
    let script = progress.verdict(text).map_err(|mismatch| mismatch.to_string());
    let end = match (ending, case.end) {
        (Ending::Discontent(reason), _) => Err(reason),
        (Ending::Exited(code), End::Exit(expected)) if code == expected && !clients_done => {
            Err("ended before its clients were done".into())
        }
        (Ending::Exited(code), End::Exit(expected)) if code == expected => Ok(()),
        (Ending::Seen, End::Seen) => Ok(()),
        (Ending::Exited(code), End::Exit(expected)) => {
            Err(format!("exit code {code} instead of {expected}"))
        }
        (Ending::Exited(code), End::Seen) => Err(format!("ended too early, with exit code {code}")),
        (Ending::TimedOut(limit), _) => {
            Err(format!("still running after {limit:?} (deadlines grow with {SCALE}=N)"))
        }
        (Ending::TooLong, _) => Err(format!("printed more than {MOST_TEXT} bytes")),
        (Ending::Seen, End::Exit(_)) => {
            unreachable!("only End::Seen stops a machine that has been seen")
        }
    };
    match (end, script) {
        (Ok(()), script) => script,
        (end, Ok(())) => end,
        (Err(end), Err(script)) => Err(format!("{end}; {script}")),
    }
}

/// Reads in a thread of its own, so that the reader's owner can keep an eye on the time.
pub(crate) fn pieces(output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || read_pieces(output, |piece| sender.send(piece).is_ok()));
    receiver
}

/// Reads until the end, or until `taken` no longer wants to.
fn read_pieces(mut output: impl Read, mut taken: impl FnMut(Vec<u8>) -> bool) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = output.read(&mut bytes) {
        if !taken(bytes[..count].to_vec()) {
            break;
        }
    }
}

fn scale() -> Result<f64> {
    let Ok(text) = std::env::var(SCALE) else { return Ok(1.0) };
    let scale = text.parse().ok().filter(|scale| (0.01..=1000.0).contains(scale));
    scale.with_context(|| format!("{SCALE} is {text:?}; it must be a number between 0.01 and 1000"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Image, exit};
    use crate::client;
    use crate::workspace::Profile;

    fn judged(case: &Case, ending: Ending, text: &str) -> Result<(), String> {
        let mut progress = Progress::new(&case.script);
        progress.advance(text);
        judge(case, ending, case.clients.is_empty(), &progress, text)
    }

    #[test]
    fn exit_code_and_text_must_both_be_right() {
        let case =
            Case::new("x", Image::Package("x", Profile::Dev)).sees("oops").exits(exit::PANIC);
        assert_eq!(judged(&case, Ending::Exited(101), "oops"), Ok(()));
        assert!(
            judged(&case, Ending::Exited(0), "oops")
                .unwrap_err()
                .contains("exit code 0 instead of 101")
        );
        assert!(judged(&case, Ending::Exited(101), "").unwrap_err().contains("oops"));
        let both = judged(&case, Ending::TimedOut(Duration::from_secs(60)), "").unwrap_err();
        assert!(both.contains("still running after 60s") && both.contains("oops"), "{both}");
    }

    #[test]
    fn characters_may_come_in_pieces() {
        let (mut bytes, mut text) = (Vec::new(), String::new());
        for &byte in "aé日😀b".as_bytes().iter().chain(b"\xff\xe6x") {
            bytes.push(byte);
            text += &take_text(&mut bytes);
        }
        assert_eq!(text, "aé日😀b\u{fffd}\u{fffd}x");
        assert!(bytes.is_empty());
    }

    #[test]
    fn machines_that_should_keep_running_must() {
        let case = Case::new("x", Image::Package("x", Profile::Dev)).sees("up").ends_when_seen();
        assert_eq!(judged(&case, Ending::Seen, "up"), Ok(()));
        assert!(judged(&case, Ending::Exited(0), "up").unwrap_err().contains("too early"));
    }

    #[test]
    fn clients_must_be_done_and_content() {
        let image = Image::Package("x", Profile::Dev);
        let case = Case::new("x", image).client(client::get("/", 200, ""));
        let early = judged(&case, Ending::Exited(0), "").unwrap_err();
        assert!(early.contains("before its clients"), "{early}");
        let why = || Ending::Discontent("why".into());
        assert_eq!(judged(&case, why(), ""), Err("why".into()));
        assert_eq!(judged(&case.sees("up"), why(), "").unwrap_err(), "why; never printed: \"up\"");
    }
}
