//! Clients who know what is on the disk.

use anyhow::{Context, Result, ensure};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt::Linger};

use crate::client::{Client, Site};
use crate::disk::content;
use crate::http::{Answer, Connection};
use crate::load::{self, Connections};

/// All of a file, twice on one connection.
pub(super) fn whole(path: &'static str, len: usize, kind: &'static str) -> Client {
    Client::new(format!("GET {path}"), move |site| {
        let mut connection = site.open()?;
        (0..2).try_for_each(|_| {
            let answer = connection.get(path)?;
            expect(&answer, 200, &content(len))?;
            says(&answer, "content-type", kind)?;
            says(&answer, "accept-ranges", "bytes")
        })
    })
}

/// Parts of a file, and what is not one, on one connection.
pub(super) fn ranges(path: &'static str, len: usize) -> Client {
    Client::new(format!("ranges of {path}"), move |site| {
        let (mut connection, all) = (site.open()?, content(len));
        let middle = len / 3;
        for (asked, part) in [
            ("0-9".into(), 0..10),
            ("-10".into(), len - 10..len),
            (format!("{middle}-{}", middle + 99_999), middle..middle + 100_000),
            (format!("{}-", len - 1), len - 1..len),
            (format!("{}-99999999999999999999", len - 5), len - 5..len),
        ] {
            let answer = get(&mut connection, path, &format!("Range: bytes={asked}\r\n"))?;
            expect(&answer, 206, &all[part.clone()]).with_context(|| asked.clone())?;
            let said = format!("bytes {}-{}/{len}", part.start, part.end - 1);
            says(&answer, "content-range", &said)?;
        }
        let outside = get(&mut connection, path, &format!("Range: bytes={len}-\r\n"))?;
        outside.expect(416, "")?;
        says(&outside, "content-range", &format!("bytes */{len}"))
    })
}

/// A file that the client has already, by its tag and by its date.
pub(super) fn known(path: &'static str, len: usize) -> Client {
    Client::new(format!("{path} once more"), move |site| {
        let mut connection = site.open()?;
        let first = connection.get(path)?;
        let tag = first.header("etag").context("no tag")?;
        let date = first.header("last-modified").context("no date")?;
        ensure!(tag.starts_with("W/\"") && date.ends_with(" GMT"), "{tag} {date}");
        for known in [
            format!("If-None-Match: \"other\", {tag}\r\n"),
            "If-None-Match: *\r\n".into(),
            format!("If-Modified-Since: {date}\r\n"),
        ] {
            let answer = get(&mut connection, path, &known)?;
            expect(&answer, 304, b"").with_context(|| known.clone())?;
            says(&answer, "etag", tag)?;
        }
        let other = get(&mut connection, path, "If-None-Match: \"other\"\r\n")?;
        expect(&other, 200, &content(len))
    })
}

/// What there is to say of a file, and an answer behind it.
pub(super) fn head(path: &'static str, len: usize) -> Client {
    Client::new(format!("HEAD {path}"), move |site| {
        let mut connection = site.open()?;
        connection.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())?;
        let head = connection.head()?.to_ascii_lowercase();
        ensure!(head.starts_with("http/1.1 200 "), "{head}");
        ensure!(head.contains(&format!("content-length: {len}\n")), "{head}");
        connection.get("/plain.txt")?.expect(200, "")
    })
}

/// The list of a directory: each of its links leads to something.
pub(super) fn directory(path: &'static str, entries: usize) -> Client {
    Client::new(format!("the list of {path}"), move |site| {
        let mut connection = site.open()?;
        let page = connection.get(path)?;
        page.expect(200, "<a href=\"../\">")?;
        says(&page, "content-type", "text/html; charset=utf-8")?;
        let text = String::from_utf8(page.body)?;
        ensure!(text.contains(">&amp;amp;&#39;#%41;.css<"), "not escaped: {text}");
        let links = text.split("href=\"./").skip(1);
        let links: Vec<&str> = links.filter_map(|rest| rest.split('"').next()).collect();
        ensure!(links.len() == entries && links[0] == "Below/", "{links:?}");
        for link in links {
            let answer = connection.get(&format!("{path}{link}"))?;
            answer.expect(200, "").with_context(|| link.to_owned())?;
            ensure!(link.ends_with('/') || answer.body == content(answer.body.len()), "{link}");
        }
        Ok(())
    })
}

/// A directory with an index, without a slash and with one.
pub(super) fn index(path: &'static str, len: usize) -> Client {
    Client::new(format!("GET {path}"), move |site| {
        let mut connection = site.open()?;
        let moved = connection.get(path)?;
        moved.expect(301, "")?;
        says(&moved, "location", &format!(".{path}/"))?;
        for path in [format!("{path}/"), format!("{path}/index.html")] {
            let answer = connection.get(&path)?;
            expect(&answer, 200, &content(len))?;
            says(&answer, "content-type", "text/html; charset=utf-8")?;
        }
        Ok(())
    })
}

/// What is not there, what leads outside, and what cannot be done.
pub(super) fn refused() -> Client {
    Client::new("what is refused", |site| {
        let mut connection = site.open()?;
        for path in ["/none", "/none/", "/plain.txt/", "/site/none", "/names/%3C", "/%3A"] {
            connection.get(path)?.expect(404, "").with_context(|| path)?;
        }
        for path in [
            "/../plain.txt",
            "/..",
            "/site/../plain.txt",
            "/%2e%2e/plain.txt",
            "/site/%2E%2E/plain.txt",
            "/%2e%2e%2fplain.txt",
            "/..%5cplain.txt",
            "/..\\plain.txt",
            "/plain.txt%00.html",
            "//plain.txt",
            "/%ff",
            "/%",
        ] {
            refusal(site, path).with_context(|| path)?;
        }
        let post = "POST /plain.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
        connection.send(post.as_bytes())?;
        let answer = connection.answer()?.context("closed without an answer")?;
        answer.expect(405, "")?;
        says(&answer, "allow", "GET, HEAD")?;
        connection.get("/plain.txt")?.expect(200, "")
    })
}

/// Each on a connection of its own, as some are refused by who reads requests.
fn refusal(site: &Site, path: &str) -> Result<()> {
    let mut connection = site.open()?;
    connection.get(path)?.expect(400, "")
}

/// Clients who come at once, each for a file of its own.
pub(super) fn at_once(
    clients: usize,
    file: impl Fn(usize) -> (String, usize) + Send + Sync + 'static,
) -> Client {
    Client::new(format!("{clients} clients at once"), move |site| {
        std::thread::scope(|scope| {
            let visit = |number| {
                let (path, len) = file(number);
                let answer = site.open()?.get(&path)?;
                expect(&answer, 200, &content(len)).with_context(|| path)
            };
            let visitors: Vec<_> =
                (0..clients).map(|number| scope.spawn(move || visit(number))).collect();
            visitors.into_iter().try_for_each(|visitor| visitor.join().expect("it does not panic"))
        })
    })
}

/// Clients who go away in the middle of a file, with a reset.
pub(super) fn vanishing(path: &'static str, clients: usize) -> Client {
    Client::new(format!("{clients} clients who vanish"), move |site| {
        for number in 0..clients {
            let mut connection = site.open()?;
            setsockopt(connection.stream(), Linger, &linger { l_onoff: 1, l_linger: 0 })?;
            connection.send(crate::http::request(path).as_bytes())?;
            let head = connection.head().with_context(|| format!("client {number}"))?;
            ensure!(head.starts_with("HTTP/1.1 200 "), "client {number}: {head}");
        }
        Ok(())
    })
}

/// `wrk` for some seconds, without an error.
pub(super) fn loaded(path: &'static str, connections: u32, seconds: u32) -> Client {
    let what = format!("wrk with {connections} connections for {path}");
    Client::new(what, move |site| {
        let kind = (connections, Connections::KeptAlive);
        load::wrk(site.address, path, kind, seconds)?.flawless(u64::from(connections))?;
        Ok(())
    })
    .needing(&["wrk"])
}

fn get(connection: &mut Connection, path: &str, headers: &str) -> Result<Answer> {
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes())?;
    connection.answer()?.context("closed without an answer")
}

/// It has this status, and exactly this body.
fn expect(answer: &Answer, status: u16, body: &[u8]) -> Result<()> {
    ensure!(
        answer.status == status,
        "status {} instead of {status}: {}",
        answer.status,
        answer.head
    );
    let wrong = answer.body.iter().zip(body).position(|(byte, expected)| byte != expected);
    ensure!(wrong.is_none(), "byte {wrong:?} of {} is wrong", answer.body.len());
    ensure!(answer.body.len() == body.len(), "{} bytes: {}", answer.body.len(), answer.head);
    Ok(())
}

fn says(answer: &Answer, name: &str, value: &str) -> Result<()> {
    let said = answer.header(name);
    ensure!(said == Some(value), "{name}: {said:?} instead of {value:?}");
    Ok(())
}
