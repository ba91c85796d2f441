//! When nothing is being asked on a connection.

use core::{cell::Cell, ptr};

/// Watches what picoserve reads, to know when it waits for the first byte of a request and holds nothing: no
/// piece of it, and none that came behind the one before. Then it may be dropped and made anew, and nothing is
/// lost.
///
/// It then reads to the start of the buffer that it was given for heads. What it reads otherwise goes behind
/// what it has, or elsewhere: see `request_is_pending`, `next_byte` and `RequestBody` in picoserve's
/// `request.rs`. `tests/conversations.rs` drops it at each such moment.
///
/// `T` is a moment.
pub struct Silence<T> {
    head: *const u8,
    state: Cell<State<T>>,
}

#[derive(Clone, Copy)]
enum State<T> {
    Broken,
    /// Since the last poll.
    New,
    Since(T),
}

impl<T: Copy> Silence<T> {
    /// For who reads heads to `head`.
    pub fn new(head: &[u8]) -> Self {
        Self { head: head.as_ptr(), state: Cell::new(State::Broken) }
    }

    /// Whether who reads to `buffer` waits for the first byte of a request.
    #[inline]
    pub fn begins(&self, buffer: &[u8]) -> bool {
        ptr::eq(buffer.as_ptr(), self.head)
    }

    /// To be told after each poll of such a read: whether there was nothing to be read.
    #[inline]
    pub fn goes_on(&self, pending: bool) {
        let state = match (pending, self.state.get()) {
            (false, _) => State::Broken,
            (true, State::Broken) => State::New,
            (true, state) => state,
        };
        self.state.set(state);
    }

    /// Since when nothing is asked. To be called after each poll that ended in waiting: the first one to find
    /// silence is its beginning.
    #[inline]
    pub fn since(&self, now: T) -> Option<T> {
        match self.state.get() {
            State::Broken => None,
            State::Since(moment) => Some(moment),
            State::New => {
                self.state.set(State::Since(now));
                Some(now)
            }
        }
    }
}
