//! The first steps with a card: features and configuration.

use virtio_drivers::transport::Transport;
use wakeful_virtio::{Error, agree, check_queue, offered, reset};

use crate::{
    ETHERNET_HEADER, MAX_MTU, RECEIVE, SIZE, TRANSMIT, Wanted,
    features::{self, choose},
    memory::{BUFFER, FRAME_AT},
};

/// Fields of the configuration (§5.1.4), in bytes from its start.
const CONFIG_MAC: usize = 0;
const CONFIG_MTU: usize = 10;

/// The smallest MTU that a device may have (§5.1.4.1), and the largest that a buffer holds.
const MTU_RANGE: core::ops::RangeInclusive<usize> = 68..=BUFFER - FRAME_AT - ETHERNET_HEADER;

/// Resets the device, and agrees on features: those of `before`, or those wanted. `patience` is asked
/// whether to wait on, for as long as the reset takes.
pub(crate) fn start(
    transport: &mut impl Transport,
    wanted: Wanted,
    before: Option<u64>,
    patience: &mut dyn FnMut() -> bool,
) -> Result<u64, Error> {
    reset(transport, patience)?;
    let offered = offered(transport)?;
    let chosen = before.unwrap_or_else(|| {
        let has_mtu = offered & features::MTU != 0 && read_mtu(transport).is_some();
        choose(offered, wanted, has_mtu)
    });
    if chosen & !offered != 0 {
        return Err(Error::FeaturesRefused);
    }
    agree(transport, chosen)?;
    for queue in [RECEIVE, TRANSMIT] {
        check_queue(transport, queue, SIZE as u16)?;
    }
    Ok(chosen)
}

/// The card's address, or one that is made of `random`: for one machine, not a group, assigned locally
/// (IEEE 802).
pub(crate) fn address(
    transport: &impl Transport,
    agreed: u64,
    random: impl FnOnce() -> u64,
) -> Result<[u8; 6], Error> {
    if agreed & features::MAC != 0 {
        return transport.read_config_space(CONFIG_MAC).map_err(|_| Error::BadConfiguration);
    }
    let [a, b, c, d, e, f, ..] = random().to_ne_bytes();
    Ok([a & !1 | 2, b, c, d, e, f])
}

/// The longest IP packet, in bytes.
pub(crate) fn mtu(transport: &impl Transport, agreed: u64) -> usize {
    match agreed & features::MTU {
        0 => MAX_MTU,
        _ => read_mtu(transport).unwrap_or(MAX_MTU).min(MAX_MTU),
    }
}

/// The device's MTU, if frames of that size fit into our buffers.
fn read_mtu(transport: &impl Transport) -> Option<usize> {
    let mtu = transport.read_config_space::<u16>(CONFIG_MTU).ok()?;
    Some(usize::from(mtu)).filter(|mtu| MTU_RANGE.contains(mtu))
}
