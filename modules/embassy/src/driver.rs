//! The time driver: Embassy's ticks from the machine's, and who keeps its wakers.

use core::task::Waker;

use embassy_time_driver::{Driver, TICK_HZ, time_driver_impl};
use wakeful_hal::{hart, timer};
use wakeful_task::{Builder, Priority};

use crate::queue::Queue;

struct MachineDriver;

time_driver_impl!(static DRIVER: MachineDriver = MachineDriver);

impl Driver for MachineDriver {
    fn now(&self) -> u64 {
        to_embassy(timer::now(), timer::frequency())
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        let deadline = to_machine(at, timer::frequency());
        match Queue::here() {
            Some(queue) => queue.schedule(deadline, waker.clone()),
            None => schedule_from_interrupt(deadline, waker),
        }
    }
}

/// The queue belongs to the hart's own flow of control, so a task puts the waker there.
#[cold]
fn schedule_from_interrupt(deadline: u64, waker: &Waker) {
    let ours = waker.clone();
    let schedule = async move {
        if let Some(queue) = Queue::here() {
            queue.schedule(deadline, ours);
        }
    };
    match Builder::new().hart(hart::number()).priority(Priority::HIGHEST).spawn(schedule) {
        Ok(handle) => handle.detach(),
        // So that we are asked again.
        Err(_) => waker.wake_by_ref(),
    }
}

// Both go by whole seconds, so that nothing but the rest of one is multiplied: its product is below
// 2^64 for counters of up to 3.5 GHz, as the highest rate to choose for Embassy is 5.24 GHz.
//
// With ticks = ceil(at × hz / TICK_HZ), any later count of the machine converts to
// floor(count × TICK_HZ / hz) ≥ at: who is woken at its deadline finds that it has come.

/// Rounds down.
fn to_embassy(ticks: u64, hz: u64) -> u64 {
    ticks / hz * TICK_HZ + ticks % hz * TICK_HZ / hz
}

/// Rounds up. What the machine cannot count to is never.
fn to_machine(at: u64, hz: u64) -> u64 {
    let rest = (at % TICK_HZ * hz).div_ceil(TICK_HZ);
    (at / TICK_HZ).saturating_mul(hz).saturating_add(rest)
}
