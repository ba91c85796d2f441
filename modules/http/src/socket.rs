//! A connection, as picoserve wants it.

use core::{
    future::{Future, poll_fn},
    task::{Context, Poll, ready},
};

use picoserve::{
    Error as ServeError, Timeouts, Timer,
    io::{BaseWrite, ErrorType, Socket, Write},
    mem::{BorrowedBuffer, BorrowedCursor},
};
use wakeful_net::{Error, ReadHalf, TcpStream, WriteHalf};

use crate::timer::Wakeful;

/// How many bytes of a response are put together before they go to the TCP ring.
const PIECE: usize = 1024;

/// How many bytes that nobody asked for are read from a peer, so that it gets to read the answer.
const PATIENCE: usize = 64 * 1024;

/// A connection and the piece of a response that is being written.
pub(crate) struct Connection {
    stream: TcpStream,
    piece: Piece,
}

/// What was written and has not gone to the TCP ring.
struct Piece {
    bytes: [u8; PIECE],
    len: usize,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, piece: Piece { bytes: [0; PIECE], len: 0 } }
    }

    /// Says goodbye, and reads what the peer is still sending: otherwise it would get a reset, perhaps before
    /// it has read the answer (RFC 9112 §9.6).
    async fn linger<T: Timer<Wakeful>>(
        mut self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), ServeError<Error>> {
        {
            let (_, mut writer) = self.split();
            timer
                .run_with_timeout(timeouts.write, writer.flush())
                .await
                .map_err(ServeError::WriteTimeout)?
                .map_err(ServeError::Write)?;
        }
        self.stream.shut();
        let discard = async {
            let mut buffer = [0; 256];
            let mut rest = PATIENCE;
            loop {
                match self.stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) if count < rest => rest -= count,
                    Ok(_) => break,
                }
            }
        };
        // Whichever ends first: the stream is dropped now.
        let _ = timer.run_with_timeout(timeouts.read_request, discard).await;
        Ok(())
    }
}

impl Socket<Wakeful> for Connection {
    type Error = Error;
    type ReadHalf<'a> = ReadHalf<'a>;
    type WriteHalf<'a> = Writer<'a>;

    fn split(&mut self) -> (ReadHalf<'_>, Writer<'_>) {
        let (reader, writer) = self.stream.split();
        (reader, Writer { stream: writer, piece: &mut self.piece })
    }

    /// What was written goes out all the same: it may say what was wrong.
    async fn abort<T: Timer<Wakeful>>(
        self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), ServeError<Error>> {
        self.linger(timeouts, timer).await
    }

    async fn shutdown<T: Timer<Wakeful>>(
        self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), ServeError<Error>> {
        if self.piece.len == 0 && !self.stream.has_unread() {
            return Ok(()); // dropping it says goodbye
        }
        self.linger(timeouts, timer).await
    }
}

/// Writes a response.
pub(crate) struct Writer<'a> {
    stream: WriteHalf<'a>,
    piece: &'a mut Piece,
}

impl Writer<'_> {
    /// Hands the piece to the TCP ring.
    fn poll_hand_over(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while self.piece.len > 0 {
            let bytes = &self.piece.bytes[..self.piece.len];
            let written = ready!(self.stream.poll_write_corked(context, bytes))?;
            self.piece.bytes.copy_within(written..self.piece.len, 0);
            self.piece.len -= written;
        }
        Poll::Ready(Ok(()))
    }
}

impl ErrorType for Writer<'_> {
    type Error = Error;
}

// Futures of few words: they are part of picoserve's, which are moved about.
impl BaseWrite for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> impl Future<Output = Result<usize, Error>> {
        poll_fn(|context| {
            if bytes.len() <= PIECE - self.piece.len {
                self.piece.bytes[self.piece.len..][..bytes.len()].copy_from_slice(bytes);
                self.piece.len += bytes.len();
                return Poll::Ready(Ok(bytes.len()));
            }
            // Long: straight into the ring.
            ready!(self.poll_hand_over(context))?;
            self.stream.poll_write_corked(context, bytes)
        })
    }

    fn flush(&mut self) -> impl Future<Output = Result<(), Error>> {
        poll_fn(|context| {
            ready!(self.poll_hand_over(context))?;
            self.stream.send_now();
            Poll::Ready(Ok(()))
        })
    }
}

impl Write for Writer<'_> {
    fn write_with<F: FnOnce(BorrowedCursor<'_>) -> R, R>(
        &mut self,
        f: F,
    ) -> impl Future<Output = Result<R, Error>> {
        let mut f = Some(f);
        poll_fn(move |context| {
            if self.piece.len == PIECE {
                ready!(self.poll_hand_over(context))?;
            }
            let mut buffer = BorrowedBuffer::new(&mut self.piece.bytes[self.piece.len..]);
            let f = f.take().expect("not polled after it was ready");
            let result = f(buffer.unfilled());
            let written = buffer.len();
            self.piece.len += written;
            Poll::Ready(Ok(result))
        })
    }
}
