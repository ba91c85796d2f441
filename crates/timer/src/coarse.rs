//! Deadlines that need not be exact.

/// Rounds `deadline` up so that timeouts of about the same length share a moment.
///
/// For timeouts that are nearly always cancelled, such as those of connections: nobody minds when
/// exactly they fire, and a thousand of them that end together cost one wake-up instead of a
/// thousand. The granule is the largest power of two that is at most 1/8 of the delay (from `now`
/// to `deadline`), so the result is never early, and late by less than 12.5 % of the delay. Delays
/// below 16 ticks, and deadlines that have passed, stay as they are. What would lie beyond the end
/// of time becomes [`u64::MAX`].
///
/// All times are in ticks. The granule is also the width of a slot of the wheel, or a fraction of
/// it that fills slots one level below, so that such a node is moved at most about once before it
/// fires, and never if it is cancelled before its neighbours are due.
#[inline]
pub const fn coarse(now: u64, deadline: u64) -> u64 {
    let Some(magnitude) = deadline.saturating_sub(now).checked_ilog2() else {
        return deadline;
    };
    let rest = (1 << magnitude.saturating_sub(3)) - 1;
    match deadline.checked_add(rest) {
        Some(above) => above & !rest,
        None => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::coarse;

    #[test]
    fn short_delays_and_passed_deadlines_stay() {
        for deadline in [0, 1, 999, 1000, 1001, 1007, 1015] {
            assert_eq!(coarse(1000, deadline), deadline);
        }
    }

    #[test]
    fn about_equal_delays_end_together() {
        assert_eq!(coarse(1000, 1017), 1018); // by 2 from a delay of 16 on
        assert_eq!(coarse(0, 32_769), 36_864); // by 4096
        // A thousand timeouts of 100 s at 10 MHz, set within a second, end in one of two moments.
        let mut ends: Vec<_> =
            (0..1000).map(|n| coarse(n * 10_000, 1_000_000_000 + n * 10_000)).collect();
        ends.dedup();
        assert!(ends.len() <= 2, "{ends:?}");
    }

    #[test]
    fn the_end_of_time() {
        assert_eq!(coarse(0, u64::MAX), u64::MAX);
        assert_eq!(coarse(0, u64::MAX - 1), u64::MAX);
        assert_eq!(coarse(u64::MAX - 100, u64::MAX), u64::MAX);
        assert_eq!(coarse(u64::MAX, u64::MAX), u64::MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 20_000 }))]

        #[test]
        fn never_early_and_hardly_late(now: u64, delay: u64, shift in 0_u32..64) {
            let deadline = now.saturating_add(delay >> shift);
            let delay = deadline - now;
            let late = coarse(now, deadline).checked_sub(deadline).expect("not early");
            prop_assert!(late == 0 || u128::from(late) * 8 < u128::from(delay));
        }
    }
}
