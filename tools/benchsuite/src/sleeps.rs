//! Rows of sleeping, as applications do it: with the hart's lock, and its timer.
//!
//! Each operation is a call, as it is where the compiler has not merged it.

#![expect(unsafe_code, reason = "a pinned future is dropped where it is")]

use alloc::rc::Rc;
use core::{
    cell::Cell,
    future::{Future, poll_fn},
    mem::ManuallyDrop,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use wakeful::{
    task,
    time::{self, Duration, Instant, Sleep},
};

use crate::measure::{Begin, ITERATIONS, Shape, mark, row};

const OWNER: &str = "wakeful";

/// None of these deadlines come, but those of [`fire`].
const FAR: Duration = Duration::from_secs(10_000);

pub(crate) async fn rows() {
    // The next deadline is another's, as usual: the hart's timer stays as it is.
    let far = Instant::now() + FAR;
    let mut first = pin!(time::sleep_until(far));
    _ = poll_fn(|context| Poll::Ready(first.as_mut().poll(context))).await;
    row(OWNER, "sleep-begin", Shape::EACH, async || each(|_| far, Marked::Begin).await).await;
    row(OWNER, "sleep-cancel", Shape::EACH, async || each(|_| far, Marked::Cancel).await).await;
    // The next deadline is always the new one. Dropping it leaves the timer as it is.
    let mut next = far;
    row(OWNER, "sleep-first", Shape::EACH, async || {
        let sooner = next - Duration::from_secs(1000);
        let microseconds = |count| sooner - Duration::from_micros(count as u64);
        each(microseconds, Marked::Begin).await;
        next = sooner;
    })
    .await;
    let shape = Shape { pairs: 1, operations: SLEEPERS, begin: Begin::Interrupt, ..Shape::EACH };
    row(OWNER, "sleep-fire", shape, fire).await;
}

/// What is between marks.
#[derive(Clone, Copy, PartialEq)]
enum Marked {
    Begin,
    Cancel,
}

/// Begins to sleep and gives it up.
async fn each(deadline: impl Fn(usize) -> Instant, marked: Marked) {
    poll_fn(|context| {
        for count in 0..ITERATIONS {
            let mut sleep = ManuallyDrop::new(time::sleep_until(deadline(count)));
            // SAFETY: it stays where it is until it is dropped.
            let mut pinned = unsafe { Pin::new_unchecked(&mut *sleep) };
            if marked == Marked::Begin {
                mark();
                begin(pinned.as_mut(), context);
                mark();
                cancel(&mut sleep);
            } else {
                begin(pinned.as_mut(), context);
                mark();
                cancel(&mut sleep);
                mark();
            }
        }
        Poll::Ready(())
    })
    .await;
}

#[inline(never)]
fn begin(sleep: Pin<&mut Sleep>, context: &mut Context<'_>) -> bool {
    sleep.poll(context).is_ready()
}

#[inline(never)]
fn cancel(sleep: &mut ManuallyDrop<Sleep>) {
    // SAFETY: `each` does not touch it again.
    unsafe { ManuallyDrop::drop(sleep) };
}

/// Tasks that [`fire`] wakes.
const SLEEPERS: usize = 1000;

/// From the interrupt at a common deadline to the poll of the last task that slept until then: for each
/// task, being taken out of the wheel, woken, polled, and ended.
async fn fire() {
    let (deadline, left) = (Instant::now() + FIRE_AFTER, Rc::new(Cell::new(SLEEPERS)));
    let mut last = None;
    for _ in 0..SLEEPERS {
        let left = left.clone();
        last = Some(task::spawn_local(async move {
            time::sleep_until(deadline).await;
            left.update(|left| left - 1);
            if left.get() == 0 {
                mark();
            }
        }));
    }
    if let Some(last) = last {
        _ = last.await;
    }
}

/// Until then the tasks have been spawned and begun to sleep.
const FIRE_AFTER: Duration = Duration::from_millis(200);
