//! What a panic costs: the task, where that is sound.
//!
//! Nothing unwinds, so the future of a task that panics can neither go on nor be dropped. But a panic handler
//! need not end the machine: it may do anything but return. So a hart that panics in a task leaves that task
//! for good, with its future and the frames of its poll as they are, and goes on with the others, on a new
//! stack.
//!
//! # Why that is sound
//!
//! For the program, `panic!` is the call of a function that never returns. All that runs on this hart from
//! then on runs within that call: for the task that panicked nothing else happens than if it had called a
//! function that polls the others for ever, as any function may that gets at them. So:
//!
//! - **What it borrows stays borrowed.** No reference of its frames ever ends, and none is used again. Others
//!   find a `RefCell` borrowed and a mutex locked, for ever: a pity, and safe. That holds for what is not
//!   `Send` as well: it stays on this hart, which sees it as from inside of any call.
//! - **What is pinned stays.** The future is neither moved nor dropped, and its slot and what it owns are
//!   never freed. So timers and queues of waiters may still have it in their lists, and wake it: a task that
//!   is over, for which a wake does nothing.
//! - **What it lent stays.** The frames of the poll are never overwritten: the hart goes on elsewhere, and
//!   only what lies below them is freed. So whoever has a reference to the stack of a poll, as scoped tasks
//!   would, may use it.
//! - **Nothing is half done that others rely on.** What Wakeful's own parts share is behind locks that turn
//!   interrupts off, or behind that of the network's stack. A panic while this hart has one ends the machine.
//!   What an application shares is behind types that are safe while a frame that panicked is still there, with
//!   the `&mut` that it had: on any system a panic hook runs then, and may do whatever it likes. A type that lets
//!   somebody in while it is being changed is not safe there either.
//!
//! So these panics end the machine: in an interrupt, with interrupts off, under the network's lock, outside of
//! tasks, in a task that others cannot do without (`main`, the network), on a stack that is nearly full, in the
//! report of another panic, without memory for a new stack, and when such stacks have taken a quarter of memory.

#![expect(unsafe_code, reason = "a task is left in the middle of its poll")]

use core::sync::atomic::{AtomicUsize, Ordering};

use memory_addr::PhysAddr;
use wakeful_alloc::{FRAME_SIZE, frames};
use wakeful_executor::{OUTSIDE, Platform};
use wakeful_hal::{
    hart::{self, NewStack, STACK_SIZE},
    machine::MAX_HARTS,
    sync,
};

use crate::{Machine, run::run_for_ever};

/// Tasks that panicked and were given up.
static PANICKED: AtomicUsize = AtomicUsize::new(0);

/// Frames that were lost with the stacks of their polls.
static LOST: AtomicUsize = AtomicUsize::new(0);

/// Where the stack of a hart is in physical memory, if that hart has left its first one.
static STACKS: [AtomicUsize; MAX_HARTS] = [const { AtomicUsize::new(0) }; MAX_HARTS];

/// Frames of a stack.
const FRAMES: usize = STACK_SIZE / FRAME_SIZE;

/// The part of memory that such stacks may take: one in so many frames.
const SHARE: usize = 4;

/// A report, and what is done for the task, need so much stack.
const ENOUGH: usize = STACK_SIZE / 4;

/// How many tasks have panicked since boot, and were given up.
pub fn panicked() -> usize {
    PANICKED.load(Ordering::Relaxed)
}

/// What it takes to go on without the task that is having its turn: a stack, and where it is in physical memory.
#[derive(Debug)]
pub struct Doomed(NewStack, PhysAddr);

/// Whether the hart can go on without the task that calls. For panic handlers.
///
/// That no lock is held which leaves interrupts on is the caller's to know.
pub fn doomed() -> Option<Doomed> {
    if Machine::here() == OUTSIDE || !sync::interrupts_are_on() || hart::stack_left() < ENOUGH {
        return None;
    }
    // SAFETY: not outside.
    if !unsafe { Machine::local() }.can_abandon() {
        return None;
    }
    if LOST.load(Ordering::Relaxed) + FRAMES > frames::total() / SHARE {
        return None;
    }
    // Without a way to map it the machine ends, and the memory with it.
    let memory = frames::allocate(FRAMES, FRAME_SIZE)?;
    Some(Doomed(NewStack::new(memory)?, memory))
}

/// A task that has been taken out of its poll.
#[derive(Debug)]
pub struct Abandoned(wakeful_executor::Abandoned<Machine>, Doomed);

impl Doomed {
    /// Takes the turn away from the task that calls. From here on this hart is in no task's turn, and the next
    /// panic is the last.
    ///
    /// # Safety
    ///
    /// As for [`Hart::abandon_current`](wakeful_executor::Hart::abandon_current): called by the task's poll, which
    /// never goes on.
    pub unsafe fn abandon(self) -> Option<Abandoned> {
        // SAFETY: not outside, or there would be no `Doomed`. The rest is the caller's promise: the frames
        // stay, as the hart goes on elsewhere.
        let task = unsafe { Machine::local().abandon_current() }?;
        Some(Abandoned(task, self))
    }
}

impl Abandoned {
    /// The name that the task was spawned with.
    pub fn name(&self) -> Option<&'static str> {
        self.0.name()
    }

    /// Tells those who wait for the task, and goes on with the others.
    pub fn bury(self) -> ! {
        let Self(task, Doomed(stack, memory)) = self;
        PANICKED.fetch_add(1, Ordering::Relaxed);
        LOST.fetch_add(FRAMES, Ordering::Relaxed);
        task.bury();
        let old = STACKS[hart::number()].swap(memory.as_usize(), Ordering::Relaxed);
        stack.enter(go_on, old)
    }
}

/// On the new stack. Of the old one, the frames that are wholly below what was in use are good for others;
/// where it was mapped nobody looks any more.
extern "C" fn go_on(unused: usize, old: usize) -> ! {
    if old != 0 {
        let count = unused / FRAME_SIZE;
        LOST.fetch_sub(count, Ordering::Relaxed);
        // SAFETY: the first ones of a stack that `doomed` has allocated, where nothing was when it was left.
        unsafe { frames::free(PhysAddr::from(old), count) };
    }
    run_for_ever()
}
