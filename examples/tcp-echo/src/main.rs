//! Sends back what it receives, over TCP: a task for each connection.
//!
//! Try it: `make run APP=tcp-echo ARGS="--port 7000:7"`, then `nc 127.0.0.1 7000`.

#![no_std]
#![no_main]

use wakeful::{
    net::{Error, TcpListener, TcpStream},
    println, task,
};

#[wakeful::main]
async fn main() -> Result<(), Error> {
    let listener = TcpListener::bind(7)?;
    println!("echo on port {}", listener.port());
    loop {
        let (stream, peer) = listener.accept().await?;
        // One connection's failure is not the server's.
        task::spawn(async move {
            match echo(stream).await {
                Ok(bytes) => println!("{peer}: {bytes} bytes"),
                Err(error) => println!("{peer}: {error}"),
            }
        })
        .detach();
    }
}

async fn echo(mut stream: TcpStream) -> Result<u64, Error> {
    let mut buffer = [0; 2048];
    let mut bytes = 0;
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(bytes); // the peer has said goodbye; dropping the stream says it too
        }
        stream.write_all(&buffer[..count]).await?;
        bytes += count as u64;
    }
}
