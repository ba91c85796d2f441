//! Without the feature `executor`: one future, on the one hart, asleep until it is woken.

use core::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
};

use wakeful_hal::{power, sync::wait_until};

/// Whether `main` is to be polled.
static WOKEN: AtomicBool = AtomicBool::new(true); // the first poll needs no wake

/// An interrupt is what brings us here while the hart sleeps, and that ends the sleep.
fn wake() {
    WOKEN.store(true, Ordering::Release);
}

/// Of a waker without data, whose only act is [`wake`].
const VTABLE: RawWakerVTable = RawWakerVTable::new(
    |_| RawWaker::new(core::ptr::null(), &VTABLE),
    |_| wake(),
    |_| wake(),
    |_| {},
);

/// Runs the application's `main`, and switches the machine off with its exit code when it returns.
///
/// Its waker may be called in any context, at any time, any number of times.
pub fn run(main: impl Future<Output = u8>) -> ! {
    let mut main = pin!(main);
    #[expect(unsafe_code, reason = "a waker without data has no safe constructor")]
    // SAFETY: the functions of the table ignore the pointer and may be called anywhere.
    let waker = unsafe { Waker::new(core::ptr::null(), &VTABLE) };
    let mut context = Context::from_waker(&waker);
    loop {
        // Before the poll: a wake during it counts.
        wait_until(|| WOKEN.swap(false, Ordering::Acquire));
        if let Poll::Ready(exit_code) = main.as_mut().poll(&mut context) {
            power::off(exit_code);
        }
    }
}
