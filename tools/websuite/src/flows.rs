//! Streams without a protocol, and so without its timeouts: as many letters as are asked for on port 119, and
//! a receipt for what is sent to port 109.

use alloc::{format, vec};

use wakeful::{
    net::{Error, TcpListener, TcpOptions, TcpStream},
    println, task,
};

use crate::bodies::{Upload, letters};

/// What is made or taken at a time, in bytes.
const PIECE: usize = 4096;

/// How many connections wait to be accepted.
const BACKLOG: usize = 64;

/// A port for much at a time: what is received and sent has more room than a window has without a scale.
pub(crate) fn listener(port: u16) -> Result<TcpListener, Error> {
    let (receive_buffer, transmit_buffer) = (256 << 10, 256 << 10);
    let options = TcpOptions { receive_buffer, transmit_buffer, ..TcpOptions::default() };
    TcpListener::bind_with(port, BACKLOG, options)
}

/// Sends letters: the request is their number, and the end of a line.
pub(crate) async fn sources(listener: TcpListener) {
    while let Ok((stream, peer)) = listener.accept().await {
        task::spawn(async move {
            if let Err(error) = source(stream).await {
                println!("source for {peer}: {error}");
            }
        })
        .detach();
    }
}

async fn source(mut stream: TcpStream) -> Result<(), Error> {
    let (mut line, mut length) = ([0; 16], 0);
    while !line[..length].contains(&b'\n') {
        match stream.read(&mut line[length..]).await? {
            0 => return Ok(()), // the end, or a line that is too long
            count => length += count,
        }
    }
    let text = core::str::from_utf8(&line[..length]).unwrap_or_default();
    let bytes: usize = text.trim_end().parse().unwrap_or(0);
    // One period more than a piece: each piece is a part of it.
    let period = letters(0, PIECE + 23);
    let mut sent = 0;
    while sent < bytes {
        let (first, count) = (sent % 23, PIECE.min(bytes - sent));
        stream.write_all(&period[first..first + count]).await?;
        sent += count;
    }
    stream.shutdown().await
}

/// Reads to the end, and says what came.
pub(crate) async fn sinks(listener: TcpListener) {
    while let Ok((stream, peer)) = listener.accept().await {
        task::spawn(async move {
            if let Err(error) = sink(stream).await {
                println!("sink of {peer}: {error}");
            }
        })
        .detach();
    }
}

async fn sink(mut stream: TcpStream) -> Result<(), Error> {
    let (mut upload, mut piece) = (Upload::default(), vec![0; PIECE]);
    loop {
        match stream.read(&mut piece).await? {
            0 => break,
            count => upload.add(&piece[..count]),
        }
    }
    let Upload { bytes, checksum } = upload;
    let receipt = format!("{{\"bytes\":{bytes},\"checksum\":{checksum}}}");
    stream.write_all(receipt.as_bytes()).await?;
    stream.shutdown().await
}
