//! A fixed amount of work for all harts: how long it takes, and how much of it each hart does.
//!
//! Every task passes a mark when it begins and when it ends, so what a hart executes between its first mark and its
//! last one is its part.

use alloc::{format, string::String, vec::Vec};
use core::hint::black_box;

use wakeful::{task, time::Instant};

use crate::measure::{self, mark};

/// Independent of each other.
const TASKS: u64 = 64;

/// Turns of a task.
const TURNS: usize = 100;

/// What a task computes in a turn.
const STEPS: usize = 8000;

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
    mark();
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
    mark();
}
