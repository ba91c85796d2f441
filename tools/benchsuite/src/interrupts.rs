//! Rows from an interrupt's first instruction to the task that it wakes, which is of the highest
//! priority: without preemption.

#![expect(unsafe_code, reason = "the hart interrupts itself, and handlers wake through a pointer")]

use alloc::boxed::Box;
use core::{
    arch::asm,
    future::{Future, poll_fn},
    pin::pin,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
    task::{Poll, Waker},
};

use wakeful::{
    task::{self, Builder, Priority},
    time::{self, Duration, Instant},
};
use wakeful_hal::{timer, trap};

use crate::measure::{Begin, Shape, mark, row};

const OWNER: &str = "wakeful";

/// Interrupts of a row. Each takes [`PAUSE`].
const TIMES: usize = 200;

/// Until an interrupt comes: the hart has fallen asleep.
const PAUSE: Duration = Duration::from_micros(200);

/// The first poll comes without an interrupt.
const SHAPE: Shape =
    Shape { skipped: 1, pairs: TIMES, begin: Begin::Interrupt, median: true, ..Shape::EACH };

pub(crate) async fn rows() {
    row(OWNER, "interrupt-busy", SHAPE, busy).await;
    row(OWNER, "interrupt-idle", SHAPE, idle).await;
    row(OWNER, "interrupt-sleep", SHAPE, sleeping).await;
}

/// A waker that interrupt handlers find. It is leaked.
pub(crate) struct Target(AtomicPtr<Waker>);

impl Target {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn set(&self, waker: &Waker) {
        self.0.store(Box::leak(Box::new(waker.clone())), Ordering::Release);
    }

    pub(crate) fn get(&self) -> Option<&'static Waker> {
        // SAFETY: `set` has leaked it.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }
}

/// The one that interrupts wake.
static URGENT: Target = Target::new();

fn wake_urgent() {
    if let Some(waker) = URGENT.get() {
        waker.wake_by_ref();
    }
}

async fn urgent(future: impl Future<Output = ()> + 'static) {
    let task = Builder::new().priority(Priority::HIGHEST).spawn_local(future);
    _ = task.expect("memory for a task").await;
}

/// A task is having its turn, and has nothing else to do in it.
async fn busy() {
    trap::set_software_handler(wake_urgent);
    let busy = task::spawn_local(poll_fn(|context| {
        BUSY.set(context.waker());
        interrupt_this_hart();
        Poll::<()>::Pending
    }));
    let mut left = TIMES;
    urgent(poll_fn(move |context| {
        mark();
        if left == TIMES {
            URGENT.set(context.waker());
        }
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        if let Some(waker) = BUSY.get() {
            waker.wake_by_ref();
        }
        Poll::Pending
    }))
    .await;
    busy.abort();
    _ = busy.await;
    trap::set_software_handler(|| ());
}

/// Its waker.
static BUSY: Target = Target::new();

/// Without the firmware.
fn interrupt_this_hart() {
    // SAFETY: sets sip.SSIP (bit 1) of this hart: `trap` handles the interrupt.
    unsafe { asm!("csrsi sip, 2", options(nostack)) };
}

/// The hart sleeps; a handler of the timer interrupt wakes the task, without the module `time`.
async fn idle() {
    trap::set_timer_handler(wake_urgent);
    let pause = (Instant::from_ticks(0) + PAUSE).ticks();
    let mut left = TIMES;
    urgent(poll_fn(move |context| {
        mark();
        if left == TIMES {
            URGENT.set(context.waker());
        }
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        timer::set(timer::now() + pause);
        Poll::Pending
    }))
    .await;
    trap::set_timer_handler(wakeful_task::ring);
}

/// The hart sleeps, as does the task: the timer interrupt rings, the alarm looks into the wheel.
async fn sleeping() {
    let mut left = TIMES;
    urgent(async move {
        let mut sleep = pin!(time::sleep_until(Instant::now()));
        poll_fn(move |context| {
            mark();
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            // On a busy computer the moment may have passed already.
            loop {
                sleep.as_mut().reset((Instant::now() + PAUSE).ticks());
                if sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    })
    .await;
}
