//! Ticks of a counter and durations: rounded so that nobody waits too short.

use core::time::Duration;

const NANOS: u64 = 1_000_000_000;

/// The ticks that cover a duration, at so many a second: rounded up. `None` if 64 bits do not hold them.
pub const fn ticks_in(duration: Duration, frequency: u64) -> Option<u64> {
    let nanos = duration.subsec_nanos() as u64;
    // Below 2^30 times 2^34 (17 GHz) there is no overflow.
    let fraction = (nanos * frequency).div_ceil(NANOS);
    match duration.as_secs().checked_mul(frequency) {
        Some(whole) => whole.checked_add(fraction),
        None => None,
    }
}

/// The duration of so many ticks, at so many a second: rounded down to nanoseconds.
pub const fn duration_of(ticks: u64, frequency: u64) -> Duration {
    let nanos = ticks % frequency * NANOS / frequency;
    Duration::new(ticks / frequency, nanos as u32) // less than a second's
}

/// When the next tick of an interval comes, of those that were missed none: `last` was the last one that
/// came, and it is `now`.
pub const fn skip_missed(last: u64, period: u64, now: u64) -> u64 {
    let next = last.saturating_add(period);
    if next >= now || period == 0 {
        return next;
    }
    let missed = (now - next).div_ceil(period);
    next.saturating_add(missed.saturating_mul(period))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever waits for the ticks of a duration has waited for the duration.
        #[test]
        fn waiting_is_never_too_short(
            seconds in 0..1_u64 << 30,
            nanos in 0..1_000_000_000_u32,
            frequency in 1..16_000_000_000_u64,
        ) {
            let duration = Duration::new(seconds, nanos);
            if let Some(ticks) = ticks_in(duration, frequency) {
                prop_assert!(duration_of(ticks, frequency) >= duration);
                // And not a tick too long.
                prop_assert!(ticks == 0 || duration_of(ticks - 1, frequency) < duration);
            }
        }

        /// The next tick is not before now, and on the beat.
        #[test]
        fn skipping_keeps_the_beat(last in 0..1_u64 << 40, period in 1..1_u64 << 30, late in 0..1_u64 << 40) {
            let now = last + late;
            let next = skip_missed(last, period, now);
            prop_assert!(next >= now.max(last + period));
            prop_assert_eq!((next - last) % period, 0);
            prop_assert!(next < now.max(last + period) + period);
        }
    }

    #[test]
    fn ends_of_time() {
        assert_eq!(ticks_in(Duration::MAX, 10_000_000), None);
        assert_eq!(ticks_in(Duration::ZERO, 10_000_000), Some(0));
        assert_eq!(ticks_in(Duration::from_nanos(1), 10_000_000), Some(1));
        assert_eq!(duration_of(u64::MAX, 1), Duration::from_secs(u64::MAX));
        assert_eq!(skip_missed(u64::MAX - 1, 5, u64::MAX), u64::MAX);
        assert_eq!(skip_missed(0, 10, 35), 40);
        assert_eq!(skip_missed(0, 10, 40), 40);
        assert_eq!(skip_missed(0, 10, 5), 10);
    }
}
