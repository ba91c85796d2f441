//! What the executor needs from the machine.

use core::{alloc::Layout, task::RawWakerVTable};

use crate::Hart;

/// What [`Platform::here`] says in an interrupt handler, or on a thread that is no hart.
pub const OUTSIDE: usize = 0xffff;

/// The machine under the executor: who runs, how to reach the others, where memory comes from.
///
/// A type and not a value, because a waker is one word and leaves no room for a value.
///
/// # Safety
///
/// The scheduler of a hart is not locked, so:
///
/// - `here` gives a hart's number in one flow of control only. That may be interrupted, but while it
///   is, `here` gives [`OUTSIDE`] to the interrupt handler.
/// - `hart` always gives the same one for a number, and `local` is `hart(here())`.
/// - `vtable` always gives the same static, made by [`waker_vtable`](crate::waker_vtable) for this type.
pub unsafe trait Platform: Sized + 'static {
    /// The largest future of a task, in bytes. It is moved to its place over the stack of who spawns, at least
    /// twice; where a stack is small, a large move would jump over the guard page at its end.
    const LARGEST: usize = 1 << 20;

    /// The number of the hart that runs this in its run loop or a task, otherwise [`OUTSIDE`].
    fn here() -> usize;

    /// The hart that runs this.
    ///
    /// # Safety
    ///
    /// [`here`](Self::here) is not [`OUTSIDE`].
    unsafe fn local() -> &'static Hart<Self>;

    /// A hart by its number.
    ///
    /// # Safety
    ///
    /// The number is 0 or below [`harts`](Self::harts).
    unsafe fn hart(number: usize) -> &'static Hart<Self>;

    /// How many harts run the executor.
    fn harts() -> usize;

    /// Ends the sleep of a hart, or keeps it from falling asleep. Called in any context.
    fn interrupt(number: usize);

    /// The functions of this platform's wakers.
    fn vtable() -> &'static RawWakerVTable;

    /// Memory for task slots, never given back; null if there is none. Called in any context that
    /// spawns.
    fn allocate(layout: Layout) -> *mut u8;

    /// The alarm of this hart went off: see [`Hart::ring`]. Runs like a most urgent task.
    fn alarm() {}

    /// Ticks since some moment in the past: for the counters, and for timers. They never go back, and all
    /// harts agree. Without timers and counters nobody asks.
    fn now() -> u64 {
        0
    }
}
