//! The cooperative budget: how often a task may go on without giving others a turn.
//!
//! A task whose sockets are always ready would never return from its poll. So the futures at the
//! leaves spend from a budget; when it is empty they say `Pending`, and have the task woken at once: it
//! goes to the end of its queue.
//!
//! The budget is the hart's. It is filled when it is empty, and not for each turn, which costs nothing
//! where nothing is spent: now and then a task gives way early, for what those before it spent.

use core::task::{Context, Poll};

use crate::platform::{OUTSIDE, Platform};

/// How much a task can spend in one turn: as tokio's.
pub(crate) const FULL: u32 = 128;

/// Spends one unit of the budget: to be asked first in the `poll` of a future that waits for
/// an outside event.
///
/// `Pending` says that the budget is spent: return it. The task has been woken already. Outside of a
/// task there is no budget, and the answer is `Ready`.
pub fn poll_proceed<P: Platform>(context: &mut Context<'_>) -> Poll<()> {
    if P::here() == OUTSIDE {
        return Poll::Ready(());
    }
    // SAFETY: not outside.
    let hart = unsafe { P::local() };
    match hart.budget.get().checked_sub(1) {
        Some(rest) => {
            hart.budget.set(rest);
            Poll::Ready(())
        }
        None if hart.current().is_none() => Poll::Ready(()),
        None => {
            hart.budget.set(FULL);
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }
}
