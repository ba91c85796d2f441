//! The mark in the boot sector that says: somebody writes here, or did and did not finish.
//!
//! FAT16 and FAT32 have such a mark in the second entry of their allocation table, and the driver sets and clears that. FAT12
//! has none there. For it this one is used, as Linux does: bit 0 of a byte that is reserved for Windows NT. Linux sets it
//! on all kinds, so it is read, and cleared after a check, on all.

use core::pin::pin;

use hadris_fat::async_::FatFs;
use hadris_fat_raw::io::async_ as raw;
use wakeful_block::BlockDevice;

use crate::{
    Error, Kind,
    device::{Adapter, Block, Order},
    session::Shared,
};

/// What the mark on the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Clear,
    Set,
    /// It was to be changed, and that was not finished.
    Unknown,
}

/// Bit 0 of `BS_Reserved1`, "dirty" (Microsoft's FAT specification, 2000, "Boot Sector and BPB", has the byte, and Linux's
/// `include/uapi/linux/msdos_fs.h` the bit).
const DIRTY: u8 = 1;

/// Where `BS_Reserved1` is, in bytes from the start of the volume.
const fn place(kind: Kind) -> u64 {
    match kind {
        Kind::Fat12 | Kind::Fat16 => 37,
        Kind::Fat32 => 65,
    }
}

/// Reads the mark.
pub(crate) async fn read(
    adapter: &mut Adapter,
    block: &mut Block,
    kind: Kind,
) -> Result<Mark, Error> {
    let mut byte = [0];
    raw::read_bytes(adapter, block, place(kind), &mut byte).await?;
    Ok(if byte[0] & DIRTY == 0 { Mark::Clear } else { Mark::Set })
}

async fn write(
    adapter: &mut Adapter,
    block: &mut Block,
    kind: Kind,
    mark: bool,
) -> Result<(), Error> {
    let mut byte = [0];
    raw::read_bytes(adapter, block, place(kind), &mut byte).await?;
    byte[0] = if mark { byte[0] | DIRTY } else { byte[0] & !DIRTY };
    raw::write_bytes(adapter, block, place(kind), &byte).await?;
    hadris_storage::async_::BlockDevice::flush(adapter).await?;
    Ok(())
}

impl Mark {
    /// Sets it, where it is needed. Comes before all other writes.
    ///
    /// # Cancellation
    ///
    /// It may be set or not, and the next one sets it.
    pub(crate) async fn set<D: BlockDevice>(
        &mut self,
        shared: &Shared<D>,
        fs: &mut FatFs<Adapter>,
        spare: &mut Block,
    ) -> Result<(), Error> {
        if shared.kind != Kind::Fat12 || *self == Self::Set {
            return Ok(());
        }
        self.change(shared, fs, spare, true).await
    }

    /// Clears it, if it is set. Comes after all else was made durable.
    ///
    /// # Cancellation
    ///
    /// It may be set or not.
    pub(crate) async fn clear<D: BlockDevice>(
        &mut self,
        shared: &Shared<D>,
        fs: &mut FatFs<Adapter>,
        spare: &mut Block,
    ) -> Result<(), Error> {
        if *self == Self::Clear {
            return Ok(());
        }
        self.change(shared, fs, spare, false).await
    }

    async fn change<D: BlockDevice>(
        &mut self,
        shared: &Shared<D>,
        fs: &mut FatFs<Adapter>,
        spare: &mut Block,
        is_set: bool,
    ) -> Result<(), Error> {
        *self = Self::Unknown;
        // The driver may have this very block in its memory.
        fs.clear_cache();
        shared.exchange.set_order(Order::Each);
        let mut adapter = shared.adapter.clone();
        spare.invalidate();
        let call = pin!(write(&mut adapter, spare, shared.kind, is_set));
        shared.run(call).await?;
        *self = if is_set { Self::Set } else { Self::Clear };
        Ok(())
    }
}
