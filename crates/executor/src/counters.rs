//! What tasks and harts did. Without the feature `counters` these types are empty.

#[cfg(feature = "counters")]
mod on {
    use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

    /// What a task did.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct TaskUsage {
        /// How often it was polled.
        pub polls: u32,
        /// How often it was woken. Waking a task that waits for its turn already does not count.
        pub wakes: u32,
        /// How long its polls took, by [`Platform::now`](crate::Platform::now).
        pub time: u64,
    }

    /// What a hart did.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct HartUsage {
        /// How often it took something out of its queue: tasks to be polled, and what only needed to
        /// be put away.
        pub turns: u64,
        /// Tasks that came in from interrupts and other harts.
        pub deliveries: u64,
        /// How often it found nothing to do and waited for an interrupt.
        pub sleeps: u64,
        /// How long turns took, by [`Platform::now`](crate::Platform::now).
        pub time: u64,
    }

    // Each field has one writer at a time, so a load and a store are an increment.
    pub(crate) struct TaskCounters {
        polls: AtomicU32,
        wakes: AtomicU32,
        time: AtomicU64,
    }

    impl TaskCounters {
        pub(crate) const fn new() -> Self {
            Self { polls: AtomicU32::new(0), wakes: AtomicU32::new(0), time: AtomicU64::new(0) }
        }

        pub(crate) fn reset(&self) {
            self.polls.store(0, Relaxed);
            self.wakes.store(0, Relaxed);
            self.time.store(0, Relaxed);
        }

        /// By who set `QUEUED`.
        pub(crate) fn woken(&self) {
            self.wakes.store(self.wakes.load(Relaxed).wrapping_add(1), Relaxed);
        }

        fn polled(&self, time: u64) {
            self.polls.store(self.polls.load(Relaxed).wrapping_add(1), Relaxed);
            self.time.store(self.time.load(Relaxed).wrapping_add(time), Relaxed);
        }

        pub(crate) fn usage(&self) -> TaskUsage {
            TaskUsage {
                polls: self.polls.load(Relaxed),
                wakes: self.wakes.load(Relaxed),
                time: self.time.load(Relaxed),
            }
        }
    }

    pub(crate) struct HartCounters {
        turns: AtomicU64,
        deliveries: AtomicU64,
        sleeps: AtomicU64,
        time: AtomicU64,
    }

    impl HartCounters {
        pub(crate) const fn new() -> Self {
            Self {
                turns: AtomicU64::new(0),
                deliveries: AtomicU64::new(0),
                sleeps: AtomicU64::new(0),
                time: AtomicU64::new(0),
            }
        }

        /// A turn of `task` begins; returns when.
        pub(crate) fn begin(&self, now: fn() -> u64) -> u64 {
            now()
        }

        /// The turn is over.
        pub(crate) fn end(&self, task: &TaskCounters, begin: u64, now: fn() -> u64) {
            let time = now().wrapping_sub(begin);
            task.polled(time);
            self.turns.store(self.turns.load(Relaxed) + 1, Relaxed);
            self.time.store(self.time.load(Relaxed).wrapping_add(time), Relaxed);
        }

        pub(crate) fn delivered(&self) {
            self.deliveries.store(self.deliveries.load(Relaxed) + 1, Relaxed);
        }

        pub(crate) fn slept(&self) {
            self.sleeps.store(self.sleeps.load(Relaxed) + 1, Relaxed);
        }

        pub(crate) fn usage(&self) -> HartUsage {
            HartUsage {
                turns: self.turns.load(Relaxed),
                deliveries: self.deliveries.load(Relaxed),
                sleeps: self.sleeps.load(Relaxed),
                time: self.time.load(Relaxed),
            }
        }
    }
}

#[cfg(not(feature = "counters"))]
mod off {
    pub(crate) struct TaskCounters;

    impl TaskCounters {
        pub(crate) const fn new() -> Self {
            Self
        }

        pub(crate) fn reset(&self) {}

        pub(crate) fn woken(&self) {}
    }

    pub(crate) struct HartCounters;

    /// When a turn began.
    pub(crate) struct NoTime;

    impl HartCounters {
        pub(crate) const fn new() -> Self {
            Self
        }

        pub(crate) fn begin(&self, _now: fn() -> u64) -> NoTime {
            NoTime
        }

        pub(crate) fn end(&self, _: &TaskCounters, _: NoTime, _now: fn() -> u64) {}

        pub(crate) fn delivered(&self) {}

        pub(crate) fn slept(&self) {}
    }
}

#[cfg(not(feature = "counters"))]
pub(crate) use off::*;
#[cfg(feature = "counters")]
pub use on::*;
