//! Tests of whole volumes, on disks in memory that were formatted by the driver.

mod cut;
mod damage;
mod drops;
mod errors;
mod files;
mod hostile;
mod measure;
mod model;
mod sparse;
mod tree;

use std::{
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use hadris_fat::{FatKind, FatOptions};
use hadris_storage::{BlockSize, MemDevice};
use wakeful_block::fake::{self, Disk};

use crate::{Kind, Options, Volume};

pub(crate) const KINDS: [Kind; 3] = [Kind::Fat12, Kind::Fat16, Kind::Fat32];

pub(crate) fn driver_kind(kind: Kind) -> FatKind {
    match kind {
        Kind::Fat12 => FatKind::Fat12,
        Kind::Fat16 => FatKind::Fat16,
        Kind::Fat32 => FatKind::Fat32,
    }
}

/// A formatted disk of this kind, as small as may be for clusters of 512 bytes.
pub(crate) fn image(kind: Kind) -> Vec<u8> {
    let kib = match kind {
        Kind::Fat12 => 1024,
        Kind::Fat16 => 4096,
        Kind::Fat32 => 34 * 1024,
    };
    format(kind, kib, 512, 512, 512)
}

pub(crate) fn format(kind: Kind, kib: usize, block: u32, sector: u32, cluster: u32) -> Vec<u8> {
    let mut device = MemDevice::new(vec![0; kib << 10], BlockSize::new(block).unwrap());
    let options = FatOptions::new()
        .with_kind(driver_kind(kind))
        .with_sector_size(sector)
        .with_cluster_size(cluster);
    let geometry = fake::run(hadris_fat::async_::format(&mut device, &options)).unwrap();
    assert_eq!(Kind::from(geometry.kind()), kind);
    device.into_inner()
}

pub(crate) fn disk(kind: Kind) -> Disk {
    Disk::from_bytes(512, image(kind), 1).with_polls(0)
}

pub(crate) fn mount<D: wakeful_block::BlockDevice>(device: D) -> Volume<D> {
    fake::run(Volume::mount(device, Options::default())).unwrap()
}

/// What `fsck.vfat` says to an image. `None`, and a word about it, if there is no such tool.
pub(crate) fn fsck(image: &[u8]) -> Option<Result<(), Vec<String>>> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    static IS_MISSING: std::sync::Once = std::sync::Once::new();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("wakeful-fat-{}-{number}.img", std::process::id());
    let memory = std::path::Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
    let path = folder.join(name);
    std::fs::write(&path, image).unwrap();
    let output = ["fsck.vfat", "/usr/sbin/fsck.vfat", "/sbin/fsck.vfat"]
        .iter()
        .find_map(|tool| Command::new(tool).arg("-n").arg(&path).output().ok());
    std::fs::remove_file(&path).unwrap();
    let Some(output) = output else {
        IS_MISSING.call_once(|| eprintln!("skipped: no fsck.vfat"));
        return None;
    };
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let lines = text.lines().map(|line| line.trim().into()).collect();
    Some(if output.status.success() { Ok(()) } else { Err(lines) })
}

/// It is clean, as far as can be known here.
#[track_caller]
pub(crate) fn assert_clean(image: &[u8]) {
    if let Some(Err(lines)) = fsck(image) {
        panic!("fsck.vfat: {lines:#?}");
    }
}

pub(crate) fn boxed<'a, T>(
    future: impl Future<Output = T> + 'a,
) -> std::pin::Pin<Box<dyn Future<Output = T> + 'a>> {
    Box::pin(future)
}
