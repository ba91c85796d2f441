//! Answers: a status, a few headers, and a body that may be a piece of a file.
//!
//! There is one type for all, as picoserve writes each by code of its own.

use alloc::{string::String, vec::Vec};
use core::{
    fmt::{self, Write as _},
    future::pending,
    ops::Range,
};

use arrayvec::ArrayVec;
use picoserve::{
    ResponseSent,
    io::{Read, Write},
    response::{Connection, Content, Response, ResponseWriter, StatusCode},
};
use wakeful_block::BlockDevice;
use wakeful_fat::{Error, File};

use super::{
    links::Encoded,
    listing::Listing,
    version::{Date, Tag, Version},
};
use crate::router::{Lack, Shortage};

/// An answer.
pub(super) struct Reply<'s, D: BlockDevice> {
    status: StatusCode,
    headers: Headers,
    /// `None` for "not modified", which has none, and no length either.
    body: Option<Body<'s, D>>,
}

/// No answer has more.
type Headers = ArrayVec<(&'static str, Value), 4>;

/// What a header says.
enum Value {
    Text(&'static str),
    /// The directory with this name, relative to the request's path (RFC 9110 §10.2.2).
    Directory(String),
    Tag(Tag),
    Date(Date),
    /// Bytes of a file, and its length (RFC 9110 §14.4).
    Range(Range<u64>, u64),
    /// That there are none of those that were asked for.
    NoRange(u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            // Without the dot a name such as `a:b` would be an address.
            Self::Directory(name) => write!(f, "./{}/", Encoded(name)),
            Self::Tag(tag) => tag.fmt(f),
            Self::Date(date) => date.fmt(f),
            Self::Range(Range { start, end }, len) => write!(f, "bytes {start}-{}/{len}", end - 1),
            Self::NoRange(len) => write!(f, "bytes */{len}"),
        }
    }
}

impl<'s, D: BlockDevice> Reply<'s, D> {
    fn new(status: StatusCode, body: Option<Body<'s, D>>) -> Self {
        Self { status, headers: Headers::new(), body }
    }

    fn with(mut self, name: &'static str, value: Value) -> Self {
        self.headers.push((name, value));
        self
    }

    /// What could not be done, and why.
    pub(super) fn text(status: StatusCode, text: &'static str) -> Self {
        Self::new(status, Some(Body::Text(text)))
    }

    /// Another method is needed.
    pub(super) fn wrong_method() -> Self {
        Self::text(StatusCode::METHOD_NOT_ALLOWED, "files are read: GET and HEAD\n")
            .with("Allow", Value::Text("GET, HEAD"))
    }

    /// There is no memory for the answer now.
    pub(super) fn busy() -> Self {
        Self::text(StatusCode::SERVICE_UNAVAILABLE, "there is no memory for that now\n")
            .with("Retry-After", Value::Text("1"))
    }

    /// A directory's page is where the path ends with a slash, as its links are relative.
    pub(super) fn directory(name: String) -> Self {
        Self::text(StatusCode::MOVED_PERMANENTLY, "this is a directory\n")
            .with("Location", Value::Directory(name))
    }

    /// What is in a directory.
    pub(super) fn listing(listing: Listing) -> Self {
        let mut counter = Counter(0);
        // It does not fail, and the page does not either.
        _ = write!(counter, "{listing}");
        Self::new(StatusCode::OK, Some(Body::Listing(listing, counter.0)))
    }

    /// The client has it already.
    pub(super) fn not_modified(version: Option<Version>) -> Self {
        Self::new(StatusCode::NOT_MODIFIED, None).of(version)
    }

    /// Nothing of what was asked for is in a file of this length.
    pub(super) fn outside(len: u64) -> Self {
        Self::text(StatusCode::RANGE_NOT_SATISFIABLE, "the file is not that long\n")
            .with("Content-Range", Value::NoRange(len))
    }

    /// All of a file.
    pub(super) fn file(piece: Piece<'s, D>, version: Option<Version>) -> Self {
        Self::new(StatusCode::OK, Some(Body::File(piece)))
            .of(version)
            .with("Accept-Ranges", Value::Text("bytes"))
    }

    /// A part of a file, of which this is the length.
    pub(super) fn part(piece: Piece<'s, D>, version: Option<Version>, len: u64) -> Self {
        let range = Value::Range(piece.range.clone(), len);
        Self::new(StatusCode::PARTIAL_CONTENT, Some(Body::File(piece)))
            .of(version)
            .with("Content-Range", range)
    }

    fn of(self, version: Option<Version>) -> Self {
        let Some(version) = version else { return self };
        self.with("ETag", Value::Tag(version.tag()))
            .with("Last-Modified", Value::Date(version.date()))
    }

    /// Says it. To HEAD all but the body is said (RFC 9110 §9.3.2).
    ///
    /// # Cancellation
    ///
    /// The client gets a part of it.
    pub(super) async fn write<R: Read, W: ResponseWriter<Error = R::Error>>(
        self,
        is_head: bool,
        connection: Connection<'_, R>,
        writer: W,
    ) -> Result<ResponseSent, W::Error> {
        let Self { status, headers, body } = self;
        let Some(body) = body else {
            let response = Response::empty(status).with_headers(&headers[..]);
            return writer.write_response(connection, response).await;
        };
        let response = Response::new(status, Page { body, is_head }).with_headers(&headers[..]);
        writer.write_response(connection, response).await
    }
}

/// What follows the headers.
enum Body<'s, D: BlockDevice> {
    Text(&'static str),
    /// With the length of the page.
    Listing(Listing, usize),
    File(Piece<'s, D>),
}

/// A body, or what there is to say of it.
struct Page<'s, D: BlockDevice> {
    body: Body<'s, D>,
    is_head: bool,
}

impl<D: BlockDevice> Content for Page<'_, D> {
    fn content_type(&self) -> &'static str {
        match &self.body {
            Body::Text(_) => "text/plain; charset=utf-8",
            Body::Listing(..) => "text/html; charset=utf-8",
            Body::File(piece) => piece.kind,
        }
    }

    fn content_length(&self) -> usize {
        match &self.body {
            Body::Text(text) => text.len(),
            Body::Listing(_, len) => *len,
            // Files of FAT have less than 4 GiB.
            Body::File(piece) => (piece.range.end - piece.range.start) as usize,
        }
    }

    async fn write_content<W: Write>(self, mut writer: W) -> Result<(), W::Error> {
        match self.body {
            _ if self.is_head => Ok(()),
            Body::Text(text) => writer.write_all(text.as_bytes()).await,
            Body::Listing(listing, _) => listing.send(&mut writer).await,
            Body::File(piece) => piece.write(writer).await,
        }
    }
}

/// The most bytes of a file that are in memory for a request.
const BUFFER: u64 = 16 << 10;

/// Bytes of a file, the first of which have been read.
pub(super) struct Piece<'s, D: BlockDevice> {
    file: File<D>,
    kind: &'static str,
    range: Range<u64>,
    buffer: Vec<u8>,
    /// So many of the range are in the buffer.
    read: usize,
    shortage: &'s Shortage,
}

impl<'s, D: BlockDevice> Piece<'s, D> {
    /// Some bytes of a file that is so long. A part of them is read, unless only its length is asked for.
    ///
    /// # Errors
    ///
    /// As [`File::read_at`], and [`Error::OutOfMemory`] for the buffer; [`Error::Corrupt`] for a file that is
    /// shorter.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub(super) async fn read(
        file: File<D>,
        kind: &'static str,
        range: Range<u64>,
        is_head: bool,
        shortage: &'s Shortage,
    ) -> Result<Self, Error> {
        let mut piece = Self { file, kind, range, buffer: Vec::new(), read: 0, shortage };
        if !is_head && !piece.range.is_empty() {
            // No more than the buffer's.
            let len = (piece.range.end - piece.range.start).min(BUFFER) as usize;
            piece.buffer.try_reserve_exact(len).map_err(|_| Error::OutOfMemory)?;
            piece.buffer.resize(len, 0);
            piece.read = piece.fill(piece.range.start).await?;
        }
        Ok(piece)
    }

    /// Reads to the buffer from a place in the range on. Says how much, one byte at least.
    async fn fill(&mut self, place: u64) -> Result<usize, Error> {
        // Up to where a buffer's worth ends in the file: reads then begin with a block.
        let most = (BUFFER - place % BUFFER).min(self.range.end - place) as usize;
        match self.file.read_at(place, &mut self.buffer[..most]).await? {
            0 => Err(Error::Corrupt),
            count => Ok(count),
        }
    }

    async fn write<W: Write>(mut self, mut writer: W) -> Result<(), W::Error> {
        let mut place = self.range.start;
        while place < self.range.end {
            writer.write_all(&self.buffer[..self.read]).await?;
            place += self.read as u64;
            if place == self.range.end {
                break;
            }
            match self.fill(place).await {
                Ok(count) => self.read = count,
                Err(error) => {
                    log::warn!(
                        "a file that is being sent cannot be read on from byte {place}: {error}"
                    );
                    // Its length has been said: the client learns by the end of the connection.
                    writer.flush().await?;
                    self.shortage.happens(Lack::Rest);
                    pending::<()>().await;
                }
            }
        }
        Ok(())
    }
}

/// Counts the bytes of a text.
struct Counter(usize);

impl fmt::Write for Counter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}
