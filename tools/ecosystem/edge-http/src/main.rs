//! edge-http as it is on crates.io: a server on port 80 that keeps connections alive, closes idle ones, and
//! answers `GET /`.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{boxed::Box, format, string::String};
use core::fmt::{Debug, Display};

use edge_http::{
    Method,
    io::{
        Error,
        server::{Connection, DefaultServer, Handler},
    },
};
use edge_nal::{TcpBind, TcpSplit};
use embedded_io_async::{Read, Write};
use wakeful::{
    net::{self, Network},
    println,
};

/// After so many milliseconds an idle connection is closed.
const IDLE: u32 = 2000;

/// Without a length an answer is chunked.
const EMPTY: &[(&str, &str)] = &[("Content-Length", "0")];

struct Hello;

impl Handler for Hello {
    type Error<E: Debug> = Error<E>;

    async fn handle<T: Read + Write + TcpSplit, const N: usize>(
        &self,
        _: impl Display + Copy,
        connection: &mut Connection<'_, T, N>,
    ) -> Result<(), Error<T::Error>> {
        let headers = connection.headers()?;
        if headers.method != Method::Get {
            return connection.initiate_response(405, Some("Method Not Allowed"), EMPTY).await;
        }
        if headers.path != "/" {
            return connection.initiate_response(404, Some("Not Found"), EMPTY).await;
        }
        let body = b"Hello from edge-http";
        let headers = [("Content-Type", "text/plain"), ("Content-Length", "20")];
        connection.initiate_response(200, Some("OK"), &headers).await?;
        connection.write_all(body).await
    }
}

#[wakeful::main]
async fn main() -> Result<(), String> {
    let acceptor = Network.bind("0.0.0.0:80".parse().expect("an address")).await;
    let acceptor = acceptor.map_err(|error| format!("{error}"))?;
    net::configured().await.map_err(|error| format!("{error}"))?;
    if let Some(address) = net::addresses().first() {
        println!("serving http://{address}/");
    }
    let mut server = Box::new(DefaultServer::new());
    // In a box: it is 38 KiB, and `main` begins on the boot hart's stack.
    let run = Box::pin(server.run(Some(IDLE), acceptor, Hello));
    run.await.map_err(|error| format!("{error:?}"))
}
