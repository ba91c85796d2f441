//! Rows of two harts: the one that runs this wakes a task of the other.

use core::{
    future::poll_fn,
    hint,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    task::{Poll, Waker},
};

use alloc::string::String;
use wakeful::{
    task,
    time::{Duration, Instant},
};

use crate::{
    interrupts::Target,
    measure::{Shape, mark, row},
};

const OWNER: &str = "wakeful";

/// Wakes of a row.
const TIMES: usize = 200;

const SHAPE: Shape = Shape { pairs: TIMES, median: true, ..Shape::EACH };

/// Until a hart that has nothing to do sleeps.
const SETTLE: Duration = Duration::from_micros(300);

/// The hart where the task lives.
const OTHER: usize = 1;

pub(crate) async fn rows() -> Result<(), String> {
    if task::harts() <= OTHER {
        return Err(String::from("this case needs two harts"));
    }
    let parked = task::spawn_on(
        OTHER,
        poll_fn(|context| {
            if PARKED.get().is_none() {
                PARKED.set(context.waker());
            }
            POLLS.fetch_add(1, Ordering::Release);
            Poll::<()>::Pending
        }),
    );
    let waker = loop {
        match PARKED.get() {
            Some(waker) => break waker,
            None => hint::spin_loop(),
        }
    };
    let busy = task::spawn_on(OTHER, async {
        while !STOP.load(Ordering::Relaxed) {
            task::yield_now().await;
        }
    });
    row(OWNER, "wake-other-busy", SHAPE, async || wakes(waker, Duration::ZERO)).await;
    STOP.store(true, Ordering::Relaxed);
    _ = busy.await;
    row(OWNER, "wake-other-asleep", SHAPE, async || wakes(waker, SETTLE)).await;
    parked.abort();
    Ok(())
}

/// The waker of the other hart's task.
static PARKED: Target = Target::new();

/// How often that was polled.
static POLLS: AtomicUsize = AtomicUsize::new(0);

/// Ends the task that keeps the other hart busy.
static STOP: AtomicBool = AtomicBool::new(false);

/// Wakes, `pause` after the last poll. This hart does nothing else.
fn wakes(waker: &Waker, pause: Duration) {
    for _ in 0..TIMES {
        let begin = Instant::now();
        while begin.elapsed() < pause {
            hint::spin_loop();
        }
        let polls = POLLS.load(Ordering::Acquire);
        mark();
        waker.wake_by_ref();
        mark();
        while POLLS.load(Ordering::Acquire) == polls {
            hint::spin_loop();
        }
    }
}
