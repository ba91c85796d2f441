//! A fixed amount of work for all harts: how long it takes.

use alloc::{format, string::String, vec::Vec};
use core::hint::black_box;

use wakeful::{task, time::Instant};

use crate::measure;

/// Independent of each other.
const TASKS: u64 = 64;

/// Turns of a task.
const TURNS: usize = 100;

/// What a task computes in a turn.
const STEPS: usize = 80_000;

pub(crate) async fn run() -> Result<(), String> {
    let begin = Instant::now();
    let tasks: Vec<_> = (1..=TASKS).map(|seed| task::spawn(work(seed))).collect();
    for task in tasks {
        task.await.map_err(|error| format!("{error}"))?;
    }
    let taken = begin.elapsed().as_micros();
    measure::value("wakeful", "throughput-us", taken as usize);
    Ok(())
}

/// Pseudo-random numbers (xorshift64).
async fn work(seed: u64) {
    let mut state = black_box(seed);
    for _ in 0..TURNS {
        for _ in 0..STEPS {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        task::yield_now().await;
    }
    black_box(state);
}
