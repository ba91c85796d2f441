//! Doing something again and again.

use core::time::Duration;

use wakeful_timer::skip_missed;

use crate::{Instant, instant::ticks_in, sleep_until};

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
        self.next = match self.missed {
            MissedTicks::Burst => this.saturating_add(self.period),
            MissedTicks::Skip => {
                let period = ticks_in(self.period).unwrap_or(u64::MAX);
                let next = skip_missed(this.ticks(), period, Instant::now().ticks());
                Instant::from_ticks(next)
            }
        };
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
