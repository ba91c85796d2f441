//! Rows of the timer wheel alone: what one operation costs while others wait.
//!
//! Each operation is a call, as it is from another crate that has not merged it.

#![expect(unsafe_code, reason = "who inserts nodes vouches for them")]

use alloc::{boxed::Box, format, vec::Vec};
use core::{cell::Cell, hint::black_box, ptr::NonNull};

use wakeful_timer::{Node, Wheel};

use crate::measure::{ITERATIONS, Shape, mark, row};

const OWNER: &str = "wakeful";

/// When the rows begin: a machine that has been up for a while.
const BEGIN: u64 = 0x0012_3456_789a;

/// Deadlines are up to this far away, in ticks: 13 s at 10 MHz.
const HORIZON: u64 = 1 << 27;

/// A wheel in which as many nodes wait as are asked for. Targets are their numbers.
struct Clock {
    wheel: &'static Wheel<usize>,
    nodes: &'static [Node<usize>],
    /// The number of the one that does not wait.
    spare: Cell<usize>,
    now: Cell<u64>,
    random: Cell<u64>,
}

pub(crate) async fn rows() {
    for pending in [10, 1_000, 100_000] {
        let clock = &Clock::new(pending);
        let row = async |name, body: &dyn Fn()| {
            let name = format!("timer-{name}-{pending}");
            row(OWNER, &name, Shape::EACH, async || (0..ITERATIONS).for_each(|_| body())).await;
        };
        row("insert", &|| {
            let wheel = black_box(clock.wheel);
            let (node, number, deadline) = clock.next_spare();
            mark();
            insert(wheel, node, deadline, number);
            mark();
            remove(wheel, node);
        })
        .await;
        row("cancel", &|| {
            let wheel = black_box(clock.wheel);
            let (node, number, deadline) = clock.next_spare();
            insert(wheel, node, deadline, number);
            mark();
            remove(wheel, node);
            mark();
        })
        .await;
        row("next", &|| {
            let wheel = black_box(clock.wheel);
            mark();
            let next = next_deadline(wheel);
            mark();
            black_box(next);
        })
        .await;
        clock.forget_removed();
        row("fire", &|| {
            let (node, number, deadline) = clock.next_spare();
            let wheel = black_box(clock.wheel);
            insert(wheel, node, deadline, number);
            let next = next_deadline(wheel).expect("some node waits");
            mark();
            let fired = fire(wheel, next);
            mark();
            clock.now.set(next);
            clock.spare.set(fired.expect("nothing was removed"));
        })
        .await;
    }
}

impl Clock {
    fn new(pending: usize) -> Self {
        let wheel: &Wheel<usize> = Box::leak(Box::new(Wheel::new()));
        wheel.advance(BEGIN);
        let nodes: Vec<Node<usize>> = (0..=pending).map(|_| Node::new()).collect();
        let clock = Self {
            wheel,
            nodes: nodes.leak(),
            spare: Cell::new(0),
            now: Cell::new(BEGIN),
            random: Cell::new(0x9e37_79b9_7f4a_7c15),
        };
        for spare in 1..=pending {
            let (node, number, deadline) = clock.next_spare();
            insert(wheel, node, deadline, number);
            clock.spare.set(spare);
        }
        clock
    }

    /// The node that does not wait, its number, and a deadline for it: at random, but the same in
    /// each run (xorshift64*). All are there: the compiler would find them out at the last moment.
    fn next_spare(&self) -> (NonNull<Node<usize>>, usize, u64) {
        let mut state = self.random.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.random.set(state);
        let spare = self.spare.get();
        let delay = 1 + (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8) % HORIZON;
        let node = NonNull::from(&self.nodes[spare]);
        (black_box(node), black_box(spare), black_box(self.now.get() + delay))
    }

    /// Deadlines of nodes that were removed may still be the next ones. Passes them.
    fn forget_removed(&self) {
        loop {
            let next = next_deadline(self.wheel).expect("some node waits");
            self.now.set(next);
            if let Some(fired) = fire(self.wheel, next) {
                let spare = self.spare.replace(fired);
                let (_, _, deadline) = self.next_spare();
                return insert(self.wheel, NonNull::from(&self.nodes[spare]), deadline, spare);
            }
        }
    }
}

#[inline(never)]
fn insert(wheel: &Wheel<usize>, node: NonNull<Node<usize>>, deadline: u64, target: usize) {
    // SAFETY: nodes and wheels are leaked, and a node is inserted when it is the spare one.
    unsafe { wheel.insert(node, deadline, target) };
}

#[inline(never)]
fn remove(wheel: &Wheel<usize>, node: NonNull<Node<usize>>) {
    // SAFETY: the node is in no other wheel.
    unsafe { wheel.remove(node) };
}

#[inline(never)]
fn next_deadline(wheel: &Wheel<usize>) -> Option<u64> {
    wheel.next_deadline()
}

/// Lets time pass, and takes one node that is due.
#[inline(never)]
fn fire(wheel: &Wheel<usize>, now: u64) -> Option<usize> {
    wheel.advance(now);
    wheel.pop_expired()
}
