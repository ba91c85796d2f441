//! The host: a Wakeful task in which an executor of Embassy has its turns.

use alloc::boxed::Box;
use core::{future::poll_fn, ptr, task::Poll};

use atomic_waker::AtomicWaker;
use embassy_executor::{Spawner, raw};

/// Runs tasks of Embassy in the task that awaits this, for ever. `init` spawns the first of them.
///
/// Each call makes an executor of its own, so there may be several on a hart. It stays on the hart
/// where it began: `spawn_local` it, or await it in a task of that hart. Tasks can be spawned from
/// other harts by a [`SendSpawner`](embassy_executor::SendSpawner), and woken from everywhere. To have
/// one on another hart:
///
/// ```ignore
/// task::spawn_on(hart, async {
///     task::spawn_local(embassy::run(|spawner| spawner.spawn(blink(8).unwrap()))).detach();
/// });
/// ```
///
/// In one turn of the host each task of Embassy that was woken is polled once; those that were woken
/// meanwhile have to wait for the host's next turn.
///
/// A task of Embassy that panics takes the host with it, and all its other tasks; if the machine cannot do without
/// them, spawn the host with [`Builder::essential`](wakeful_task::Builder::essential).
///
/// # Cancellation
///
/// Tasks of Embassy cannot be cancelled. Those of a host that is dropped stay where they are and are
/// not polled any more; whoever holds a spawner may spawn more, which will not run. The executor, five
/// words, is never freed.
pub async fn run(init: impl FnOnce(Spawner)) -> ! {
    let host: &'static AtomicWaker = Box::leak(Box::new(AtomicWaker::new()));
    let context = ptr::from_ref(host).cast_mut().cast();
    let executor: &'static raw::Executor = Box::leak(Box::new(raw::Executor::new(context)));
    init(executor.spawner());
    poll_fn(|context| {
        // First: what is queued after the poll has looked finds a waker.
        host.register(context.waker());
        // SAFETY: on the hart that made it, as neither `executor` nor what holds it is `Send`. Not
        // from itself: its tasks cannot poll this future, which is being polled; nor does the pender.
        unsafe { executor.poll() };
        Poll::Pending
    })
    .await
}

/// Called by an executor of Embassy, in any context, on any hart, when it has something to do.
#[unsafe(export_name = "__pender")]
fn pender(context: *mut ()) {
    // SAFETY: `run` makes all executors, with such a context, and it stays. (An application that makes
    // its own `raw::Executor` would be called here with its own context: Embassy has one pender. A null
    // is its only way to say that it does not want to be.)
    if let Some(host) = unsafe { context.cast::<AtomicWaker>().as_ref() } {
        host.wake();
    }
}
