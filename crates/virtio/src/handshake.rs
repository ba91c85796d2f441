//! The first steps with a device (Virtio 1.2 §3.1.1), and the last.

use core::fmt;

use virtio_drivers::transport::{DeviceStatus, Transport};

/// `VIRTIO_F_VERSION_1`: not the legacy interface (Virtio 1.2 §6).
pub const VERSION_1: u64 = 1 << 32;

/// Why a device cannot be used.
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
        /// How many it needs.
        needed: u16,
    },
    /// A queue has no doorbell.
    NoDoorbell,
    /// Out of memory.
    NoMemory,
    /// Its configuration lacks what it offers, or makes no sense.
    BadConfiguration,
}

impl core::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoReset => "it does not come out of its reset",
            Self::OldInterface => "it offers no VIRTIO_F_VERSION_1",
            Self::FeaturesRefused => "it refuses the features that we chose",
            Self::QueueTooSmall { queue, entries, needed } => {
                return write!(f, "its queue {queue} has {entries} entries, not {needed}");
            }
            Self::NoDoorbell => "its doorbell is outside of its registers",
            Self::NoMemory => "out of memory",
            Self::BadConfiguration => "its configuration makes no sense",
        })
    }
}

/// Tells the device to stop, and does not look whether it does.
pub fn stop(transport: &mut impl Transport) {
    transport.set_status(DeviceStatus::empty());
}

/// Resets the device. `patience` is asked whether to wait on, for as long as that takes.
///
/// # Errors
///
/// [`Error::NoReset`].
pub fn reset(
    transport: &mut impl Transport,
    patience: &mut dyn FnMut() -> bool,
) -> Result<(), Error> {
    stop(transport);
    while transport.get_status() != DeviceStatus::empty() {
        if !patience() {
            return Err(Error::NoReset);
        }
    }
    Ok(())
}

/// Says to a device that was reset that somebody drives it. Which features it offers.
///
/// # Errors
///
/// [`Error::OldInterface`].
pub fn offered(transport: &mut impl Transport) -> Result<u64, Error> {
    transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
    let offered = transport.read_device_features();
    if offered & VERSION_1 == 0 && !transport.requires_legacy_layout() {
        return Err(Error::OldInterface);
    }
    Ok(offered)
}

/// Agrees on features: these, some of those that are offered.
///
/// # Errors
///
/// [`Error::FeaturesRefused`].
pub fn agree(transport: &mut impl Transport, chosen: u64) -> Result<(), Error> {
    transport.write_driver_features(chosen);
    // A legacy device knows no such step, and has the features that were written.
    if !transport.requires_legacy_layout() {
        let status = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK;
        transport.set_status(status);
        if !transport.get_status().contains(DeviceStatus::FEATURES_OK) {
            return Err(Error::FeaturesRefused);
        }
    }
    // In bytes; a legacy device is told where a queue is in such pages.
    transport.set_guest_page_size(virtio_drivers::PAGE_SIZE as u32);
    Ok(())
}

/// Looks whether a queue can have so many entries.
///
/// # Errors
///
/// [`Error::QueueTooSmall`].
pub fn check_queue(transport: &mut impl Transport, queue: u16, needed: u16) -> Result<(), Error> {
    let entries = transport.max_queue_size(queue);
    if entries < needed.into() {
        return Err(Error::QueueTooSmall { queue, entries, needed });
    }
    Ok(())
}

/// The device works from now on.
#[inline(never)]
pub fn begin(transport: &mut impl Transport) {
    let status = transport.get_status();
    transport.set_status(status | DeviceStatus::DRIVER_OK);
}
