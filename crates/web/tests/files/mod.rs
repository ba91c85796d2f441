//! What a client of files hears.

use picoserve::routing::{PathRouter, get};
use wakeful_block::fake;
use wakeful_fat::{Options, Volume};
use wakeful_web::{Files, Lack, Router, text};

use crate::wire::{content, hear, volume};

/// An answer, in parts.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
    lack: Option<Lack>,
}

impl Answer {
    #[track_caller]
    fn of((lack, heard): (Option<Lack>, Vec<u8>)) -> Self {
        let end = heard.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("there is a head");
        let head = String::from_utf8(heard[..end + 2].to_vec()).expect("a head is text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self { status: status.expect("a status"), body: heard[end + 4..].to_vec(), lack, head }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| {
            line.split_once(": ").is_some_and(|(key, _)| key.eq_ignore_ascii_case(name))
        });
        line.and_then(|line| Some(line.split_once(": ")?.1))
    }
}

fn ask(app: Router<impl PathRouter>, method: &str, path: &str, headers: &str) -> Answer {
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
    Answer::of(hear(app, request.as_bytes(), false))
}

fn files() -> Router<impl PathRouter> {
    Files::new(volume()).router()
}

fn request(path: &str, headers: &str) -> Answer {
    ask(files(), "GET", path, headers)
}

const TAG: &str = "W/\"5-20261122000102\"";

#[test]
fn file_has_type_length_and_version() {
    let answer = request("/a.txt", "");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"Hello"[..]));
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", "5"),
        ("etag", TAG),
        ("last-modified", "Sun, 22 Nov 2026 00:01:02 GMT"),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{}", answer.head);
    }
    let nothing = request("/nothing", "");
    assert_eq!((nothing.status, nothing.body.len()), (200, 0));
    assert_eq!(nothing.header("content-type"), Some("application/octet-stream"));
}

#[test]
fn large_file_comes_whole() {
    let answer = request("/large.bin", "");
    assert_eq!((answer.status, answer.lack), (200, None));
    assert_eq!(answer.header("content-length"), Some("100000"));
    assert!(answer.body == content(100_000));
}

#[test]
fn ranges() {
    let all = content(100_000);
    for (range, said, bytes) in [
        ("0-9", "bytes 0-9/100000", 0..10),
        ("-10", "bytes 99990-99999/100000", 99_990..100_000),
        ("10000-59999", "bytes 10000-59999/100000", 10_000..60_000),
        ("99999-", "bytes 99999-99999/100000", 99_999..100_000),
        ("0-1000000", "bytes 0-99999/100000", 0..100_000),
    ] {
        let answer = request("/large.bin", &format!("Range: bytes={range}\r\n"));
        assert_eq!((answer.status, answer.header("content-range")), (206, Some(said)));
        assert!(answer.body == all[bytes], "{range}");
    }
    let outside = request("/large.bin", "Range: bytes=100000-\r\n");
    assert_eq!((outside.status, outside.header("content-range")), (416, Some("bytes */100000")));
    for ignored in [
        "Range: bytes=0-1,5-6\r\n",
        "Range: nonsense\r\n",
        "Range: bytes=0-1\r\nIf-Range: W/\"186a0-20261122000102\"\r\n",
        "Range: bytes=0-1\r\nIf-Range: Sun, 22 Nov 2026 00:01:02 GMT\r\n",
    ] {
        let answer = request("/large.bin", ignored);
        assert_eq!((answer.status, answer.body.len()), (200, 100_000), "{ignored}");
    }
}

#[test]
fn who_has_it_does_not_get_it() {
    for known in [
        &format!("If-None-Match: {TAG}\r\n"),
        "If-None-Match: \"a\", \"5-20261122000102\"\r\n",
        "If-None-Match: *\r\n",
        "If-None-Match: \"a\"\r\nIf-None-Match: *\r\n",
        "If-Modified-Since: Sun, 22 Nov 2026 00:01:02 GMT\r\n",
        &format!("If-None-Match: {TAG}\r\nRange: bytes=900-\r\n"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = ask(files(), method, "/a.txt", known);
            assert_eq!((answer.status, answer.body.len()), (304, 0), "{known}");
            assert_eq!(answer.header("etag"), Some(TAG));
            assert_eq!(answer.header("content-length"), None, "{}", answer.head);
        }
    }
    for other in [
        "If-None-Match: \"a\"\r\n",
        "If-None-Match: \"a\"\r\nIf-Modified-Since: Sun, 22 Nov 2026 00:01:02 GMT\r\n",
        "If-Modified-Since: Sun, 22 Nov 2026 00:01:00 GMT\r\n",
    ] {
        assert_eq!(request("/a.txt", other).status, 200, "{other}");
    }
}

#[test]
fn head_says_what_get_would() {
    for path in ["/a.txt", "/large.bin", "/", "/site/", "/site", "/none", "/%00"] {
        let (get, head) = (request(path, ""), ask(files(), "HEAD", path, "Range: bytes=0-1\r\n"));
        assert_eq!((head.head, head.body.len()), (get.head, 0));
    }
}

#[test]
fn directories() {
    let page = request("/", "");
    let text = String::from_utf8(page.body.clone()).expect("a page is text");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part} in {text}"));
    let odd = place("<a href=\"./odd%20%C3%A4%26%27/\">odd ä&amp;&#39;/</a>");
    assert!(
        place(">empty/<") < odd && odd < place(">site/<") && place(">site/<") < place(">a.txt<")
    );
    place("<td>98 KiB</td><td>2026-11-22 00:01</td>");
    let below = request("/odd%20%C3%A4%26%27/", "");
    let text = String::from_utf8(below.body).expect("a page is text");
    assert!(text.contains("href=\"./b%20%26%20c%27d.html\">b &amp; c&#39;d.html<"), "{text}");
    let file = request("/odd%20%C3%A4%26%27/b%20%26%20c%27d.html", "");
    assert_eq!((file.status, &file.body[..]), (200, &b"<p>"[..]));

    let index = request("/site/", "");
    assert_eq!((index.status, &index.body[..]), (200, &b"<p>"[..]));
    assert_eq!(index.header("content-type"), Some("text/html; charset=utf-8"));
    let moved = request("/site", "");
    assert_eq!((moved.status, moved.header("location")), (301, Some("./site/")));
    let moved = request("/odd%20%C3%A4%26%27", "");
    assert_eq!(moved.header("location"), Some("./odd%20%C3%A4%26%27/"));

    let closed = |path| ask(Files::new(volume()).without_lists().router(), "GET", path, "").status;
    assert_eq!(
        [closed("/"), closed("/empty/"), closed("/site/"), closed("/none/")],
        [403, 403, 200, 404]
    );
}

#[test]
fn long_lists_are_cut() {
    let (volume, entries) = (volume(), 340);
    let fill = async {
        volume.create_dir("/crowd").await?;
        for number in 0..entries {
            // The longest names that there can be, of three bytes for each character.
            let name = format!("/crowd/{number:03}{}", "漢".repeat(252));
            volume.create(&name).await?.close().await?;
        }
        Ok::<_, wakeful_fat::Error>(())
    };
    fake::run(fill).expect("there is room");
    let page = request("/crowd/", "");
    let text = String::from_utf8(page.body).expect("a page is text");
    let rows = text.matches("href=\"./").count();
    assert!(text.contains("There are more") && (300..entries).contains(&rows), "{rows}");
    assert!(!String::from_utf8_lossy(&request("/", "").body).contains("There are more"));
}

#[test]
fn what_is_not_there() {
    for path in ["/none", "/none/", "/a.txt/", "/a.txt/b", "/site/none", "/a%3Ab", "/a.txt%2a"] {
        assert_eq!(request(path, "").status, 404, "{path}");
    }
    for path in [
        "/../a.txt",
        "/%2e%2e/a.txt",
        "/site/..",
        "/site//index.html",
        "/a.txt%00",
        "/..%5ca.txt",
        "/%",
    ] {
        assert_eq!(request(path, "").status, 400, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = ask(files(), method, "/a.txt", "Content-Length: 0\r\n");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    }
}

#[test]
fn below_other_routes_and_above() {
    let nested = |path| ask(Router::new().nest("/files", files()), "GET", path, "");
    assert_eq!(nested("/files/a.txt").status, 200);
    assert_eq!(nested("/a.txt").status, 404);
    // picoserve 0.20 does not nest for a path without anything behind it.
    assert_eq!([nested("/files").status, nested("/files/").status], [404, 200]);
    assert_eq!(nested("/files/site").header("location"), Some("./site/"));
    let routed = |path| ask(files().route("/a.txt", get(async || text("route"))), "GET", path, "");
    assert_eq!(routed("/a.txt").body, b"route");
    assert_eq!(routed("/large.bin").body.len(), 100_000);
}

#[test]
fn memory_that_is_short() {
    let request = b"GET /a.txt HTTP/1.1\r\n\r\n";
    assert_eq!(hear(files(), request, true), (Some(Lack::Memory), Vec::new()));
}

#[test]
fn broken_disks() {
    let volume = volume();
    // Another volume on the same bytes, which knows nothing yet.
    let disk = fake::Disk::from_bytes(512, volume.device().contents(), 1).with_polls(0);
    let broken = fake::run(Volume::mount(disk, Options::default())).expect("it is a copy");
    let large = content(100_000);
    let contents = broken.device().contents();
    let at = |place: usize| {
        let (piece, contents) = (&large[place..place + 512], &contents);
        let block = contents.chunks(512).position(|block| block == piece);
        block.expect("it is on the disk") as u64
    };
    let ask = |path| self::ask(Files::new(broken.clone()).router(), "GET", path, "");
    broken.device().damage(at(51_200)..at(51_200) + 1);
    let short = ask("/large.bin");
    assert_eq!((short.status, short.lack), (200, Some(Lack::Rest)));
    assert!(!short.body.is_empty() && short.body.len() < 52_000, "{}", short.body.len());
    assert!(large.starts_with(&short.body));
    // Before anything was said there is a better answer.
    broken.device().damage(at(0)..at(0) + 1);
    assert_eq!(ask("/large.bin").status, 500);
    broken.device().mend();
    assert_eq!(ask("/large.bin").body.len(), 100_000);
    broken.device().cut();
    assert_eq!(ask("/site/").status, 500);
}
