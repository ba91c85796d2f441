//! What all users of a volume share, and the turn of the one who has its lock.

use alloc::{sync::Arc, vec::Vec};
use core::pin::{Pin, pin};

use arrayvec::ArrayVec;
use hadris_fat::async_::FatFs;
use hadris_fat_raw::{Slot, io::async_ as raw};
use hadris_fs::{Extent, Name, NodeId, OpenMode, Resolve};
use maitake_sync::{Mutex, MutexGuard, blocking};
use wakeful_block::BlockDevice;

use crate::{
    Error, Health, Kind,
    device::{Adapter, Block, Exchange, Order},
    mark::Mark,
    path,
    replace::Replacement,
};

/// Runs a call of the driver in a turn, and frees what the call borrows. A macro, as the call lies within the future of whoever
/// makes it, once.
macro_rules! ask {
    ($session:expr, $fs:ident => $call:expr) => {{
        let (shared, state) = $session.parts();
        let $fs = &mut state.fs;
        let call = core::pin::pin!($call);
        let result = shared.run(call).await;
        result
    }};
}
pub(crate) use ask;

/// What all users of a volume share.
pub(crate) struct Shared<D> {
    pub(crate) device: D,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) adapter: Adapter,
    pub(crate) kind: Kind,
    pub(crate) health: Health,
    /// Bytes in all clusters.
    pub(crate) size: u64,
    state: Mutex<State>,
    /// Handles that were dropped. Has room for all that there are.
    left: blocking::Mutex<Vec<Left>>,
}

/// A handle that was dropped: the next turn closes it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Left {
    File(NodeId),
    Directory(NodeId),
}

pub(crate) struct State {
    pub(crate) fs: FatFs<Adapter>,
    pub(crate) mark: Mark,
    /// For bytes that are read and written beside the driver. Here, so that it is in no future.
    pub(crate) spare: Block,
    is_read_only: bool,
    open: Vec<Open>,
    directories: usize,
    /// Its last handle is closed, but not yet what the driver knows.
    closing: Option<NodeId>,
    pub(crate) replacement: Option<Replacement>,
    /// What the driver must keep until the end of this turn.
    pins: ArrayVec<NodeId, 4>,
}

/// A file that is open. Pinned, and open for the driver, once.
struct Open {
    node: NodeId,
    handles: usize,
}

impl<D: BlockDevice> Shared<D> {
    pub(crate) fn new(
        device: D,
        adapter: Adapter,
        exchange: Arc<Exchange>,
        fs: FatFs<Adapter>,
        mark: Mark,
        spare: Block,
        health: Health,
    ) -> Self {
        let geometry = fs.info();
        let (kind, size) = (geometry.kind().into(), geometry.data_end() - geometry.data_start());
        let state = State {
            is_read_only: fs.is_read_only(),
            fs,
            mark,
            spare,
            open: Vec::new(),
            directories: 0,
            closing: None,
            replacement: None,
            pins: ArrayVec::new(),
        };
        Self {
            device,
            exchange,
            adapter,
            kind,
            health,
            size,
            state: Mutex::new(state),
            left: blocking::Mutex::new(Vec::new()),
        }
    }

    /// Waits for the lock, and until all is done that others left behind.
    pub(crate) async fn begin(&self) -> Result<Session<'_, D>, Error> {
        let state = self.state.lock().await;
        let mut session = Session { shared: self, state, unfinished: None };
        self.exchange.set_order(Order::Each);
        self.exchange.settle(&self.device).await?;
        session.unfinished = session.finish().await.err();
        session.unpin_all();
        if session.unfinished.is_none() {
            session.close_left().await;
        }
        Ok(session)
    }

    /// Runs a call of the driver.
    pub(crate) async fn run<T, E>(
        &self,
        call: Pin<&mut impl Future<Output = Result<T, E>>>,
    ) -> Result<T, Error>
    where
        Error: From<E>,
    {
        Ok(self.exchange.run(&self.device, call).await?)
    }

    /// A handle is dropped. Takes no memory.
    pub(crate) fn leave(&self, handle: Left) {
        self.left.with_lock(|left| {
            // There is room for all handles; without, the file would stay open.
            if left.len() < left.capacity() {
                left.push(handle);
            }
        });
    }

    /// Makes room for so many handles that are dropped.
    fn reserve_left(&self, handles: usize) -> Result<(), Error> {
        if self.left.with_lock(|left| left.capacity() >= handles) {
            return Ok(());
        }
        let mut larger = Vec::new();
        larger.try_reserve(handles.next_power_of_two()).map_err(|_| Error::OutOfMemory)?;
        let smaller = self.left.with_lock(|left| {
            larger.append(left);
            core::mem::replace(left, larger)
        });
        drop(smaller);
        Ok(())
    }
}

/// The turn of one user. Whatever was pinned for it is free when it ends, also in the middle.
pub(crate) struct Session<'a, D: BlockDevice> {
    pub(crate) shared: &'a Shared<D>,
    pub(crate) state: MutexGuard<'a, State>,
    /// What others have begun cannot be finished: nothing may be written, until it can. Reading does no harm.
    unfinished: Option<Error>,
}

impl<D: BlockDevice> Session<'_, D> {
    /// Runs a call of the driver, with the pieces of this turn that it needs.
    pub(crate) fn parts(&mut self) -> (&Shared<D>, &mut State) {
        (self.shared, &mut self.state)
    }

    async fn finish(&mut self) -> Result<(), Error> {
        self.finish_replacement().await?;
        self.finish_move().await
    }

    /// An error, if what others have begun cannot be finished.
    pub(crate) fn must_be_finished(&self) -> Result<(), Error> {
        self.unfinished.map_or(Ok(()), Err)
    }

    /// Something is to be changed: says whether it may be, and marks the volume.
    pub(crate) async fn change(&mut self) -> Result<(), Error> {
        if self.is_read_only() {
            return Err(Error::ReadOnly);
        }
        self.must_be_finished()?;
        let (shared, state) = self.parts();
        state.mark.set(shared, &mut state.fs, &mut state.spare).await
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.state.is_read_only || self.state.fs.is_read_only()
    }

    /// The entry at a path, pinned for this turn.
    pub(crate) async fn find(&mut self, path: &str) -> Result<NodeId, Error> {
        let node = ask!(self, fs => fs.resolve(path.as_bytes(), Resolve::Lexical))?;
        self.pin(node);
        Ok(node)
    }

    /// The entry of a name in a directory, pinned for this turn.
    pub(crate) async fn look_up(&mut self, directory: NodeId, name: &str) -> Result<NodeId, Error> {
        let node = ask!(self, fs => fs.lookup(directory, Name::new(name)))?;
        self.pin(node);
        Ok(node)
    }

    /// The directory of a path, pinned for this turn, and the name in it.
    pub(crate) async fn find_parent<'p>(
        &mut self,
        path: &'p str,
    ) -> Result<(NodeId, &'p str), Error> {
        let (parent, name) = path::split(path).ok_or(Error::InvalidInput)?;
        Ok((self.find(parent).await?, name))
    }

    pub(crate) async fn stat(&mut self, node: NodeId) -> Result<hadris_fs::Metadata, Error> {
        ask!(self, fs => fs.stat(node))
    }

    /// Where the entry of a file or directory is, in bytes.
    pub(crate) async fn place(&mut self, node: NodeId) -> Result<u64, Error> {
        let mut places = [Extent::new(0, 0)];
        match ask!(self, fs => fs.records(node, &mut places))? {
            1 => Ok(places[0].offset()),
            _ => Err(Error::Corrupt),
        }
    }

    /// What is at this byte of the disk. The driver's cache is not asked.
    pub(crate) async fn read_slot(&mut self, place: u64) -> Result<Slot, Error> {
        let mut adapter = self.shared.adapter.clone();
        let spare = &mut self.state.spare;
        spare.invalidate();
        let call = pin!(raw::read_slot(&mut adapter, spare, place));
        self.shared.run(call).await
    }

    /// Pins for this turn what the driver has pinned for us.
    pub(crate) fn pin(&mut self, node: NodeId) {
        let pinned = self.state.pins.try_push(node);
        debug_assert!(pinned.is_ok(), "a turn that needs more pins");
    }

    /// Whether a file has handles.
    pub(crate) fn is_open(&self, node: NodeId) -> bool {
        self.state.open.iter().any(|open| open.node == node)
    }

    /// Frees what was pinned for this turn.
    pub(crate) fn unpin_all(&mut self) {
        let State { fs, pins, .. } = &mut *self.state;
        for node in pins.drain(..) {
            fs.forget(node, 1);
        }
    }

    /// One more handle of a file or directory that this turn has pinned; it keeps the pin.
    pub(crate) async fn open(&mut self, handle: Left) -> Result<(), Error> {
        let handles: usize = self.state.open.iter().map(|open| open.handles).sum();
        self.shared.reserve_left(handles + self.state.directories + 1)?;
        match handle {
            Left::File(node) => {
                let state = &mut *self.state;
                if let Some(open) = state.open.iter_mut().find(|open| open.node == node) {
                    open.handles += 1;
                    return Ok(());
                }
                state.open.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
                // Asks nothing of the device, so it is not dropped in the middle.
                ask!(self, fs => fs.open(node, OpenMode::Read))?;
                self.state.open.push(Open { node, handles: 1 });
                self.state.unpin(node);
            }
            Left::Directory(node) => {
                self.state.directories += 1;
                self.state.unpin(node);
            }
        }
        Ok(())
    }

    /// One handle less. Writes the length of a file that nobody has open any more.
    ///
    /// # Cancellation
    ///
    /// The next turn does it.
    pub(crate) async fn close(&mut self, handle: Left) -> Result<(), Error> {
        if let Err(error) = self.must_be_finished() {
            self.shared.leave(handle);
            return Err(error);
        }
        let state = &mut *self.state;
        match handle {
            Left::Directory(node) => {
                state.directories -= 1;
                state.fs.forget(node, 1);
                Ok(())
            }
            Left::File(node) => {
                if let Some(at) = state.open.iter().position(|open| open.node == node) {
                    state.open[at].handles -= 1;
                    if state.open[at].handles == 0 {
                        state.open.swap_remove(at);
                        state.closing = Some(node);
                    }
                }
                self.finish_closing().await
            }
        }
    }

    /// What could not be written is kept by the driver, and [`Volume::sync`](crate::Volume::sync) says so.
    async fn close_left(&mut self) {
        let _ = self.finish_closing().await;
        while let Some(handle) = self.shared.left.with_lock(Vec::pop) {
            let _ = self.close(handle).await;
        }
    }

    async fn finish_closing(&mut self) -> Result<(), Error> {
        let Some(node) = self.state.closing else {
            return Ok(());
        };
        self.shared.exchange.set_order(Order::Each);
        let result = ask!(self, fs => fs.close(node));
        self.state.fs.forget(node, 1);
        self.state.closing = None;
        result
    }

    /// How many entries the driver keeps, beside the root.
    #[cfg(test)]
    pub(crate) fn pinned(&self) -> usize {
        self.state.fs.open_nodes() - 1
    }
}

impl State {
    /// The pin is somebody else's from now on.
    fn unpin(&mut self, node: NodeId) {
        if let Some(at) = self.pins.iter().position(|pin| *pin == node) {
            self.pins.swap_remove(at);
        }
    }
}

impl<D: BlockDevice> Drop for Session<'_, D> {
    fn drop(&mut self) {
        self.unpin_all();
    }
}
