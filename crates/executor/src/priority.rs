//! How urgent a task is.

use core::fmt;

use crate::queue::LEVELS;

/// How urgent a task is, in [`LEVELS`] levels. A task gets a turn only when no more urgent one is ready.
///
/// The order is that of urgency: `Priority::HIGHEST > Priority::LOWEST`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The most urgent: level 0.
    pub const HIGHEST: Self = Self(0);
    /// Level 2.
    pub const HIGH: Self = Self(2);
    /// That of tasks for which nothing is said: level 4.
    pub const NORMAL: Self = Self(4);
    /// Level 6.
    pub const LOW: Self = Self(6);
    /// The least urgent: the last level.
    pub const LOWEST: Self = Self(LEVELS as u8 - 1);

    /// That of a level: 0 is the most urgent. `None` if there is no such level.
    pub const fn from_level(level: u8) -> Option<Self> {
        if (level as usize) < LEVELS { Some(Self(level)) } else { None }
    }

    /// Its level: 0 is the most urgent.
    pub const fn level(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

impl PartialOrd for Priority {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Priority {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        other.0.cmp(&self.0)
    }
}

impl fmt::Debug for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Priority(level {})", self.0)
    }
}
