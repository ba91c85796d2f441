//! The same work on one hart and on several: what part of the time it takes.
//!
//! By the clock, so it says something only where this computer has processors to spare; whether it has
//! is found out in the same way, with threads.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;

use super::rows::{self, Build};
use super::table::Row;

/// At most so much of one hart's time may two harts take: they do one and a half times as much.
const GATE: f64 = 1.0 / 1.5;

/// The gate is for computers where two threads take at most so much of one thread's time.
const TWO_THREADS: f64 = 0.6;

/// Attempts to hold the gate. Whatever else runs on this computer only makes it harder: on one that shares its
/// processors with others, the same image took 0.57, 0.69, 0.98 and 1.29 of the time within a quarter of a minute.
const ATTEMPTS: usize = 20;

/// Builds the image and runs the work on one, two and four harts.
pub(super) fn measure() -> Result<Vec<Row>> {
    let file = Build::PLAIN.image()?;
    let time = |harts| -> Result<f64> {
        let console = rows::console(&rows::case("-- case=throughput").smp(harts), &file)?;
        rows::value(&console, "throughput-us")
    };
    let mut two = f64::INFINITY;
    let mut one = f64::INFINITY;
    let mut gate = f64::INFINITY;
    for _ in 0..ATTEMPTS {
        let before = two_threads();
        one = time(1)?;
        two = two.min(time(2)? / one);
        if two <= GATE {
            gate = GATE;
            break;
        }
        if before.max(two_threads()) <= TWO_THREADS {
            gate = GATE;
        }
    }
    let four = time(4)? / one;
    let unit = "of 1 hart";
    let not_gated = "of 1 hart: no gate, as no two processors are free";
    Ok(vec![
        Row {
            name: "64 tasks on 2 harts: time",
            value: two,
            unit: if gate.is_finite() { unit } else { not_gated },
            gate,
            goal: 0.5,
        },
        Row {
            name: "64 tasks on 4 harts: time",
            value: four,
            unit,
            gate: f64::INFINITY,
            goal: 0.25,
        },
    ])
}

/// What part of one thread's time two threads take on this computer, now.
fn two_threads() -> f64 {
    const STEPS: u64 = 100_000_000;
    let time = |threads| {
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..STEPS / threads).for_each(|step| _ = black_box(step)));
            }
        });
        begin.elapsed().as_secs_f64()
    };
    time(2) / time(1)
}
