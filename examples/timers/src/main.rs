//! Sleeping, intervals and timeouts: three tasks on one hart, which sleeps in between.

#![no_std]
#![no_main]

use core::future::pending;

use wakeful::{
    println, task,
    time::{self, Duration, Instant},
};

const SECOND: Duration = Duration::from_secs(1);

#[wakeful::main]
async fn main() {
    let start = Instant::now();

    // An interval does not drift, however long its ticks take to handle.
    let ticking = task::spawn(async move {
        let mut interval = time::interval(SECOND / 4);
        for tick in 0..8 {
            let planned = interval.tick().await;
            let late = planned.elapsed().as_micros();
            println!("{:>5} ms: tick {tick}, {late} us late", start.elapsed().as_millis());
        }
    });

    // As many sleeps as you like, in any task: each costs 32 bytes.
    let sleeping = task::spawn(async move {
        for milliseconds in [100, 200, 400] {
            time::sleep(Duration::from_millis(milliseconds)).await;
            println!("{:>5} ms: slept {milliseconds} ms", start.elapsed().as_millis());
        }
    });

    // Giving up: the future is dropped, and the timer of one that is ready in time.
    let never = time::timeout(SECOND / 2, pending::<()>()).await;
    println!("{:>5} ms: waiting for nothing: {never:?}", start.elapsed().as_millis());
    let slept = time::timeout(SECOND, sleeping).await;
    println!("{:>5} ms: waiting for the sleeper: {slept:?}", start.elapsed().as_millis());

    // No need to wait, but `main` is the program: when it returns, the machine is switched off.
    ticking.await.expect("nobody aborts it");
}
