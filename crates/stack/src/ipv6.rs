//! IPv6: the address of the link, and addresses from routers (RFC 4862).
//!
//! smoltcp mixes the moments of this with those of every socket set, so that each connection would be looked
//! after when a router's word expires. So it has an interface of its own, which hears nothing but what
//! routers say, and whose addresses and routes are copied.

use alloc::vec::Vec;

use smoltcp::{
    iface::{Config, Interface, SocketSet},
    phy::ChecksumCapabilities,
    wire::{
        EthernetAddress, EthernetFrame, HardwareAddress, Icmpv6Packet, Icmpv6Repr, IpAddress,
        IpCidr, IpProtocol, Ipv6Address, Ipv6Cidr, Ipv6Packet, NdiscRepr,
    },
};

use crate::{
    Config as StackConfig, Link, Stack,
    link::Port,
    stack::{at, new_interface},
};

/// The state of asking routers, and what they said.
pub(crate) struct Autoconfiguration {
    interface: Interface,
    none: SocketSet<'static>,
    next: Option<u64>,
    /// What the stack's own interface has from here.
    copied: Vec<IpCidr>,
    router: Option<Ipv6Address>,
}

/// The address that follows from the card's (RFC 4291 §2.5.6 and appendix A).
pub(crate) fn link_local(mac: EthernetAddress) -> IpCidr {
    let [a, b, c, d, e, f] = mac.0;
    let word = |high, low| u16::from_be_bytes([high, low]);
    // Of the first byte the bit that says "assigned by its maker" is turned round.
    let [first, middle] = [word(a ^ 2, b), word(c, 0xff)];
    let address = Ipv6Address::new(0xfe80, 0, 0, 0, first, middle, word(0xfe, d), word(e, f));
    IpCidr::Ipv6(Ipv6Cidr::new(address, 64))
}

/// Whether a router's word can be true: smoltcp 0.14 asserts it of the prefix, when it takes it or when it makes
/// an address of it, so that anybody on the link could stop the machine.
fn is_possible(frame: &[u8]) -> bool {
    possible(frame).unwrap_or(false)
}

/// `None` if the frame is not what a router sends: with extension headers it does not (RFC 4861 §4.2).
fn possible(frame: &[u8]) -> Option<bool> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let packet = Ipv6Packet::new_checked(frame.payload()).ok()?;
    if packet.next_header() != IpProtocol::Icmpv6 {
        return None;
    }
    let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let checksums = ChecksumCapabilities::ignored(); // it is looked at again
    let ends = (packet.src_addr(), packet.dst_addr());
    match Icmpv6Repr::parse(&ends.0, &ends.1, &message, &checksums).ok()? {
        Icmpv6Repr::Ndisc(NdiscRepr::RouterAdvert { prefix_info, .. }) => Some(match prefix_info {
            // Others cannot be used anyhow (RFC 4862 §5.5.3 d), as the card's part of an address has 64 bits.
            Some(info) => {
                info.prefix_len == 64
                    && !info.prefix.is_multicast()
                    && !info.prefix.is_unspecified()
            }
            None => true,
        }),
        _ => None,
    }
}

impl Autoconfiguration {
    pub(crate) fn new<L: Link>(link: &mut L, mac: EthernetAddress, seed: u64, now: u64) -> Self {
        let mut settings = Config::new(HardwareAddress::Ethernet(mac));
        settings.random_seed = seed;
        settings.slaac = true;
        let mut interface = new_interface(link, settings, now);
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(link_local(mac));
        });
        let none = SocketSet::new(Vec::new());
        Self { interface, none, next: Some(now), copied: Vec::new(), router: None }
    }

    /// A router has said something.
    pub(crate) fn receive<L: Link>(&mut self, link: &mut L, frame: &[u8], now: u64) {
        if !is_possible(frame) {
            return;
        }
        let mut port = Port::new(link, Some(frame));
        self.interface.poll_ingress_single(at(now), &mut port, &mut self.none);
        self.next = Some(now);
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.next
    }

    /// Asks again, and forgets what has expired.
    fn poll<L: Link>(&mut self, link: &mut L, now: u64) {
        self.interface.poll_maintenance(at(now));
        self.interface.poll_egress(at(now), &mut Port::new(link, None), &mut self.none);
        let next = self.interface.poll_at(at(now), &self.none);
        // When it has asked often enough, smoltcp 0.14 says for ever that it is late.
        self.next = next.map(|next| next.total_micros().cast_unsigned()).filter(|&next| next > now);
    }

    fn addresses(&self) -> impl Iterator<Item = IpCidr> {
        let addresses = self.interface.ip_addrs().iter().copied();
        addresses.filter(|address| match address {
            IpCidr::Ipv6(address) => !address.address().is_unicast_link_local(),
            IpCidr::Ipv4(_) => false,
        })
    }

    fn router(&self) -> Option<Ipv6Address> {
        let route = self.interface.routes().get_default_ipv6_route()?;
        match route.via_router {
            IpAddress::Ipv6(router) => Some(router),
            IpAddress::Ipv4(_) => None,
        }
    }
}

impl<L: Link> Stack<L> {
    /// Takes the address of the link, and begins to ask routers if that is wanted.
    pub(crate) fn start_ipv6(&mut self, mac: EthernetAddress, config: &StackConfig, now: u64) {
        self.interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(link_local(mac));
        });
        if config.autoconfiguration {
            let it = Autoconfiguration::new(&mut self.link, mac, config.seeds[1], now);
            self.autoconfiguration = Some(it);
        }
    }

    /// Takes what a router has said.
    #[cold]
    pub(crate) fn configure(&mut self, now: u64, frame: &[u8]) {
        if let Some(it) = &mut self.autoconfiguration {
            it.receive(&mut self.link, frame, now);
            self.advance_autoconfiguration(now);
        }
    }

    /// Does what is due of autoconfiguration.
    #[inline]
    pub(crate) fn advance_autoconfiguration(&mut self, now: u64) {
        if let Some(it) = &self.autoconfiguration
            && it.next.is_some_and(|next| next <= now)
        {
            self.autoconfigure(now);
        }
    }

    #[cold]
    fn autoconfigure(&mut self, now: u64) {
        let Some(it) = &mut self.autoconfiguration else { return };
        it.poll(&mut self.link, now);
        if !it.addresses().eq(it.copied.iter().copied()) {
            let old = core::mem::take(&mut it.copied);
            it.copied = it.addresses().collect();
            self.interface.update_ip_addrs(|addresses| {
                addresses.retain(|address| !old.contains(address));
                for &address in &it.copied {
                    let _ = addresses.push(address);
                }
            });
        }
        let router = it.router();
        if router != it.router {
            it.router = router;
            self.interface.routes_mut().remove_default_ipv6_route();
            if let Some(router) = router {
                let _ = self.interface.routes_mut().add_default_ipv6_route(router);
            }
        }
        self.configured();
    }
}
