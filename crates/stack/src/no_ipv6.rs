//! What stands in for `ipv6.rs` when the feature is off: nothing.

use smoltcp::wire::EthernetAddress;

use crate::{Config, Link, Stack};

/// There is none.
pub(crate) enum Autoconfiguration {}

impl Autoconfiguration {
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        match *self {}
    }
}

impl<L: Link> Stack<L> {
    pub(crate) fn start_ipv6(&mut self, _: EthernetAddress, _: &Config, _: u64) {}

    pub(crate) fn advance_autoconfiguration(&mut self, _: u64) {}
}
