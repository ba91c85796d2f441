//! Asks a web server for a page: names, a connection, and a time limit for all of it.
//!
//! `make run APP=http-client ARGS='--append "-- http://10.0.2.2:8000/"'` asks a server on this computer, as
//! `python3 -m http.server` makes one.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{format, string::String, vec::Vec};
use core::time::Duration;

use wakeful::{
    net::{self, TcpStream},
    print, println, time,
};

#[wakeful::main]
async fn main() -> Result<(), String> {
    let url = wakeful::arguments().next().unwrap_or("http://10.0.2.2:8000/");
    let page = time::timeout(Duration::from_secs(10), fetch(url)).await;
    let page = page.map_err(|_| String::from("no answer within 10 seconds"))??;
    println!("{} bytes:", page.len());
    print!("{}", String::from_utf8_lossy(&page));
    Ok(())
}

async fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let rest = url.strip_prefix("http://").ok_or("a URL that begins with http:// is needed")?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let address = if host.contains(':') { String::from(host) } else { format!("{host}:80") };
    let explain = |error: net::Error| format!("{host}: {error}");

    let address = net::to_address(&address).await.map_err(explain)?;
    let mut stream = TcpStream::connect(address).await.map_err(explain)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(explain)?;

    let mut page = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer).await.map_err(explain)?;
        if count == 0 {
            return Ok(page);
        }
        page.extend_from_slice(&buffer[..count]);
    }
}
