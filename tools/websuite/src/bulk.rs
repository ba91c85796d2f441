//! Much in one direction: port 9 takes it (RFC 863), port 19 gives it (RFC 864), and both end the connection.

use alloc::vec;

use wakeful::{
    net::{Error, TcpListener, TcpOptions, TcpStream},
    task,
};

/// What port 19 gives.
const BYTES: usize = 64 << 20;

/// What is read or written at once.
const PIECE: usize = 32 << 10;

/// Connections that wait to be accepted.
const BACKLOG: usize = 4;

pub(crate) fn start() -> Result<(), Error> {
    let options = TcpOptions {
        receive_buffer: 64 << 10,
        transmit_buffer: 128 << 10,
        ..TcpOptions::default()
    };
    let [takes, gives] = [9, 19].map(|port| TcpListener::bind_with(port, BACKLOG, options));
    let (takes, gives) = (takes?, gives?);
    task::spawn(async move {
        while let Ok((stream, _)) = takes.accept().await {
            task::spawn(take(stream)).detach();
        }
    })
    .detach();
    task::spawn(async move {
        while let Ok((stream, _)) = gives.accept().await {
            task::spawn(give(stream)).detach();
        }
    })
    .detach();
    Ok(())
}

async fn take(mut stream: TcpStream) -> Result<(), Error> {
    let mut piece = vec![0; PIECE];
    while stream.read(&mut piece).await? > 0 {}
    Ok(())
}

async fn give(mut stream: TcpStream) -> Result<(), Error> {
    let piece = vec![b'b'; PIECE];
    for _ in 0..BYTES / PIECE {
        stream.write_all(&piece).await?;
    }
    stream.shutdown().await
}
