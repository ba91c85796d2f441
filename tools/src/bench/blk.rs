//! Disks: what reads and writes cost the whole machine, in guest instructions, on one hart.
//!
//! [`super::fio`] measures Linux.

use std::fs::File;
use std::io::Write;

use anyhow::{Context, Result};

use crate::scratch::Scratch;

/// The rows. Random ones are of 4 KiB, sequential ones of 1 MiB.
pub(super) const READ: &str = "random read, 1 at a time";
pub(super) const READ_32: &str = "random read, 32 at once";
pub(super) const READ_MIB: &str = "sequential read, a MiB";
pub(super) const WRITE: &str = "random write, 1 at a time";
pub(super) const WRITE_32: &str = "random write, 32 at once";
pub(super) const WRITE_MIB: &str = "sequential write, a MiB";

/// What a read or a write costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    pub(super) instructions: f64,
    /// Those of the kernel among them.
    pub(super) kernel: f64,
}

/// A disk of 256 MiB without a hole in it, so that QEMU reads everything from a file. It is the same for
/// all who are measured.
pub(super) struct Disk(Scratch);

impl Disk {
    const MIB: usize = 256;

    pub(super) fn new() -> Result<Self> {
        let disk = Self(Scratch::new("disk")?);
        let file = disk.file();
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&file)?;
            let letters: Vec<u8> = (b'A'..=b'Z').cycle().take(1 << 20).collect();
            (0..Self::MIB).try_for_each(|_| file.write_all(&letters))
        };
        write().with_context(|| format!("cannot write {}", file.display()))?;
        Ok(disk)
    }

    /// QEMU's arguments for it, on virtio-mmio as it is since virtio 1.0. Files are cached by this computer,
    /// as they are when nothing is said.
    pub(super) fn qemu_args(&self) -> Vec<String> {
        let drive =
            format!("if=none,id=disk,format=raw,cache=writeback,file={}", self.file().display());
        [
            ["-global", "virtio-mmio.force-legacy=false"],
            ["-drive", &drive],
            ["-device", "virtio-blk-device,drive=disk"],
        ]
        .as_flattened()
        .iter()
        .map(|&arg| arg.into())
        .collect()
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("disk")
    }
}
