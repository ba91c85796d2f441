//! The computer behind the bad network: smoltcp at 10.0.2.2, with a socket for each connection.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time;
use smoltcp::wire::{HardwareAddress, IpCidr};

use super::HOST;
use super::frames::PEER_MAC;

/// The largest frame without Ethernet's checksum.
const MTU: usize = 1514;

/// The first port of a connection, and how many there are.
const PORTS: (u16, u16) = (10_000, 50_000);

pub(super) struct Host {
    interface: Interface,
    queues: Queues,
    sockets: SocketSet<'static>,
    /// Whose stream is gone: they say goodbye by themselves.
    orphans: Vec<SocketHandle>,
    port: u16,
    begin: Instant,
}

#[derive(Default)]
struct Queues {
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

impl Host {
    pub(super) fn new(seed: u64) -> Self {
        let mut config = Config::new(HardwareAddress::Ethernet(PEER_MAC));
        config.random_seed = seed;
        let mut queues = Queues::default();
        let mut interface = Interface::new(config, &mut queues, time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(HOST.into(), 24)).expect("there is room for one");
        });
        let (sockets, orphans) = (SocketSet::new(Vec::new()), Vec::new());
        let port = PORTS.0 + (seed % u64::from(PORTS.1)) as u16;
        Self { interface, queues, sockets, orphans, port, begin: Instant::now() }
    }

    pub(super) fn receive(&mut self, frame: Vec<u8>) {
        self.queues.received.push_back(frame);
    }

    fn now(&self) -> time::Instant {
        time::Instant::from_micros(self.begin.elapsed().as_micros() as i64)
    }

    /// Does what is due. Returns what is to be sent.
    pub(super) fn work(&mut self) -> Vec<Vec<u8>> {
        let now = self.now();
        self.interface.poll(now, &mut self.queues, &mut self.sockets);
        let sockets = &mut self.sockets;
        self.orphans.retain(|&orphan| {
            let socket: &Socket<'_> = sockets.get(orphan);
            // One that was reset has yet to say so.
            let ended = socket.state() == State::Closed && socket.remote_endpoint().is_none();
            if ended {
                sockets.remove(orphan);
            }
            !ended
        });
        std::mem::take(&mut self.queues.sent)
    }

    /// When there is something to do again.
    pub(super) fn next(&mut self) -> Option<Instant> {
        let now = self.now();
        let delay = self.interface.poll_delay(now, &self.sockets)?;
        Some(Instant::now() + delay.into())
    }

    /// Begins a connection, with as much room in both directions, from a port that is not one of `dead`. Says
    /// which it is.
    pub(super) fn connect(
        &mut self,
        to: std::net::SocketAddrV4,
        buffer: usize,
        dead: &HashSet<u16>,
    ) -> (SocketHandle, u16) {
        for _ in 0..PORTS.1 {
            self.port = PORTS.0 + (self.port - PORTS.0 + 1) % PORTS.1;
            if !dead.contains(&self.port) {
                break;
            }
        }
        let rings = [(); 2].map(|()| SocketBuffer::new(vec![0; buffer]));
        let [receive, transmit] = rings;
        let mut socket = Socket::new(receive, transmit);
        socket.set_nagle_enabled(false);
        let remote = (*to.ip(), to.port());
        let connected = socket.connect(self.interface.context(), remote, (HOST, self.port));
        connected.expect("a new socket, and no address or port that is 0");
        (self.sockets.add(socket), self.port)
    }

    pub(super) fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Nobody has it any more: it ends by itself.
    pub(super) fn let_go(&mut self, handle: SocketHandle) {
        self.orphans.push(handle);
    }

    /// It is forgotten without a word.
    pub(super) fn forget(&mut self, handle: SocketHandle) {
        self.sockets.remove(handle);
    }
}

impl phy::Device for Queues {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: time::Instant) -> Option<(Received, Sent<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Sent(&mut self.sent)))
    }

    fn transmit(&mut self, _: time::Instant) -> Option<Sent<'_>> {
        Some(Sent(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Sent<'a>(&'a mut Vec<Vec<u8>>);

impl phy::TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}
