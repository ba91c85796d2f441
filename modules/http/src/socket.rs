//! A connection, as picoserve wants it.

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
    async fn hand_over(&mut self) -> Result<(), Error> {
        let mut from = 0;
        while from < self.piece.len {
            // Taken back to the front, should this be dropped here: nothing is written twice.
            from += self.stream.write_corked(&self.piece.bytes[from..self.piece.len]).await?;
            if from < self.piece.len {
                self.piece.bytes.copy_within(from..self.piece.len, 0);
                self.piece.len -= from;
                from = 0;
            }
        }
        self.piece.len = 0;
        Ok(())
    }
}

impl ErrorType for Writer<'_> {
    type Error = Error;
}

impl BaseWrite for Writer<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let free = PIECE - self.piece.len;
        if bytes.len() <= free {
            self.piece.bytes[self.piece.len..][..bytes.len()].copy_from_slice(bytes);
            self.piece.len += bytes.len();
            return Ok(bytes.len());
        }
        // Long: straight into the ring.
        self.hand_over().await?;
        self.stream.write_corked(bytes).await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.hand_over().await?;
        self.stream.flush().await
    }
}

impl Write for Writer<'_> {
    async fn write_with<F: FnOnce(BorrowedCursor<'_>) -> R, R>(&mut self, f: F) -> Result<R, Error> {
        if self.piece.len == PIECE {
            self.hand_over().await?;
        }
        let mut buffer = BorrowedBuffer::new(&mut self.piece.bytes[self.piece.len..]);
        let result = f(buffer.unfilled());
        self.piece.len += buffer.len();
        Ok(result)
    }
}
