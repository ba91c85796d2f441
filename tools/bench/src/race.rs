//! How the figures come about: rounds, order and statistics.
//!
//! The computer is shared and noisy: its speed drifts over seconds, and now and then somebody takes
//! the core for a few milliseconds. So
//!
//! - a batch takes about a millisecond: most are left alone;
//! - in every round each contender runs one batch, so that all of a round see the same drift, and the
//!   order turns from round to round and is reversed in every other one, so that nobody always
//!   follows the same one, with its caches;
//! - where stack and heap happen to lie can decide as much as the code does: one row of one program
//!   was seen to be a third slower all through one run, and not in the next. So every batch runs
//!   somewhere else, and luck of that kind is spread over the rounds;
//! - the figure of a contender is the *lowest decile* of its rounds: a tenth of them were better. What
//!   disturbs only adds, so the low end is the undisturbed program; but the least of all is the one
//!   luckiest layout, and belongs to whoever tried more of them;
//! - the *ratio* is that of two such figures. The median of the ratios round by round was tried: drift
//!   divides out of it, but under load more than half of the rounds may be disturbed, and a program
//!   that waits for its own results and one that fills the core need not suffer alike. Over 22 runs of
//!   four rows, 8 of them beside two busy processes, it scattered by up to 5 % and changed the
//!   verdict; the ratio of the least by 3 %, that of the deciles by 1 %.
//! - The best peer is the one with the lowest figure.

use std::hint::black_box;

use crate::random::Random;

/// One who takes part.
pub(crate) struct Entrant<'a> {
    pub(crate) name: &'static str,
    /// Whether it does what the row is about, and not just something like it.
    pub(crate) compared: bool,
    /// Runs a batch; one figure for each row, the less the better, or none if it cannot.
    pub(crate) batch: Box<dyn Fn() -> Option<Vec<f64>> + 'a>,
}

/// What one of the entrants did in one row: a figure for each round, or nothing.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) name: &'static str,
    pub(crate) compared: bool,
    pub(crate) rounds: Vec<f64>,
}

impl Lane {
    /// What counts: the lowest decile of the rounds.
    pub(crate) fn figure(&self) -> Option<f64> {
        quantile(&self.rounds, 0.1)
    }

    /// By how much the median of the rounds is above what counts: how disturbed they were.
    pub(crate) fn noise(&self) -> Option<f64> {
        Some(quantile(&self.rounds, 0.5)? / self.figure()? - 1.0)
    }
}

/// Lets all run `rounds` times, after one round that does not count. Returns the lanes of `rows`
/// rows.
pub(crate) fn race(entrants: &[Entrant<'_>], rows: usize, rounds: usize) -> Vec<Vec<Lane>> {
    let lane = |entrant: &Entrant<'_>| Lane {
        name: entrant.name,
        compared: entrant.compared,
        rounds: Vec::new(),
    };
    let mut table: Vec<Vec<Lane>> =
        (0..rows).map(|_| entrants.iter().map(lane).collect()).collect();
    let mut random = Random::new(rounds as u64);
    for round in 0..=rounds {
        for place in 0..entrants.len() {
            let turned = (place + round) % entrants.len();
            let index = if round % 2 == 0 { turned } else { entrants.len() - 1 - turned };
            let Some(figures) = somewhere(&mut random, &entrants[index].batch) else { continue };
            if round > 0 {
                for (row, figure) in table.iter_mut().zip(figures) {
                    row[index].rounds.push(figure);
                }
            }
        }
    }
    table
}

/// Calls `batch` with a stack and a heap that lie elsewhere within their pages each time.
fn somewhere<T>(random: &mut Random, batch: &dyn Fn() -> T) -> T {
    #[inline(never)]
    fn deeper<T>(frames: u64, batch: &dyn Fn() -> T) -> T {
        let frame = black_box([0_u8; 32]);
        let result = if frames == 0 { batch() } else { deeper(frames - 1, batch) };
        black_box(frame);
        result
    }
    const PAGE: u64 = 4096;
    let _heap = black_box(vec![0_u8; random.below(PAGE) as usize]);
    deeper(random.below(PAGE / 64), batch)
}

/// The best of those who are compared with the lane called `name`.
pub(crate) fn best_peer<'a>(lanes: &'a [Lane], name: &str) -> Option<&'a Lane> {
    let peers = lanes.iter().filter(|lane| lane.name != name && lane.compared);
    let figures = peers.filter_map(|lane| Some((lane, lane.figure()?)));
    figures.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(lane, _)| lane)
}

/// How the lane called `name` compares with the best of the others.
pub(crate) fn ratio_to_best(lanes: &[Lane], name: &str) -> Option<f64> {
    let ours = lanes.iter().find(|lane| lane.name == name)?.figure()?;
    Some(ours / best_peer(lanes, name)?.figure()?)
}

/// The figure that `part` of the others are below, or the next lower one.
pub(crate) fn quantile(figures: &[f64], part: f64) -> Option<f64> {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let last = figures.len().checked_sub(1)?;
    Some(figures[(part * last as f64) as usize])
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn neither_luck_nor_disturbance_counts() {
        let lane = |name, figure: f64| {
            let mut rounds = vec![figure; 11];
            rounds[3] = 0.1;
            rounds[4..].iter_mut().for_each(|round| *round *= 5.0);
            Lane { name, compared: true, rounds }
        };
        let lanes = [lane("bad", 40.0), lane("ours", 8.0), lane("good", 10.0)];
        assert_eq!(lanes[1].figure(), Some(8.0));
        assert_eq!(lanes[1].noise(), Some(4.0));
        assert_eq!(ratio_to_best(&lanes, "ours"), Some(0.8));
        assert_eq!(ratio_to_best(&lanes, "nobody"), None);
        assert_eq!(ratio_to_best(&lanes[1..2], "ours"), None);
        let lanes = lanes.map(|lane| Lane { compared: lane.name == "bad", ..lane });
        assert_eq!(ratio_to_best(&lanes, "ours"), Some(0.2));
    }

    #[test]
    fn nobody_always_follows_the_same_one() {
        let order = RefCell::new(String::new());
        let entrant = |name: &'static str| {
            let order = &order;
            let batch = move || {
                order.borrow_mut().push_str(name);
                (name != "c").then(|| vec![1.0])
            };
            Entrant { name, compared: true, batch: Box::new(batch) }
        };
        let lanes = race(&[entrant("a"), entrant("b"), entrant("c")], 1, 3);
        assert_eq!(*order.borrow(), "abcbaccabcba");
        let counts: Vec<_> = lanes[0].iter().map(|lane| lane.rounds.len()).collect();
        assert_eq!(counts, [3, 3, 0]);
    }
}
