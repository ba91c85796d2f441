//! What is written to mend a volume.

use alloc::vec::Vec;

use hadris_fat_raw::{
    ENTRY_FREE, FatKind, Slot,
    io::{Fat, async_ as raw},
};

use super::{
    Raw,
    inspect::{Detached, Entry, Fix, Inspection, Stop},
};
use crate::{Error, device::Order, replace};

/// Where FSInfo of FAT32 has the number of free clusters, in bytes: `FSI_Free_Count` (Microsoft's FAT specification, 2000,
/// "FAT32 FSInfo Sector Structure").
const FREE_COUNT: u64 = 488;

/// As many bytes of the allocation table are looked at at once. FAT12 has 6 KiB in all.
const CHUNK: usize = 32 << 10;

impl Raw<'_> {
    /// Mends all that was found. Each write may be the last one: what comes after it is found again.
    pub(super) async fn mend(&mut self, fat: &Fat, found: Inspection<'_>) -> Result<(), Stop> {
        let mut fat = *fat;
        for fix in &found.fixes {
            self.apply(&mut fat, *fix).await?;
        }
        self.exchange.set_order(Order::Any);
        self.sweep(&fat, &found).await?;
        hadris_storage::async_::BlockDevice::flush(&mut self.adapter).await?;
        self.exchange.set_order(Order::Each);
        Ok(())
    }

    async fn apply(&mut self, fat: &mut Fat, fix: Fix) -> Result<(), Stop> {
        let (adapter, entries, table) = (&mut self.adapter, &mut self.entries, &mut self.table);
        match fix {
            Fix::Parent { place, parent } => {
                let Slot::Short(mut up) = raw::read_slot(adapter, entries, place).await? else {
                    return Err(Stop::Damaged);
                };
                up.set_first_cluster(fat.geometry().kind(), parent);
                raw::write_bytes(adapter, entries, place, &up.encode()).await?;
            }
            Fix::Empty { place } => {
                let Slot::Short(mut file) = raw::read_slot(adapter, entries, place).await? else {
                    return Err(Stop::Damaged);
                };
                file.set_first_cluster(fat.geometry().kind(), 0);
                raw::write_bytes(adapter, entries, place, &file.encode()).await?;
            }
            Fix::Tail { cluster } => {
                let end = fat.geometry().kind().end_of_chain();
                raw::set(adapter, table, fat, cluster, end).await?;
            }
            Fix::Pieces { directory, from, to } => {
                raw::clear_slots(adapter, entries, fat, directory, from, to).await?;
            }
            Fix::Target { place } => replace::unmark(adapter, entries, place).await?,
        }
        Ok(())
    }

    /// Brings a detached entry back, or takes its mark away, so that it does not come back when others have had its clusters.
    pub(super) async fn settle(
        &mut self,
        detached: Detached,
        comes_back: bool,
    ) -> Result<(), Stop> {
        let Detached { place, entry } = detached;
        let mut bytes = entry.encode();
        if !comes_back {
            bytes[0] = ENTRY_FREE;
        }
        raw::write_bytes(&mut self.adapter, &mut self.entries, place, &bytes).await?;
        Ok(())
    }

    /// Removes a name, and nothing that it names.
    pub(super) async fn remove(&mut self, fat: &Fat, entry: Entry) -> Result<(), Stop> {
        let (adapter, entries) = (&mut self.adapter, &mut self.entries);
        raw::write_bytes(adapter, entries, entry.place, &[ENTRY_FREE]).await?;
        raw::clear_slots(adapter, entries, fat, entry.directory, entry.from, entry.slot).await?;
        Ok(())
    }

    /// Frees what is nobody's, makes all copies of the table equal, and writes down how many clusters are free.
    async fn sweep(&mut self, fat: &Fat, found: &Inspection<'_>) -> Result<(), Stop> {
        let geometry = fat.geometry();
        let kind = geometry.kind();
        let end = kind.entry_offset(u64::from(geometry.max_cluster())) + kind.entry_len() as u64;
        let mut active = zeros(CHUNK)?;
        let mut copy = zeros(CHUNK)?;
        let mut start = 0;
        let mut free = 0_u32;
        while start < end {
            let len = (end - start).min(CHUNK as u64) as usize;
            let (active, copy) = (&mut active[..len], &mut copy[..len]);
            let place = geometry.fat_copy(geometry.active_fat()) + start;
            raw::read_bytes(&mut self.adapter, &mut self.table, place, active).await?;
            copy.copy_from_slice(active);
            free += free_unused(kind, geometry.max_cluster(), start, active, found);
            if active != copy {
                raw::write_bytes(&mut self.adapter, &mut self.table, place, active).await?;
            }
            for step in 1..geometry.copies() {
                let place = geometry.fat_copy(geometry.active_fat() ^ step) + start;
                raw::read_bytes(&mut self.adapter, &mut self.table, place, copy).await?;
                if active != copy {
                    raw::write_bytes(&mut self.adapter, &mut self.table, place, active).await?;
                }
            }
            start += len as u64;
        }
        if let Some(place) = fat.fs_info() {
            let place = place + FREE_COUNT;
            raw::write_bytes(&mut self.adapter, &mut self.entries, place, &free.to_le_bytes())
                .await?;
        }
        Ok(())
    }
}

/// Frees in this part of a table, from byte `start` on, what is in use and nobody's. Says how many are free then.
fn free_unused(
    kind: FatKind,
    last: u32,
    start: u64,
    table: &mut [u8],
    found: &Inspection<'_>,
) -> u32 {
    let mut free = 0;
    let mut cluster = match kind {
        // All of it is one part.
        FatKind::Fat12 => 0,
        _ => (start / kind.entry_len() as u64) as u32,
    };
    while cluster <= last {
        let at = (kind.entry_offset(u64::from(cluster)) - start) as usize;
        let Some(entry) = table.get_mut(at..at + kind.entry_len()) else {
            break;
        };
        let value = kind.decode(u64::from(cluster), entry) & kind.mask();
        if cluster >= 2 && value != 0 && !kind.is_bad(value) && !found.used.contains(cluster) {
            kind.encode(u64::from(cluster), 0, entry);
        }
        if cluster >= 2 && kind.decode(u64::from(cluster), entry) & kind.mask() == 0 {
            free += 1;
        }
        cluster += 1;
    }
    free
}

fn zeros(len: usize) -> Result<Vec<u8>, Stop> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Stop::Failed(Error::OutOfMemory))?;
    bytes.resize(len, 0);
    Ok(bytes)
}
