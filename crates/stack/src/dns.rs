//! Names to addresses (RFC 1035).

use alloc::vec::Vec;
use core::task::{Poll, Waker};

use smoltcp::{
    socket::dns::{GetQueryResultError, QueryHandle, Socket, StartQueryError},
    wire::{DnsQueryType, IpAddress},
};

use crate::{
    Error, Link, Stack,
    endpoint::{Endpoint, Kind, wait_in},
    rings::Single,
};

/// RFC 1035 §4.2.
const SERVER_PORT: u16 = 53;

pub(crate) struct Resolver {
    endpoint: u32,
    servers: Vec<IpAddress>,
    /// They were given, so that nobody else's are taken.
    given: bool,
    waiters: Vec<Waker>,
}

/// A question that is under way. To be given to [`Stack::end_lookup`] in the end, unless
/// [`Stack::poll_lookup`] has answered.
pub struct Lookup(QueryHandle);

impl<L: Link> Stack<L> {
    /// Whose a datagram from this port may be.
    pub(crate) fn resolver_for(&self, from: u16) -> Option<u32> {
        self.dns.as_ref().filter(|_| from == SERVER_PORT).map(|dns| dns.endpoint)
    }

    /// `None` if there is no memory.
    fn resolver(&mut self) -> Option<&mut Resolver> {
        if self.dns.is_none() {
            let single = Single::new(Socket::new(&[], Vec::new()))?;
            let endpoint = self.add(Endpoint::new(Kind::Dns, single))?;
            self.dns =
                Some(Resolver { endpoint, servers: Vec::new(), given: false, waiters: Vec::new() });
        }
        self.dns.as_mut()
    }

    /// Asks these servers from now on, as many of them as smoltcp takes, and none that a DHCP server names.
    pub fn set_name_servers(&mut self, servers: &[IpAddress]) {
        self.offer_name_servers(servers);
        if let Some(resolver) = self.resolver() {
            resolver.given = true;
        }
    }

    /// Asks these servers from now on, unless others were given.
    pub(crate) fn offer_name_servers(&mut self, servers: &[IpAddress]) {
        let Some(resolver) = self.resolver() else { return };
        if resolver.given {
            return;
        }
        resolver.servers = servers.to_vec();
        let endpoint = resolver.endpoint;
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.single.socket::<Socket<'_>>().update_servers(servers);
        }
    }

    /// The servers that are asked.
    pub fn name_servers(&self) -> &[IpAddress] {
        self.dns.as_ref().map_or(&[], |resolver| &resolver.servers)
    }

    /// Starts to look up a name: its IPv6 addresses, or its IPv4 addresses.
    ///
    /// # Errors
    ///
    /// [`Error::NoNameServer`], [`Error::InvalidName`].
    pub fn start_lookup(&mut self, now: u64, name: &str, ipv6: bool) -> Result<Lookup, Error> {
        let resolver = self.resolver().ok_or(Error::OutOfMemory)?;
        if resolver.servers.is_empty() {
            return Err(Error::NoNameServer);
        }
        let number = resolver.endpoint;
        let endpoint = self.endpoints.get_mut(number).ok_or(Error::NoNameServer)?;
        let kind = match ipv6 {
            #[cfg(feature = "ipv6")]
            true => DnsQueryType::Aaaa,
            #[cfg(not(feature = "ipv6"))]
            true => return Err(Error::NoSuchName),
            false => DnsQueryType::A,
        };
        let socket = endpoint.single.socket::<Socket<'_>>();
        let query = socket.start_query(self.interface.context(), name, kind);
        let query = query.map_err(|error| match error {
            StartQueryError::NoFreeSlot => Error::OutOfMemory,
            StartQueryError::InvalidName | StartQueryError::NameTooLong => Error::InvalidName,
        })?;
        self.serve(now, number);
        Ok(Lookup(query))
    }

    /// The addresses of a name, at least one.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchName`], also if no server answers.
    pub fn poll_lookup(
        &mut self,
        lookup: &Lookup,
        waker: &Waker,
    ) -> Poll<Result<Vec<IpAddress>, Error>> {
        let Some(resolver) = &mut self.dns else { return Poll::Ready(Err(Error::NoNameServer)) };
        let Some(endpoint) = self.endpoints.get_mut(resolver.endpoint) else {
            return Poll::Ready(Err(Error::NoNameServer));
        };
        match endpoint.single.socket::<Socket<'_>>().get_query_result(lookup.0) {
            Ok(addresses) if addresses.is_empty() => Poll::Ready(Err(Error::NoSuchName)),
            Ok(addresses) => Poll::Ready(Ok(addresses.to_vec())),
            Err(GetQueryResultError::Failed) => Poll::Ready(Err(Error::NoSuchName)),
            Err(GetQueryResultError::Pending) => {
                wait_in(&mut resolver.waiters, waker);
                Poll::Pending
            }
        }
    }

    /// Forgets a question that has not been answered.
    pub fn end_lookup(&mut self, lookup: Lookup) {
        let Some(resolver) = &self.dns else { return };
        if let Some(endpoint) = self.endpoints.get_mut(resolver.endpoint) {
            endpoint.single.socket::<Socket<'_>>().cancel_query(lookup.0);
        }
    }

    /// Some question may be answered now.
    pub(crate) fn follow_dns(&mut self) {
        if let Some(resolver) = &mut self.dns {
            self.woken.append(&mut resolver.waiters);
        }
    }
}
