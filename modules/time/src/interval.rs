//! Doing something again and again.

use core::time::Duration;

use crate::{Instant, sleep_until};

/// What happens to ticks that nobody waited for in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissedTicks {
    /// They come at once, one after another, until the interval has caught up.
    #[default]
    Burst,
    /// They do not come: the next is the first of the original moments that is still to come.
    Skip,
}

/// Ticks at once, and then every `period`.
///
/// # Panics
///
/// If the period is zero.
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Ticks at `start`, and then every `period`.
///
/// # Panics
///
/// If the period is zero.
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval's period cannot be zero");
    Interval { next: start, period, missed: MissedTicks::Burst }
}

/// Moments at equal distances. They do not drift: each is counted from the one before and not from when
/// somebody got round to it. The period is rounded up to ticks of the machine's counter.
#[derive(Debug, Clone)]
pub struct Interval {
    next: Instant,
    period: Duration,
    missed: MissedTicks,
}

impl Interval {
    /// Says what happens to ticks that nobody waited for in time.
    pub fn missed_ticks(mut self, missed: MissedTicks) -> Self {
        self.missed = missed;
        self
    }

    /// Waits for the next tick, and returns the moment it was meant for.
    ///
    /// # Cancellation
    ///
    /// The tick stays the next one. Nothing is left behind.
    pub async fn tick(&mut self) -> Instant {
        sleep_until(self.next).await;
        let this = self.next;
        self.next = this.saturating_add(self.period);
        if self.missed == MissedTicks::Skip {
            let late = Instant::now().ticks().saturating_sub(self.next.ticks());
            let period = self.next.ticks() - this.ticks();
            // At the end of time there are no more periods.
            let missed = late.div_ceil(period.max(1)) * period;
            self.next = Instant::from_ticks(self.next.ticks().saturating_add(missed));
        }
        this
    }

    /// Lets the next tick come one period from now.
    pub fn reset(&mut self) {
        self.next = Instant::now().saturating_add(self.period);
    }

    /// The time between ticks.
    pub fn period(&self) -> Duration {
        self.period
    }
}
