//! tokio's timers: `Sleep`, on a runtime whose clock stands still.
//!
//! Such a clock jumps to the next deadline whenever the runtime has nothing else to do, which is how
//! `fire_all` runs, driver and all. `prepare` makes the `Sleep` in place; `insert` polls it once,
//! which puts it into the wheel, and `cancel` drops it, which takes it out.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{HORIZON_MS, Timers};

pub(super) struct Tokio {
    runtime: Runtime,
    now: Instant,
    sleeps: Vec<Pin<Box<Option<Sleep>>>>,
}

impl Timers for Tokio {
    const NAME: &'static str = "tokio";

    fn new(slots: usize) -> Self {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
        let now = runtime.block_on(async { Instant::now() });
        Self { runtime, now, sleeps: (0..slots).map(|_| Box::pin(None)).collect() }
    }

    fn prepare(&mut self, slot: usize, after_ms: u64) {
        let _inside = self.runtime.enter();
        let deadline = self.now + Duration::from_millis(after_ms);
        self.sleeps[slot].set(Some(sleep_until(deadline)));
    }

    fn insert(&mut self, slot: usize) {
        if let Some(sleep) = self.sleeps[slot].as_mut().as_pin_mut() {
            _ = sleep.poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    fn cancel(&mut self, slot: usize) {
        self.sleeps[slot].set(None);
    }

    fn fire_all(&mut self) {
        let end = self.now + Duration::from_millis(HORIZON_MS + 1);
        self.runtime.block_on(async { sleep_until(end).await });
        self.now = end;
    }

    fn count_fired(&mut self) -> usize {
        let mut fired = 0;
        for sleep in &mut self.sleeps {
            fired += usize::from(sleep.as_ref().as_pin_ref().is_some_and(|it| it.is_elapsed()));
            sleep.set(None);
        }
        fired
    }
}
