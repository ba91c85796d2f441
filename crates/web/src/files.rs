//! Files of a FAT volume, as a web server has them.

mod links;
mod listing;
mod media;
mod path;
mod range;
mod reply;
mod version;

use alloc::string::String;
use core::future::Future;

use picoserve::{
    ResponseSent,
    io::Read,
    request::{Path, Request, RequestParts},
    response::{ResponseWriter, StatusCode},
    routing::{PathRouter, PathRouterService},
};
use wakeful_block::BlockDevice;
use wakeful_fat::{Error, Volume};

use self::{
    listing::Listing,
    path::{BadPath, Place, resolve},
    range::{Part, part},
    reply::{Piece, Reply},
    version::{Version, is_known},
};
use crate::router::{Answer, HEAD, Router, Shortage, fault, refuse};

/// What is asked for when a directory is.
const INDEX: &str = "/index.html";

/// A web server's files: those of a FAT volume, or of a directory of one.
///
/// ```ignore
/// http::serve(80, Files::new(volume).router()).await // that is all
/// let app = Files::new(volume).router().route("/stats", get(stats)); // what has no route is a file
/// let app = Router::new().route("/", get(page)).nest("/files", Files::new(volume).router());
/// ```
///
/// GET and HEAD, with types by the end of the name, one range (RFC 9110 §14), and a weak `ETag` and `Last-Modified` that save
/// who has a file already from getting it again; files without a date, or with that of a machine without a clock, have
/// neither. Names are as they are: paths with `..`, and with two slashes in a row, are no files. A directory is its
/// `index.html`, or else a list of what is in it. Everything in the volume is shown to everybody: hidden files are only left
/// out of lists.
///
/// A request takes its future, some 7 KiB, and a buffer of the file's length and at most 16 KiB until it is answered; a list
/// takes up to 256 KiB, and says so if there are more entries. Without memory the answer is "503". What cannot be read
/// is a "500", and a warning in the log. If that happens in the middle of a file the connection ends: the client sees
/// that the body is short.
///
/// Many clients are served at once: they take turns on the volume for each buffer. A client that goes leaves nothing: its
/// future is dropped, and the file is closed with the next thing that is done on the volume.
pub struct Files<D: BlockDevice> {
    volume: Volume<D>,
    has_lists: bool,
}

impl<D: BlockDevice> Files<D> {
    /// All files of a volume.
    pub fn new(volume: Volume<D>) -> Self {
        Self { volume, has_lists: true }
    }

    /// A directory without an `index.html` is "403 Forbidden", instead of a list of what is in it.
    #[must_use]
    pub fn without_lists(self) -> Self {
        Self { has_lists: false, ..self }
    }

    /// A router that answers all requests by these files: the whole application, or to be nested in
    /// another one, where `/files/` then is the volume's root, and `/files` is not. Routes that are added to it come first.
    pub fn router<S, C>(self) -> Router<impl PathRouter<S, C>, S, C> {
        let shortage = Shortage::default();
        Router::of(Service { files: self, shortage: shortage.clone() }, shortage)
    }
}

struct Service<D: BlockDevice> {
    files: Files<D>,
    shortage: Shortage,
}

impl<S, C, D: BlockDevice> PathRouterService<S, C> for Service<D> {
    fn call_path_router_service<R: Read, W: ResponseWriter<Error = R::Error>>(
        &self,
        _state: &S,
        _parameters: C,
        path: Path<'_>,
        request: Request<'_, R>,
        writer: W,
    ) -> impl Future<Output = Result<ResponseSent, W::Error>> {
        match fault(&request.parts) {
            None => Answer::given(&self.shortage, || self.answer(path, request, writer)),
            Some(fault) => Answer::refused(&self.shortage, || refuse(fault, request, writer)),
        }
    }
}

impl<D: BlockDevice> Service<D> {
    async fn answer<R: Read, W: ResponseWriter<Error = R::Error>>(
        &self,
        path: Path<'_>,
        request: Request<'_, R>,
        writer: W,
    ) -> Result<ResponseSent, W::Error> {
        let reply = match request.parts.method() {
            "GET" | HEAD => self.read(path, request.parts).await,
            _ => Reply::wrong_method(),
        };
        let is_head = request.parts.method() == HEAD;
        let connection = request.body_connection.finalize().await?;
        reply.write(is_head, connection, writer).await
    }

    async fn read(&self, path: Path<'_>, parts: RequestParts<'_>) -> Reply<'_, D> {
        let place = match resolve(path.encoded()) {
            Ok(place) => place,
            Err(BadPath::Malformed) => {
                return Reply::text(StatusCode::BAD_REQUEST, "this is not the path of a file\n");
            }
            Err(BadPath::OutOfMemory) => return Reply::busy(),
        };
        let read = match place.is_directory {
            true => self.directory(&place.path, parts).await,
            false => self.file(&place.path, parts).await,
        };
        match read {
            Ok(reply) => reply,
            Err(Error::IsADirectory) => own_name(parts).map_or_else(Reply::busy, Reply::directory),
            Err(error) => failure(&place, error),
        }
    }

    /// The file at a path.
    async fn file(&self, path: &str, parts: RequestParts<'_>) -> Result<Reply<'_, D>, Error> {
        let (file, metadata) = self.files.volume.open_with_metadata(path).await?;
        let (version, len) = (Version::of(&metadata), metadata.len);
        let headers = parts.headers();
        if is_known(headers, version) {
            return Ok(Reply::not_modified(version));
        }
        let is_head = parts.method() == HEAD;
        // Ranges are for GET alone (RFC 9110 §14.2), and never for who wants them of one version (see there).
        let asked = match headers.get("range") {
            Some(range) if !is_head && headers.get("if-range").is_none() => {
                part(range.as_raw(), len)
            }
            _ => Part::Whole,
        };
        let kind = media::kind(path);
        match asked {
            Part::Whole => {
                let piece = Piece::read(file, kind, 0..len, is_head, &self.shortage).await?;
                Ok(Reply::file(piece, version))
            }
            Part::Bytes(range) => {
                let piece = Piece::read(file, kind, range, is_head, &self.shortage).await?;
                Ok(Reply::part(piece, version, len))
            }
            Part::Outside => Ok(Reply::outside(len)),
        }
    }

    /// The directory at a path: its index, or a list.
    async fn directory(&self, path: &str, parts: RequestParts<'_>) -> Result<Reply<'_, D>, Error> {
        let parent = path.trim_end_matches('/');
        let index = joined(parent, INDEX)?;
        match self.file(&index, parts).await {
            Err(Error::NotFound | Error::IsADirectory) => {}
            read => return read,
        }
        let directory = self.files.volume.read_dir(path).await?;
        if !self.files.has_lists {
            return Ok(Reply::text(StatusCode::FORBIDDEN, "there is no list of this directory\n"));
        }
        let listing = Listing::read(joined(path, "")?, directory).await?;
        Ok(Reply::listing(listing))
    }
}

/// The last name of a request's path, whatever a router has taken of it. `None` without memory, and if there is none.
fn own_name(parts: RequestParts<'_>) -> Option<String> {
    let Place { mut path, .. } = resolve(parts.path().encoded()).ok()?;
    let name = path.rfind('/')? + 1;
    path.drain(..name);
    Some(path)
}

fn joined(first: &str, second: &str) -> Result<String, Error> {
    let mut text = String::new();
    text.try_reserve_exact(first.len() + second.len()).map_err(|_| Error::OutOfMemory)?;
    text.push_str(first);
    text.push_str(second);
    Ok(text)
}

/// What a client is told of an error of the volume, and the log of those that are not the client's.
fn failure<'s, D: BlockDevice>(place: &Place, error: Error) -> Reply<'s, D> {
    match error {
        Error::NotFound
        | Error::NotADirectory
        | Error::IsADirectory
        | Error::InvalidName
        | Error::NameTooLong => Reply::text(StatusCode::NOT_FOUND, "there is no such file\n"),
        Error::Denied => Reply::text(StatusCode::FORBIDDEN, "this file must not be read\n"),
        Error::OutOfMemory => Reply::busy(),
        // The rest are the device's, and what reading does not cause.
        Error::Device
        | Error::NoDevice
        | Error::Gone
        | Error::Corrupt
        | Error::NotFat
        | Error::Table
        | Error::Unsupported
        | Error::AlreadyExists
        | Error::NotEmpty
        | Error::Busy
        | Error::TooLarge
        | Error::InvalidInput
        | Error::ReadOnly
        | Error::NoSpace => {
            log::warn!("{}: {error}", place.path);
            Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "this file cannot be read\n")
        }
    }
}
