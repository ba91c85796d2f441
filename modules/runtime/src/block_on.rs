//! The smallest executor: one future, on the boot hart, asleep until it is woken.

use core::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
};

use wakeful_hal::{hart, sync::wait_until};

/// Whether the future is to be polled. There is one at a time, that of `main`.
static WOKEN: AtomicBool = AtomicBool::new(false);

/// The hart that runs `main`.
const MAIN_HART: usize = 0;

fn wake() {
    WOKEN.store(true, Ordering::Release);
    // On its own hart, an interrupt is what brought us here while it sleeps, and that ends the sleep.
    if hart::number() != MAIN_HART {
        hart::interrupt(MAIN_HART);
    }
}

/// Of a waker without data, whose only act is [`wake`].
const VTABLE: RawWakerVTable = RawWakerVTable::new(
    |_| RawWaker::new(core::ptr::null(), &VTABLE),
    |_| wake(),
    |_| wake(),
    |_| {},
);

/// Runs the application's `async fn main` to its end. Called by what `#[wakeful::main]` makes.
///
/// Its waker may be called from any hart and any context, at any time, any number of times.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    #[expect(unsafe_code, reason = "a waker without data has no safe constructor")]
    // SAFETY: the functions of the table ignore the pointer and may be called anywhere.
    let waker = unsafe { Waker::new(core::ptr::null(), &VTABLE) };
    let mut context = Context::from_waker(&waker);
    WOKEN.store(true, Ordering::Release); // the first poll needs no wake
    loop {
        // Before the poll: a wake during it counts.
        wait_until(|| WOKEN.swap(false, Ordering::Acquire));
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}
