//! How picoserve waits.

use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use picoserve::time::{Duration, Timer};
use wakeful_time::{Sleep, sleep_coarse};

/// What picoserve calls a runtime: this one.
#[derive(Debug, Clone, Copy)]
pub struct Wakeful;

/// Timeouts of connections: nobody minds when exactly they end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock;

impl Timer<Wakeful> for Clock {
    fn delay(&self, duration: Duration) -> impl Future<Output = ()> {
        Delay { duration, sleep: None }
    }
}

/// A sleep that begins when it is polled: most are made for a write that need not wait.
struct Delay {
    duration: Duration,
    sleep: Option<Sleep>,
}

impl Future for Delay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        #[expect(unsafe_code, reason = "projection of a pin to a field")]
        // SAFETY: the sleep stays where it is until it is dropped with this.
        let sleep = unsafe {
            let this = self.get_unchecked_mut();
            let duration = core::time::Duration::from_millis(this.duration.as_millis());
            Pin::new_unchecked(this.sleep.get_or_insert_with(|| sleep_coarse(duration)))
        };
        sleep.poll(context)
    }
}
