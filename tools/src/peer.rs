//! The other end of a machine's cable, as a part of this tool: a computer at 10.0.2.2 with a TCP/IP stack
//! of its own, behind a network that can be made as bad as one likes.
//!
//! ```text
//!   machine ══ QEMU ── socket ── wire ──┬── stage: loss, reorder, … ──► DHCP server, smoltcp ──► Stream
//!                                record ┘◄── stage ◄───────────────────┘
//!                                       ◄── frames made by hand, floods
//! ```
//!
//! One thread moves frames; clients use [`Stream`]s from threads of their own, and wait there, never longer
//! than they say. All chance comes from one seed, which is said when a case fails, beside the record of
//! the frames. What happens when is the machine's business, so a seed repeats what is done to frames, not
//! a whole run.

mod dhcp;
mod frames;
mod impairment;
mod random;
mod stack;
mod stream;
mod wire;

use std::collections::{HashSet, VecDeque};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use smoltcp::iface::SocketHandle;

pub(crate) use dhcp::{Counts, Settings as Dhcp};
pub(crate) use frames::{MACHINE_MAC, claim, datagram, segment};
pub(crate) use impairment::Impairment;
pub(crate) use random::Random;
pub(crate) use smoltcp::wire::{EthernetAddress, TcpControl};
pub(crate) use stream::Stream;
pub(crate) use wire::netdev;

use dhcp::Server;
use frames::Content;
use impairment::Stage;
use stack::Host;
use wire::Wire;

/// What is decided before the machine starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) impairment: Impairment,
    pub(crate) dhcp: Dhcp,
}

/// Frames that are taken from the machine, or made for a flood, in one turn.
const TURN: usize = 64;

/// How long the thread sleeps at most.
const NAP: Duration = Duration::from_millis(500);

/// The peer of one machine. It ends when the last handle is dropped with its [`Running`].
#[derive(Clone)]
pub(crate) struct Peer(Arc<Shared>);

/// A peer's thread, which ends when this is dropped.
pub(crate) struct Running {
    peer: Peer,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// A byte in it is a call for the thread.
    bell: UnixStream,
    seed: u64,
}

/// What the thread and the clients share.
pub(crate) struct State {
    host: Host,
    dhcp: Server,
    to_machine: Stage,
    from_machine: Stage,
    /// What the wire has not taken yet.
    outgoing: VecDeque<Vec<u8>>,
    flood: Option<Flood>,
    /// Ports of the peer that hear and say nothing any more.
    dead: HashSet<u16>,
    random: Random,
    /// Why the thread has ended.
    ended: Option<String>,
    counts: Traffic,
}

/// How many frames the wire has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) to_machine: u64,
    pub(crate) from_machine: u64,
}

type Make = dyn FnMut(&mut Random) -> Vec<u8> + Send;

struct Flood {
    left: u64,
    make: Box<Make>,
    random: Random,
}

impl Peer {
    /// Lays the cable in `folder` and waits for the machine.
    pub(crate) fn start(folder: &Path, settings: &Settings, seed: u64) -> Result<Running> {
        let wire = Wire::new(folder)?;
        let (bell, ringing) = UnixStream::pair().context("no pair of sockets")?;
        bell.set_nonblocking(true)?;
        ringing.set_nonblocking(true)?;
        let mut random = Random::new(seed);
        let state = State {
            host: Host::new(random.next()),
            dhcp: Server { settings: settings.dhcp, ..Server::default() },
            to_machine: Stage::new(settings.impairment, random.fork()),
            from_machine: Stage::new(settings.impairment, random.fork()),
            outgoing: VecDeque::new(),
            flood: None,
            dead: HashSet::new(),
            random,
            ended: None,
            counts: Traffic::default(),
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let peer = Self(Arc::new(Shared { state, changed, bell, seed }));
        let shared = peer.0.clone();
        let thread = std::thread::spawn(move || {
            if let Err(error) = shared.run(wire, &ringing) {
                shared.lock().ended = Some(format!("{error:#}"));
            }
            shared.changed.notify_all();
        });
        Ok(Running { peer, thread: Some(thread) })
    }

    /// From which all chance comes.
    pub(crate) fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Numbers for a client.
    pub(crate) fn random(&self) -> Random {
        self.0.lock().random.fork()
    }

    /// The network becomes as bad as this, in both directions.
    pub(crate) fn impair(&self, impairment: Impairment) {
        let mut state = self.0.lock();
        state.to_machine.change(impairment);
        state.from_machine.change(impairment);
    }

    /// Changes what the DHCP server does.
    pub(crate) fn dhcp(&self, change: impl FnOnce(&mut Dhcp)) {
        change(&mut self.0.lock().dhcp.settings);
    }

    /// From now on nobody hears or says anything at this port of the peer.
    pub(crate) fn kill(&self, port: u16) {
        self.0.lock().dead.insert(port);
    }

    /// Sends a frame as it is; the network is not bad to it.
    pub(crate) fn send(&self, frame: Vec<u8>) {
        self.0.lock().outgoing.push_back(frame);
        self.0.ring();
    }

    /// Sends so many frames as fast as the machine takes them, between those of others.
    pub(crate) fn flood(
        &self,
        count: u64,
        make: impl FnMut(&mut Random) -> Vec<u8> + Send + 'static,
    ) {
        let mut state = self.0.lock();
        let random = state.random.fork();
        state.flood = Some(Flood { left: count, make: Box::new(make), random });
        self.0.ring();
    }

    /// Sends so many SYNs to a port, each from somebody else who is not there.
    pub(crate) fn syn_flood(&self, count: u64, to: SocketAddrV4) {
        self.flood(count, move |random| frames::spoofed_syn(random, to));
    }

    /// How many frames of the flood are still to be sent.
    pub(crate) fn flood_left(&self) -> u64 {
        self.0.lock().flood.as_ref().map_or(0, |flood| flood.left)
    }

    /// What the DHCP server has seen.
    pub(crate) fn dhcp_counts(&self) -> Counts {
        self.0.lock().dhcp.counts
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.0.lock().counts
    }

    /// Waits until `ready` says so, or fails with what did not happen.
    pub(crate) fn wait<T>(
        &self,
        patience: Duration,
        what: &str,
        mut ready: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(result) = ready(self) {
                return Ok(result);
            }
            let state = self.0.lock();
            if let Some(reason) = &state.ended {
                bail!("the peer has ended while {what} was awaited: {reason}");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{what} did not happen within {patience:?}");
            }
            // What `ready` looks at may have changed before the lock was taken: a short wait for that.
            drop(self.0.wait(state, left.min(Duration::from_millis(50))));
        }
    }

    /// Opens a connection to the machine.
    pub(crate) fn connect(&self, to: SocketAddrV4, patience: Duration) -> Result<Stream> {
        Stream::connect(self.clone(), to, patience, stream::BUFFER)
    }

    /// Opens a connection to the machine with room for so many bytes that nobody has read.
    pub(crate) fn connect_with(
        &self,
        to: SocketAddrV4,
        patience: Duration,
        buffer: usize,
    ) -> Result<Stream> {
        Stream::connect(self.clone(), to, patience, buffer)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, most: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Has the thread look for what there is to do.
    fn ring(&self) {
        _ = (&self.bell).write(&[1]); // One that is full is heard as well.
    }

    /// Moves frames until it is told to end.
    fn run(&self, mut wire: Wire, ringing: &UnixStream) -> Result<()> {
        loop {
            let mut state = self.lock();
            if state.ended.is_some() {
                return Ok(());
            }
            let (mut more, mut blocked) = (true, false);
            for _ in 0..TURN {
                match wire.receive()? {
                    Some(frame) => state.enter(frame),
                    None => {
                        more = false;
                        break;
                    }
                }
            }
            state.work();
            while let Some(frame) = state.outgoing.pop_front() {
                if !wire.send(&frame)? {
                    state.outgoing.push_front(frame);
                    blocked = true;
                    break;
                }
                state.counts.to_machine += 1;
            }
            let next = state.next();
            drop(state);
            self.changed.notify_all();
            if !more {
                sleep(&wire, ringing, blocked, next)?;
            }
        }
    }
}

/// Waits until the wire has a frame, or room if there was none, or somebody rings, or that moment.
fn sleep(wire: &Wire, ringing: &UnixStream, blocked: bool, next: Option<Instant>) -> Result<()> {
    let room = if blocked { PollFlags::POLLOUT } else { PollFlags::empty() };
    let mut files = [
        PollFd::new(wire.socket().as_fd(), PollFlags::POLLIN | room),
        PollFd::new(ringing.as_fd(), PollFlags::POLLIN),
    ];
    let left = next.map_or(NAP, |next| next.saturating_duration_since(Instant::now()).min(NAP));
    // Rounded up, or it would turn in circles for a millisecond.
    let left = left.as_micros().div_ceil(1000) as u16;
    match poll(&mut files, PollTimeout::from(left)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(error).context("cannot wait for frames"),
    }
    while matches!((&mut { ringing }).read(&mut [0; 64]), Ok(64)) {}
    Ok(())
}

impl State {
    /// A frame comes out of the machine.
    fn enter(&mut self, frame: Vec<u8>) {
        self.counts.from_machine += 1;
        let mut arrived = VecDeque::new();
        self.from_machine.pass(frame, Instant::now(), &mut arrived);
        self.take(arrived);
    }

    /// Frames have got through.
    fn take(&mut self, arrived: VecDeque<Vec<u8>>) {
        for frame in arrived {
            match frames::content(&frame) {
                Content::Tcp { to, .. } if self.dead.contains(&to) => {}
                Content::Udp { to: smoltcp::wire::DHCP_SERVER_PORT, bytes } => {
                    if let Some(answer) = self.dhcp.answer(bytes) {
                        self.leave(answer);
                    }
                }
                _ => self.host.receive(frame),
            }
        }
    }

    /// A frame goes to the machine.
    fn leave(&mut self, frame: Vec<u8>) {
        if let Content::Tcp { from, .. } = frames::content(&frame)
            && self.dead.contains(&from)
        {
            return;
        }
        self.to_machine.pass(frame, Instant::now(), &mut self.outgoing);
    }

    /// Begins a connection from a port at which somebody lives.
    fn connect(&mut self, to: SocketAddrV4, buffer: usize) -> (SocketHandle, u16) {
        self.host.connect(to, buffer, &self.dead)
    }

    /// Does what is due.
    fn work(&mut self) {
        let now = Instant::now();
        let mut arrived = VecDeque::new();
        self.from_machine.release(now, &mut arrived);
        self.take(arrived);
        for frame in self.host.work() {
            self.leave(frame);
        }
        self.to_machine.release(now, &mut self.outgoing);
        if let Some(Flood { left, make, random }) = &mut self.flood
            && self.outgoing.is_empty()
        {
            let count = (*left).min(TURN as u64);
            self.outgoing.extend((0..count).map(|_| make(random)));
            *left -= count;
        }
    }

    /// When there is something to do again.
    fn next(&mut self) -> Option<Instant> {
        let flood = self.flood.as_ref().filter(|flood| flood.left > 0).map(|_| Instant::now());
        // With something to send that nobody takes there is no hurry.
        let flood = flood.filter(|_| self.outgoing.is_empty());
        let stages = [self.to_machine.next(), self.from_machine.next()];
        stages.into_iter().chain([flood, self.host.next()]).flatten().min()
    }
}

impl Running {
    pub(crate) fn peer(&self) -> Peer {
        self.peer.clone()
    }

    /// Where the frames are recorded, in the machine's folder, and how to have them again.
    pub(crate) fn traces(&self, folder: &Path) -> String {
        let (seed, record) = (self.peer.seed(), wire::record(folder));
        format!("seed {seed} ({SEED}={seed} repeats it); frames: {}", record.display())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.peer.0.lock().ended.get_or_insert_with(|| "the case is over".into());
        self.peer.0.ring();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

/// A seed to be used instead of a new one.
const SEED: &str = "WAKEFUL_SEED";

/// The user's seed, or a new one.
pub(crate) fn seed() -> Result<u64> {
    use std::hash::{BuildHasher, RandomState};
    match std::env::var(SEED) {
        Ok(text) => text.parse().with_context(|| format!("{SEED} is {text:?}, which is no number")),
        Err(_) => Ok(RandomState::new().hash_one(std::process::id()) >> 32),
    }
}

/// The address of this end.
const HOST: Ipv4Addr = crate::network::ROUTER;
