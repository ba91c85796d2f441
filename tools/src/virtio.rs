//! How virtio devices look to a machine.

use serde::Deserialize;

/// What the devices of a machine are attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Virtio {
    /// virtio 1.0 and newer, registers in memory
    Mmio,
    /// virtio as it was before 1.0, which is QEMU's default
    MmioLegacy,
    /// virtio on PCI Express
    Pci,
}

impl Virtio {
    /// What QEMU is told about all devices.
    pub(crate) fn global(self) -> Option<&'static str> {
        match self {
            Self::Mmio => Some("virtio-mmio.force-legacy=false"),
            Self::MmioLegacy | Self::Pci => None,
        }
    }

    /// What QEMU calls a device of a kind: `net`, `blk`.
    pub(crate) fn device(self, kind: &str) -> String {
        match self {
            Self::Mmio | Self::MmioLegacy => format!("virtio-{kind}-device"),
            Self::Pci => format!("virtio-{kind}-pci"),
        }
    }
}
