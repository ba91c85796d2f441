//! A million tasks with a sleep each: how much memory they take. All must wake, and none early.

use alloc::{format, string::String};
use core::time::Duration;

use wakeful::{
    alloc::{FRAME_SIZE, frames},
    println,
    task::{self, Builder, JoinHandle, SpawnError},
    time::{self, Instant, Sleep},
};

use crate::measure;

const TASKS: usize = 1_000_000;

/// Tasks whose spawning tells how long a million take.
const SAMPLE: usize = 10_000;

/// Between two deadlines.
const STEP: Duration = Duration::from_micros(2);

pub(crate) async fn run() -> Result<(), String> {
    let before = frames::available();
    // All deadlines are different, and come when all tasks are there: twice as late as it should take.
    let begin = Instant::now() + spawning_time().await? * (2 * TASKS / SAMPLE) as u32;
    let deadline = |number: usize| begin + STEP * number as u32;
    let spawning = Instant::now();
    for number in 0..TASKS {
        spawn(deadline(number)).map_err(|error| format!("task {number}: {error}"))?.detach();
        if number % 1024 == 0 {
            task::yield_now().await;
        }
    }
    task::yield_now().await;
    let memory = (before - frames::available()) * FRAME_SIZE;
    println!("a million tasks in {} KiB, in {:?}", memory >> 10, spawning.elapsed());
    if Instant::now() >= begin {
        return Err(String::from("too slow to judge: the first deadline has passed"));
    }
    let parked = time::pending_on(0);
    if parked != TASKS {
        return Err(format!("only {parked} sleep"));
    }
    let mut latest = Duration::ZERO;
    loop {
        let woken = TASKS - time::pending_on(0);
        let due = (begin.elapsed().as_nanos() / STEP.as_nanos()) as usize + 1;
        if woken > due || (woken > 0 && Instant::now() < begin) {
            return Err(format!("{woken} are awake, and {due} should be"));
        }
        if woken == TASKS {
            break;
        }
        latest = latest.max(deadline(woken).elapsed());
        time::sleep(Duration::from_millis(50)).await; // gone when the next look is taken
    }
    println!("all woke, the latest {} ms late", latest.as_millis());
    while task::tasks_on(0) > 1 {
        task::yield_now().await;
    }
    measure::value("wakeful", "million-bytes", memory);
    Ok(())
}

fn spawn(deadline: Instant) -> Result<JoinHandle<<Sleep as Future>::Output>, SpawnError> {
    Builder::new().spawn(time::sleep_until(deadline))
}

/// How long [`SAMPLE`] tasks take. They are gone afterwards.
async fn spawning_time() -> Result<Duration, String> {
    let begin = Instant::now();
    let soon = begin + Duration::from_millis(1);
    for _ in 0..SAMPLE {
        spawn(soon).map_err(|error| format!("{error}"))?.detach();
    }
    task::yield_now().await;
    let taken = begin.elapsed();
    while task::tasks_on(0) > 1 {
        task::yield_now().await;
    }
    Ok(taken)
}
