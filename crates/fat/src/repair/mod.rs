//! What is done before a volume is mounted that was not left in peace.
//!
//! The order of writes ([`Order`]) sees to it that a loss of power leaves one of these, and nothing else:
//!
//! | left behind | what is done |
//! |---|---|
//! | a file or directory without a name, in the middle of a rename | its old entry is [brought back](crate::detach) |
//! | a file whose entry has got the clusters of one that it replaced | it goes, with them |
//! | a directory that was moved, with its old parent in `..` | `..` is set |
//! | clusters that belong to nobody | they are freed |
//! | a file with more clusters than its length needs | they are freed |
//! | copies of the allocation table that differ | they become as the first one is |
//! | in FAT12, half a number that lies in two blocks | it becomes as in the other copy of the table |
//! | pieces of a long name without the rest | they are freed |
//!
//! First everything is [inspected](inspect), and nothing is written but half numbers. If there is but one contradiction that is not
//! among these, it stays so, and the volume is [`Health::Damaged`]. What belongs to a rename comes first, and everything is inspected
//! again. Then the rest is [mended](mend), in an order in which each write leaves one of these again.

mod clusters;
mod inspect;
mod mend;

use core::pin::pin;

use hadris_fat_raw::{
    FatKind, Geometry,
    io::{Fat, async_ as raw},
};
use wakeful_block::BlockDevice;

use self::inspect::{Inspection, Stop};
use crate::{
    Error, Health,
    device::{Adapter, Block, Exchange, Order},
    mark::{self, Mark},
};

/// Looks whether a volume was left in peace, and if not, mends what can be mended.
///
/// # Cancellation
///
/// A part may be done; the rest is done by the next one.
pub(crate) async fn check<D: BlockDevice>(
    exchange: &Exchange,
    device: &D,
    adapter: &Adapter,
    is_read_only: bool,
) -> Result<(Health, Mark), Error> {
    let mut volume = Raw {
        adapter: adapter.clone(),
        exchange,
        entries: adapter.block()?,
        table: adapter.block()?,
    };
    let call = pin!(volume.check(is_read_only));
    exchange.run(device, call).await
}

/// A volume beneath its driver.
struct Raw<'a> {
    adapter: Adapter,
    exchange: &'a Exchange,
    /// A block of a directory.
    entries: Block,
    /// A block of the allocation table.
    table: Block,
}

impl Raw<'_> {
    async fn check(&mut self, is_read_only: bool) -> Result<(Health, Mark), Error> {
        let geometry = raw::read_geometry(&mut self.adapter, &mut self.entries).await?;
        let fat = raw::read_fat(&mut self.adapter, &mut self.entries, geometry).await?;
        let mark = mark::read(&mut self.adapter, &mut self.entries, geometry.kind().into()).await?;
        if is_read_only || mark == Mark::Clear && !self.is_marked(&geometry).await? {
            return Ok((Health::Clean, mark));
        }
        match self.repair(&fat).await {
            Ok(()) => Ok((Health::Repaired, mark)),
            Err(Stop::Damaged) => Ok((Health::Damaged, mark)),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// Whether any copy of the table says, in its second number, that somebody is writing. They are set and cleared one after
    /// the other.
    async fn is_marked(&mut self, geometry: &Geometry) -> Result<bool, Error> {
        let kind = geometry.kind();
        for step in 0..geometry.copies() {
            let place = geometry.fat_copy(geometry.active_fat() ^ step) + kind.entry_offset(1);
            let mut number = [0; 4];
            let number = &mut number[..kind.entry_len()];
            raw::read_bytes(&mut self.adapter, &mut self.table, place, number).await?;
            // FAT12 has no such bit.
            if !kind.decode(1, number) & kind.clean_bit() != 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn repair(&mut self, fat: &Fat) -> Result<(), Stop> {
        self.exchange.set_order(Order::Each);
        self.join_halves(fat.geometry()).await?;
        let mut found = self.inspect(fat).await?;
        if let Some(victim) = found.victim() {
            self.remove(fat, victim).await?;
            found = self.inspect(fat).await?;
        }
        let (detached, which) = found.find_detached(self).await?;
        if !detached.is_empty() {
            for (at, detached) in detached.into_iter().enumerate() {
                self.settle(detached, Some(at) == which).await?;
            }
            found = self.inspect(fat).await?;
        }
        self.mend(fat, found).await
    }

    async fn inspect<'f>(&mut self, fat: &'f Fat) -> Result<Inspection<'f>, Stop> {
        let mut found = Inspection::new(fat)?;
        found.walk(self).await?;
        Ok(found)
    }

    /// In FAT12 a number may lie in two blocks, which are written one after the other, in one copy of the table
    /// after the other. Where the copies differ only in the first half, the first copy may have half a new number; then the
    /// second has the old one, which is as right as the new one would be, as all else waits for both. Where the second half
    /// differs, the first copy has a whole number, and the second copy, which may have half of it, gets it now: before
    /// the first one is mended, and then differs from that half.
    async fn join_halves(&mut self, geometry: &Geometry) -> Result<(), Stop> {
        if geometry.kind() != FatKind::Fat12 || geometry.copies() < 2 {
            return Ok(());
        }
        let size = self.table.block_size() as u64;
        for cluster in 2..=u64::from(geometry.max_cluster()) {
            let place = FatKind::Fat12.entry_offset(cluster);
            let active = geometry.fat_copy(geometry.active_fat()) + place;
            if !(active + 1).is_multiple_of(size) {
                continue;
            }
            let copy = geometry.fat_copy(geometry.active_fat() ^ 1) + place;
            let (mut new, mut old) = ([0; 2], [0; 2]);
            raw::read_bytes(&mut self.adapter, &mut self.table, active, &mut new).await?;
            raw::read_bytes(&mut self.adapter, &mut self.table, copy, &mut old).await?;
            // An even one has a byte and the lower half of the next, an odd one the upper half and a byte. The other half
            // is a part of its neighbour.
            let own = if cluster.is_multiple_of(2) { [0xff, 0x0f] } else { [0xf0, 0xff] };
            let differs = |byte: usize| (new[byte] ^ old[byte]) & own[byte] != 0;
            let with = |to: [u8; 2], from: [u8; 2]| {
                [0, 1].map(|byte| to[byte] & !own[byte] | from[byte] & own[byte])
            };
            if differs(1) {
                let whole = with(old, new);
                raw::write_bytes(&mut self.adapter, &mut self.table, copy, &whole).await?;
            } else if differs(0) {
                let joined = with(new, old);
                raw::write_bytes(&mut self.adapter, &mut self.table, active, &joined[..1]).await?;
            }
        }
        Ok(())
    }
}
