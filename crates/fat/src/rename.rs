//! Other names for files and directories, so that after a loss of power each has one name, the old or the new.
//!
//! The driver does it, and what it would leave half done is [detached](crate::detach).

use alloc::vec::Vec;
use core::pin::pin;

use hadris_fat_raw::{Slot, io::async_ as raw};
use hadris_fs::{Name, NodeId, RenameMode};
use wakeful_block::BlockDevice;

use crate::{
    Error,
    detach::Move,
    session::{Session, State, ask},
};

impl<D: BlockDevice> Session<'_, D> {
    /// Gives a file or directory another name. It and both directories are pinned for this turn.
    ///
    /// # Cancellation
    ///
    /// Done, or not begun: the next turn finishes it.
    pub(crate) async fn rename(
        &mut self,
        source: NodeId,
        (from_directory, from): (NodeId, &str),
        (to_directory, to): (NodeId, &str),
    ) -> Result<(), Error> {
        self.change().await?;
        // The entry on the disk is to say what the driver knows, as it is copied.
        ask!(self, fs => fs.fsync(source))?;
        self.begin_move(source).await?;
        let (from, to) = (Name::new(from), Name::new(to));
        let mode = RenameMode::Replace;
        let result = ask!(self, fs => fs.rename(from_directory, from, to_directory, to, mode));
        self.unpin_all();
        self.finish_move().await?;
        result
    }

    async fn begin_move(&mut self, source: NodeId) -> Result<(), Error> {
        let place = self.place(source).await?;
        let kind = self.state.fs.info().kind();
        let Slot::Short(entry) = self.read_slot(place).await? else {
            return Err(Error::Corrupt);
        };
        let len = self.state.spare.block_size();
        let mut block = Vec::new();
        block.try_reserve_exact(len).map_err(|_| Error::OutOfMemory)?;
        block.resize(len, 0);
        self.shared.exchange.begin_move(Move::new(place, &entry, kind, block));
        Ok(())
    }

    /// Does what is left of a rename, or undoes it.
    pub(crate) async fn finish_move(&mut self) -> Result<(), Error> {
        if self.shared.exchange.moving(|_| ()).is_none() {
            return Ok(());
        }
        // The driver decides whether it goes on with it or back. It does so before it says that nothing has such a name.
        let root = self.find("").await?;
        match ask!(self, fs => fs.unlink(root, Name::new(""))) {
            Err(Error::InvalidName | Error::InvalidInput | Error::NotFound) => {}
            other => return other,
        }
        // If the driver has freed the old entry, there is no rename any more.
        if let Some((old, new)) = self.shared.exchange.moving(|moving| moving.places()).flatten() {
            self.attach(old, new).await?;
        }
        self.shared.exchange.end_move();
        Ok(())
    }

    /// Brings the old entry back, if the driver has not written the new one, or has removed it.
    async fn attach(&mut self, old: u64, new: u64) -> Result<(), Error> {
        let found = self.read_slot(new).await?;
        if self.shared.exchange.moving(|moving| moving.names(&found)) == Some(true) {
            // It gave up as the volume is corrupt.
            self.state.fs.clear_cache();
            return Ok(());
        }
        self.shared.exchange.moving(Move::bring_back);
        if let Slot::Short(entry) = self.read_slot(old).await? {
            let State { spare, .. } = &mut *self.state;
            let mut adapter = self.shared.adapter.clone();
            let bytes = entry.encode();
            let call = pin!(raw::write_bytes(&mut adapter, spare, old, &bytes));
            self.shared.run(call).await?;
        }
        Ok(())
    }
}
