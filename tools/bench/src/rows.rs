//! What is measured, in words and in work.

use std::time::Duration;

use crate::allocations;
use crate::executors::Executor;
use crate::table;
use crate::workload::{
    BellTask, Bells, Fan, FanTask, Finish, Mailbox, Parked, Ring, RingTask, player, yielding,
};

/// Numbers of pending timers.
pub(crate) const PENDING: [usize; 4] = [10, 1_000, 100_000, 1_000_000];

/// What is measured of timers at each of these.
pub(crate) const TIMER_ROWS: [&str; 3] = ["insert", "cancel", "fire"];

/// A row of the executors' table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Row {
    YieldAlone,
    YieldMany,
    Ring,
    Outside,
    Interrupt,
    PingPong,
    JoinOne,
    JoinMany,
    Fan,
    EmptyFuture,
    SmallFuture,
}

impl Row {
    pub(crate) const ALL: [Self; 11] = [
        Self::YieldAlone,
        Self::YieldMany,
        Self::Ring,
        Self::Outside,
        Self::Interrupt,
        Self::PingPong,
        Self::JoinOne,
        Self::JoinMany,
        Self::Fan,
        Self::EmptyFuture,
        Self::SmallFuture,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::YieldAlone => "yield, 1 task",
            Self::YieldMany => "yield, 1,000 tasks",
            Self::Ring => "wake -> poll, ring of 16",
            Self::Outside => "wake -> poll, from outside",
            Self::Interrupt => "wake -> poll, from an interrupt",
            Self::PingPong => "ping-pong of 2 tasks",
            Self::JoinOne => "spawn + run + join, 1 at a time",
            Self::JoinMany => "spawn + run + join, 100 at a time",
            Self::Fan => "1 task wakes 1,000",
            Self::EmptyFuture => "bytes per task, future of 0",
            Self::SmallFuture => "bytes per task, future of 32",
        }
    }

    /// What our ratio to the best peer may be. There is no gate where only wakeful does what is measured.
    pub(crate) const fn gate(self) -> Option<f64> {
        match self {
            Self::Interrupt => None,
            row if row.is_exact() => Some(table::EVEN),
            _ => Some(table::BY_FAR),
        }
    }

    /// Whether tasks are awaited through handles.
    pub(crate) const fn joins(self) -> bool {
        matches!(self, Self::JoinOne | Self::JoinMany)
    }

    /// Counted rather than timed: the same in every round.
    pub(crate) const fn is_exact(self) -> bool {
        matches!(self, Self::EmptyFuture | Self::SmallFuture)
    }

    /// Does about `operations` of them with a fresh executor. Returns ns per operation, or bytes
    /// per task, or none if the executor has no such thing.
    pub(crate) fn measure<E: Executor>(self, operations: usize) -> Option<f64> {
        let executor = &mut E::new();
        match self {
            Self::YieldAlone => Some(yields(executor, 1, operations)),
            Self::YieldMany => Some(yields(executor, 1000, operations / 200)),
            Self::Ring => Some(ring(executor, operations)),
            Self::Outside => from_outside(executor, operations, |wake| wake()),
            Self::Interrupt => from_outside(executor, operations, |wake| E::interrupt(wake)),
            Self::PingPong => Some(ping_pong(executor, operations)),
            Self::JoinOne => Some(joins(executor, operations / 2, 1)),
            Self::JoinMany => Some(joins(executor, operations / 200, 100)),
            Self::Fan => Some(fan(executor, 1000, operations / 1000)),
            Self::EmptyFuture => Some(bytes::<E, 0>(executor)),
            Self::SmallFuture => Some(bytes::<E, 32>(executor)),
        }
    }
}

/// What must be known to read the tables: how equal the work is, and whom it favours where it is not.
pub(crate) const NOTES: &str = "\
A figure is the lowest decile of its rounds; the ratio is ours to the least of the others. We are behind if it is
above 1, and above it by more than the rounds scatter, in three races in a row. A gate is missed by a ratio above 1.5:
no accident. By how much less we may be behind is counted on the machine.
Executor rows are ns per operation; futures and counts are the same for all.
  yield       One operation is one poll of a task that wakes itself by reference and returns.
  ring        16 tasks, each parked on a waker that it left once; whoever is polled wakes the next by
              reference. One operation is one wake and one poll, and nothing else is polled in
              between, whatever the executor; its run loop is active.
  outside     The run loop is left when nothing is ready; one operation is one wake from there, one
              poll, and entering and leaving the loop. tokio cannot be left when idle without being
              polled for it, so it takes no part.
  interrupt   The same for all but wakeful, who knows that it is in an interrupt and uses its inbox: no
              gate, as for the others it is the row above.
  ping-pong   A message to and fro through one-place mailboxes: one operation clones a waker, parks,
              sends, and wakes by value.
  spawn       A task spawns tasks that return a number at their first poll, and awaits their handles.
              In brackets, and not compared: embassy and Unordered, who have no handles. embassy's
              tasks send their numbers to mailboxes; their memory is static, where others allocate.
              Unordered's joiner is the loop around the set, not a task, and joins in any order.
  1 wakes     One operation is one of the 1,000: its share of the waking, and its poll.
  bytes       What 100,000 parked tasks take from the allocator (for embassy: from statics), with
              queues and lists, without the futures themselves and what the allocator adds.
And of the contenders:
  wakeful     Its platform reads hart number and scheduler from memory, as a machine does from a
              register. Tasks are spawned local, in slots that come from chunks.
  embassy     Its pender is one store, its timer item empty: its smallest and fastest configuration,
              without timers, priorities, handles, cancellation or a second core. It polls the last
              woken first, which is kind to caches where tasks are many.
  tokio       Runs in `block_on`, without drivers; tasks are `Send`, its faster kind.
  async-ex    The leaked local executor. Like edge, stepped by `try_tick`, which is faster than `run`.
  edge        The local executor, with a queue without lock, which only one thread may use.
  Unordered   Polled in a loop, with a waker above it that does nothing.
Timer rows are ns per operation at that many pending timers with deadlines 1 to 65,536 ms ahead;
wakers do nothing.
  insert      of timers in random slots; at 10 pending: from 0 to 10. tokio: the first poll of a
              `Sleep` that was made before, which favours it.
  cancel      of random timers; at 10 pending: from 10 to 0. tokio: drop of the `Sleep` in place.
  fire        Time jumps from deadline to deadline until all have fired: finding the next deadline,
              jumping and waking, per timer. tokio: its clock is paused and jumps by itself, through
              the runtime's loop, which weighs where few timers share a jump.
  wakeful     Ticks of 100 ns, as on the machine: more levels to move down than with the 1 ms to which
              the others round. Owners keep the nodes, as with tokio; nexus keeps them in a slab that
              has room for all from the start.";

fn per_operation(time: Duration, operations: usize) -> f64 {
    time.as_nanos() as f64 / operations as f64
}

fn yields<E: Executor>(executor: &mut E, tasks: usize, times: usize) -> f64 {
    let finish = Finish::of(tasks);
    let time = executor.run(tasks, |_| yielding(times, finish.clone()), &finish);
    per_operation(time, tasks * (times + 1))
}

fn ring<E: Executor>(executor: &mut E, hops: usize) -> f64 {
    const TASKS: usize = 16;
    let finish = Finish::of(TASKS);
    let ring = Ring::of(TASKS, hops, finish.clone());
    let time = executor.run(TASKS, |seat| RingTask::new(&ring, seat), &finish);
    per_operation(time, hops + 2 * TASKS) // Each task is polled once more to park, and to leave.
}

fn from_outside<E: Executor>(
    executor: &mut E,
    times: usize,
    context: impl Fn(&dyn Fn()),
) -> Option<f64> {
    const TASKS: usize = 16;
    let bells = Bells::of(TASKS);
    let time = executor.run_from_outside(
        TASKS,
        |seat| BellTask::new(&bells, seat),
        times,
        |turn| context(&|| bells.ring(turn)),
    )?;
    assert_eq!(bells.answers(), times, "{}: a poll for each wake", E::NAME);
    Some(per_operation(time, times))
}

fn ping_pong<E: Executor>(executor: &mut E, messages: usize) -> f64 {
    let finish = Finish::of(2);
    let boxes = [Mailbox::new(), Mailbox::new()];
    let make = |me: usize| player(boxes[me].clone(), boxes[1 - me].clone(), finish.clone());
    boxes[0].send(messages as u64);
    per_operation(executor.run(2, make, &finish), messages)
}

fn joins<E: Executor>(executor: &mut E, times: usize, group: usize) -> f64 {
    per_operation(executor.spawn_and_join(times, group), times * group)
}

fn fan<E: Executor>(executor: &mut E, parked: usize, waves: usize) -> f64 {
    let finish = Finish::of(parked + 1);
    let fan = Fan::of(parked, waves, finish.clone());
    let time = executor.run(parked + 1, |place| FanTask::new(&fan, place), &finish);
    per_operation(time, parked * (waves + 2)) // Each is polled once more to park, and to leave.
}

fn bytes<E: Executor, const BYTES: usize>(executor: &mut E) -> f64 {
    const TASKS: usize = 100_000;
    let finish = Finish::of(1);
    Parked::<BYTES>::expect(TASKS, finish.clone());
    let before = allocations::in_use();
    executor.run(TASKS, |_| Parked::<BYTES>::new(), &finish);
    let taken = Parked::<BYTES>::in_use() - before;
    (taken - TASKS * BYTES) as f64 / TASKS as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executors;

    #[test]
    fn everybody_finishes_every_row() {
        for row in Row::ALL.into_iter().filter(|row| !row.is_exact()) {
            let mut absent = Vec::new();
            for entrant in executors::entrants(row, 2000) {
                match (entrant.batch)() {
                    Some(figures) => assert!(figures[0] > 0.0, "{row:?}: {}", entrant.name),
                    None => absent.push(entrant.name),
                }
            }
            let from_outside = matches!(row, Row::Outside | Row::Interrupt);
            assert_eq!(absent, if from_outside { vec!["tokio"] } else { vec![] });
        }
    }
}
