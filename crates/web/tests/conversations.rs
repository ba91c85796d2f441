//! The raw requests of `tools/requests`, and thousands that were made of them by a die.

mod files;
mod wire;

use std::path::Path;

use wakeful_web::Lack;
use wire::{MANNERS, converse, converse_without_memory};

/// All files below a folder.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: std::path::PathBuf| {
        if path.is_dir() { files(&path) } else { vec![std::fs::read(path).unwrap()] }
    };
    paths.into_iter().flat_map(read).collect()
}

fn requests() -> Vec<Vec<u8>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut requests = files(&here.join("../../tools/requests"));
    requests.extend(files(&here.join("tests/requests")));
    requests
}

#[test]
fn requests_one_by_one() {
    for request in requests() {
        MANNERS.iter().for_each(|&manner| converse(&request, manner));
    }
}

#[test]
fn two_requests_on_one_connection() {
    let requests = requests();
    for first in &requests {
        for second in &requests {
            let both = [&first[..], second].concat();
            if both.len() < 4096 {
                MANNERS.iter().for_each(|&manner| converse(&both, manner));
            }
        }
    }
}

#[test]
fn without_memory_connections_end() {
    for request in requests() {
        converse_without_memory(&request); // and nothing panics
    }
    for path in ["/", "/sum?a=1&b=2", "/below/there", "/nowhere", "/both", "/files/a.txt"] {
        let request = format!("GET {path} HTTP/1.1\r\n\r\n").into_bytes();
        assert_eq!(converse_without_memory(&request), (Some(Lack::Memory), Vec::new()), "{path}");
    }
    let refused = b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(converse_without_memory(refused), (Some(Lack::Memory), Vec::new()));
}

/// What a change likes to put in.
const WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "\r\n\r\n",
    "\0",
    " ",
    ":",
    "HEAD ",
    "GET ",
    "POST ",
    "HTTP/1.1",
    "HTTP/1.0",
    "/upload",
    "/text",
    "/json",
    "/chunked",
    "/events",
    "/sum?a=1&b=2",
    "/square/7",
    "/below/there",
    "/files/",
    "/files/large.bin",
    "/files/site",
    "%2e%2e/",
    "Range: bytes=",
    "-18446744073709551616",
    "If-None-Match: W/\"",
    "If-Range: ",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 18446744073709551615\r\n",
    "Content-Length: 9223372036854775807\r\n",
    "Transfer-Encoding: chunked\r\n",
    "%00",
    "%ff",
    "#",
    "?",
    "Expect: 100-continue\r\n",
    "{\"a\":1,\"b\":2}",
];

#[test]
fn requests_broken_by_a_die() {
    let seed: u64 = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
    let count: usize = std::env::var("COUNT").map_or(50_000, |count| count.parse().unwrap());
    println!("SEED={seed} COUNT={count}");
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |most: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) as usize % most.max(1)
    };
    let requests = requests();
    for number in 0..count {
        let mut said = Vec::new();
        for _ in 0..=below(3) {
            said.extend(&requests[below(requests.len())]);
        }
        said.truncate(8192);
        for _ in 0..=below(6) {
            let at = below(said.len() + 1);
            let end = (at + below(20)).min(said.len());
            match below(5) {
                0 => drop(said.drain(at..end)),
                1 => drop(said.splice(at..at, WORDS[below(WORDS.len())].bytes())),
                2 => drop(said.splice(at..end, said[at..end].to_vec().repeat(2))),
                3 if at < said.len() => said[at] = below(256) as u8,
                _ => drop(said.splice(at..at, vec![b'a' + below(26) as u8; below(3000)])),
            }
        }
        converse(&said, MANNERS[number % 3]);
    }
}
