//! Sends back each datagram.
//!
//! Try it: `make run APP=udp-echo ARGS="--port udp:7000:7"`, then `nc -u 127.0.0.1 7000`.

#![no_std]
#![no_main]

use wakeful::{
    net::{Error, UdpSocket},
    println,
};

#[wakeful::main]
async fn main() -> Result<(), Error> {
    let socket = UdpSocket::bind(7)?;
    println!("echo on port {}", socket.port());
    let mut buffer = [0; 1472]; // what an Ethernet frame holds behind the headers
    loop {
        let (length, peer) = socket.receive_from(&mut buffer).await?;
        if length > buffer.len() {
            println!("{peer}: {length} bytes are too many");
        } else if let Err(error) = socket.send_to(&buffer[..length], peer).await {
            println!("{peer}: {error}");
        }
    }
}
