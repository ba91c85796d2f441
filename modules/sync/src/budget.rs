//! The executor's budget: a task for which everything is always ready must give way now and then, or the
//! others and their timers never have a turn.

use core::{
    future::poll_fn,
    mem, ptr,
    sync::atomic::{AtomicPtr, Ordering},
    task::{Context, Poll},
};

/// Asks whether a task may go on: see [`set_budget`].
pub type Spend = fn(&mut Context<'_>) -> Poll<()>;

static SPEND: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Has every future here ask first whether its task may go on. The answer `Pending` says that it has been
/// woken already, for its next turn. Until this is set, nobody is asked.
pub fn set_budget(spend: Spend) {
    SPEND.store(spend as *mut (), Ordering::Release);
}

/// Waits for the task's next turn if it has had enough of this one.
///
/// # Cancellation
///
/// Nothing is left behind.
pub(crate) async fn spend() {
    let spend = SPEND.load(Ordering::Acquire);
    if !spend.is_null() {
        // SAFETY: `set_budget` stores nothing but a `Spend`.
        let spend = unsafe { mem::transmute::<*mut (), Spend>(spend) };
        poll_fn(spend).await;
    }
}

#[cfg(test)]
mod tests {
    use core::{
        cell::Cell,
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use crate::{Channel, Mutex, RwLock, Semaphore, Signal};

    std::thread_local! {
        static ASKED: Cell<usize> = const { Cell::new(0) };
        static SAYS_NO: Cell<bool> = const { Cell::new(false) };
    }

    fn asked_for<F: Future>(future: F) -> usize {
        super::set_budget(|context| {
            ASKED.set(ASKED.get() + 1);
            if SAYS_NO.replace(false) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        });
        ASKED.set(0);
        SAYS_NO.set(true);
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        assert!(future.as_mut().poll(&mut context).is_pending(), "it gave way");
        assert!(future.as_mut().poll(&mut context).is_ready());
        ASKED.get()
    }

    #[test]
    fn whatever_is_ready_asks() {
        let channel = Channel::<u8, 4>::new();
        let signal = Signal::new();
        signal.signal(1);
        assert!(asked_for(Mutex::new(0).lock()) > 0);
        assert!(asked_for(RwLock::new(0).read()) > 0);
        assert!(asked_for(RwLock::new(0).write()) > 0);
        assert!(asked_for(Semaphore::new(2).acquire(1)) > 0);
        assert!(asked_for(signal.wait()) > 0);
        assert!(asked_for(channel.reserve()) > 0);
        assert!(asked_for(channel.send(1)) > 0);
        assert!(asked_for(channel.receive()) > 0);
    }
}
