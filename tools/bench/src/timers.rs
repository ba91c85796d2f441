//! The timers, and what each must be able to do to take part.

use std::time::{Duration, Instant};

mod nexus;
mod tokio;
mod wakeful;

use self::nexus::Nexus;
use self::tokio::Tokio;
use self::wakeful::Wakeful;
use crate::race::Entrant;
use crate::random::Random;

/// The deadlines lie 1 … this many ms ahead, evenly spread.
const HORIZON_MS: u64 = 1 << 16;

/// Timers that are cancelled and set again in one go, at most.
const GROUP: usize = 1000;

/// A keeper of timers under test. Timers live in numbered slots; when one fires, it wakes a waker
/// that does nothing.
pub(crate) trait Timers {
    /// What it is called in the table.
    const NAME: &'static str;

    /// One without any pending timer. Takes no part in any measurement.
    fn new(slots: usize) -> Self;

    /// Makes what a caller has at hand before the timer is set: its deadline, `after_ms` from now.
    /// Takes no part in any measurement.
    fn prepare(&mut self, slot: usize, after_ms: u64);

    /// Sets the timer that was prepared in `slot`.
    fn insert(&mut self, slot: usize);

    /// Cancels the pending timer in `slot`.
    fn cancel(&mut self, slot: usize);

    /// Time jumps from deadline to deadline, each found as this keeper finds the next one, until
    /// all timers have fired.
    fn fire_all(&mut self);

    /// How many timers have fired since the last call; clears away what is left of them. Takes no
    /// part in any measurement.
    fn count_fired(&mut self) -> usize;
}

/// How long a batch of timer operations is.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) pending: usize,
    pub(crate) operations: usize,
    /// What reading the clock adds to a time.
    pub(crate) clock: Duration,
}

/// All who have timers.
pub(crate) fn entrants(batch: Batch) -> Vec<Entrant<'static>> {
    fn entrant<T: Timers>(batch: Batch) -> Entrant<'static> {
        Entrant {
            name: T::NAME,
            compared: true,
            batch: Box::new(move || Some(measure::<T>(batch).into())),
        }
    }
    vec![entrant::<Wakeful>(batch), entrant::<Tokio>(batch), entrant::<Nexus>(batch)]
}

/// Fills up to `pending` timers, cancels and sets groups of them, lets all fire; and starts again
/// until there were about enough operations of each kind. Returns ns per insert, cancel and fire.
fn measure<T: Timers>(batch: Batch) -> [f64; 3] {
    let Batch { pending, operations, clock } = batch;
    let group_size = pending.min(GROUP);
    let fills = (operations / pending).max(1);
    let groups = (operations / group_size / fills).max(1);

    let mut random = Random::new(pending as u64);
    let mut timers = T::new(pending);
    let mut slots: Vec<usize> = (0..pending).collect();
    let [mut insert, mut cancel, mut fire] = [Duration::ZERO; 3];
    for _ in 0..fills {
        for slot in 0..pending {
            timers.prepare(slot, 1 + random.below(HORIZON_MS));
            timers.insert(slot);
        }
        for _ in 0..groups {
            let group = random.choose(&mut slots, group_size);
            cancel += time(|| group.iter().for_each(|slot| timers.cancel(*slot)));
            for slot in group {
                timers.prepare(*slot, 1 + random.below(HORIZON_MS));
            }
            insert += time(|| group.iter().for_each(|slot| timers.insert(*slot)));
        }
        fire += time(|| timers.fire_all());
        assert_eq!(timers.count_fired(), pending, "{} lost a timer", T::NAME);
    }
    let per = |total: Duration, intervals: usize, each: usize| {
        let net = total.saturating_sub(clock * intervals as u32);
        net.as_nanos() as f64 / (intervals * each) as f64
    };
    let groups = fills * groups;
    [per(insert, groups, group_size), per(cancel, groups, group_size), per(fire, fills, pending)]
}

fn time(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

/// What reading the clock adds to a time that is taken with it.
pub(crate) fn clock_overhead() -> Duration {
    let mut times: Vec<_> = (0..1001).map(|_| time(|| ())).collect();
    times.sort();
    times[times.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timer_fires_or_is_cancelled() {
        for pending in [1, 10, 2000] {
            let batch = Batch { pending, operations: 1000, clock: Duration::ZERO };
            for entrant in entrants(batch) {
                // It panics if a timer is lost.
                let figures = (entrant.batch)().unwrap();
                assert!(
                    figures.iter().all(|figure| *figure > 0.0),
                    "{}: {figures:?}",
                    entrant.name
                );
            }
        }
    }
}
