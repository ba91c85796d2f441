//! An urgent task beside busy ones: how long it waits for its turn, by its priority.
//!
//! Twenty tasks compute without end, and give way every 200 microseconds. A sensor is read every
//! 5 milliseconds: as one of many it waits for all of them, as a more urgent task for one at most.

#![no_std]
#![no_main]

use wakeful::{
    println,
    task::{self, Builder, Priority},
    time::{self, Duration, Instant},
};

const BUSY_TASKS: usize = 20;

/// Computes for ever. Tasks are not interrupted for each other, so it gives way itself.
async fn compute() {
    loop {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_micros(200) {}
        task::yield_now().await;
    }
}

/// Reads a sensor at its times; returns by how much it was late, at most.
async fn read_sensor() -> Duration {
    let mut latest = Duration::ZERO;
    let mut interval = time::interval(Duration::from_millis(5));
    for _ in 0..40 {
        latest = latest.max(interval.tick().await.elapsed());
    }
    latest
}

#[wakeful::main]
async fn main() -> Result<(), task::SpawnError> {
    for _ in 0..BUSY_TASKS {
        Builder::new().priority(Priority::LOW).spawn(compute())?.detach();
    }
    for priority in [Priority::LOW, Priority::NORMAL] {
        let sensor = Builder::new().name("sensor").priority(priority).spawn(read_sensor())?;
        let latest = sensor.await.expect("nobody aborts it");
        println!("{priority:?}: up to {} us late", latest.as_micros());
    }
    // A priority can change while the task runs.
    let sensor = Builder::new().priority(Priority::LOW).spawn(read_sensor())?;
    sensor.task().set_priority(Priority::HIGHEST);
    let latest = sensor.await.expect("nobody aborts it");
    println!("raised to {:?}: up to {} us late", Priority::HIGHEST, latest.as_micros());
    Ok(())
}
