//! What the QEMU tests visit: answers in one piece and in many, requests that are longer than memory for
//! them, WebSockets, an end with grace, and echoes of streams and datagrams.
//!
//! One image, written as its users would. Who visits it, and what must come back, is said on the host, in
//! `tools/src/cases/net.rs`. Long bodies are [`letters`], which the host knows as well.

#![no_std]
#![no_main]

extern crate alloc;

mod bodies;
mod echo;
mod panics;

use core::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use wakeful::{
    http::{
        self, Router, Server,
        response::{chunked::ChunkedResponse, ws::WebSocketUpgrade},
        routing::{get, post},
    },
    net::{self, TcpListener, UdpSocket},
    println,
    sync::WaitQueue,
    task, time,
};

use bodies::{Events, Pieces, Upload, letters};
use echo::Echo;

/// Where the server waits for its end.
static STOP: WaitQueue = WaitQueue::new();
static STOPPED: AtomicBool = AtomicBool::new(false);

#[wakeful::main]
async fn main() -> Result<(), net::Error> {
    // Who is told of the web server finds the others.
    task::spawn(echo::streams(TcpListener::bind(7)?)).detach();
    task::spawn(echo::datagrams(UdpSocket::bind(7)?)).detach();
    let app = Router::new()
        .route("/plaintext", get(async || http::text("Hello, World!")))
        .route("/big", get(async || http::bytes("text/plain", letters(0, 1 << 20))))
        .route("/chunked", get(async || ChunkedResponse::new(Pieces { bytes: 64 << 10 })))
        .route("/events", get(async || http::events(Events { count: 5, pause: PAUSE })))
        // All at once: there is never anything to wait for.
        .route("/burst", get(async || http::events(Events { count: 5, pause: Duration::ZERO })))
        .route("/upload", post(async |upload: Upload| http::json(&upload)))
        .route("/echo", get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(Echo)))
        .route(
            "/slow",
            get(async || {
                time::sleep(Duration::from_millis(300)).await;
                http::text("at last")
            }),
        )
        .route("/panic", get(panics::at_once))
        .route("/panic-after-a-wait", get(panics::after_a_wait))
        .route("/panic-in-body", get(async || ChunkedResponse::new(panics::Body)))
        .route("/panic-with-the-network", get(panics::with_the_network))
        .route("/given-up", get(async || http::json(&panics::GivenUp::now())))
        .route(
            "/stop",
            get(async || {
                STOPPED.store(true, Relaxed);
                STOP.wake_all();
                http::text("stopping")
            }),
        );
    let stopped = STOP.wait_until(|| STOPPED.load(Relaxed));
    Server::new(app).run_until(80, stopped, http::Duration::from_secs(5)).await?;
    println!("stopped with grace");
    Ok(())
}

/// Between two events.
const PAUSE: Duration = Duration::from_millis(100);
