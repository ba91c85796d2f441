//! A server with routes of all kinds, on a wire in memory and a clock that is turned by hand; and what must
//! be true of all that it says.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::{Future, pending, poll_fn},
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use hadris_fat::{FatKind, FatOptions};
use hadris_storage::{BlockSize, MemDevice};
use picoserve::{
    Config, Error, ResponseSent, Server, Timeouts, Timer,
    extract::{FromRequest, Json, Query},
    io::{BaseWrite, ErrorType, Read, Socket, Write},
    mem::{BorrowedBuffer, BorrowedCursor},
    request::{RequestBody, RequestParts},
    response::{
        NoContent, ResponseWriter, StatusCode,
        chunked::{ChunkWriter, ChunkedResponse, Chunks, ChunksWritten},
        sse::{EventSource, EventWriter},
        ws::{Message, SocketRx, SocketTx, WebSocketCallback, WebSocketUpgrade},
    },
    routing::{Layer, Next, PathRouter, get, parse_path_segment, post},
    time::{Duration, TimeoutError},
};
use wakeful_block::fake::{self, Disk};
use wakeful_fat::{Clock, DateTime, Options, Volume};
use wakeful_web::{Files, Lack, Router, Silence, events, html, json, text};

#[path = "../../src/ration.rs"]
mod ration;

/// How the client behaves, beside what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It says everything at once, and that this was all.
    Hasty,
    /// It says it in pieces, and that this was all.
    Halting,
    /// It says it in pieces, and then nothing, not even that.
    Silent,
}

pub(crate) const MANNERS: [Manner; 3] = [Manner::Hasty, Manner::Halting, Manner::Silent];

/// Has a client say these bytes, and checks all that is said to it.
///
/// # Panics
///
/// If it is not as it must be.
pub(crate) fn converse(said: &[u8], manner: Manner) {
    /// What was said, if it is the last.
    struct Said<'a>(&'a [u8], Manner);

    impl Drop for Said<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{:?}: b\"{}\"", self.1, self.0.escape_ascii());
            }
        }
    }

    let _said = Said(said, manner);
    let methods = Rc::new(RefCell::new(Vec::new()));
    let (app, _) = app(methods.clone()).into_inner();
    let wire = Wire::new(said, manner);
    assert_eq!(serve(&app, &wire, |_| false), End::Closed);
    check(&wire.heard.borrow(), &methods.borrow());

    // The same again, with a server that is dropped whenever nothing is being asked yet.
    let again = Wire::new(said, manner);
    let rests = |silence: &Silence<()>| silence.since(()).is_some() && again.has_more_to_say();
    while serve(&app, &again, rests) == End::Dropped {
        assert!(again.say_more());
    }
    assert_eq!(
        wire.heard.borrow().escape_ascii().to_string(),
        again.heard.borrow().escape_ascii().to_string()
    );
}

/// Has a client say these bytes to a server for whose handlers there is no memory. What was lacking then, and
/// what was answered.
pub(crate) fn converse_without_memory(said: &[u8]) -> (Option<Lack>, Vec<u8>) {
    hear(app(Rc::default()), said, true)
}

/// What a router answers to these bytes, and what it lacks in the end. It may be poor of memory.
pub(crate) fn hear(
    app: Router<impl PathRouter>,
    said: &[u8],
    is_poor: bool,
) -> (Option<Lack>, Vec<u8>) {
    let (app, shortage) = app.into_inner();
    let wire = Wire::new(said, Manner::Hasty);
    wire.heard.borrow_mut().reserve(1 << 16);
    wire.poor.set(is_poor);
    let lack = Cell::new(None);
    serve(&app, &wire, |_| {
        lack.set(shortage.take());
        lack.get().is_some()
    });
    (lack.get(), wire.heard.take())
}

/// How a server came to its end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    /// Somebody has asked for it.
    Dropped,
}

/// Serves until the connection ends, or `drops` says, after a poll, that this is enough.
fn serve(
    app: &picoserve::Router<impl PathRouter>,
    wire: &Wire<'_>,
    drops: impl Fn(&Silence<()>) -> bool,
) -> End {
    let config = Config::new(TIMEOUTS).keep_connection_alive();
    let mut head = [0; 2048];
    let silence = &Silence::new(&head);
    let server = Server::custom(app, Timing(wire), &config, &mut head);
    run(server.serve(Line { wire, silence }), wire, || drops(silence))
}

/// Those of `modules/http`.
const TIMEOUTS: Timeouts = Timeouts {
    start_read_request: Duration::from_secs(10),
    persistent_start_read_request: Duration::from_secs(60),
    read_request: Duration::from_secs(10),
    write: Duration::from_secs(10),
};

/// Polls to the end. Whenever nothing goes on, the client says more, or time passes.
fn run(connection: impl Future, wire: &Wire<'_>, drops: impl Fn() -> bool) -> End {
    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let woken = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let mut connection = pin!(connection);
    let most = 100 + 10 * wire.said.len();
    for _ in 0..most {
        wire.due.set(u64::MAX);
        ration::set(wire.poor.get().then_some(300));
        let polled = connection.as_mut().poll(&mut Context::from_waker(&waker));
        ration::set(None);
        if polled.is_ready() {
            return End::Closed;
        }
        if drops() {
            return End::Dropped;
        }
        if woken.0.swap(false, Ordering::Relaxed) || wire.say_more() {
            continue;
        }
        let due = wire.due.get();
        if due == u64::MAX {
            // A WebSocket may be silent for as long as it likes.
            let upgraded = wire.heard.borrow().windows(12).any(|bytes| bytes == b"HTTP/1.1 101");
            assert!(upgraded && !wire.ended.replace(true), "it waits for ever");
            continue;
        }
        assert!(wire.pass_time());
    }
    panic!("not done after {most} turns");
}

/// What the client must be able to make of the answers to requests with these methods.
fn check(mut heard: &[u8], methods: &[String]) {
    let mut methods = methods.iter();
    let mut closed = false;
    while !heard.is_empty() {
        let all = String::from_utf8_lossy(heard);
        assert!(!closed, "an answer after the last one: {all:?}");
        let end = heard.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no end of the head: {all:?}"));
        let head = std::str::from_utf8(&heard[..end]).expect("a head is text");
        heard = &heard[end + 4..];
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
        let status = status.and_then(|rest| rest.split(' ').next()?.parse::<u16>().ok());
        let status = status.unwrap_or_else(|| panic!("no status: {head:?}"));
        assert!((100..600).contains(&status), "{head:?}");
        let headers: Vec<(String, &str)> = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no header: {line:?}")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        let graphic = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        for (name, value) in &headers {
            assert!(
                name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
                "{head:?}"
            );
            assert!(value.bytes().all(graphic), "{head:?}");
        }
        let header = |name: &str| {
            let mut found = headers.iter().filter(|(key, _)| key == name);
            let value = found.next().map(|(_, value)| *value);
            assert!(found.next().is_none(), "{name} twice: {head:?}");
            value
        };
        closed = header("connection").expect("it is always said") == "close";
        // What was no request at all has no method.
        let method = methods.next().map(String::as_str);
        assert!(method.is_some() || (status == 400 && closed), "nobody asked for it: {head:?}");
        // picoserve 0.20 says even to HEAD, in a body, that a path has no such method.
        if method == Some("HEAD") && status == 405 {
            return;
        }
        if status == 101 {
            break; // frames, which are the WebSocket's business
        }
        match (header("content-length"), header("transfer-encoding")) {
            (Some(_), Some(_)) => panic!("two lengths: {head:?}"),
            _ if method == Some("HEAD") || status == 204 || status == 304 => {}
            (Some(length), None) => {
                let length: usize = length.parse().expect("a length is a number");
                assert!(heard.len() >= length, "a short body: {all:?}");
                heard = &heard[length..];
            }
            (None, Some(encoding)) => {
                assert_eq!(encoding, "chunked");
                heard = chunks(heard);
            }
            (None, None) => {
                // The end of the connection is its end, so nothing can come behind it.
                match header("content-type") {
                    Some("text/event-stream") => assert_eq!(heard, b"event:number\ndata:1\n\n"),
                    _ => assert!(closed && !heard.windows(10).any(is_status), "{all:?}"),
                }
                break;
            }
        }
    }
    assert_eq!(methods.next(), None, "without an answer");
}

fn is_status(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.1 ") && bytes[9].is_ascii_digit()
}

/// What comes behind a chunked body.
fn chunks(mut heard: &[u8]) -> &[u8] {
    loop {
        let end =
            heard.windows(2).position(|window| window == b"\r\n").expect("the size has an end");
        let size = std::str::from_utf8(&heard[..end]).expect("a size is text");
        let size = usize::from_str_radix(size, 16).expect("a size is a number");
        let (chunk, rest) = heard[end + 2..].split_at(size + 2);
        assert!(chunk.ends_with(b"\r\n"), "a chunk without an end");
        heard = rest;
        if size == 0 {
            return heard;
        }
    }
}

/// Both directions, and the clock.
struct Wire<'a> {
    said: &'a [u8],
    manner: Manner,
    /// How much of it the server may have read by now, and how much it has.
    arrived: Cell<usize>,
    read: Cell<usize>,
    ended: Cell<bool>,
    heard: RefCell<Vec<u8>>,
    random: Cell<u64>,
    /// Milliseconds; and the next moment for which somebody waits.
    now: Cell<u64>,
    due: Cell<u64>,
    /// While it is served there is hardly any memory.
    poor: Cell<bool>,
}

impl<'a> Wire<'a> {
    fn new(said: &'a [u8], manner: Manner) -> Self {
        // The same bytes come in the same pieces.
        let fold = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let seed = said.iter().fold(0xcbf2_9ce4_8422_2325, fold) | 1;
        Self {
            said,
            manner,
            arrived: Cell::new(if manner == Manner::Hasty { said.len() } else { 0 }),
            read: Cell::new(0),
            ended: Cell::new(manner == Manner::Hasty),
            heard: RefCell::default(),
            random: Cell::new(seed),
            now: Cell::new(0),
            due: Cell::new(u64::MAX),
            poor: Cell::new(false),
        }
    }

    /// Goes to the next moment for which somebody waits. Whether there is one.
    fn pass_time(&self) -> bool {
        let due = self.due.get();
        self.now.set(self.now.get().max(due));
        due != u64::MAX
    }

    /// One of `1..=most`, small ones more often.
    fn some(&self, most: usize) -> usize {
        let mut random = self.random.get();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.set(random);
        let most = most.min(1 << (random >> 60));
        (random >> 8) as usize % most + 1
    }

    /// Whether there is something left to say, be it goodbye.
    fn has_more_to_say(&self) -> bool {
        let all_said = self.arrived.get() == self.said.len();
        !all_said || (self.manner != Manner::Silent && !self.ended.get())
    }

    /// Whether there was something left to say.
    fn say_more(&self) -> bool {
        let left = self.said.len() - self.arrived.get();
        if left > 0 {
            self.arrived.set(self.arrived.get() + self.some(left));
            return true;
        }
        self.manner != Manner::Silent && !self.ended.replace(true)
    }
}

struct Line<'w, 'a> {
    wire: &'w Wire<'a>,
    silence: &'w Silence<()>,
}

struct ReadHalf<'w, 'a>(&'w Wire<'a>, &'w Silence<()>);
struct WriteHalf<'w, 'a>(&'w Wire<'a>);

/// What picoserve calls a runtime: this one.
struct Here;

impl<'w, 'a> Socket<Here> for Line<'w, 'a> {
    type Error = Infallible;
    type ReadHalf<'s>
        = ReadHalf<'w, 'a>
    where
        Self: 's;
    type WriteHalf<'s>
        = WriteHalf<'w, 'a>
    where
        Self: 's;

    fn split(&mut self) -> (ReadHalf<'w, 'a>, WriteHalf<'w, 'a>) {
        (ReadHalf(self.wire, self.silence), WriteHalf(self.wire))
    }

    async fn abort<T: Timer<Here>>(self, _: &Timeouts, _: &T) -> Result<(), Error<Infallible>> {
        Ok(())
    }

    async fn shutdown<T: Timer<Here>>(self, _: &Timeouts, _: &T) -> Result<(), Error<Infallible>> {
        Ok(())
    }
}

impl ErrorType for ReadHalf<'_, '_> {
    type Error = Infallible;
}

impl Read for ReadHalf<'_, '_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Self(wire, silence) = self;
        poll_fn(|_| {
            let arrived = &wire.said[wire.read.get()..wire.arrived.get()];
            let pending = arrived.is_empty() && !wire.ended.get() && !buffer.is_empty();
            if silence.begins(buffer) {
                silence.goes_on(pending);
            }
            if pending {
                return Poll::Pending;
            }
            let count = arrived.len().min(buffer.len());
            buffer[..count].copy_from_slice(&arrived[..count]);
            wire.read.set(wire.read.get() + count);
            Poll::Ready(Ok(count))
        })
        .await
    }
}

impl ErrorType for WriteHalf<'_, '_> {
    type Error = Infallible;
}

impl BaseWrite for WriteHalf<'_, '_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let count = if bytes.is_empty() { 0 } else { self.0.some(bytes.len()) };
        self.0.heard.borrow_mut().extend(&bytes[..count]);
        Ok(count)
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Write for WriteHalf<'_, '_> {
    async fn write_with<F: FnOnce(BorrowedCursor<'_>) -> R, R>(
        &mut self,
        f: F,
    ) -> Result<R, Infallible> {
        let mut bytes = [0; 512];
        let mut buffer = BorrowedBuffer::new(&mut bytes);
        let result = f(buffer.unfilled());
        self.0.heard.borrow_mut().extend(buffer.filled());
        Ok(result)
    }
}

struct Timing<'w, 'a>(&'w Wire<'a>);

impl Timer<Here> for Timing<'_, '_> {
    async fn delay(&self, duration: Duration) {
        let end = self.0.now.get() + duration.as_millis();
        poll_fn(|_| {
            if end <= self.0.now.get() {
                return Poll::Ready(());
            }
            self.0.due.set(self.0.due.get().min(end));
            Poll::Pending
        })
        .await;
    }

    async fn timeout(&self, duration: Duration) -> TimeoutError {
        self.delay(duration).await;
        TimeoutError
    }
}

/// Routes of all kinds, which note the methods of requests.
fn app(methods: Rc<RefCell<Vec<String>>>) -> Router<impl PathRouter> {
    Router::new()
        .route("/", get(async || html("<p>Hello")))
        .route("/plaintext", get(async || text("Hello, World!")))
        .route("/big", get(async || text("wake up! ".repeat(1000))))
        .route("/sum", get(async |Query(Pair { a, b }): Query<Pair>| json(&a.checked_add(b))))
        .route(
            ("/square", parse_path_segment::<i32>()),
            get(async |x: i32| json(&x.wrapping_mul(x))),
        )
        .route("/json", post(async |Json(Pair { a, b }): Json<Pair>| json(&a.checked_add(b))))
        .route("/text", post(async |body: String| text(body)))
        .route("/upload", post(async |Upload(count)| json(&count)))
        .route("/both", get(async || text("got")).post(async || text("posted")))
        .route("/chunked", get(async || ChunkedResponse::new(Pieces)))
        .route("/events", get(async || events(Numbers)))
        .route("/empty", get(async || (StatusCode::NO_CONTENT, NoContent)))
        .route("/echo", get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(Echo)))
        .nest("/below", Router::new().route("/there", get(async || text("here"))))
        .nest("/files", Files::new(volume()).router())
        .layer(Noting(methods))
}

/// A volume with some files. It is made once for each thread.
pub(crate) fn volume() -> Volume<Disk> {
    thread_local! {
        static VOLUME: Volume<Disk> = format();
    }
    VOLUME.with(Volume::clone)
}

/// A file of so many bytes has these.
pub(crate) fn content(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place / 251 + place) as u8).collect()
}

fn format() -> Volume<Disk> {
    let clock =
        Clock(|| Some(DateTime { year: 2026, month: 11, day: 22, hour: 0, minute: 1, second: 2 }));
    let (bytes, clock) = (vec![0; 1 << 20], Box::leak(Box::new(clock)));
    let mut device = MemDevice::new(bytes, BlockSize::new(512).expect("a power of two"));
    let layout = FatOptions::new().with_kind(FatKind::Fat12);
    fake::run(hadris_fat::async_::format(&mut device, &layout)).expect("there is room");
    let disk = Disk::from_bytes(512, device.into_inner(), 1).with_polls(0);
    let fill = async {
        let volume = Volume::mount(disk, Options { clock, ..Options::default() }).await?;
        for folder in ["/empty", "/site", "/odd ä&'"] {
            volume.create_dir(folder).await?;
        }
        volume.write("/a.txt", b"Hello").await?;
        volume.write("/nothing", b"").await?;
        volume.write("/large.bin", &content(100_000)).await?;
        volume.write("/site/index.html", b"<p>").await?;
        volume.write("/odd ä&'/b & c'd.html", b"<p>").await?;
        volume.sync().await?;
        Ok::<_, wakeful_fat::Error>(volume)
    };
    fake::run(fill).expect("there is room")
}

#[derive(serde::Deserialize)]
struct Pair {
    a: i64,
    b: i64,
}

struct Noting(Rc<RefCell<Vec<String>>>);

impl<S, P> Layer<S, P> for Noting {
    type NextState = S;
    type NextPathParameters = P;

    async fn call_layer<
        'a,
        R: Read + 'a,
        N: Next<'a, R, S, P>,
        W: ResponseWriter<Error = R::Error>,
    >(
        &self,
        next: N,
        state: &S,
        parameters: P,
        parts: RequestParts<'_>,
        writer: W,
    ) -> Result<ResponseSent, W::Error> {
        self.0.borrow_mut().push(parts.method().into());
        next.run(state, parameters, writer).await
    }
}

/// Reads all of a body.
struct Upload(usize);

impl<'r, S> FromRequest<'r, S> for Upload {
    type Rejection = (StatusCode, &'static str);

    async fn from_request<R: Read>(
        _: &'r S,
        _: RequestParts<'r>,
        body: RequestBody<'r, R>,
    ) -> Result<Self, Self::Rejection> {
        let (mut reader, mut bytes) = (body.reader(), 0);
        loop {
            match reader.read(&mut [0; 100]).await {
                Ok(0) if bytes == reader.content_length() => return Ok(Self(bytes)),
                Ok(count @ 1..) => bytes += count,
                _ => return Err((StatusCode::BAD_REQUEST, "short")),
            }
        }
    }
}

struct Pieces;

impl Chunks for Pieces {
    fn content_type(&self) -> &'static str {
        "text/plain"
    }

    async fn write_chunks<W: Write>(
        self,
        mut writer: ChunkWriter<W>,
    ) -> Result<ChunksWritten, W::Error> {
        writer.write_chunk(&[b'a'; 1000]).await?;
        write!(writer, "{}", "wake up! ".repeat(100)).await?;
        writer.finalize().await
    }
}

struct Numbers;

impl EventSource for Numbers {
    async fn write_events<W: Write>(self, mut writer: EventWriter<'_, W>) -> Result<(), W::Error> {
        writer.write_event("number", "1").await?;
        writer.flush().await
    }
}

struct Echo;

impl WebSocketCallback for Echo {
    async fn run<R: Read, W: Write<Error = R::Error>>(
        self,
        mut rx: SocketRx<R>,
        mut tx: SocketTx<W>,
    ) -> Result<(), W::Error> {
        let mut buffer = [0; 200];
        for _ in 0..10 {
            match rx.next_message(&mut buffer, pending::<Infallible>()).await?.ignore_never_b() {
                Ok(Message::Text(text)) => tx.send_text(text).await?,
                Ok(Message::Binary(bytes)) => tx.send_binary(bytes).await?,
                Ok(Message::Ping(bytes)) => tx.send_pong(bytes).await?,
                Ok(Message::Pong(_)) => {}
                Ok(Message::Close(reason)) => return tx.close(reason).await,
                Err(error) => return tx.close((error.code(), "")).await,
            }
            tx.flush().await?;
        }
        tx.close(None).await
    }
}
