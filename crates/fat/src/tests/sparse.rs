//! A disk of any size, of which only what was written takes memory; and volumes that fill such.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use hadris_fat::FatOptions;
use wakeful_block::{BlockDevice, Error, Geometry, fake};

use crate::{
    Kind,
    device::{Adapter, Exchange, Order},
};

pub(crate) struct Sparse {
    geometry: Geometry,
    blocks: Mutex<HashMap<u64, [u8; 512]>>,
    /// Requests that are left before it panics.
    patience: AtomicU64,
    pub(crate) counts: [AtomicU64; 3],
}

impl Sparse {
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            geometry: Geometry::new(512, bytes / 512).unwrap(),
            blocks: Mutex::new(HashMap::new()),
            patience: AtomicU64::new(u64::MAX),
            counts: [const { AtomicU64::new(0) }; 3],
        }
    }

    pub(crate) fn formatted(kind: Kind, bytes: u64, cluster: u32) -> Self {
        let disk = Self::new(bytes);
        let exchange = Arc::new(Exchange::new(disk.geometry, 64 << 10));
        exchange.set_order(Order::Any);
        let mut adapter = Adapter::new(Arc::clone(&exchange), disk.geometry).unwrap();
        let options =
            FatOptions::new().with_kind(super::driver_kind(kind)).with_cluster_size(cluster);
        let call = pin!(hadris_fat::async_::format(&mut adapter, &options));
        fake::run(exchange.run(&disk, call)).unwrap();
        disk
    }

    /// Another disk with the same bytes, that panics after so many requests.
    pub(crate) fn copy(&self, patience: u64) -> Self {
        let copy = Self::new(self.geometry.bytes());
        *copy.blocks.lock().unwrap() = self.blocks.lock().unwrap().clone();
        copy.patience.store(patience, Ordering::Relaxed);
        copy
    }

    pub(crate) fn left(&self) -> u64 {
        self.patience.load(Ordering::Relaxed)
    }

    /// Reads, writes and flushes since the last call.
    pub(crate) fn take_counts(&self) -> [u64; 3] {
        self.counts.each_ref().map(|count| count.swap(0, Ordering::Relaxed))
    }

    pub(crate) fn change(&self, at: u64, byte: u8) {
        let mut blocks = self.blocks.lock().unwrap();
        blocks.entry(at / 512).or_insert([0; 512])[at as usize % 512] = byte;
    }

    /// The blocks that are not all zeros.
    pub(crate) fn used(&self) -> Vec<(u64, [u8; 512])> {
        let mut used: Vec<_> =
            self.blocks.lock().unwrap().iter().map(|(at, block)| (*at, *block)).collect();
        used.sort_unstable();
        used
    }

    fn count(&self, of: usize) {
        self.counts[of].fetch_add(1, Ordering::Relaxed);
        let left = self.left();
        assert!(left > 0, "this takes for ever");
        self.patience.store(left - 1, Ordering::Relaxed);
    }
}

impl BlockDevice for Sparse {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    async fn read(&self, block: u64, into: &mut [u8]) -> Result<(), Error> {
        self.geometry.check_read(block, into.len())?;
        self.count(0);
        let blocks = self.blocks.lock().unwrap();
        for (at, into) in (block..).zip(into.chunks_mut(512)) {
            into.copy_from_slice(blocks.get(&at).unwrap_or(&[0; 512]));
        }
        Ok(())
    }

    async fn write(&self, block: u64, from: &[u8]) -> Result<(), Error> {
        self.geometry.check_write(block, from.len())?;
        self.count(1);
        let mut blocks = self.blocks.lock().unwrap();
        for (at, from) in (block..).zip(from.chunks(512)) {
            if from.iter().all(|byte| *byte == 0) {
                blocks.remove(&at);
            } else {
                blocks.insert(at, from.try_into().unwrap());
            }
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), Error> {
        self.count(2);
        Ok(())
    }
}
