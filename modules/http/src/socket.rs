//! A connection, as picoserve wants it.
//!
//! picoserve writes in small pieces, and flushes after the head and after the body of an answer. Here they are
//! put together, and sent when the connection's task has nothing more to do in its turn: an answer is one
//! segment if it can be, and the lock of the stack is taken once for it. Nothing waits longer than that.

use core::{
    cell::{Cell, RefCell},
    fmt,
    future::{Future, poll_fn},
    mem,
    task::{Context, Poll, ready},
};

use picoserve::{
    Error as ServeError, Timeouts, Timer,
    io::{BaseWrite, ErrorType, Read, Socket, Write},
    mem::{BorrowedBuffer, BorrowedCursor},
};
use wakeful_net::{Error, TcpStream};
use wakeful_time::Instant;
use wakeful_web::Silence;

use crate::timer::Wakeful;

/// How many bytes of an answer are put together before they go to the TCP ring.
pub(crate) const PIECE: usize = 1024;

/// How many bytes that nobody asked for are read from a peer, so that it gets to read the answer.
const PATIENCE: usize = 64 * 1024;

/// The wire to a peer: what is written stays here until it is a piece, or until the end of the turn.
pub(crate) struct Wire<'c> {
    stream: &'c TcpStream,
    piece: RefCell<Piece<'c>>,
    /// What was written is to be sent.
    flush: Cell<bool>,
    silence: Silence<Instant>,
}

struct Piece<'c> {
    bytes: &'c mut [u8],
    len: usize,
}

impl<'c> Wire<'c> {
    /// `head` is where picoserve reads heads to, and `piece` where an answer is put together.
    pub(crate) fn new(stream: &'c TcpStream, head: &[u8], piece: &'c mut [u8]) -> Self {
        Self {
            stream,
            piece: RefCell::new(Piece { bytes: piece, len: 0 }),
            flush: Cell::new(false),
            silence: Silence::new(head),
        }
    }

    /// Sends what was flushed. At the end of each turn; if the ring is full, the task is woken when it is not.
    pub(crate) fn end_turn(&self, context: &mut Context<'_>) {
        if self.flush.get() && self.poll_hand_over(context).is_ready() {
            self.flush.set(false);
            self.stream.send_now();
        }
    }

    /// Since when nothing is asked, and nothing left to be sent. To be called at the end of each turn.
    pub(crate) fn silent_since(&self, now: Instant) -> Option<Instant> {
        let since = self.silence.since(now)?;
        (self.piece.borrow().len == 0).then_some(since)
    }

    /// Hands the piece to the TCP ring.
    fn poll_hand_over(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let piece = &mut *self.piece.borrow_mut();
        while piece.len > 0 {
            let written =
                ready!(self.stream.poll_write_corked(context, &piece.bytes[..piece.len]))?;
            piece.bytes.copy_within(written..piece.len, 0);
            piece.len -= written;
        }
        Poll::Ready(Ok(()))
    }

    /// Hands the rest to the TCP ring. Dropping the stream then sends it together with the goodbye.
    async fn hand_over<T: Timer<Wakeful>>(
        &self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), ServeError<Error>> {
        self.flush.set(false);
        timer
            .run_with_timeout(timeouts.write, poll_fn(|context| self.poll_hand_over(context)))
            .await
            .map_err(ServeError::WriteTimeout)?
            .map_err(ServeError::Write)
    }

    /// Says goodbye, and reads what the peer is still sending: otherwise it would get a reset, perhaps before
    /// it has read the answer (RFC 9112 §9.6).
    async fn linger<T: Timer<Wakeful>>(
        &self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), ServeError<Error>> {
        self.hand_over(timeouts, timer).await?;
        self.stream.shut();
        let mut rest = PATIENCE;
        let discard = poll_fn(|context| {
            loop {
                let mut buffer = [0; 256];
                match ready!(self.stream.poll_read(context, &mut buffer)) {
                    Ok(count) if count > 0 && count < rest => rest -= count,
                    _ => return Poll::Ready(()),
                }
            }
        });
        // Whichever ends first: the stream is dropped now.
        let _ = timer.run_with_timeout(timeouts.read_request, discard).await;
        Ok(())
    }
}

/// A connection on a wire.
pub(crate) struct Connection<'w, 'c>(pub(crate) &'w Wire<'c>);

impl<'w, 'c> Socket<Wakeful> for Connection<'w, 'c> {
    type Error = Error;
    type ReadHalf<'a>
        = Reader<'w, 'c>
    where
        Self: 'a;
    type WriteHalf<'a>
        = Writer<'w, 'c>
    where
        Self: 'a;

    fn split(&mut self) -> (Reader<'w, 'c>, Writer<'w, 'c>) {
        (Reader(self.0), Writer(self.0))
    }

    /// What was written goes out all the same: it may say what was wrong.
    fn abort<T: Timer<Wakeful>>(
        self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> impl Future<Output = Result<(), ServeError<Error>>> {
        self.0.linger(timeouts, timer)
    }

    async fn shutdown<T: Timer<Wakeful>>(
        self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), ServeError<Error>> {
        if self.0.stream.has_unread() {
            return self.0.linger(timeouts, timer).await;
        }
        self.0.hand_over(timeouts, timer).await
    }
}

/// Reads requests.
pub(crate) struct Reader<'w, 'c>(&'w Wire<'c>);

impl ErrorType for Reader<'_, '_> {
    type Error = Error;
}

impl Read for Reader<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> impl Future<Output = Result<usize, Error>> {
        let wire = self.0;
        let begins = wire.silence.begins(buffer);
        poll_fn(move |context| {
            let read = wire.stream.poll_read(context, buffer);
            if begins {
                wire.silence.goes_on(read.is_pending());
            }
            read
        })
    }
}

/// Writes an answer.
pub(crate) struct Writer<'w, 'c>(&'w Wire<'c>);

impl ErrorType for Writer<'_, '_> {
    type Error = Error;
}

// Futures of few words: they are part of picoserve's, which are moved about.
impl BaseWrite for Writer<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> impl Future<Output = Result<usize, Error>> {
        poll_fn(|context| {
            let mut piece = self.0.piece.borrow_mut();
            let len = piece.len;
            if let Some(room) = piece.bytes[len..].get_mut(..bytes.len()) {
                room.copy_from_slice(bytes);
                piece.len += bytes.len();
                return Poll::Ready(Ok(bytes.len()));
            }
            // Long: straight into the ring.
            drop(piece);
            ready!(self.0.poll_hand_over(context))?;
            self.0.stream.poll_write_corked(context, bytes)
        })
    }

    fn flush(&mut self) -> impl Future<Output = Result<(), Error>> {
        self.0.flush.set(true);
        core::future::ready(Ok(()))
    }
}

impl Write for Writer<'_, '_> {
    fn write_with<F: FnOnce(BorrowedCursor<'_>) -> R, R>(
        &mut self,
        f: F,
    ) -> impl Future<Output = Result<R, Error>> {
        let mut f = Some(f);
        poll_fn(move |context| {
            // What did not fit comes again after a flush, so a piece that is nearly full is in the way.
            if self.0.piece.borrow().len > PIECE / 2 {
                ready!(self.0.poll_hand_over(context))?;
            }
            let piece = &mut *self.0.piece.borrow_mut();
            let mut buffer = BorrowedBuffer::new(&mut piece.bytes[piece.len..]);
            let f = f.take().expect("not polled after it was ready");
            let result = f(buffer.unfilled());
            piece.len += buffer.len();
            Poll::Ready(Ok(result))
        })
    }

    fn write_fmt(
        &mut self,
        arguments: fmt::Arguments<'_>,
    ) -> impl Future<Output = Result<(), Error>> {
        let mut done = 0;
        poll_fn(move |context| {
            loop {
                let mut piece = self.0.piece.borrow_mut();
                let len = piece.len;
                let room = &mut piece.bytes[len..];
                let size = room.len();
                let mut text = Text { skip: done, room, is_cut: false };
                let written = fmt::write(&mut text, arguments);
                let (put, is_cut) = (size - text.room.len(), text.is_cut);
                piece.len += put;
                drop(piece);
                // What cannot be formatted ends where it could not, as with picoserve's writers.
                if written.is_ok() || !is_cut {
                    return Poll::Ready(Ok(()));
                }
                done += put;
                ready!(self.0.poll_hand_over(context))?;
            }
        })
    }
}

/// Puts a text where there is room for it.
struct Text<'p> {
    /// So many bytes of it are elsewhere already.
    skip: usize,
    room: &'p mut [u8],
    /// There was not room for all.
    is_cut: bool,
}

impl fmt::Write for Text<'_> {
    #[inline]
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let mut bytes = part.as_bytes();
        if self.skip > 0 {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
        }
        self.is_cut = bytes.len() > self.room.len();
        let count = bytes.len().min(self.room.len());
        let (here, room) = mem::take(&mut self.room).split_at_mut(count);
        self.room = room;
        match (here, bytes) {
            // Most parts: line ends, and what is between names and values.
            ([a, b], [first, second]) => (*a, *b) = (*first, *second),
            (here, bytes) => here.copy_from_slice(&bytes[..count]),
        }
        if self.is_cut { Err(fmt::Error) } else { Ok(()) }
    }
}
