//! The first steps with a device (Virtio 1.2 §3.1.1): reset, features, configuration.

use core::fmt;

use virtio_drivers::transport::{DeviceStatus, Transport};

use crate::{
    Doorbell, ETHERNET_HEADER, MAX_MTU, RECEIVE, Region, SIZE, TRANSMIT, Wanted,
    features::{self, choose},
    memory::{BUFFER, FRAME_AT},
};

/// What a card needs of the machine that it is in, when it is set up.
pub trait Machine {
    /// What rings at a queue.
    type Doorbell: Doorbell;

    /// The doorbell of a queue: 0 to receive, 1 to transmit.
    fn doorbell(&mut self, queue: u16) -> Option<Self::Doorbell>;

    /// So many bytes of memory, for good.
    fn memory(&mut self, bytes: usize) -> Option<Region>;

    /// A number that nobody can guess, for the address of a card that has none.
    fn random(&mut self) -> u64;
}

/// Why a card cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// It does not come out of its reset. It has to be left alone: it may still do what it did.
    NoReset,
    /// It has not the legacy interface, and offers no `VIRTIO_F_VERSION_1`.
    OldInterface,
    /// It refuses what was chosen of its features, or after a restart offers less than before.
    FeaturesRefused,
    /// A queue is too small.
    QueueTooSmall {
        /// Its number.
        queue: u16,
        /// How many entries it has.
        entries: u32,
    },
    /// A queue has no doorbell.
    NoDoorbell,
    /// Out of memory.
    NoMemory,
    /// Its configuration has no address, which it offers.
    NoAddress,
}

impl core::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReset => f.write_str("it does not come out of its reset"),
            Self::OldInterface => f.write_str("it offers no VIRTIO_F_VERSION_1"),
            Self::FeaturesRefused => f.write_str("it refuses the features that we chose"),
            Self::QueueTooSmall { queue, entries } => {
                write!(f, "its queue {queue} has {entries} entries, not {SIZE}")
            }
            Self::NoDoorbell => f.write_str("its doorbell is outside of its registers"),
            Self::NoMemory => f.write_str("out of memory"),
            Self::NoAddress => f.write_str("its configuration is too small"),
        }
    }
}

/// Fields of the configuration (§5.1.4), in bytes from its start.
const CONFIG_MAC: usize = 0;
const CONFIG_MTU: usize = 10;

/// The smallest MTU that a device may have (§5.1.4.1), and the largest that a buffer holds.
const MTU_RANGE: core::ops::RangeInclusive<usize> = 68..=BUFFER - FRAME_AT - ETHERNET_HEADER;

/// Resets the device, and agrees on features: those of `before`, or those wanted. `patience` is asked
/// whether to wait on, for as long as the reset takes.
pub(crate) fn agree(
    transport: &mut impl Transport,
    wanted: Wanted,
    before: Option<u64>,
    patience: &mut dyn FnMut() -> bool,
) -> Result<u64, Error> {
    transport.set_status(DeviceStatus::empty());
    while transport.get_status() != DeviceStatus::empty() {
        if !patience() {
            return Err(Error::NoReset);
        }
    }
    let mut status = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
    transport.set_status(status);
    let offered = transport.read_device_features();
    let is_legacy = transport.requires_legacy_layout();
    if offered & features::VERSION_1 == 0 && !is_legacy {
        return Err(Error::OldInterface);
    }
    let chosen = before.unwrap_or_else(|| {
        let has_mtu = offered & features::MTU != 0 && read_mtu(transport).is_some();
        choose(offered, wanted, has_mtu)
    });
    if chosen & !offered != 0 {
        return Err(Error::FeaturesRefused);
    }
    transport.write_driver_features(chosen);
    // A legacy device knows no such step, and has the features that were written.
    if !is_legacy {
        status |= DeviceStatus::FEATURES_OK;
        transport.set_status(status);
        if !transport.get_status().contains(DeviceStatus::FEATURES_OK) {
            return Err(Error::FeaturesRefused);
        }
    }
    // In bytes; a legacy device is told where a queue is in such pages.
    transport.set_guest_page_size(virtio_drivers::PAGE_SIZE as u32);
    for queue in [RECEIVE, TRANSMIT] {
        let entries = transport.max_queue_size(queue);
        if (entries as usize) < SIZE {
            return Err(Error::QueueTooSmall { queue, entries });
        }
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
        return transport.read_config_space(CONFIG_MAC).map_err(|_| Error::NoAddress);
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
