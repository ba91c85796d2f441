//! Giving the others a turn.

use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Lets every task of the same or more urgency that is ready have its turn first.
///
/// # Cancellation
///
/// Nothing is left behind, but the task may be woken once more.
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
