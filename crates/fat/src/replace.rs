//! One file in the place of another, so that after a loss of power its name has either, whole.
//!
//! The driver removes the one and then renames the other; in between, the name is gone. Here the entry of the target is
//! overwritten where it is, in one write: it then has the source's clusters. The source's entry gets those of the target, and is
//! removed with them. Meanwhile both entries have marks, by which [`repair`](crate::repair) knows which is which:
//!
//! | written so far | target | source | repair |
//! |---|---|---|---|
//! | nothing | old | new | |
//! | source | old | [detached](crate::detach) | brings the source back |
//! | target | new, marked | detached | frees what is left of the source's name, and the old clusters |
//! | source | new, marked | old, marked | removes the source |
//! | source removed | new, marked | | takes the mark away |
//! | mark removed | new | | |
//!
//! The marks are bits of a byte that says whether a short name is shown in small letters (`DIR_NTRes`, Microsoft's FAT specification,
//! 2000, "FAT Directory Structure", keeps it for Windows NT; bits 3 and 4 are in use). They are gone when all is done.

use alloc::string::String;
use core::pin::pin;

use hadris_fat_raw::{ATTR_ARCHIVE, ENTRY_SIZE, FatKind, Slot, io::async_ as raw};
use hadris_fs::{Name, NodeId, SetAttr};
use wakeful_block::BlockDevice;

use crate::{
    Error, detach,
    device::{Adapter, Block, Order},
    session::{Session, State, ask},
    volume::copy,
};

/// The entry has just got another file's clusters.
pub(crate) const TARGET: u8 = 0x40;

/// The entry has got what is to be removed.
pub(crate) const VICTIM: u8 = 0x80;

/// A replacement under way. Whoever comes next finishes it.
pub(crate) struct Replacement {
    /// The path of the source.
    from: String,
    kind: FatKind,
    /// Where the entries are, in bytes.
    source: u64,
    target: u64,
    /// What the target had.
    cluster: u32,
    size: u32,
}

impl<D: BlockDevice> Session<'_, D> {
    /// Replaces a file by another, if neither is open. Both are pinned for this turn.
    ///
    /// # Cancellation
    ///
    /// Done, or not begun: the next turn finishes it.
    pub(crate) async fn replace(
        &mut self,
        from: &str,
        source: NodeId,
        target: NodeId,
    ) -> Result<(), Error> {
        let from = copy(from)?;
        self.change().await?;
        // Their lengths, should an earlier turn not have been able to write them.
        ask!(self, fs => fs.close(target))?;
        let attributes =
            ask!(self, fs => fs.stat(source))?.attributes() | hadris_fs::Attributes::ARCHIVE;
        // A renamed file is one for the next backup; and this marks the volume as being written.
        let changes = SetAttr::new().with_attributes(attributes);
        ask!(self, fs => fs.setattr(source, &changes))?;
        let (source, target) = (self.place(source).await?, self.place(target).await?);
        // What the driver knows of them will be wrong.
        self.unpin_all();
        let kind = self.state.fs.info().kind();
        // Others may have used the bits of our marks.
        for place in [source, target] {
            let mut adapter = self.shared.adapter.clone();
            let spare = &mut self.state.spare;
            spare.invalidate();
            let call = pin!(unmark(&mut adapter, spare, place));
            self.shared.run(call).await?;
        }
        let Slot::Short(old) = self.read_slot(target).await? else {
            return Err(Error::Corrupt);
        };
        let (cluster, size) = (old.first_cluster(kind), old.size());
        self.state.replacement = Some(Replacement { from, kind, source, target, cluster, size });
        self.finish_replacement().await
    }

    /// Does what is left of a replacement.
    pub(crate) async fn finish_replacement(&mut self) -> Result<(), Error> {
        let State { replacement, spare, .. } = &mut *self.state;
        let Some(replacement) = replacement else {
            return Ok(());
        };
        self.shared.exchange.set_order(Order::Each);
        let mut adapter = self.shared.adapter.clone();
        {
            spare.invalidate();
            let call = pin!(exchange(&mut adapter, spare, replacement));
            self.shared.run(call).await?;
        }
        let (from, target) = (copy(&replacement.from)?, replacement.target);
        self.state.fs.clear_cache();
        let (directory, name) = self.find_parent(&from).await?;
        match ask!(self, fs => fs.unlink(directory, Name::new(name))) {
            Ok(()) | Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
        {
            let spare = &mut self.state.spare;
            spare.invalidate();
            let call = pin!(unmark(&mut adapter, spare, target));
            self.shared.run(call).await?;
        }
        self.state.fs.clear_cache();
        self.state.replacement = None;
        Ok(())
    }
}

/// Gives each of the two entries what the other has, as far as that is not done.
async fn exchange(
    adapter: &mut Adapter,
    block: &mut Block,
    replacement: &Replacement,
) -> Result<(), Error> {
    let Replacement { kind, source, target, cluster, size, .. } = *replacement;
    let Slot::Short(mut new) = raw::read_slot(adapter, block, target).await? else {
        return Err(Error::Corrupt);
    };
    let mut bytes = [0; ENTRY_SIZE];
    raw::read_bytes(adapter, block, source, &mut bytes).await?;
    let detached = detach::attached(&bytes);
    let mut old = match (Slot::parse(&bytes), detached) {
        (Slot::Short(entry), _) | (_, Some(entry)) => entry,
        // It is removed already.
        (Slot::Free, None) => return Ok(()),
        _ => return Err(Error::Corrupt),
    };
    if new.nt_case() & TARGET == 0 && old.nt_case() & VICTIM == 0 {
        // An empty file has no clusters that two names could share.
        if detached.is_none() && old.first_cluster(kind) != 0 {
            detach::detach(&mut bytes);
            raw::write_bytes(adapter, block, source, &bytes).await?;
        }
        new.set_nt_case(new.nt_case() | TARGET);
        new.set_attributes(old.attributes() | ATTR_ARCHIVE);
        let (date, time, tenths) = old.created();
        new.set_created(date, time, tenths);
        let (date, time) = old.modified();
        new.set_modified(date, time);
        new.set_accessed_date(old.accessed_date());
        new.set_first_cluster(kind, old.first_cluster(kind));
        new.set_size(old.size());
        raw::write_bytes(adapter, block, target, &new.encode()).await?;
    }
    if old.nt_case() & VICTIM == 0 {
        old.set_nt_case(old.nt_case() | VICTIM);
        old.set_first_cluster(kind, cluster);
        old.set_size(size);
        raw::write_bytes(adapter, block, source, &old.encode()).await?;
    }
    Ok(())
}

/// Takes the mark from the entry at this byte.
pub(crate) async fn unmark(
    adapter: &mut Adapter,
    block: &mut Block,
    place: u64,
) -> Result<(), Error> {
    let Slot::Short(mut entry) = raw::read_slot(adapter, block, place).await? else {
        return Err(Error::Corrupt);
    };
    if entry.nt_case() & (TARGET | VICTIM) != 0 {
        entry.set_nt_case(entry.nt_case() & !(TARGET | VICTIM));
        raw::write_bytes(adapter, block, place, &entry.encode()).await?;
    }
    Ok(())
}
