//! Moments, in ticks of the machine's counter.

use core::{
    fmt,
    ops::{Add, AddAssign, Sub, SubAssign},
    time::Duration,
};

use wakeful_hal::timer;

/// A moment: what the machine's counter said, or will say. All harts agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// This moment.
    #[inline]
    pub fn now() -> Self {
        Self(timer::now())
    }

    /// The moment at which the machine's counter says `ticks`. There are
    /// [`wakeful_hal::timer::frequency`] of them in a second.
    pub const fn from_ticks(ticks: u64) -> Self {
        Self(ticks)
    }

    /// What the machine's counter says at this moment.
    pub const fn ticks(self) -> u64 {
        self.0
    }

    /// The time since an earlier moment; zero if it is a later one.
    pub fn duration_since(self, earlier: Self) -> Duration {
        wakeful_timer::duration_of(self.0.saturating_sub(earlier.0), timer::frequency())
    }

    /// The time since this moment; zero if it is still to come.
    pub fn elapsed(self) -> Duration {
        Self::now().duration_since(self)
    }

    /// The moment that much later; the end of time if there is none.
    pub fn saturating_add(self, duration: Duration) -> Self {
        self.checked_add(duration).unwrap_or(Self(u64::MAX))
    }

    /// The moment that much later. `None` if there is none.
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(ticks_in(duration)?).map(Self)
    }

    /// The moment that much earlier. `None` if there is none.
    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(ticks_in(duration)?).map(Self)
    }
}

/// The ticks that cover a duration, rounded up: who waits for so many waits long enough.
pub(crate) fn ticks_in(duration: Duration) -> Option<u64> {
    wakeful_timer::ticks_in(duration, timer::frequency())
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// # Panics
    ///
    /// If there is no such moment.
    fn add(self, duration: Duration) -> Self {
        self.checked_add(duration).expect("a moment after the end of time")
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// # Panics
    ///
    /// If there is no such moment.
    fn sub(self, duration: Duration) -> Self {
        self.checked_sub(duration).expect("a moment before the beginning of time")
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// The time between; zero if the other is later.
    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

impl fmt::Display for Instant {
    /// Seconds since the counter started, with microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.duration_since(Self(0));
        write!(f, "{}.{:06}", since.as_secs(), since.subsec_micros())
    }
}
