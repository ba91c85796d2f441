//! Echoes: of WebSocket messages, and on port 7 of streams and datagrams (RFC 862).

use alloc::vec;
use core::{convert::Infallible, future::pending};

use wakeful::{
    http::{
        io::{Read, Write},
        response::ws::{Message, SocketRx, SocketTx, WebSocketCallback},
    },
    net::{Error, TcpListener, TcpStream, UdpSocket},
    println, task,
};

/// The longest message of a WebSocket.
const LONGEST: usize = 64 << 10;

/// Sends back each message of a WebSocket.
pub(crate) struct Echo;

impl WebSocketCallback for Echo {
    async fn run<R: Read, W: Write<Error = R::Error>>(
        self,
        mut rx: SocketRx<R>,
        mut tx: SocketTx<W>,
    ) -> Result<(), W::Error> {
        let mut buffer = vec![0; LONGEST];
        loop {
            let message = rx.next_message(&mut buffer, pending::<Infallible>()).await?;
            match message.ignore_never_b() {
                Ok(Message::Text(text)) => tx.send_text(text).await?,
                Ok(Message::Binary(bytes)) => tx.send_binary(bytes).await?,
                Ok(Message::Ping(bytes)) => tx.send_pong(bytes).await?,
                Ok(Message::Pong(_)) => {}
                Ok(Message::Close(reason)) => return tx.close(reason).await,
                Err(error) => return tx.close((error.code(), "not understood")).await,
            }
            tx.flush().await?;
        }
    }
}

/// Sends back what comes, a task for each connection.
pub(crate) async fn streams(listener: TcpListener) {
    while let Ok((stream, peer)) = listener.accept().await {
        task::spawn(async move {
            if let Err(error) = echo(stream).await {
                println!("{peer}: {error}");
            }
        })
        .detach();
    }
}

async fn echo(mut stream: TcpStream) -> Result<(), Error> {
    let mut buffer = vec![0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return stream.shutdown().await,
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
}

/// Sends back each datagram.
pub(crate) async fn datagrams(socket: UdpSocket) {
    let mut buffer = vec![0; 2048];
    while let Ok((length, peer)) = socket.receive_from(&mut buffer).await {
        if let Some(bytes) = buffer.get(..length)
            && let Err(error) = socket.send_to(bytes, peer).await
        {
            println!("{peer}: {error}");
        }
    }
}
