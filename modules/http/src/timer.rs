//! Timeouts: one sleep for each connection.
//!
//! picoserve makes a timeout for each thing that it waits for: the next request, its rest, each piece of the
//! answer. Most are over before they have begun. So a timeout is just a moment here: the one that is nearest
//! among those that somebody waits for is told to the connection's [`Watchdog`], whose sleep polls
//! everything again when it has come. A later one does not move that sleep; it will be set anew when it
//! ends. A request on a connection that is kept alive so costs no timer at all.

use core::{
    cell::Cell,
    future::{Future, poll_fn},
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use picoserve::time::{Duration, TimeoutError, Timer};
use wakeful_time::{Instant, Sleep, coarse};

/// What picoserve calls a runtime: this one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wakeful;

/// The nearest moment that something in a connection's future waits for.
pub(crate) struct Watchdog {
    due: Cell<Instant>,
}

const NEVER: Instant = Instant::from_ticks(u64::MAX);

impl Watchdog {
    pub(crate) fn new() -> Self {
        Self { due: Cell::new(NEVER) }
    }

    /// Polls `future`, which takes its timeouts from here, whenever one of them may be over. When it has to
    /// wait, `end_turn` is told until when at most. It says until when really, or that enough is enough.
    ///
    /// # Cancellation
    ///
    /// As that of `future`.
    pub(crate) async fn watch<F: Future, B>(
        &self,
        mut future: Pin<&mut F>,
        mut sleep: Pin<&mut Sleep>,
        end_turn: impl Fn(&mut Context<'_>, Instant) -> ControlFlow<B, Instant>,
    ) -> ControlFlow<B, F::Output> {
        poll_fn(|context| {
            loop {
                self.due.set(NEVER);
                if let Poll::Ready(output) = future.as_mut().poll(context) {
                    return Poll::Ready(ControlFlow::Continue(output));
                }
                let due = match end_turn(context, self.due.get()) {
                    ControlFlow::Continue(due) => due,
                    ControlFlow::Break(value) => return Poll::Ready(ControlFlow::Break(value)),
                };
                if poll_until(sleep.as_mut(), context, due).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}

/// Waits until `due`, or a little longer, with a sleep that may be planned for an earlier moment already.
#[inline]
pub(crate) fn poll_until(
    mut sleep: Pin<&mut Sleep>,
    context: &mut Context<'_>,
    due: Instant,
) -> Poll<()> {
    loop {
        let (now, planned) = (Instant::now(), Instant::from_ticks(sleep.deadline()));
        if now < planned && planned <= due {
            return Poll::Pending; // it was polled when it was planned
        }
        if due <= now {
            return Poll::Ready(());
        }
        sleep.as_mut().reset(coarse(now, due).ticks());
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
    }
}

/// Makes timeouts of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Clock<'a>(pub(crate) &'a Watchdog);

impl Timer<Wakeful> for Clock<'_> {
    fn delay(&self, duration: Duration) -> impl Future<Output = ()> {
        self.timeout(duration).map(drop)
    }

    fn timeout(&self, duration: Duration) -> impl Future<Output = TimeoutError> {
        Timeout::new(self.0, duration)
    }

    fn run_with_timeout<F: Future>(
        &self,
        duration: Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, TimeoutError>> {
        Limited { future, timeout: Timeout::new(self.0, duration) }
    }
}

/// A moment that counts from when it is polled first. Two words, as there are many of them in a
/// connection's future, and picoserve moves parts of that about.
struct Timeout<'a> {
    watchdog: &'a Watchdog,
    /// Milliseconds, with the highest bit set, before it is polled; then ticks.
    end: Cell<u64>,
}

const NOT_POLLED: u64 = 1 << 63;

impl<'a> Timeout<'a> {
    fn new(watchdog: &'a Watchdog, duration: Duration) -> Self {
        Self { watchdog, end: Cell::new(duration.as_millis() | NOT_POLLED) }
    }

    /// Whether it is over. If not, it is polled again when it is.
    fn is_over(&self) -> bool {
        let now = Instant::now();
        let mut end = self.end.get();
        if end & NOT_POLLED != 0 {
            let duration = core::time::Duration::from_millis(end & !NOT_POLLED);
            end = now.saturating_add(duration).ticks() & !NOT_POLLED;
            self.end.set(end);
        }
        let (end, due) = (Instant::from_ticks(end), &self.watchdog.due);
        due.set(due.get().min(end));
        end <= now
    }
}

impl Future for Timeout<'_> {
    type Output = TimeoutError;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TimeoutError> {
        if self.is_over() { Poll::Ready(TimeoutError) } else { Poll::Pending }
    }
}

/// A future that has so long.
struct Limited<'a, F> {
    future: F,
    timeout: Timeout<'a>,
}

impl<F: Future> Future for Limited<'_, F> {
    type Output = Result<F::Output, TimeoutError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        #[expect(unsafe_code, reason = "projection of a pin to a field")]
        // SAFETY: the future is not moved, here or elsewhere, and there is no `Drop`.
        let (future, timeout) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &this.timeout)
        };
        if let Poll::Ready(output) = future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        if timeout.is_over() { Poll::Ready(Err(TimeoutError)) } else { Poll::Pending }
    }
}
