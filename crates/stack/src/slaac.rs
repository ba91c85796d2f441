//! IPv6 addresses from routers (RFC 4862).
//!
//! smoltcp mixes the moments of this with those of every socket set, so that each connection would be looked
//! after when a router's word expires. So it has an interface of its own, which hears nothing but what
//! routers say, and whose addresses and routes are copied.

use alloc::vec::Vec;

use smoltcp::{
    iface::{Config, Interface, SocketSet},
    wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv6Address, Ipv6Cidr},
};

use crate::{Link, Stack, link::Port, stack::at};

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

impl Autoconfiguration {
    pub(crate) fn new<L: Link>(link: &mut L, mac: EthernetAddress, seed: u64, now: u64) -> Self {
        let mut settings = Config::new(HardwareAddress::Ethernet(mac));
        settings.random_seed = seed;
        settings.slaac = true;
        let mut interface = Interface::new(settings, &mut Port::new(link, None), at(now));
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(link_local(mac));
        });
        let none = SocketSet::new(Vec::new());
        Self { interface, none, next: Some(now), copied: Vec::new(), router: None }
    }

    /// A router has said something.
    pub(crate) fn receive<L: Link>(&mut self, link: &mut L, frame: &[u8], now: u64) {
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
    /// Does what is due of autoconfiguration.
    pub(crate) fn advance_slaac(&mut self, now: u64) {
        let Some(slaac) = &mut self.slaac else { return };
        if slaac.next.is_none_or(|next| next > now) {
            return;
        }
        slaac.poll(&mut self.link, now);
        if !slaac.addresses().eq(slaac.copied.iter().copied()) {
            let old = core::mem::take(&mut slaac.copied);
            slaac.copied = slaac.addresses().collect();
            self.interface.update_ip_addrs(|addresses| {
                addresses.retain(|address| !old.contains(address));
                for &address in &slaac.copied {
                    let _ = addresses.push(address);
                }
            });
        }
        let router = slaac.router();
        if router != slaac.router {
            slaac.router = router;
            self.interface.routes_mut().remove_default_ipv6_route();
            if let Some(router) = router {
                let _ = self.interface.routes_mut().add_default_ipv6_route(router);
            }
        }
    }
}
