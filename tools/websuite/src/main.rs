//! What the QEMU tests visit: answers in one piece and in many, requests that are longer than memory for
//! them, WebSockets, an end with grace, echoes of streams and datagrams, a server that is short of patience,
//! streams in bulk and of any length, and what the machine has in use.
//!
//! One image, written as its users would. Who visits it, and what must come back, is said on the host, in
//! `tools/src/cases/net.rs` and, when times are hard, in `hard.rs` beside it, and in `tools/src/bench/bulk.rs`.
//! Long bodies are [`letters`], which the host knows as well.

#![no_std]
#![no_main]

extern crate alloc;

mod bodies;
mod bulk;
mod echo;
mod flows;
mod panics;
mod state;

use core::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use wakeful::{
    http::{
        self, Router, Server,
        response::{IntoResponse, chunked::ChunkedResponse, ws::WebSocketUpgrade},
        routing::{PathRouter, get, post},
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
    bulk::start()?;
    task::spawn(flows::sinks(flows::listener(109)?)).detach();
    task::spawn(flows::sources(flows::listener(119)?)).detach();
    task::spawn_local(hasty()).detach();
    task::spawn_local(http::serve_on_all_harts(8081, on_each_hart)).detach();
    let app = Router::new()
        .route("/plaintext", get(async || http::text("Hello, World!")))
        .route("/big", get(async || http::bytes("text/plain", letters(0, 1 << 20))))
        .route("/chunked", get(async || ChunkedResponse::new(Pieces { bytes: 64 << 10 })))
        .route("/events", get(async || http::events(Events { count: 5, pause: PAUSE })))
        // All at once: there is never anything to wait for.
        .route("/burst", get(async || http::events(Events { count: 5, pause: Duration::ZERO })))
        .route("/upload", post(async |upload: Upload| http::json(&upload)))
        .route("/state", get(async || http::json(&state::state())))
        .route("/reset-card", get(reset_card))
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

/// Serves on port 8080, and closes connections that say nothing: after a second, and 3 s after an answer.
async fn hasty() -> Result<(), net::Error> {
    let app = Router::new().route("/plaintext", get(async || http::text("Hello, World!")));
    let second = http::Duration::from_secs(1);
    let timeouts = http::Timeouts {
        start_read_request: second,
        persistent_start_read_request: http::Duration::from_secs(3),
        read_request: second,
        write: second,
    };
    Server::new(app).timeouts(timeouts).run(8080).await
}

/// What is served on port 8081, by each hart: answers that cost nothing, and such that cost a million
/// instructions or so.
fn on_each_hart() -> Server<impl PathRouter> {
    let app = Router::new()
        .route("/plaintext", get(async || http::text("Hello, World!")))
        .route("/costly", get(async || http::text(if spend(1 << 18) > 0 { "done" } else { "" })));
    Server::new(app)
}

/// Takes some time of a hart.
fn spend(steps: u64) -> u64 {
    (0..steps).fold(1, |sum: u64, step| black_box(sum.rotate_left(5) ^ step) | 1)
}

/// Resets the network card. The answer goes out through the new one.
async fn reset_card() -> impl IntoResponse {
    http::text(if net::reset().is_ok() { "reset" } else { "it does not work any more" })
}

/// Between two events.
const PAUSE: Duration = Duration::from_millis(100);
