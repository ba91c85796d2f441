//! Without names: what others ask of `dns`.

use smoltcp::wire::IpAddress;

use crate::{Link, Stack};

/// There is none.
pub(crate) enum Resolver {}

impl<L: Link> Stack<L> {
    pub(crate) fn offer_name_servers(&mut self, _: &[IpAddress]) {}

    pub(crate) fn resolver_for(&self, _: u16) -> Option<u32> {
        self.dns.as_ref().map(|resolver| match *resolver {})
    }
}
