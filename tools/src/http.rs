//! The least of an HTTP client that tests need: they send bytes as they like, and read one answer
//! after the other.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// How long one step may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A longer answer is none.
const LONGEST: usize = 32 << 20;

/// A connection to a server, over any kind of stream.
#[derive(Debug)]
pub(crate) struct Connection<S = TcpStream> {
    stream: S,
    /// What has been received and not yet read.
    received: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Status line and headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A request as ordinary clients send it.
pub(crate) fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: wakeful.test\r\n\r\n")
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: Read + Write> Connection<S> {
    /// Over a stream that does not wait for ever.
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, received: Vec::new() }
    }

    /// Sends and awaits the answer.
    pub(crate) fn get(&mut self, path: &str) -> Result<Answer> {
        self.send(request(path).as_bytes())?;
        self.answer()?.context("closed without an answer")
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("cannot send")
    }

    /// The next answer; none if the server closes or resets the connection instead.
    pub(crate) fn answer(&mut self) -> Result<Option<Answer>> {
        let head = loop {
            if let Some(end) = find(&self.received, b"\r\n\r\n") {
                break self.take(end + 4);
            }
            if !self.receive()? {
                let rest = String::from_utf8_lossy(&self.received);
                ensure!(rest.is_empty(), "closed in the middle of an answer: {rest:?}");
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1)?.trim().parse().ok())
            .with_context(|| format!("no HTTP answer: {head:?}"))?;
        let body = match header(&head, "content-length") {
            Some(length) => {
                let length: usize = length.parse().context("Content-Length is no number")?;
                while self.received.len() < length {
                    ensure!(self.receive()?, "closed in the middle of a body: {head:?}");
                }
                self.take(length)
            }
            None if header(&head, "transfer-encoding").is_some() => {
                self.chunks().with_context(|| format!("in the body of {head:?}"))?
            }
            // Neither these nor upgrades have a body.
            None if status < 200 || status == 204 || status == 304 => Vec::new(),
            None => {
                while self.receive()? {}
                std::mem::take(&mut self.received)
            }
        };
        Ok(Some(Answer { status, head, body }))
    }

    /// A chunked body (RFC 9112 §7.1), without trailers.
    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).ok();
            let size = size.with_context(|| format!("{line:?} is no size of a chunk"))?;
            while self.received.len() < size {
                ensure!(self.receive()?, "closed in the middle of a chunk");
            }
            body.extend(self.take(size));
            ensure!(self.line()?.is_empty(), "no end of line behind a chunk");
            if size == 0 {
                return Ok(body);
            }
        }
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = find(&self.received, b"\r\n") {
                let line = self.take(end + 2);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            ensure!(self.receive()?, "closed in the middle of a line");
        }
    }

    /// Whatever comes next; empty at the end.
    pub(crate) fn piece(&mut self) -> Result<Vec<u8>> {
        if self.received.is_empty() {
            self.receive()?;
        }
        Ok(std::mem::take(&mut self.received))
    }

    /// Status line and headers, where the body is the caller's business.
    pub(crate) fn head(&mut self) -> Result<String> {
        let mut head = String::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(head);
            }
            head += &(line + "\n");
        }
    }

    /// Waits for the server to close the connection, having nothing more to say.
    pub(crate) fn closed(&mut self) -> Result<()> {
        let more = self.receive()?;
        ensure!(!more, "not closed: {:?}", String::from_utf8_lossy(&self.received));
        Ok(())
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    pub(crate) fn into_stream(self) -> S {
        self.stream
    }

    /// False at the end.
    fn receive(&mut self) -> Result<bool> {
        ensure!(self.received.len() < LONGEST, "more than {LONGEST} bytes of answer");
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(count) => {
                self.received.extend(&bytes[..count]);
                Ok(count > 0)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error).context("no answer"),
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.received.split_off(count);
        std::mem::replace(&mut self.received, rest)
    }
}

impl Answer {
    /// What one of its headers says.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Fails unless it has this status, and this text somewhere in its body.
    pub(crate) fn expect(&self, status: u16, text: &str) -> Result<()> {
        ensure!(
            self.status == status,
            "status {} instead of {status}: {:?}",
            self.status,
            self.head
        );
        let body = String::from_utf8_lossy(&self.body);
        ensure!(body.contains(text), "no {text:?} in the body: {body:?}");
        Ok(())
    }
}

/// The value of a header; names are the same in any case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then(|| value.trim()))
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

/// A web server on this computer, for machines that are clients, and for tests of clients. It serves
/// `Hello, World!` at `/plaintext`, echoes at `/echo` over a WebSocket, refuses what is no request, and
/// keeps connections. When it is dropped nobody is accepted any more.
pub(crate) struct WebServer {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl WebServer {
    /// Starts it at a free port of one of this computer's addresses.
    pub(crate) fn start(host: Ipv4Addr) -> Result<Self> {
        let listener = TcpListener::bind((host, 0)).context("no port for a web server")?;
        let address = listener.local_addr()?;
        let ended = Arc::new(AtomicBool::new(false));
        let end = ended.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::SeqCst) {
                    break;
                }
                std::thread::spawn(move || serve::connection(stream));
            }
        });
        Ok(Self { address, ended, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // It waits for somebody.
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            _ = thread.join();
        }
    }
}

mod serve {
    use super::*;

    pub(super) fn connection(stream: TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut connection = Connection { stream, received: Vec::new() };
        loop {
            let end = loop {
                if let Some(end) = find(&connection.received, b"\r\n\r\n") {
                    break end;
                }
                if connection.received.len() > 16 << 10 {
                    connection.send(b"HTTP/1.1 431 no\r\nContent-Length: 0\r\n\r\n")?;
                    return Ok(());
                }
                ensure!(connection.receive()?, "closed");
            };
            if connection.received.starts_with(b"GET /echo ") {
                return echo(connection);
            }
            let head = String::from_utf8_lossy(&connection.take(end + 4)).into_owned();
            let line: Vec<&str> = head.lines().next().unwrap_or_default().split(' ').collect();
            let (status, body) = match line[..] {
                ["GET", "/plaintext", "HTTP/1.1" | "HTTP/1.0"] => ("200 OK", "Hello, World!"),
                ["GET", _, "HTTP/1.1" | "HTTP/1.0"] => ("404 Not Found", "no such page"),
                _ => ("400 Bad Request", ""),
            };
            let length = body.len();
            let keep = match header(&head, "connection").map(str::to_ascii_lowercase).as_deref() {
                Some("keep-alive") => true,
                Some("close") => false,
                _ => line.last() == Some(&"HTTP/1.1"),
            };
            let state = if keep { "keep-alive" } else { "close" };
            connection.send(
                format!(
                    "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
                     Connection: {state}\r\n\r\n{body}"
                )
                .as_bytes(),
            )?;
            if !keep || status.starts_with("400") {
                return Ok(());
            }
        }
    }

    /// What has been read so far is read again.
    fn echo(connection: Connection) -> Result<()> {
        struct Again(std::io::Cursor<Vec<u8>>, TcpStream);
        impl Read for Again {
            fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
                match self.0.read(bytes)? {
                    0 => self.1.read(bytes),
                    count => Ok(count),
                }
            }
        }
        impl Write for Again {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.1.write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                self.1.flush()
            }
        }
        let stream = Again(std::io::Cursor::new(connection.received), connection.stream);
        let mut socket = tungstenite::accept(stream).ok().context("no handshake")?;
        loop {
            match socket.read()? {
                message @ (tungstenite::Message::Text(_) | tungstenite::Message::Binary(_)) => {
                    socket.send(message)?;
                }
                _ => socket.flush()?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_one_after_the_other() {
        let server = WebServer::start(Ipv4Addr::LOCALHOST).unwrap();
        let mut connection = Connection::open(server.address()).unwrap();
        connection.get("/plaintext").unwrap().expect(200, "Hello, World!").unwrap();
        connection.send(request("/plaintext").repeat(3).as_bytes()).unwrap();
        for _ in 0..3 {
            assert_eq!(connection.answer().unwrap().unwrap().body, b"Hello, World!");
        }
        connection.get("/nowhere").unwrap().expect(404, "").unwrap();
        assert!(connection.get("/nowhere").unwrap().expect(200, "").is_err());
        connection.send(b"nonsense\r\n\r\n").unwrap();
        assert_eq!(connection.answer().unwrap().unwrap().status, 400);
        assert_eq!(connection.answer().unwrap(), None);
    }

    #[test]
    fn chunks_become_a_body() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut connection = Connection::open(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        write!(server, "{head}4\r\nwake\r\n3\r\nful\r\n0\r\n\r\n{head}2\r\nup!").unwrap();
        drop(server);
        assert_eq!(connection.answer().unwrap().unwrap().body, b"wakeful");
        let error = format!("{:#}", connection.answer().unwrap_err());
        assert!(error.contains("closed in the middle of a line"), "{error}");
    }

    #[test]
    fn headers_have_no_case() {
        let head = "HTTP/1.1 200 OK\r\nContent-LENGTH: 13\r\n\r\n";
        assert_eq!(header(head, "content-length"), Some("13"));
        assert_eq!(header(head, "connection"), None);
    }
}
