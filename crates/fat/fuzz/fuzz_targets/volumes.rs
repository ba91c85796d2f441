//! Volumes of each kind, changed at places that the fuzzer chooses, are mounted and used.

#![no_main]

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    sync::OnceLock,
};

use hadris_fat::{FatKind, FatOptions};
use hadris_storage::{BlockSize, MemDevice};
use libfuzzer_sys::fuzz_target;
use wakeful_block::{BlockDevice, Error as DeviceError, Geometry, fake};
use wakeful_fat::{Error, OpenOptions, Options, Volume};

const BLOCK: usize = 512;

/// More requests than any of these volumes can need.
const PATIENCE: u32 = 200_000;

/// A disk of which only what is changed is kept.
struct Disk<'a> {
    base: &'a [u8],
    changed: RefCell<HashMap<u64, [u8; BLOCK]>>,
    requests: Cell<u32>,
}

impl<'a> Disk<'a> {
    fn new(base: &'a [u8]) -> Self {
        Self { base, changed: RefCell::default(), requests: Cell::new(0) }
    }

    fn block(&self, block: u64) -> [u8; BLOCK] {
        let start = block as usize * BLOCK;
        let changed = self.changed.borrow();
        changed.get(&block).copied().unwrap_or_else(|| {
            self.base[start..start + BLOCK].try_into().expect("the disk ends with a block")
        })
    }

    fn change(&self, place: usize, byte: u8) {
        let mut block = self.block((place / BLOCK) as u64);
        block[place % BLOCK] = byte;
        self.changed.borrow_mut().insert((place / BLOCK) as u64, block);
    }

    fn count(&self) {
        self.requests.set(self.requests.get() + 1);
        assert!(self.requests.get() < PATIENCE, "it does not end");
    }
}

impl BlockDevice for Disk<'_> {
    fn geometry(&self) -> Geometry {
        Geometry::new(BLOCK as u32, (self.base.len() / BLOCK) as u64).expect("few blocks")
    }

    async fn read(&self, first: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.count();
        for (block, into) in (first..).zip(into.chunks_mut(BLOCK)) {
            into.copy_from_slice(&self.block(block));
        }
        Ok(())
    }

    async fn write(&self, first: u64, from: &[u8]) -> Result<(), DeviceError> {
        self.count();
        for (block, from) in (first..).zip(from.chunks(BLOCK)) {
            let from = from.try_into().expect("whole blocks");
            self.changed.borrow_mut().insert(block, from);
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), DeviceError> {
        self.count();
        Ok(())
    }
}

/// A small volume with files, and where its weak places are: the boot sector, both tables, the root, the data.
struct Base {
    bytes: Vec<u8>,
    areas: [usize; 5],
}

impl Base {
    fn new(kind: FatKind, kib: usize) -> Self {
        let block = BlockSize::new(BLOCK as u32).expect("a power of two");
        let mut device = MemDevice::new(vec![0; kib << 10], block);
        let options = FatOptions::new().with_kind(kind).with_cluster_size(BLOCK as u32);
        let geometry =
            fake::run(hadris_fat::async_::format(&mut device, &options)).expect("formatted");
        let bytes = device.into_inner();
        let (first, second) = (geometry.fat_copy(0), geometry.fat_copy(1));
        let data = geometry.data_start();
        let root = if kind == FatKind::Fat32 { data } else { second + (second - first) };
        let areas = [0, first, second, root, data].map(|area| area as usize);

        let disk = Disk::new(&bytes);
        fake::run(fill(&disk)).expect("filled");
        let mut bytes = bytes.clone();
        for (block, changed) in disk.changed.into_inner() {
            bytes[block as usize * BLOCK..][..BLOCK].copy_from_slice(&changed);
        }
        Self { bytes, areas }
    }
}

async fn fill(disk: &Disk<'_>) -> Result<(), Error> {
    let volume = Volume::mount(disk, Options::default()).await?;
    for directory in ["d", "d/sub", "e"] {
        volume.create_dir(directory).await?;
    }
    for number in 0..6 {
        volume.write(&format!("d/a long name {number}"), &vec![1; 700 * number]).await?;
        volume.write(&format!("e/F{number}"), &[2; 900]).await?;
    }
    volume.sync().await?;
    // And not left in peace.
    volume.write("e/F0", &[3; 600]).await
}

/// Everything that can be done. Errors are as they should be.
async fn use_it(volume: &Volume<&Disk<'_>>) -> Result<(), Error> {
    let mut found = vec![];
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        let Ok(mut entries) = volume.read_dir(&directory).await else { continue };
        while let Ok(Some(entry)) = entries.next().await {
            let path = format!("{directory}/{}", entry.name);
            // Directories of a broken volume may contain themselves.
            if entry.metadata.is_dir && path.len() < 40 && directories.len() < 20 {
                directories.push(path);
            } else if found.len() < 40 {
                let _ = volume.read(&path).await;
                found.push(path);
            }
        }
    }
    let any = |at: usize| found.get(at).map_or("d/x", String::as_str);
    let _ = volume.write("d/something new", &[1; 2000]).await;
    let _ = volume.write(any(0), &[2; 3000]).await;
    if let Ok(mut file) = volume.open_with(any(1), OpenOptions::new().append()).await {
        let _ = file.write(&[3; 1500]).await;
        let _ = file.set_len(100).await;
    }
    let _ = volume.rename(any(2), "e/another name").await;
    let _ = volume.rename(any(3), any(4)).await;
    let _ = volume.rename("e", "d/e").await;
    let _ = volume.remove_file(any(5)).await;
    let _ = volume.create_dir("d/new").await;
    let _ = volume.remove_dir("d/new").await;
    let _ = volume.space().await;
    let _ = volume.label().await;
    volume.sync().await
}

// A byte that says which kind, then changes: area, place in it, byte.
fuzz_target!(|said: &[u8]| {
    static BASES: OnceLock<[Base; 3]> = OnceLock::new();
    let bases = BASES.get_or_init(|| {
        [(FatKind::Fat12, 64), (FatKind::Fat16, 2200), (FatKind::Fat32, 34 << 10)]
            .map(|(kind, kib)| Base::new(kind, kib))
    });
    let Some((which, changes)) = said.split_first() else { return };
    let base = &bases[*which as usize % bases.len()];
    let disk = Disk::new(&base.bytes);
    for change in changes.chunks_exact(4) {
        let area = base.areas[change[0] as usize % base.areas.len()];
        let place = area + usize::from(u16::from_le_bytes([change[1], change[2]])) % (16 * BLOCK);
        disk.change(place, change[3]);
    }
    fake::run(async {
        match Volume::mount(&disk, Options::default()).await {
            Ok(volume) => _ = use_it(&volume).await,
            Err(error) => assert!(
                matches!(error, Error::NotFat | Error::Corrupt | Error::Unsupported),
                "{error}"
            ),
        }
    });
});
