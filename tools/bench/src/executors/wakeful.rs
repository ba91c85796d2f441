//! Wakeful's executor, on a platform that is this program's one thread.

use std::alloc::Layout;
use std::cell::Cell;
use std::future::Future;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};
use std::task::RawWakerVTable;
use std::time::{Duration, Instant};

use wakeful_executor::{Builder, Hart, OUTSIDE, Platform, waker_vtable};

use super::Executor;
use crate::table::OURS;
use crate::workload::{Finish, Shared, work};

/// The thread is a hart, one after another: the one that was made last. Who that is stands in memory,
/// as it does on the machine, where it is found through a register.
struct Thread;

static HERE: AtomicUsize = AtomicUsize::new(OUTSIDE);
static LOCAL: AtomicPtr<Hart<Thread>> = AtomicPtr::new(ptr::null_mut());
static HARTS: [AtomicPtr<Hart<Thread>>; 2048] = [const { AtomicPtr::new(ptr::null_mut()) }; 2048];
static STARTED: AtomicUsize = AtomicUsize::new(0);
static VTABLE: RawWakerVTable = waker_vtable::<Thread>();

#[expect(unsafe_code, reason = "the executor trusts its platform")]
// SAFETY: there is one thread, and at any time it is one hart or outside. The first `STARTED` of
// `HARTS` are set, once, and `LOCAL` is the one of the number that `HERE` said last.
unsafe impl Platform for Thread {
    fn here() -> usize {
        HERE.load(Relaxed)
    }

    unsafe fn local() -> &'static Hart<Self> {
        // SAFETY: once `HERE` says a number, a hart that was leaked.
        unsafe { &*LOCAL.load(Relaxed) }
    }

    unsafe fn hart(number: usize) -> &'static Hart<Self> {
        // SAFETY: the executor asks for harts below `harts` only.
        unsafe { &*HARTS[number].load(Relaxed) }
    }

    fn harts() -> usize {
        STARTED.load(Relaxed)
    }

    /// The hart does not sleep.
    fn interrupt(_number: usize) {}

    fn vtable() -> &'static RawWakerVTable {
        &VTABLE
    }

    fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: chunks of tasks are not empty.
        unsafe { std::alloc::alloc(layout) }
    }
}

pub(super) struct Wakeful {
    hart: &'static Hart<Thread>,
}

impl Wakeful {
    fn spawn_all<F>(count: usize, make: impl Fn(usize) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        for index in 0..count {
            Builder::<Thread>::new().spawn_local(make(index)).expect("memory").detach();
        }
    }
}

impl Executor for Wakeful {
    const NAME: &'static str = OURS;

    fn new() -> Self {
        let hart: &Hart<Thread> = Box::leak(Box::new(Hart::new()));
        let number = STARTED.load(Relaxed);
        #[expect(unsafe_code, reason = "harts are started once")]
        // SAFETY: nobody has seen it yet.
        unsafe {
            hart.start(number);
        }
        HARTS[number].store(ptr::from_ref(hart).cast_mut(), Relaxed);
        STARTED.store(number + 1, Relaxed);
        LOCAL.store(ptr::from_ref(hart).cast_mut(), Relaxed);
        HERE.store(number, Relaxed);
        Self { hart }
    }

    fn run<F>(
        &mut self,
        count: usize,
        make: impl Fn(usize) -> F,
        finish: &Shared<Finish>,
    ) -> Duration
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::spawn_all(count, make);
        let begin = Instant::now();
        while !finish.reached() {
            self.hart.run();
        }
        begin.elapsed()
    }

    /// By way of the inbox.
    #[inline]
    fn interrupt(handler: impl FnOnce()) {
        let here = HERE.load(Relaxed);
        HERE.store(OUTSIDE, Relaxed);
        handler();
        HERE.store(here, Relaxed);
    }

    fn run_from_outside<F>(
        &mut self,
        count: usize,
        make: impl Fn(usize) -> F,
        times: usize,
        wake: impl Fn(usize),
    ) -> Option<Duration>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::spawn_all(count, make);
        self.hart.run();
        let begin = Instant::now();
        for turn in 0..times {
            wake(turn);
            self.hart.run();
        }
        Some(begin.elapsed())
    }

    fn spawn_and_join(&mut self, times: usize, group: usize) -> Duration {
        let taken = Rc::new(Cell::new(None));
        let joiner = {
            let taken = taken.clone();
            async move {
                let spawn = |number| Builder::<Thread>::new().spawn_local(work(number));
                let mut handles = Vec::with_capacity(group);
                let begin = Instant::now();
                for _ in 0..times {
                    handles.extend((0..group as u64).map(|number| spawn(number).expect("memory")));
                    for (number, handle) in (0..).zip(handles.drain(..)) {
                        assert_eq!(handle.await, Ok(number + 1));
                    }
                }
                taken.set(Some(begin.elapsed()));
            }
        };
        let joiner = Cell::new(Some(joiner));
        Self::spawn_all(1, |_| joiner.take().expect("one joiner"));
        loop {
            if let Some(taken) = taken.get() {
                return taken;
            }
            self.hart.run();
        }
    }
}
