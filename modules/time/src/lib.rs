//! Time: instants, sleeping, timeouts and intervals, on each hart's own timer.
//!
//! A hart is interrupted when the first of its deadlines has come, and at no other time: there is no
//! tick. Deadlines are those of the machine's counter (10 MHz in QEMU, 4 MHz on a VisionFive 2), exactly.
//!
//! ```ignore
//! time::sleep(Duration::from_millis(5)).await;
//!
//! let answer = time::timeout(Duration::from_secs(1), ask()).await?;
//!
//! let mut every_second = time::interval(Duration::from_secs(1));
//! loop {
//!     every_second.tick().await;
//! }
//! ```
//!
//! Owns the timers of all harts and what their timer interrupts do. Needs the scheduler, and frames for
//! the timers of harts other than the first.

#![no_std]

mod instant;
mod interval;
mod machine;
mod timeout;

#[doc(no_inline)]
pub use core::time::Duration;

pub use instant::Instant;
pub use interval::{Interval, MissedTicks, interval, interval_at};
pub use machine::{MachineClock, prepare_hart, start};
pub use timeout::{Elapsed, Timeout, timeout, timeout_at};

/// Waits until a moment has come: what [`sleep`] and [`sleep_until`] return. See
/// [`wakeful_timer::Sleep`].
pub type Sleep = wakeful_timer::Sleep<MachineClock>;

/// Waits for that long: never less, and longer by the time until the hart takes the interrupt, ends the turn
/// that is under way, and has given turns to tasks that are more urgent or came before.
///
/// # Cancellation
///
/// Nothing is left behind.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now().saturating_add(duration))
}

/// Waits until that moment. If it has passed, it is ready at once.
///
/// # Cancellation
///
/// Nothing is left behind.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::until(deadline.ticks())
}

/// Waits for a while that is up to an eighth longer than `duration`.
///
/// For what is usually cancelled, such as the timeouts of connections: such deadlines fall on few
/// moments, so that many of them cost one interrupt.
///
/// # Cancellation
///
/// Nothing is left behind.
pub fn sleep_coarse(duration: Duration) -> Sleep {
    let now = Instant::now();
    Sleep::until(coarse(now, now.saturating_add(duration)).ticks())
}

/// A moment that is not before `deadline`, and later by an eighth of the time from `now` at most: one of few,
/// so that many timeouts share it.
pub fn coarse(now: Instant, deadline: Instant) -> Instant {
    Instant::from_ticks(wakeful_timer::coarse(now.ticks(), deadline.ticks()))
}

/// How many sleeps wait on the timers of a hart.
///
/// # Panics
///
/// If there is no such hart.
pub fn pending_on(hart: usize) -> usize {
    machine::existing(hart).pending()
}
