//! Embassy's tasks and timers as they are on crates.io, beside a web server that tells what they did.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use embassy_time::{Duration, Instant, Ticker, Timer};
use wakeful::{
    embassy,
    http::{self, Router, routing::get},
    net::Error,
    println, task,
};

static TICKS: AtomicU32 = AtomicU32::new(0);

/// A task of Embassy: ten ticks in a second, none late by more than the next one.
#[embassy_executor::task]
async fn tick() {
    let mut ticker = Ticker::every(Duration::from_millis(100));
    loop {
        ticker.next().await;
        TICKS.fetch_add(1, Relaxed);
    }
}

/// Another one, which ends.
#[embassy_executor::task(pool_size = 2)]
async fn once(name: &'static str, after: Duration) {
    let begin = Instant::now();
    Timer::after(after).await;
    println!("{name}: {} ms", begin.elapsed().as_millis() / 10 * 10);
}

#[wakeful::main]
async fn main() -> Result<(), Error> {
    task::spawn_local(embassy::run(|spawner| {
        spawner.spawn(tick().expect("the first"));
        spawner.spawn(once("long", Duration::from_millis(500)).expect("the first"));
        spawner.spawn(once("short", Duration::from_millis(200)).expect("the second"));
    }))
    .detach();
    let app = Router::new()
        .route("/", get(|| async { "Hello" }))
        .route("/ticks", get(|| async { format!("{}", TICKS.load(Relaxed)) }))
        // A timer of Embassy in a task of ours.
        .route(
            "/slow",
            get(|| async {
                Timer::after_millis(300).await;
                "slow"
            }),
        );
    http::serve(80, app).await
}
