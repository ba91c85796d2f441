//! A web server: a page with live numbers of the machine, JSON, and what load generators ask for.
//!
//! `make run` boots it and says where to point the browser.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};
use wakeful::{
    alloc::{FRAME_SIZE, frames, statistics},
    http::{self, Page, Router, extract::Query, routing::get},
    machine, net, task,
    time::Instant,
};

static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// What the page shows, and `/stats` says. Sizes are in bytes.
#[derive(Serialize)]
struct Stats {
    model: &'static str,
    harts: usize,
    uptime_ms: u64,
    tasks: usize,
    requests: u64,
    connections: usize,
    heap: usize,
    heap_free: usize,
    memory: usize,
    memory_free: usize,
}

fn stats() -> Stats {
    let heap = statistics();
    Stats {
        model: machine::machine().model,
        harts: task::harts(),
        uptime_ms: Instant::now().duration_since(Instant::from_ticks(0)).as_millis() as u64,
        tasks: (0..task::harts()).map(task::tasks_on).sum(),
        requests: REQUESTS.load(Relaxed),
        connections: net::connections(),
        heap: heap.used,
        heap_free: heap.capacity - heap.used,
        memory: frames::total() * FRAME_SIZE,
        memory_free: frames::available() * FRAME_SIZE,
    }
}

#[derive(Deserialize)]
struct Pair {
    a: i64,
    b: i64,
}

#[derive(Serialize)]
struct Sum {
    sum: Option<i64>,
}

/// Counts a request, and gives its answer.
fn answer(page: Page) -> Page {
    REQUESTS.fetch_add(1, Relaxed);
    page
}

#[wakeful::main]
async fn main() -> Result<(), net::Error> {
    let app = Router::new()
        .route("/", get(async || answer(http::html(include_str!("page.html")))))
        .route("/stats", get(async || answer(http::json(&stats()))))
        .route(
            "/sum", // ?a=1&b=2
            get(async |Query(Pair { a, b }): Query<Pair>| {
                answer(http::json(&Sum { sum: a.checked_add(b) }))
            }),
        )
        .route("/plaintext", get(async || answer(http::text("Hello, World!"))));
    http::serve(80, app).await
}
