//! nexus-timer: a hierarchical wheel over a slab, here with room for all timers from the start.

use std::task::Waker;
use std::time::{Duration, Instant};

use nexus_timer::{BoundedWheel, TimerHandle};

use super::Timers;

pub(super) struct Nexus {
    wheel: BoundedWheel<&'static Waker>,
    now: Instant,
    deadlines: Vec<Instant>,
    handles: Vec<Option<TimerHandle<&'static Waker>>>,
    due: Vec<&'static Waker>,
    fired: usize,
}

impl Timers for Nexus {
    const NAME: &'static str = "nexus";

    fn new(slots: usize) -> Self {
        let now = Instant::now();
        Self {
            wheel: BoundedWheel::bounded(slots, now),
            now,
            deadlines: vec![now; slots],
            handles: (0..slots).map(|_| None).collect(),
            due: Vec::with_capacity(slots),
            fired: 0,
        }
    }

    fn prepare(&mut self, slot: usize, after_ms: u64) {
        self.deadlines[slot] = self.now + Duration::from_millis(after_ms);
    }

    fn insert(&mut self, slot: usize) {
        let timer = self.wheel.try_schedule(self.deadlines[slot], Waker::noop());
        self.handles[slot] = timer.ok();
    }

    fn cancel(&mut self, slot: usize) {
        if let Some(timer) = self.handles[slot].take() {
            self.wheel.cancel(timer);
        }
    }

    fn fire_all(&mut self) {
        while let Some(deadline) = self.wheel.next_deadline() {
            // To the nanosecond, the wheel's rounding would have it that this is a tick too early.
            self.now = deadline + Duration::from_nanos(1);
            self.fired += self.wheel.poll_and_rebalance(self.now, &mut self.due);
            self.due.drain(..).for_each(Waker::wake_by_ref);
        }
    }

    fn count_fired(&mut self) -> usize {
        for timer in self.handles.iter_mut().filter_map(Option::take) {
            self.wheel.free(timer);
        }
        std::mem::take(&mut self.fired)
    }
}
