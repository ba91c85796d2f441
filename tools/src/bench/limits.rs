//! The rows that `benchsuite` prints: what they are called in the table, and what they may cost.

/// The contender whose limits these are.
pub(super) const OURS: &str = "wakeful";

/// The contender to be compared with.
pub(super) const PEER: &str = "embassy";

/// A row of every contender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// Its name in the image.
    pub(super) row: &'static str,
    /// Its name in the table.
    pub(super) title: &'static str,
    pub(super) gate: Gate,
    pub(super) goal: Option<f64>,
}

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Gate {
    /// Instructions.
    Most(f64),
    /// Instructions, and atomic ones among them.
    WithAtomics(f64, f64),
    /// As the peer, or less.
    Peer,
    /// Nothing but the baseline.
    None,
}

/// All rows, in the order of the table.
///
/// Gates hold for [`super::rows::Build::GATED`] only.
pub(super) const ALL: &[Limit] = &[
    limit("wake", "wake to first instruction of poll", Gate::WithAtomics(44.0, 2.0), Some(32.0)),
    limit("wake-can-end", "  the same, of tasks that can end", Gate::Peer, None),
    limit("wake-again", "wake of a woken task", Gate::Peer, Some(8.0)),
    limit("yield-8", "yield, others ready", Gate::Most(40.0), Some(30.0)),
    limit("yield-1", "yield, alone", Gate::Peer, Some(35.0)),
    limit("bytes-per-task", "bytes per task beyond the future", Gate::Most(32.0), Some(16.0)),
    // The peer makes no handle and takes no memory.
    limit("spawn", "spawn, run, end", Gate::None, Some(120.0)),
    limit("spawn-join", "spawn, run, join", Gate::None, None),
    limit(
        "wake-other-busy",
        "wake on a busy hart: the waker's part",
        Gate::WithAtomics(35.0, 2.0),
        Some(28.0),
    ),
    limit("wake-other-asleep", "  the same, on a hart that sleeps", Gate::None, None),
    limit("interrupt-busy", "interrupt to urgent task: busy hart", Gate::Most(160.0), Some(90.0)),
    limit("interrupt-idle", "  the same, of a hart that sleeps", Gate::None, None),
    limit("interrupt-sleep", "  the same, of a task in a sleep", Gate::None, None),
    limit("sleep-begin", "sleep: begin", Gate::None, None),
    limit("sleep-first", "sleep: begin, due before all others", Gate::None, None),
    limit("sleep-cancel", "sleep: cancel", Gate::None, None),
    limit("sleep-fire", "sleep: fire, wake, run, end: 1 of 1,000", Gate::None, None),
    limit("timer-insert-10", "timer: insert among 10", Gate::Most(45.0), Some(32.0)),
    limit("timer-insert-1000", "timer: insert among 1,000", Gate::Most(45.0), Some(32.0)),
    limit("timer-insert-100000", "timer: insert among 100,000", Gate::Most(45.0), Some(32.0)),
    limit("timer-cancel-10", "timer: cancel among 10", Gate::Most(25.0), Some(14.0)),
    limit("timer-cancel-1000", "timer: cancel among 1,000", Gate::Most(25.0), Some(14.0)),
    limit("timer-cancel-100000", "timer: cancel among 100,000", Gate::Most(25.0), Some(14.0)),
    limit("timer-next-10", "timer: next deadline of 10", Gate::None, Some(16.0)),
    limit("timer-next-1000", "timer: next deadline of 1,000", Gate::None, Some(16.0)),
    limit("timer-next-100000", "timer: next deadline of 100,000", Gate::None, Some(16.0)),
    limit("timer-fire-10", "timer: fire one of 10", Gate::None, None),
    limit("timer-fire-1000", "timer: fire one of 1,000", Gate::None, None),
    limit("timer-fire-100000", "timer: fire one of 100,000", Gate::None, None),
];

const fn limit(row: &'static str, title: &'static str, gate: Gate, goal: Option<f64>) -> Limit {
    Limit { row, title, gate, goal }
}
