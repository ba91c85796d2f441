//! The task cell: a header of 32 bytes, then the future in place, later its output.
//!
//! Slots are **type-stable**: memory that was a header once is a header for ever. So a waker is the
//! header's address and nothing else; cloning and dropping it write nothing. The worst that a waker
//! can do after its task ended is to wake whoever lives in the slot now: a spurious wake, which every
//! future allows for. `state.rs` says who may touch which field when.

use core::{
    future::Future,
    marker::PhantomData,
    mem::{ManuallyDrop, offset_of},
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll},
};

use crate::{
    atomic::{Plain, const_unless_loom},
    counters::TaskCounters,
    platform::Platform,
    slab,
    state::{
        ABANDONED, ABORTED, AFAR, CANCEL, COMPLETE, DETACHED, HANDLE, LIMBO, QUEUED, RENOTIFY,
        SPECIAL, State, VACANT, WAITER,
    },
    thin::ThinWaker,
    waker,
};

/// What a task does when its turn comes. The second argument is the state that the pop found.
pub(crate) type PollFn = unsafe fn(NonNull<Header>, u32);

/// The part of a task that does not depend on its future.
#[repr(C, align(16))]
pub(crate) struct Header {
    pub(crate) state: State,
    /// Number of the hart that polls it. As `next` and `poll`, it belongs to who set `QUEUED`.
    pub(crate) home: Plain<u16>,
    /// Where the slot goes when it is vacated. Set once.
    pub(crate) class: u8,
    /// Where the future or the output lies, in units of 16 bytes; [`NAMED`] if a name follows the header, and
    /// [`GUARDED`] if a [`Guarded`] does. Set before the task is known to anybody.
    layout: Plain<u8>,
    /// The next task in the queue.
    pub(crate) next: Plain<*mut Header>,
    pub(crate) poll: Plain<PollFn>,
    /// While there is a handle: the word of the waker of who waits there. In a vacant slot: the next
    /// vacant one of its class.
    pub(crate) aux: Plain<*mut ()>,
    pub(crate) counters: TaskCounters,
}

const NAMED: u8 = 0x80;
const GUARDED: u8 = 0x40;
/// So that six bits say where the future lies.
const LARGEST_OFFSET: usize = 0x3f * 16;

/// Of slots that no list wants: in a static.
pub(crate) const CLASS_STATIC: u8 = u8::MAX;

// SAFETY: `state` says who may touch the plain fields.
unsafe impl Sync for Header {}

impl Header {
    const_unless_loom! {
        pub(crate) fn new(state: u32, class: u8, poll: PollFn) -> Self {
            Self {
                state: State::new(state),
                home: Plain::new(0),
                class,
                layout: Plain::new(0),
                next: Plain::new(core::ptr::null_mut()),
                poll: Plain::new(poll),
                aux: Plain::new(core::ptr::null_mut()),
                counters: TaskCounters::new(),
            }
        }
    }

    const_unless_loom! {
        /// A slot without a task.
        pub(crate) fn vacant(class: u8) -> Self {
            Self::new(VACANT, class, nothing)
        }
    }

    /// The waiter's waker.
    ///
    /// # Safety
    ///
    /// `WAITER` is set, or was by the caller's own doing. The waker is dropped by whoever clears it.
    pub(crate) unsafe fn waiter<P: Platform>(&self) -> ManuallyDrop<ThinWaker<P>> {
        // SAFETY: who set the bit wrote the word of one, and nobody writes there until it is clear.
        ManuallyDrop::new(unsafe { ThinWaker::from_raw(NonNull::new_unchecked(self.aux.get())) })
    }

    /// # Safety
    ///
    /// The caller owns the handle, and `WAITER` is clear.
    pub(crate) unsafe fn set_waiter<P: Platform>(&self, waiter: ThinWaker<P>) {
        // SAFETY: the handle writes this field while `WAITER` is clear, nobody else.
        unsafe { self.aux.set(waiter.into_raw().as_ptr()) };
    }
}

/// A vacant slot's or a special task's turn.
pub(crate) unsafe fn nothing(_: NonNull<Header>, _: u32) {}

/// The name of a task, behind its header.
pub(crate) type Name = &'static str;

/// What stands between header and future.
pub(crate) trait Label: Sized {
    /// [`NAMED`], [`GUARDED`].
    const FLAGS: u8;

    /// Drops what the task does not need any more when its future is gone.
    ///
    /// # Safety
    ///
    /// The label of a task whose turn it is, on its home hart. Called once.
    #[inline(always)]
    unsafe fn drop_in_place(_: *mut Self) {}
}

/// A task without a name.
impl Label for () {
    const FLAGS: u8 = 0;
}

impl Label for Name {
    const FLAGS: u8 = NAMED;
}

/// The label of a task that says what happens if it panics. Aligned so that what follows begins at one of the
/// units of `layout`.
#[repr(C, align(16))]
pub struct Guarded<H> {
    name: Name,
    /// Calls `last`. `None`: this task must not panic.
    call: Option<unsafe fn(*mut Guarded<()>)>,
    last: ManuallyDrop<H>,
}

impl Guarded<()> {
    pub(crate) const fn essential(name: Name) -> Self {
        Self { name, call: None, last: ManuallyDrop::new(()) }
    }
}

impl<H: FnOnce()> Guarded<H> {
    pub(crate) const fn new(name: Name, last: H) -> Self {
        Self { name, call: Some(call_last::<H>), last: ManuallyDrop::new(last) }
    }
}

/// # Safety
///
/// The label is a `Guarded<H>` of a task that was abandoned, and this is called once.
unsafe fn call_last<H: FnOnce()>(label: *mut Guarded<()>) {
    // SAFETY: by the caller's promise.
    unsafe { ManuallyDrop::take(&mut (*label.cast::<Guarded<H>>()).last)() };
}

impl<H> Label for Guarded<H> {
    const FLAGS: u8 = {
        assert!(align_of::<Self>() <= align_of::<Header>(), "it follows the header at once");
        NAMED | GUARDED
    };

    #[inline(never)] // three callers for each task
    unsafe fn drop_in_place(this: *mut Self) {
        // SAFETY: nobody but the home hart touches the label. If the drop panics, nothing is called.
        unsafe {
            if (*this).call.is_some() {
                (*this).call = Some(|_| {});
            }
            ManuallyDrop::drop(&mut (*this).last);
        }
    }
}

impl<H> Drop for Guarded<H> {
    /// Of a label that came into no cell.
    fn drop(&mut self) {
        // SAFETY: once, here.
        unsafe { ManuallyDrop::drop(&mut self.last) };
    }
}

/// A whole task. Written over the slot's memory behind the header, which stays as it is.
#[repr(C)]
pub(crate) struct Cell<L, F: Future> {
    header: Header,
    label: ManuallyDrop<L>,
    stage: Stage<F>,
}

#[repr(C)]
union Stage<F: Future> {
    future: ManuallyDrop<F>,
    output: ManuallyDrop<F::Output>,
}

impl<L: Label, F: Future> Cell<L, F> {
    const LAYOUT: u8 = {
        let stage = offset_of!(Self, stage);
        assert!(stage.is_multiple_of(16));
        assert!(
            stage <= LARGEST_OFFSET,
            "a task's future cannot be aligned like this, or what is done when it panics is too large"
        );
        (stage / 16) as u8 | L::FLAGS
    };

    /// The future or output of the task in a slot of this type.
    #[inline(always)]
    unsafe fn stage(slot: NonNull<Header>) -> *mut Stage<F> {
        // SAFETY: inside of the slot, by the caller's promise.
        unsafe { &raw mut (*slot.cast::<Self>().as_ptr()).stage }
    }

    /// # Safety
    ///
    /// As for [`Label::drop_in_place`].
    #[inline(always)]
    unsafe fn drop_label(slot: NonNull<Header>) {
        // SAFETY: inside of the slot, and by the caller's promise.
        unsafe { L::drop_in_place((&raw mut (*slot.cast::<Self>().as_ptr()).label).cast()) };
    }

    /// Fills a slot, whose first poll is still to come.
    ///
    /// # Safety
    ///
    /// The slot is claimed (the caller set `QUEUED` in a `VACANT` state, which was `state`), large
    /// enough and aligned for this type, and `P`'s. If `F` is not `Send`, then `home` is the hart that
    /// calls, and an output that is not `Send` has a handle that stays here.
    #[inline(always)]
    pub(crate) unsafe fn occupy<P: Platform>(
        slot: NonNull<Header>,
        state: u32,
        bits: u32,
        home: u16,
        label: L,
        future: F,
    ) {
        let cell = slot.cast::<Self>().as_ptr();
        // SAFETY: nobody else touches a claimed slot. The pointer covers all of it.
        unsafe {
            (&raw mut (*cell).label).write(ManuallyDrop::new(label));
            (&raw mut (*cell).stage).write(Stage { future: ManuallyDrop::new(future) });
            let header = slot.as_ref();
            header.home.set(home);
            header.layout.set(Self::LAYOUT);
            header.poll.set(poll::<P, L, F>);
            header.counters.reset();
            header.state.occupy(state, bits);
        }
    }
}

/// Where the future of a nameless task lies.
pub(crate) fn future<F: Future>(task: NonNull<Header>) -> NonNull<F> {
    // SAFETY: inside of the slot.
    unsafe { task.byte_add(offset_of!(Cell<(), F>, stage)).cast() }
}

/// The name of the task in a slot.
///
/// # Safety
///
/// The slot holds a task that is not vacated meanwhile.
pub(crate) unsafe fn name(task: NonNull<Header>) -> Option<Name> {
    /// All cells with a name have it at the same place: `repr(C)`, and nothing smaller before it.
    type Named = Cell<Name, core::future::Pending<()>>;
    // SAFETY: by the caller's promise; `occupy` wrote both.
    unsafe {
        let is_named = task.as_ref().layout.get() & NAMED != 0;
        is_named.then(|| *task.byte_add(offset_of!(Named, label)).cast::<Name>().as_ref())
    }
}

/// The label of a task that has such a one: its fields, but for the last.
///
/// # Safety
///
/// The slot holds a task that is not vacated meanwhile.
unsafe fn guarded(task: NonNull<Header>) -> Option<*mut Guarded<()>> {
    /// All cells with such a label have it at the same place, as with names.
    type Any = Cell<Guarded<()>, core::future::Pending<()>>;
    // SAFETY: by the caller's promise; `occupy` wrote both.
    unsafe {
        let is_guarded = task.as_ref().layout.get() & GUARDED != 0;
        is_guarded.then(|| task.byte_add(offset_of!(Any, label)).cast().as_ptr())
    }
}

/// Whether the task must not panic.
///
/// # Safety
///
/// The slot holds a task whose turn it is, on its home hart, which calls.
pub(crate) unsafe fn is_essential(task: NonNull<Header>) -> bool {
    // SAFETY: by the caller's promise; nobody else writes there.
    unsafe { guarded(task).is_some_and(|label| (*label).call.is_none()) }
}

/// Ends a task in the middle of a poll that never returns: tells the handle, and does what was to be done.
/// The slot stays as it is.
///
/// # Safety
///
/// The task's poll, or its end, is under way on this hart, which is its home, and never goes on.
pub(crate) unsafe fn abandon<P: Platform>(task: NonNull<Header>) {
    // SAFETY: type-stable.
    let header = unsafe { task.as_ref() };
    // The last step of a completion drops an output that nobody wants. Then there is nobody to be told.
    if header.state.load() & COMPLETE == 0 {
        // What an abort asked for is done.
        // SAFETY: the home hart, once. Nobody vacates the slot.
        unsafe { finish::<P>(task, ABANDONED) };
    }
    // SAFETY: the slot is not vacated, and nobody else touches the label any more.
    unsafe {
        if let Some(label) = guarded(task)
            && let Some(call) = (*label).call.take()
        {
            call(label);
        }
    }
}

/// A task's turn.
///
/// # Safety
///
/// The slot holds a `Cell<L, F>` of the platform `P`. With `QUEUED` in `old`: the task was popped by
/// its home hart, which found this state.
unsafe fn poll<P: Platform, L: Label, F: Future>(task: NonNull<Header>, old: u32) {
    if old & SPECIAL != 0 {
        // SAFETY: as ours.
        return unsafe { special::<P, L, F>(task, old) };
    }
    // SAFETY: the header is type-stable.
    let waker = unsafe { waker::of::<P>(task) };
    let mut context = Context::from_waker(&waker);
    // SAFETY: a task that is neither complete nor vacant has a future, only its home hart touches it,
    // and it stays where it is until it is dropped there.
    let polled = unsafe {
        let stage = Cell::<L, F>::stage(task);
        Pin::new_unchecked(&mut *(*stage).future).poll(&mut context)
    };
    if let Poll::Ready(output) = polled {
        // SAFETY: the same.
        unsafe { complete::<P, L, F>(task, output) };
    }
}

/// The turn of a task that is not simply to be polled.
///
/// # Safety
///
/// As for `poll`.
#[cold]
#[inline(never)]
unsafe fn special<P: Platform, L: Label, F: Future>(task: NonNull<Header>, old: u32) {
    if old & (COMPLETE | VACANT) != 0 {
        // A waker that came too late.
        if old & LIMBO != 0 {
            // SAFETY: a slot in limbo is the popper's.
            unsafe { recycle::<P>(task) };
        }
    } else if old & DETACHED != 0 {
        if old & RENOTIFY == 0 {
            // SAFETY: type-stable.
            unsafe { task.as_ref() }.state.set(RENOTIFY);
        }
    } else {
        debug_assert!(old & CANCEL != 0);
        // SAFETY: not complete: the future is there, and its home hart drops it.
        unsafe {
            ManuallyDrop::drop(&mut (*Cell::<L, F>::stage(task)).future);
            Cell::<L, F>::drop_label(task);
            if finish::<P>(task, COMPLETE | ABORTED) {
                vacate::<P>(task, 0);
            }
        }
    }
}

/// The future is done: its output takes its place.
///
/// Apart from `poll`, which would have to keep registers for it in every turn.
///
/// # Safety
///
/// As for `poll`, whose future has just become ready.
#[inline(never)]
unsafe fn complete<P: Platform, L: Label, F: Future>(task: NonNull<Header>, output: F::Output) {
    // SAFETY: `poll` found the future there, and its home hart drops it. A handle does not look at the
    // output before `finish`, and does not come into being again.
    unsafe {
        let stage = Cell::<L, F>::stage(task);
        ManuallyDrop::drop(&mut (*stage).future);
        if task.as_ref().state.load() & HANDLE == 0 {
            drop(output);
            Cell::<L, F>::drop_label(task);
            P::local().depart();
        } else {
            (&raw mut (*stage).output).write(ManuallyDrop::new(output));
            Cell::<L, F>::drop_label(task);
            if !finish::<P>(task, COMPLETE) {
                return;
            }
            ManuallyDrop::drop(&mut (*stage).output);
        }
        vacate::<P>(task, 0);
    }
}

/// Tells the handle. Returns whether there is none any more: then output and slot are the caller's, unless
/// the task is abandoned: then the slot is nobody's.
///
/// # Safety
///
/// The caller is the task's home hart and did what `bits` say.
#[inline(never)]
unsafe fn finish<P: Platform>(task: NonNull<Header>, bits: u32) -> bool {
    // SAFETY: type-stable.
    let header = unsafe { task.as_ref() };
    // SAFETY: the home hart is here.
    unsafe { P::local() }.depart();
    let old = header.state.set(bits);
    if old & HANDLE == 0 {
        return true;
    }
    if old & WAITER != 0 {
        // SAFETY: with both bits set `aux` is ours.
        let waiter = ManuallyDrop::into_inner(unsafe { header.waiter::<P>() });
        let old = header.state.clear(WAITER);
        waiter.wake_by_ref();
        if old & HANDLE == 0 {
            // The handle has gone meanwhile, with the output, and has left the slot to us.
            // SAFETY: complete, without handle, and nobody in `aux`.
            unsafe { release::<P>(task) };
        }
    }
    false
}

/// Where the output is.
///
/// # Safety
///
/// The task is complete, its output is of type `T`, and the caller has the handle.
unsafe fn output<T>(task: NonNull<Header>) -> *mut T {
    // SAFETY: inside of the slot. `layout` was written before the completion that the caller has seen,
    // and stays until the slot is vacated.
    unsafe {
        let units = task.as_ref().layout.get() & !(NAMED | GUARDED);
        task.byte_add(16 * usize::from(units)).cast().as_ptr()
    }
}

/// Moves the output out.
///
/// # Safety
///
/// As [`output`]; the task was not aborted, and this is called once.
pub(crate) unsafe fn take_output<T>(task: NonNull<Header>) -> T {
    // SAFETY: by the caller's promise.
    unsafe { output::<T>(task).read() }
}

/// Drops the output.
///
/// # Safety
///
/// As [`take_output`], instead of it.
pub(crate) unsafe fn drop_output<T>(task: NonNull<Header>) {
    // SAFETY: by the caller's promise.
    unsafe { output::<T>(task).drop_in_place() };
}

/// Makes a slot free for the next task. If `unless` bits are set, the handle goes and leaves that to
/// somebody else.
///
/// # Safety
///
/// Future and output are gone. Unless `unless`: the task is over, without waiter, and its handle is the
/// caller or has gone; the caller is the one who knows that.
#[inline]
pub(crate) unsafe fn vacate<P: Platform>(task: NonNull<Header>, unless: u32) {
    // SAFETY: type-stable. While the task is not vacated, nobody writes its home.
    let (header, home) = unsafe { (task.as_ref(), task.as_ref().home.get()) };
    let old = header.state.vacate(unless);
    if old & (unless | QUEUED) != 0 || header.class == CLASS_STATIC {
        return;
    }
    let came_from_here = slab::is_of_a_hart(header.class) && old & AFAR == 0;
    if came_from_here && usize::from(home) == P::here() {
        // SAFETY: vacant, in no queue, and from this hart's list.
        unsafe { P::local().slab.put(task) };
    } else {
        // SAFETY: vacant, and in no queue.
        unsafe { slab::put_back::<P>(task) };
    }
}

/// Handle and completion are both done with the task, or one of them is and leaves the slot to the other: with
/// `WAITER` the completion is still at it. A slot that was abandoned stays as it is.
///
/// # Safety
///
/// The task is complete, its output gone, and the caller one of the two.
#[inline(never)]
pub(crate) unsafe fn release<P: Platform>(task: NonNull<Header>) {
    // SAFETY: by the caller's promise.
    unsafe { vacate::<P>(task, WAITER | DETACHED) };
}

/// A slot in limbo was popped: it can be used again, unless it is in a queue again.
///
/// # Safety
///
/// Its state was `LIMBO`, and the caller popped it.
unsafe fn recycle<P: Platform>(task: NonNull<Header>) {
    // SAFETY: type-stable.
    let header = unsafe { task.as_ref() };
    let free = header.state.update(|old| (old & QUEUED == 0).then_some(old & !LIMBO)).is_ok();
    if free && header.class != CLASS_STATIC {
        // SAFETY: vacant, and in no queue.
        unsafe { slab::put_back::<P>(task) };
    }
}

/// `Cell` as the type of what a slot of a pool must hold.
pub(crate) struct Fit<L, F>(PhantomData<(L, F)>);

impl<L: Label, F: Future> Fit<L, F> {
    pub(crate) const SIZE: usize = size_of::<Cell<L, F>>();
    /// Where the future or output ends. (The type may be padded behind.)
    pub(crate) const END: usize = offset_of!(Cell<L, F>, stage) + size_of::<Stage<F>>();
    pub(crate) const ALIGN: usize = align_of::<Cell<L, F>>();
}

/// The state's side of preemption: a poll that is interrupted for good leaves with its stack, which is
/// queued in the task's place, and comes back later.
///
/// A wake in between queues the task itself as ever. It is popped, found `DETACHED`, and remembered as
/// `RENOTIFY`: were "preempted" and "woken" one bit, that wake would be lost.
#[cfg(all(test, loom))]
pub(crate) mod detached {
    use super::*;

    pub(crate) fn begin(task: NonNull<Header>) {
        // SAFETY: type-stable.
        unsafe { task.as_ref() }.state.set(DETACHED);
    }

    /// The poll is over, with `Pending`.
    pub(crate) fn end<P: Platform>(task: NonNull<Header>) {
        // SAFETY: type-stable.
        let state = unsafe { &task.as_ref().state };
        // Nobody but this hart changes these bits.
        let renotify = state.load() & RENOTIFY;
        state.clear(DETACHED | renotify);
        if renotify != 0 {
            // SAFETY: the same.
            unsafe { waker::wake::<P>(task) };
        }
    }
}
