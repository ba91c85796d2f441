//! Between the driver, which polls a device with buffers of its own, and a [`BlockDevice`], which has futures.
//!
//! The driver's call is polled until it wants something of the device. Then it has left its wish on the [`Desk`], with what is to
//! be written in the desk's buffer, and is pending; [`Exchange::run`], which polls it, does that, awaiting the
//! device's own future, and polls the driver's call again. So no future is boxed and none refers to itself, all are `Send`
//! if the device's are, and nobody but the driver's call touches the driver's buffers.
//!
//! Here is also decided what must be durable before what: [`Order`]; and while something is renamed, the driver sees its old entry
//! as it was ([`detach`](crate::detach)).

use alloc::{sync::Arc, vec::Vec};
use core::{
    future::poll_fn,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};

use hadris_fat_raw::io::BlockBuf;
use hadris_io::{Error, ErrorKind, ErrorType};
use hadris_storage::{BlockIndex, BlockSize, async_};
use spin::Mutex;
use wakeful_block::{BlockDevice, Error as DeviceError, Geometry};

use crate::detach::{Move, Old};

/// The largest block that the driver can keep.
const MAX_BLOCK_SIZE: u32 = 4096;

/// Blocks up to this size are read one further than is asked for: what comes next is often the one that ends a file, or a
/// directory's next one, and to copy so few bytes costs a tenth of a request.
const AHEAD: usize = 1024;

/// One block, for who reads and writes bytes beside the driver.
pub(crate) type Block = BlockBuf<[u8; MAX_BLOCK_SIZE as usize]>;

/// What a write waits for, so that a loss of power leaves at most what [`repair`](crate::repair) can mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// All writes before it are durable. For what changes directories, and shortens files.
    Each,
    /// Writes of the other kind are, where one kind is the allocation table and the other is the rest; and
    /// those of other blocks of the table. For the contents of files.
    Kinds,
    /// Nothing: the order does not matter.
    Any,
}

/// Where the driver's wishes are left and fulfilled. Whoever uses the driver has the volume's lock, so nobody ever
/// waits for the spin lock.
#[derive(Debug)]
pub(crate) struct Exchange {
    desk: Mutex<Desk>,
    block_size: usize,
    /// The most bytes in a request.
    limit: usize,
}

#[derive(Debug)]
struct Desk {
    wish: Option<Wish>,
    result: Option<Result<(), DeviceError>>,
    /// What is written, or was read.
    buffer: Vec<u8>,
    /// A block that was read as well in this call of the driver, and where in the buffer it is.
    ahead: Option<(u64, usize)>,
    order: Order,
    /// The allocation tables, in bytes.
    tables: Range<u64>,
    /// The last write since the last flush.
    last: Option<Written>,
    /// There were writes since the last flush.
    is_unflushed: bool,
    /// The future of a write was dropped: it may still happen.
    is_stray: bool,
    /// What is being renamed.
    moving: Option<Move>,
}

#[derive(Debug, Clone, Copy)]
enum Wish {
    Read { block: u64, len: usize },
    Write { block: u64, len: usize, is_first: bool },
    Flush,
}

#[derive(Debug, Clone, Copy)]
struct Written {
    block: u64,
    is_table: bool,
}

impl Exchange {
    pub(crate) fn new(geometry: Geometry, limit: usize) -> Self {
        let block_size = geometry.block_size as usize;
        let desk = Desk {
            wish: None,
            result: None,
            buffer: Vec::new(),
            ahead: None,
            order: Order::Each,
            tables: 0..0,
            last: None,
            // Whoever wrote before us may not have flushed.
            is_unflushed: true,
            is_stray: false,
            moving: None,
        };
        let limit = (limit / block_size).max(1) * block_size;
        Self { desk: Mutex::new(desk), block_size, limit }
    }

    /// What writes from now on wait for.
    pub(crate) fn set_order(&self, order: Order) {
        self.desk.lock().order = order;
    }

    /// Where the allocation tables are, in bytes.
    pub(crate) fn set_tables(&self, tables: Range<u64>) {
        self.desk.lock().tables = tables;
    }

    /// Something is about to be renamed.
    pub(crate) fn begin_move(&self, moving: Move) {
        self.desk.lock().moving = Some(moving);
    }

    /// Something about a rename that has not freed the old entry, if there is one.
    pub(crate) fn moving<T>(&self, ask: impl FnOnce(&mut Move) -> T) -> Option<T> {
        self.desk.lock().moving.as_mut().map(ask)
    }

    /// The rename is over.
    pub(crate) fn end_move(&self) {
        self.desk.lock().moving = None;
    }

    /// Waits until no dropped write can happen any more. Comes before all else that is asked of the device, as what
    /// is read decides what is written.
    ///
    /// # Cancellation
    ///
    /// The next one does it.
    pub(crate) async fn settle<D: BlockDevice>(&self, device: &D) -> Result<(), DeviceError> {
        if self.desk.lock().is_stray {
            self.flush(device).await?;
        }
        Ok(())
    }

    /// Runs a call of the driver, and does for it what it wants of the device.
    ///
    /// # Cancellation
    ///
    /// A write under way may happen until [`Exchange::settle`] has returned.
    pub(crate) async fn run<D: BlockDevice, F: Future>(
        &self,
        device: &D,
        mut call: Pin<&mut F>,
    ) -> F::Output {
        self.desk.lock().ahead = None;
        loop {
            let turn = poll_fn(|context| match call.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if self.desk.lock().wish.is_some() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            match turn.await {
                Some(output) => return output,
                None => self.fulfil(device).await,
            }
        }
    }

    async fn fulfil<D: BlockDevice>(&self, device: &D) {
        let Some(wish) = self.desk.lock().wish.take() else {
            return;
        };
        if !matches!(wish, Wish::Read { .. }) {
            self.desk.lock().ahead = None;
        }
        let result = match wish {
            Wish::Read { block, len } => self.read(device, block, len).await,
            Wish::Write { block, len, is_first } => self.write(device, block, len, is_first).await,
            Wish::Flush => self.flush(device).await,
        };
        self.desk.lock().result = Some(result);
    }

    async fn read<D: BlockDevice>(
        &self,
        device: &D,
        block: u64,
        len: usize,
    ) -> Result<(), DeviceError> {
        let more = {
            let mut desk = self.desk.lock();
            match desk.ahead.take() {
                Some((ahead, at)) if ahead == block && len == self.block_size => {
                    desk.buffer.copy_within(at..at + len, 0);
                    return Ok(());
                }
                _ => self.more(&mut desk, device.geometry(), block, len),
            }
        };
        let mut loan = self.lend();
        let mut read = device.read(block, &mut loan.buffer[..len + more]).await;
        if read.is_err() && more > 0 {
            // Maybe it is what nobody asked for that cannot be read.
            read = device.read(block, &mut loan.buffer[..len]).await;
        } else if more > 0 {
            self.desk.lock().ahead = Some((block + (len / self.block_size) as u64, len));
        }
        if let Some(moving) = &self.desk.lock().moving {
            moving.reveal(self.start(block), &mut loan.buffer[..len + more]);
        }
        read
    }

    /// How many bytes to read beyond those that are asked for: a block, if it is small and there is one, and room for it.
    fn more(&self, desk: &mut Desk, geometry: Geometry, block: u64, len: usize) -> usize {
        let end = block.saturating_add((len / self.block_size) as u64);
        let is_there = end < geometry.blocks;
        let is_worth_it = self.block_size <= AHEAD && len + self.block_size <= self.limit;
        if is_there && is_worth_it && desk.reserve(len + self.block_size).is_ok() {
            self.block_size
        } else {
            0
        }
    }

    async fn write<D: BlockDevice>(
        &self,
        device: &D,
        block: u64,
        len: usize,
        is_first: bool,
    ) -> Result<(), DeviceError> {
        let written = Written { block, is_table: self.is_table(block, len) };
        let has_freed = self.detach(device, written, len).await?;
        let must_flush = {
            let desk = self.desk.lock();
            desk.is_unflushed && is_first && desk.must_flush(written)
        };
        if must_flush {
            self.flush(device).await?;
        }
        {
            let mut desk = self.desk.lock();
            desk.last = Some(written);
            desk.is_unflushed = true;
            desk.is_stray = true;
        }
        let loan = self.lend();
        let result = device.write(block, &loan.buffer[..len]).await;
        let mut desk = self.desk.lock();
        desk.is_stray = false;
        if has_freed && result.is_ok() {
            desk.moving = None;
        }
        result
    }

    /// If the driver is about to write the new entry of what is renamed, detaches the old one before, or in the same write, if
    /// they lie in the same block. Says whether the driver frees the old one.
    async fn detach<D: BlockDevice>(
        &self,
        device: &D,
        written: Written,
        len: usize,
    ) -> Result<bool, DeviceError> {
        let start = self.start(written.block);
        let (place, mut bytes) = {
            let Desk { moving, buffer, tables, .. } = &mut *self.desk.lock();
            let Some(moving) = moving else {
                return Ok(false);
            };
            // What is no directory ends with the tables, maybe in the middle of a block.
            let others = tables.end.saturating_sub(start).min(len as u64);
            let (start, bytes) = (start + others, &mut buffer[others as usize..len]);
            let is_now = moving.publish(start, bytes);
            let old = moving.conceal(start, bytes);
            if !is_now || old != Old::Elsewhere {
                return Ok(old == Old::Freed);
            }
            (moving.place(), core::mem::take(&mut moving.block))
        };
        let block = place / self.block_size as u64;
        device.read(block, &mut bytes).await?;
        if let Some(moving) = &self.desk.lock().moving {
            moving.conceal(self.start(block), &mut bytes);
        }
        self.flush(device).await?;
        {
            let mut desk = self.desk.lock();
            desk.is_unflushed = true;
            desk.is_stray = true;
        }
        let result = device.write(block, &bytes).await;
        self.desk.lock().is_stray = false;
        result?;
        self.flush(device).await?;
        Ok(false)
    }

    async fn flush<D: BlockDevice>(&self, device: &D) -> Result<(), DeviceError> {
        if self.desk.lock().is_unflushed {
            device.flush().await?;
            let mut desk = self.desk.lock();
            desk.last = None;
            desk.is_unflushed = false;
            desk.is_stray = false;
        }
        Ok(())
    }

    /// Takes the buffer for as long as the device has it.
    fn lend(&self) -> Loan<'_> {
        Loan { buffer: core::mem::take(&mut self.desk.lock().buffer), exchange: self }
    }

    /// A block's first byte.
    fn start(&self, block: u64) -> u64 {
        block.saturating_mul(self.block_size as u64)
    }

    fn is_table(&self, block: u64, len: usize) -> bool {
        let start = self.start(block);
        let tables = &self.desk.lock().tables;
        start < tables.end && tables.start < start.saturating_add(len as u64)
    }
}

impl Desk {
    fn must_flush(&self, next: Written) -> bool {
        match self.order {
            Order::Each => true,
            Order::Any => false,
            Order::Kinds => self.last.is_some_and(|last| {
                last.is_table != next.is_table || next.is_table && last.block != next.block
            }),
        }
    }

    /// Makes room in the buffer.
    fn reserve(&mut self, len: usize) -> Result<(), DeviceError> {
        if let Some(more) = len.checked_sub(self.buffer.len()) {
            self.buffer.try_reserve_exact(more).map_err(|_| DeviceError::OutOfMemory)?;
            self.buffer.resize(len, 0);
        }
        Ok(())
    }
}

/// The desk's buffer, which goes back when it is dropped.
struct Loan<'a> {
    exchange: &'a Exchange,
    buffer: Vec<u8>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.exchange.desk.lock().buffer = core::mem::take(&mut self.buffer);
    }
}

/// The device as the driver sees it. It is polled by [`Exchange::run`] alone, and wakes nobody.
#[derive(Debug, Clone)]
pub(crate) struct Adapter {
    exchange: Arc<Exchange>,
    block_size: BlockSize,
    geometry: Geometry,
}

impl Adapter {
    /// `None` if the blocks are larger than [`MAX_BLOCK_SIZE`].
    pub(crate) fn new(exchange: Arc<Exchange>, geometry: Geometry) -> Option<Self> {
        let fits = geometry.block_size <= MAX_BLOCK_SIZE;
        let block_size = BlockSize::new(geometry.block_size).filter(|_| fits)?;
        Some(Self { exchange, block_size, geometry })
    }

    /// Room for one block.
    pub(crate) fn block(&self) -> Result<Block, crate::Error> {
        Block::new(self.geometry.block_size as usize).ok_or(crate::Error::Unsupported)
    }

    /// Goes on with a transfer, in requests that are as long as may be. `fill` puts into the buffer what a
    /// request needs, `take` takes out what came.
    fn advance(
        &self,
        progress: &mut Progress,
        first: BlockIndex,
        len: usize,
        wish: impl FnOnce(u64, Range<usize>) -> Wish,
        fill: impl FnOnce(&mut [u8], Range<usize>),
        take: impl FnOnce(&[u8], Range<usize>),
    ) -> Poll<Result<(), Error<DeviceError>>> {
        let mut desk = self.exchange.desk.lock();
        if progress.is_waiting {
            match desk.result.take() {
                None => return Poll::Pending,
                Some(Err(error)) => return Poll::Ready(Err(refusal(error))),
                Some(Ok(())) => {
                    let part = self.part(progress.done, len);
                    progress.done = part.end;
                    progress.is_waiting = false;
                    take(&desk.buffer[..part.len()], part);
                }
            }
        }
        if progress.done == len {
            return Poll::Ready(Ok(()));
        }
        let part = self.part(progress.done, len);
        if let Err(error) = desk.reserve(part.len()) {
            return Poll::Ready(Err(refusal(error)));
        }
        fill(&mut desk.buffer[..part.len()], part.clone());
        desk.wish = Some(wish(first.get() + (part.start / self.exchange.block_size) as u64, part));
        progress.is_waiting = true;
        Poll::Pending
    }

    /// The part of a transfer that comes after `done` bytes.
    fn part(&self, done: usize, len: usize) -> Range<usize> {
        done..len.min(done.saturating_add(self.exchange.limit))
    }
}

fn refusal(error: DeviceError) -> Error<DeviceError> {
    let refusal = Error::device(error, "the device");
    if error == DeviceError::ReadOnly { refusal.with_kind(ErrorKind::ReadOnly) } else { refusal }
}

/// How far a transfer is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    done: usize,
    is_waiting: bool,
}

impl ErrorType for Adapter {
    type Error = DeviceError;
}

impl async_::BlockDevice for Adapter {
    type State = Progress;

    fn block_size(&self) -> BlockSize {
        self.block_size
    }

    fn block_count(&self) -> u64 {
        self.geometry.blocks
    }

    fn writable(&self) -> bool {
        !self.geometry.is_read_only
    }

    fn poll_read_blocks(
        &mut self,
        progress: &mut Progress,
        _: &mut Context<'_>,
        first: BlockIndex,
        into: &mut [u8],
    ) -> Poll<Result<(), Error<DeviceError>>> {
        let wish = |block, part: Range<usize>| Wish::Read { block, len: part.len() };
        let len = into.len();
        let take = |from: &[u8], part: Range<usize>| into[part].copy_from_slice(from);
        self.advance(progress, first, len, wish, |_, _| {}, take)
    }

    fn poll_write_blocks(
        &mut self,
        progress: &mut Progress,
        _: &mut Context<'_>,
        first: BlockIndex,
        from: &[u8],
    ) -> Poll<Result<(), Error<DeviceError>>> {
        let wish = |block, part: Range<usize>| Wish::Write {
            block,
            len: part.len(),
            is_first: part.start == 0,
        };
        let fill = |into: &mut [u8], part: Range<usize>| into.copy_from_slice(&from[part]);
        self.advance(progress, first, from.len(), wish, fill, |_, _| {})
    }

    fn poll_flush(
        &mut self,
        progress: &mut Progress,
        _: &mut Context<'_>,
    ) -> Poll<Result<(), Error<DeviceError>>> {
        let mut desk = self.exchange.desk.lock();
        if progress.is_waiting {
            return match desk.result.take() {
                None => Poll::Pending,
                Some(result) => Poll::Ready(result.map_err(refusal)),
            };
        }
        desk.wish = Some(Wish::Flush);
        progress.is_waiting = true;
        Poll::Pending
    }

    /// What the device has begun, [`Exchange::settle`] waits for.
    fn cancel(&mut self, _: &mut Progress) {
        let mut desk = self.exchange.desk.lock();
        desk.wish = None;
        desk.result = None;
    }
}
