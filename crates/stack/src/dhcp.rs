//! An IPv4 address, a router and name servers by DHCP (RFC 2131).

use alloc::vec::Vec;
use core::mem;

use smoltcp::{
    socket::dhcpv4::{Event, Socket},
    wire::{IpAddress, Ipv4Cidr},
};

use crate::{
    Link, Stack,
    endpoint::{Endpoint, Kind},
    rings::Single,
};

// RFC 2131 §4.1.
pub(crate) const SERVER_PORT: u16 = 67;
pub(crate) const CLIENT_PORT: u16 = 68;

pub(crate) struct Client {
    pub(crate) endpoint: u32,
    /// The address that a server has given.
    given: Option<Ipv4Cidr>,
}

/// Whether a datagram for the client may be given to smoltcp 0.14, which takes its sender for the server, and
/// asserts when it asks that one for more time that it has an address.
pub(crate) fn is_possible(frame: &[u8]) -> bool {
    frame.get(26..30).is_some_and(|source| source != [0; 4]) // RFC 791 §3.1, behind Ethernet's header
}

impl<L: Link> Stack<L> {
    /// Asks for an address, and keeps it up to date from now on.
    pub fn start_dhcp(&mut self, now: u64) {
        if self.dhcp.is_some() {
            return;
        }
        // Nobody has asked for memory before this at boot.
        let single = Single::new(Socket::new());
        let endpoint = single.and_then(|single| self.add(Endpoint::new(Kind::Dhcp, single)));
        let Some(endpoint) = endpoint else { return };
        self.dhcp = Some(Client { endpoint, given: None });
        self.serve(now, endpoint);
    }

    /// Takes what a server has said.
    pub(crate) fn follow_dhcp(&mut self, now: u64) {
        let Some(client) = &self.dhcp else { return };
        let Some(endpoint) = self.endpoints.get_mut(client.endpoint) else { return };
        let (address, router, servers) = match endpoint.single.socket::<Socket<'_>>().poll() {
            None => return,
            Some(Event::Deconfigured) => (None, None, Vec::new()),
            Some(Event::Configured(config)) => {
                let servers = config.dns_servers.iter().map(|&server| IpAddress::Ipv4(server));
                (Some(config.address), config.router, servers.collect())
            }
        };
        // smoltcp takes every address for a router, and asserts when it is used that it can be one.
        let router = router.filter(|&router| IpAddress::Ipv4(router).is_unicast());
        self.news = client.given != address || self.gateway() != router;
        let old = self.dhcp.as_mut().and_then(|client| mem::replace(&mut client.given, address));
        self.replace_ipv4(now, old, address, router);
        if !servers.is_empty() {
            self.offer_name_servers(&servers);
        }
        self.configured();
    }
}
