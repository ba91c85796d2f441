//! Wakeful's wheel, in the ticks of QEMU's machine: 10 MHz.

use std::pin::Pin;
use std::ptr::NonNull;
use std::task::Waker;

use wakeful_timer::{Node, Wheel};

use super::Timers;
use crate::table::OURS;

const TICKS_PER_MS: u64 = 10_000;

pub(super) struct Wakeful {
    wheel: Pin<Box<Wheel<&'static Waker>>>,
    now: u64,
    deadlines: Vec<u64>,
    nodes: Pin<Box<[Node<&'static Waker>]>>,
    fired: usize,
}

impl Timers for Wakeful {
    const NAME: &'static str = OURS;

    fn new(slots: usize) -> Self {
        let nodes: Box<_> = (0..slots).map(|_| Node::new()).collect();
        Self {
            wheel: Box::pin(Wheel::new()),
            now: 0,
            deadlines: vec![0; slots],
            nodes: nodes.into(),
            fired: 0,
        }
    }

    fn prepare(&mut self, slot: usize, after_ms: u64) {
        self.deadlines[slot] = self.now + after_ms * TICKS_PER_MS;
    }

    fn insert(&mut self, slot: usize) {
        let node = NonNull::from(&self.nodes[slot]);
        #[expect(unsafe_code, reason = "the wheel links nodes")]
        // SAFETY: the bench sets a timer once only; nodes and wheel are pinned, and are dropped
        // together, with all timers fired.
        unsafe {
            self.wheel.insert(node, self.deadlines[slot], Waker::noop());
        }
    }

    fn cancel(&mut self, slot: usize) {
        #[expect(unsafe_code, reason = "the wheel links nodes")]
        // SAFETY: it is pinned, and in this wheel or in none.
        unsafe {
            self.wheel.remove(NonNull::from(&self.nodes[slot]));
        }
    }

    fn fire_all(&mut self) {
        while let Some(deadline) = self.wheel.next_deadline() {
            self.now = deadline;
            self.wheel.advance(deadline);
            while let Some(waker) = self.wheel.pop_expired() {
                waker.wake_by_ref();
                self.fired += 1;
            }
        }
    }

    fn count_fired(&mut self) -> usize {
        std::mem::take(&mut self.fired)
    }
}
