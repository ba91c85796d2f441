//! The stack: from a frame to an endpoint, and from an endpoint to frames.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::{
    mem,
    task::{Poll, Waker},
};

use smoltcp::{
    iface::{self, Interface, SocketSet},
    socket::tcp,
    time::Instant,
    wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpVersion, Ipv4Address, Ipv4Cidr},
};

use crate::{
    Error, Link,
    classify::{Class, Segment, classify},
    conflicts::Conflicts,
    deadlines::Deadlines,
    dhcp, dns,
    endpoint::{Endpoint, Kind, wait_in},
    flows::{self, Flows, Who},
    handshakes::Handshakes,
    ipv6::Autoconfiguration,
    link::Port,
    places::Places,
    rings::Buffers,
    tcp::{Listening, give_up, has_room_for_end},
    time_wait::TimeWait,
};

/// What a stack is made of.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// From which sequence numbers are drawn, ports, and places in tables. Nobody outside may know them.
    pub seeds: [u64; 4],
    /// The most TCP connections at a time, those included that nobody has accepted or that say goodbye.
    pub connections: usize,
    /// The most bytes for what connections have received and nobody has read, and what they send and nobody
    /// has acknowledged.
    pub buffers: usize,
    /// Whether to ask routers for IPv6 addresses (RFC 4862).
    pub autoconfiguration: bool,
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that the card has given.
    pub received: u64,
    /// Connections that were accepted or made.
    pub connections: u64,
    /// Connections that were not begun, as a listener's backlog was full, or memory, or there were too many.
    pub refused: u64,
    /// SYNs that were answered with a cookie, as too many handshakes were under way.
    pub cookies: u64,
    /// Segments with data that were dropped, as there was no buffer.
    pub dropped: u64,
    /// Frames of others that use an address of this machine.
    pub conflicts: u64,
}

/// TCP/IP on one card. Moments are in microseconds, of a clock that never goes back.
pub struct Stack<L> {
    pub(crate) link: L,
    pub(crate) interface: Interface,
    pub(crate) endpoints: Places<Box<Endpoint>>,
    pub(crate) flows: Flows,
    pub(crate) handshakes: Handshakes,
    pub(crate) time_wait: TimeWait,
    pub(crate) buffers: Buffers,
    /// Connections whose writers wait for a buffer.
    pub(crate) starved: Vec<u32>,
    pub(crate) listeners: Vec<Listening>,
    pub(crate) deadlines: Deadlines,
    /// Endpoints with something to send that nobody has looked after yet.
    dirty: Vec<u32>,
    /// Endpoints with something to send, but no room in the card's ring or no hardware address.
    stalled: Vec<u32>,
    /// Connections that owe an acknowledgement, and when it is to be sent without anything else.
    acknowledgements: VecDeque<(u64, u32)>,
    wants_room: bool,
    pub(crate) woken: Woken,
    /// Memory of connections that have ended.
    #[expect(clippy::vec_box, reason = "they come from the places and go back to them")]
    pub(crate) spare: Vec<Box<Endpoint>>,
    /// That of the last connection.
    pub(crate) serial: u32,
    pub(crate) limit: usize,
    /// For frames that are no endpoint's.
    empty: SocketSet<'static>,
    pub(crate) dhcp: Option<dhcp::Client>,
    pub(crate) dns: Option<dns::Resolver>,
    pub(crate) autoconfiguration: Option<Autoconfiguration>,
    /// Who waits for an address.
    unconfigured: Vec<Waker>,
    random: u64,
    pub(crate) counters: Counters,
    pub(crate) conflicts: Conflicts,
    /// A server has given an address, or taken it back.
    pub(crate) news: bool,
}

/// Wakers to call, and wakers to drop, once the lock is let go of.
#[derive(Debug, Default)]
pub struct Woken {
    wake: Vec<Waker>,
    discard: Vec<Waker>,
}

impl Woken {
    /// None.
    pub const fn new() -> Self {
        Self { wake: Vec::new(), discard: Vec::new() }
    }

    /// Wakes them.
    pub fn wake(&mut self) {
        for waker in self.wake.drain(..) {
            waker.wake();
        }
        self.discard.clear();
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.wake.is_empty() && self.discard.is_empty()
    }

    #[inline]
    pub(crate) fn push(&mut self, waker: &mut Option<Waker>) {
        if waker.is_some() {
            if self.wake.try_reserve(1).is_ok() {
                self.wake.extend(waker.take());
            } else if let Some(waker) = waker {
                // Without memory it is woken at once, and stays to be dropped elsewhere.
                waker.wake_by_ref();
            }
        }
    }

    pub(crate) fn append(&mut self, wakers: &mut Vec<Waker>) {
        if self.wake.try_reserve(wakers.len()).is_ok() {
            self.wake.append(wakers);
        } else {
            wakers.iter().for_each(Waker::wake_by_ref);
        }
    }

    #[inline]
    pub(crate) fn discard(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            if self.discard.try_reserve(1).is_ok() {
                self.discard.push(waker);
            } else {
                // Without memory it is never dropped: not under a lock, in which its task may end.
                mem::forget(waker);
            }
        }
    }
}

/// smoltcp's moment.
#[inline]
pub(crate) fn at(now: u64) -> Instant {
    Instant::from_micros(now.cast_signed())
}

/// An interface without addresses. One copy of its large constructor is enough.
#[cold]
#[inline(never)]
pub(crate) fn new_interface<L: Link>(link: &mut L, settings: iface::Config, now: u64) -> Interface {
    Interface::new(settings, &mut Port::new(link, None), at(now))
}

/// How long an acknowledgement waits, in microseconds: what smoltcp says to its sockets (`ACK_DELAY_DEFAULT`).
const ACKNOWLEDGEMENT_DELAY: u64 = 10_000;

/// The most handshakes that are remembered at a time, and ended connections: 80 and 250 KiB.
const HANDSHAKES: usize = 1024;
const TIME_WAIT: usize = 4096;

/// How long an empty buffer stays with a connection at least, in microseconds.
pub(crate) const KEEPS: u64 = 1_000_000;

/// How many times in a row an endpoint may say that it has something to send, and send no data.
const PATIENCE: u32 = 3;

/// When an endpoint that could not send, or would send for ever, is looked at again, in microseconds.
const STALLED: u64 = 1_000_000;

impl<L: Link> Stack<L> {
    /// A stack on this card, without addresses but that of the link (RFC 4291 §2.5.6).
    pub fn new(link: L, config: Config, now: u64) -> Self {
        let mac = EthernetAddress(link.mac());
        let mut settings = iface::Config::new(HardwareAddress::Ethernet(mac));
        settings.random_seed = config.seeds[0];
        let mut link = link;
        let interface = new_interface(&mut link, settings, now);
        // These take memory before anybody has proved to be there, or after.
        let (begun, ended) =
            (config.connections.min(HANDSHAKES), config.connections.min(TIME_WAIT));
        let mut this = Self {
            link,
            interface,
            endpoints: Places::new(),
            flows: Flows::new(config.seeds[2]),
            handshakes: Handshakes::new(begun, [config.seeds[3], config.seeds[0]]),
            time_wait: TimeWait::new(ended),
            buffers: Buffers::new(config.buffers),
            starved: Vec::new(),
            listeners: Vec::new(),
            deadlines: Deadlines::new(),
            dirty: Vec::new(),
            stalled: Vec::new(),
            acknowledgements: VecDeque::new(),
            wants_room: false,
            woken: Woken::new(),
            spare: Vec::new(),
            serial: 0,
            limit: config.connections,
            empty: SocketSet::new(Vec::new()),
            dhcp: None,
            dns: None,
            autoconfiguration: None,
            unconfigured: Vec::new(),
            random: config.seeds[1],
            counters: Counters::default(),
            conflicts: Conflicts::default(),
            news: false,
        };
        this.start_ipv6(mac, &config, now);
        this
    }

    /// The card.
    pub fn link(&mut self) -> &mut L {
        &mut self.link
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// TCP connections that there are: accepted, waiting for that, and saying goodbye.
    pub fn connections(&self) -> usize {
        self.flows.connections()
    }

    /// TCP connections that begin, and of which nothing is known but their SYN.
    pub fn handshakes(&self) -> usize {
        self.handshakes.len()
    }

    /// TCP connections that have ended, and are remembered for a minute.
    pub fn ended(&self) -> usize {
        self.time_wait.len()
    }

    /// Bytes of buffers that connections have.
    pub fn buffered(&self) -> usize {
        self.buffers.lent()
    }

    /// Takes one frame from the card and does what it asks for, or has the next [`advance`](Self::advance) do it.
    /// Whether there was one, and room to answer it.
    #[inline]
    pub fn receive(&mut self, now: u64) -> bool {
        if !self.link.has_room() {
            self.wants_room = true;
            return false;
        }
        let Some(frame) = self.link.receive() else { return false };
        self.counters.received += 1;
        self.dispatch(now, &frame, L::is_checked(&frame));
        self.link.release(frame);
        true
    }

    /// Does what is due: deadlines, what was written and not flushed, what had no room.
    pub fn advance(&mut self, now: u64) {
        while let Some(endpoint) = self.deadlines.expired(now) {
            self.serve(now, endpoint);
            self.reclaim(endpoint);
        }
        while let Some(&(due, endpoint)) = self.acknowledgements.front()
            && due <= now
        {
            self.acknowledgements.pop_front();
            if let Some(target) = self.endpoints.get_mut(endpoint)
                && mem::take(&mut target.in_acknowledgements)
            {
                match target.owes {
                    Some(due) if due <= now => self.serve(now, endpoint),
                    // That one was paid, and this is another.
                    Some(due) => {
                        target.in_acknowledgements = true;
                        self.acknowledgements.push_back((due, endpoint));
                    }
                    None => {}
                }
            }
        }
        while let Some(endpoint) = self.dirty.pop() {
            if self.endpoints.get(endpoint).is_some_and(|endpoint| endpoint.dirty) {
                self.serve(now, endpoint);
            }
        }
        if self.wants_room && self.link.has_room() {
            self.wants_room = false;
            self.serve_stalled(now);
        }
        self.advance_handshakes(now);
        self.time_wait.advance(now, &mut self.flows);
        self.advance_autoconfiguration(now);
    }

    /// When to call [`advance`](Self::advance) next, if nothing else happens.
    pub fn next_deadline(&self) -> Option<u64> {
        let autoconfiguration =
            self.autoconfiguration.as_ref().and_then(Autoconfiguration::next_deadline);
        let acknowledgement = self.acknowledgements.front().map(|&(due, _)| due);
        let (handshake, ended) = (self.handshakes.next_deadline(), self.time_wait.next_deadline());
        let others = [autoconfiguration, acknowledgement, handshake, ended];
        others.into_iter().flatten().chain(self.deadlines.next()).min()
    }

    /// When to call [`advance`](Self::advance) next; who asks will sleep until then, unless it is woken because
    /// [`has_work`](Self::has_work) says so after some other call.
    pub fn plan(&mut self) -> Option<u64> {
        let next = self.next_deadline();
        self.deadlines.plan(next.unwrap_or(u64::MAX));
        next
    }

    /// Whether [`advance`](Self::advance) has something to do now, or earlier than was planned, or somebody has to
    /// look out for room.
    #[inline]
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty() || self.deadlines.is_earlier() || self.wants_room
    }

    /// Whether something waits for room in the card's ring.
    pub fn wants_room(&self) -> bool {
        self.wants_room
    }

    /// Exchanges the wakers that are due for `empty` ones. To be woken without any lock.
    #[inline]
    pub fn take_woken(&mut self, empty: &mut Woken) {
        mem::swap(&mut self.woken, empty);
    }

    /// Whether wakers are due.
    #[inline]
    pub fn has_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    /// Gives a frame to whom it is for.
    #[inline]
    fn dispatch(&mut self, now: u64, frame: &[u8], checked: bool) {
        match classify(frame, checked) {
            Class::Tcp { flow, segment } => match self.flows.find(&flow) {
                Some(Who::Connection(endpoint)) => self.feed_tcp(now, endpoint, frame, segment),
                who if self.open(now, flow, who, frame, segment) => {}
                _ => self.feed_nobody(now, frame),
            },
            Class::Udp { to: dhcp::CLIENT_PORT, .. } if !dhcp::is_possible(frame) => {}
            Class::Udp { from, to } => match self.udp_endpoint(from, to) {
                Some(endpoint) => self.feed(now, endpoint, frame),
                None => self.feed_nobody(now, frame),
            },
            Class::Neighbour => {
                self.look_for_conflict(now, frame);
                self.feed_nobody(now, frame);
                self.serve_stalled(now);
            }
            #[cfg(feature = "ipv6")]
            Class::Router => {
                self.feed_nobody(now, frame);
                self.configure(now, frame);
            }
            Class::Other => self.feed_nobody(now, frame),
            Class::Useless => {}
        }
    }

    /// Who gets a datagram.
    fn udp_endpoint(&self, from: u16, to: u16) -> Option<u32> {
        if let Some(Who::Datagrams(endpoint)) = self.flows.find(&flows::port(to)) {
            return Some(endpoint);
        }
        match from {
            dhcp::SERVER_PORT if to == dhcp::CLIENT_PORT => {
                self.dhcp.as_ref().map(|dhcp| dhcp.endpoint)
            }
            _ => self.resolver_for(from),
        }
    }

    /// Lets smoltcp answer what is no endpoint's: ARP, echo requests, what goes to closed ports.
    #[inline(never)]
    fn feed_nobody(&mut self, now: u64, frame: &[u8]) {
        let mut port = Port::new(&mut self.link, Some(frame));
        self.interface.poll_ingress_single(at(now), &mut port, &mut self.empty);
    }

    /// Gives a frame to an endpoint, and does what follows.
    #[inline(never)]
    pub(crate) fn feed(&mut self, now: u64, endpoint: u32, frame: &[u8]) {
        let Some(target) = self.endpoints.get_mut(endpoint) else { return };
        let mut port = Port::new(&mut self.link, Some(frame));
        self.interface.poll_ingress_single(at(now), &mut port, target.single.set());
        self.serve(now, endpoint);
    }

    /// Gives a segment to a connection, and does what follows.
    #[inline]
    pub(crate) fn feed_tcp(&mut self, now: u64, endpoint: u32, frame: &[u8], segment: Segment) {
        let Some(target) = self.endpoints.get_mut(endpoint) else { return };
        if segment.data > 0 && !target.single.socket::<tcp::Socket<'_>>().has_recv_storage() {
            if !target.single.lend_receive(&mut self.buffers) {
                self.counters.dropped += 1; // the peer sends it again
                return;
            }
            self.deadlines.set(now, endpoint, now + KEEPS);
        }
        if segment.ends() {
            if !has_room_for_end(target.single.socket(), segment) {
                return;
            }
            target.peer_end = segment.end();
        }
        let before = mem::replace(&mut target.expected, segment.expects);
        let mut port = Port::new(&mut self.link, Some(frame)).expected(target.expected());
        self.interface.poll_ingress_single(at(now), &mut port, target.single.set());
        if segment.expects != before {
            self.acknowledged(now, endpoint);
        }
        if self.is_quiet(now, endpoint, frame.len()) {
            return;
        }
        let Some(target) = self.endpoints.get_mut(endpoint) else { return };
        let is_stream = segment.data > 0 && !segment.ends();
        if is_stream && target.single.socket::<tcp::Socket<'_>>().send_queue() == 0 {
            // More of it may have come already: one acknowledgement for all, and one turn of who reads.
            self.mark(now, endpoint);
        } else {
            self.serve(now, endpoint);
        }
    }

    /// The acknowledgement of what this connection has received can wait for data to go with.
    pub(crate) fn owe(&mut self, now: u64, endpoint: u32) {
        let Some(target) = self.endpoints.get_mut(endpoint) else { return };
        let due = *target.owes.get_or_insert(now + ACKNOWLEDGEMENT_DELAY);
        if target.in_acknowledgements {
            return;
        }
        if self.acknowledgements.try_reserve(1).is_ok() {
            target.in_acknowledgements = true;
            self.acknowledgements.push_back((due, endpoint));
        } else {
            self.serve(now, endpoint);
        }
    }

    /// Lets an endpoint send what it has to send now, and does what follows from its state.
    #[inline(never)]
    pub(crate) fn serve(&mut self, now: u64, endpoint: u32) {
        let Some(target) = self.endpoints.get_mut(endpoint) else { return };
        (target.dirty, target.owes) = (false, None);
        if target.gives_up {
            give_up(target.single.socket());
        }
        let moment = at(now);
        let (mut fruitless, mut unsent) = (0, false);
        let mut next = self.interface.poll_at(moment, target.single.set());
        while fruitless < PATIENCE && next.is_some_and(|next| next <= moment) {
            let mut port = Port::new(&mut self.link, None).expected(target.expected());
            self.interface.poll_egress(moment, &mut port, target.single.set());
            if port.full {
                (self.wants_room, unsent) = (true, true);
                break;
            }
            // Data is worth another round; the same acknowledgement again and again is not.
            fruitless = if port.data > 0 { 0 } else { fruitless + 1 };
            unsent = port.sent == 0;
            next = self.interface.poll_at(moment, target.single.set());
        }
        // No room, or nobody's hardware address. Without memory it is looked at when its deadline comes.
        if unsent && !target.stalled && self.stalled.try_reserve(1).is_ok() {
            target.stalled = true;
            self.stalled.push(endpoint);
        }
        if let Some(next) = next {
            // If it still wants to be called at once, it does not know what it wants.
            let later = next > moment;
            let next = if later { next.total_micros().cast_unsigned() } else { now + STALLED };
            self.deadlines.set(now, endpoint, next);
        }
        match target.kind {
            Kind::Tcp { .. } => self.follow_tcp(now, endpoint),
            Kind::Udp { .. } => self.follow_udp(now, endpoint),
            #[cfg(feature = "dns")]
            Kind::Dns => self.follow_dns(),
            Kind::Dhcp => self.follow_dhcp(now),
        }
    }

    /// What waited for room or for a neighbour tries again.
    fn serve_stalled(&mut self, now: u64) {
        // Those that stall again come into the new list.
        for endpoint in mem::take(&mut self.stalled) {
            if let Some(target) = self.endpoints.get_mut(endpoint)
                && mem::take(&mut target.stalled)
            {
                self.serve(now, endpoint);
            }
        }
    }

    /// Has an endpoint served by the next [`advance`](Self::advance).
    #[inline]
    pub(crate) fn mark(&mut self, now: u64, endpoint: u32) {
        if let Some(target) = self.endpoints.get_mut(endpoint)
            && !target.dirty
        {
            if self.dirty.try_reserve(1).is_ok() {
                target.dirty = true;
                self.dirty.push(endpoint);
            } else {
                self.deadlines.set(now, endpoint, now);
            }
        }
    }

    /// A number that nobody outside can guess easily: splitmix64 (Steele, Lea, Flood 2014).
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Whether there is an address that others on the network know, beyond that of the link.
    pub fn poll_configured(&mut self, waker: &Waker) -> Poll<()> {
        if self.is_configured() {
            return Poll::Ready(());
        }
        wait_in(&mut self.unconfigured, waker);
        Poll::Pending
    }

    fn is_configured(&self) -> bool {
        self.addresses().iter().any(|address| match address {
            IpCidr::Ipv4(_) => true,
            #[cfg(feature = "ipv6")]
            IpCidr::Ipv6(address) => !address.address().is_unicast_link_local(),
        })
    }

    /// Addresses have changed.
    pub(crate) fn configured(&mut self) {
        if self.is_configured() {
            self.woken.append(&mut self.unconfigured);
        }
    }

    /// The addresses that this machine has.
    pub fn addresses(&self) -> &[IpCidr] {
        self.interface.ip_addrs()
    }

    /// Whether a DHCP server has given an address since this was asked, or taken it back.
    pub fn take_news(&mut self) -> bool {
        mem::take(&mut self.news)
    }

    /// The IPv4 address.
    pub fn ipv4(&self) -> Option<Ipv4Cidr> {
        let is_ipv4 = |cidr: &&IpCidr| cidr.address().version() == IpVersion::Ipv4;
        match *self.addresses().iter().find(is_ipv4)? {
            IpCidr::Ipv4(cidr) => Some(cidr),
            #[cfg(feature = "ipv6")]
            IpCidr::Ipv6(_) => None,
        }
    }

    /// Whether there is a way to an address: it is on the link, or there is a router.
    pub(crate) fn has_way(&self, to: IpAddress) -> bool {
        let routes = self.interface.routes();
        let has_router = match to {
            IpAddress::Ipv4(_) => routes.get_default_ipv4_route().is_some(),
            #[cfg(feature = "ipv6")]
            IpAddress::Ipv6(_) => routes.get_default_ipv6_route().is_some(),
        };
        let on_link = |cidr: &IpCidr| cidr.contains_addr(&to);
        let own = self.interface.get_source_address(&to).is_some();
        own && (has_router
            || to.is_multicast()
            || to.is_broadcast()
            || self.addresses().iter().any(on_link))
    }

    /// The router for what is not on the link.
    pub fn gateway(&self) -> Option<Ipv4Address> {
        match self.interface.routes().get_default_ipv4_route()?.via_router {
            IpAddress::Ipv4(gateway) => Some(gateway),
            #[cfg(feature = "ipv6")]
            IpAddress::Ipv6(_) => None,
        }
    }

    /// Takes this address, and this router for what is not on its network.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidAddress`] if nobody can have it.
    pub fn set_address(
        &mut self,
        address: IpCidr,
        gateway: Option<IpAddress>,
    ) -> Result<(), Error> {
        if !address.address().is_unicast() || gateway.is_some_and(|gateway| !gateway.is_unicast()) {
            return Err(Error::InvalidAddress);
        }
        self.interface.update_ip_addrs(|addresses| {
            if !addresses.contains(&address) {
                let _ = addresses.push(address);
            }
        });
        let routes = self.interface.routes_mut();
        match gateway {
            Some(IpAddress::Ipv4(gateway)) => routes.add_default_ipv4_route(gateway).map(drop),
            #[cfg(feature = "ipv6")]
            Some(IpAddress::Ipv6(gateway)) => routes.add_default_ipv6_route(gateway).map(drop),
            None => Ok(()),
        }
        .map_err(|_| Error::OutOfMemory)
    }

    /// Replaces an IPv4 address and the router.
    pub(crate) fn replace_ipv4(
        &mut self,
        now: u64,
        old: Option<Ipv4Cidr>,
        new: Option<Ipv4Cidr>,
        gateway: Option<Ipv4Address>,
    ) {
        if old != new {
            self.interface.update_ip_addrs(|addresses| {
                addresses.retain(|&address| old.map(IpCidr::Ipv4) != Some(address));
                if let Some(new) = new {
                    let _ = addresses.insert(0, IpCidr::Ipv4(new));
                }
            });
            let gone = old.map(|old| IpAddress::Ipv4(old.address()));
            for (number, endpoint) in self.endpoints.iter_mut() {
                if let Kind::Tcp { flow, .. } = endpoint.kind
                    && Some(flow.local.addr) == gone
                {
                    endpoint.single.socket::<tcp::Socket<'_>>().abort();
                    self.deadlines.set(now, number, now);
                }
            }
        }
        self.interface.routes_mut().remove_default_ipv4_route();
        if let Some(gateway) = gateway {
            let _ = self.interface.routes_mut().add_default_ipv4_route(gateway);
        }
    }
}
