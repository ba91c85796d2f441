//! How often a device may be restarted.

/// The moments of the last restarts: so many in a minute are enough.
///
/// A device that needs more is not worth the work, and would fill the console.
#[derive(Debug, Clone, Default)]
pub struct Restarts {
    last: [Option<u64>; MOST],
    /// How many there were.
    count: u64,
}

/// In any minute.
const MOST: usize = 3;

const MINUTE: u64 = 60;

impl Restarts {
    /// None so far.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: [None; MOST], count: 0 }
    }

    /// Whether there may be one now, in seconds of any clock. If so, it is counted.
    pub fn begin(&mut self, now: u64) -> bool {
        // The oldest is first.
        if self.last[0].is_some_and(|oldest| now.saturating_sub(oldest) < MINUTE) {
            return false;
        }
        self.last.rotate_left(1);
        self.last[MOST - 1] = Some(now);
        self.count += 1;
        true
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_minute() {
        let mut restarts = Restarts::new();
        let allowed = [0, 0, 30, 30, 59, 60, 60, 61, 89, 90, 119, 120, 120, 121];
        let begun: Vec<u64> = allowed.into_iter().filter(|&now| restarts.begin(now)).collect();
        assert_eq!(begun, [0, 0, 30, 60, 60, 90, 120, 120]);
        assert_eq!(restarts.count(), 8);
        // A clock that goes backwards gives no more.
        assert!(!restarts.begin(0));
        assert!(restarts.begin(u64::MAX));
    }
}
