//! What waits on a hart: a deadline for each waker, and the task that wakes.
//!
//! Embassy asks, in every poll of a timer, for a waker to be woken at a time. Here is one entry for
//! each waker, with the earliest time that was asked for, in a hash table to find it again and in a
//! timer wheel to know who is next; both cost the same for one entry and for many. A task, the clerk,
//! has one sleep of the hart's timers set to the first deadline. When that has come it takes out
//! whatever is due and wakes it: so there are never more entries than wakers that wait. (The table keeps
//! the size that it had for the most of them, 9 to 18 bytes for each.)
//!
//! That a task wakes them, and not the hart's timers directly, costs a turn for each deadline. It buys
//! that entries go when they are due, without a sweep, and that wakers are cloned, woken and dropped
//! where anything may be done: in a task, not under a lock. The wakers of Embassy's own tasks, and of
//! combinators, are foreign code. With a sleep for each waker, each of those would need a task of its
//! own to be woken through, made and ended with each timer.
//!
//! A waker is kept as a clone of it, and looked up by what that clone points to: as long as it is
//! kept, no other waker can have the same address. (A waker whose clones differ from it gets an entry
//! for each time that it is scheduled.) A slot of tasks that is used again for the next task has the
//! same wakers: the two share an entry, and one of them may be woken for nothing.
//!
//! A queue is used by its hart's own flow of control alone, never by interrupts: no lock.

use alloc::boxed::Box;
use core::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, Ordering},
    task::{Context, Poll, Waker},
};

use hashbrown::HashTable;
use wakeful_hal::{
    hart::{self, OUTSIDE},
    machine::MAX_HARTS,
    timer,
};
use wakeful_task::{Builder, Priority};
use wakeful_time::Sleep;
use wakeful_timer::{NEVER, Node, Wheel};

/// A waker that waits. Lives on the heap, in the table and in the wheel, or in neither.
struct Entry {
    node: Node<NonNull<Entry>>,
    waker: Waker,
}

/// What waits on one hart.
//
// Invariant: the table's entries are boxes that were leaked, each in the wheel too (waiting, or due)
// and each with a waker that no other has.
pub(crate) struct Queue {
    wheel: Wheel<NonNull<Entry>>,
    table: RefCell<HashTable<NonNull<Entry>>>,
    alarm: RefCell<Alarm>,
}

/// Each hart's queue, once it has one.
static QUEUES: [AtomicPtr<Queue>; MAX_HARTS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; MAX_HARTS];

impl Queue {
    /// This hart's. `None` in an interrupt.
    ///
    /// # Panics
    ///
    /// If it is to begin, and there is no memory for it.
    pub(crate) fn here() -> Option<&'static Self> {
        let (slot, queue) = Self::find()?;
        Some(queue.unwrap_or_else(|| Self::begin(slot)))
    }

    /// How many wakers wait on this hart.
    pub(crate) fn pending() -> usize {
        let queue = Self::find().and_then(|(_, queue)| queue);
        queue.map_or(0, |queue| queue.table.borrow().len())
    }

    /// This hart's slot, and what is in it.
    fn find() -> Option<(&'static AtomicPtr<Self>, Option<&'static Self>)> {
        let here = hart::here();
        if here == OUTSIDE {
            return None;
        }
        let slot = &QUEUES[here];
        // SAFETY: null, or a queue that stays. It is not `Sync`, but in the flow of control whose
        // number this is we are alone with it, and references to it are not `Send`.
        Some((slot, unsafe { slot.load(Ordering::Relaxed).as_ref() }))
    }

    #[cold]
    fn begin(slot: &AtomicPtr<Self>) -> &'static Self {
        let alarm = Alarm { sleep: Box::pin(Sleep::until(NEVER)), clerk: None };
        let queue: *mut Self = Box::into_raw(Box::new(Self {
            wheel: Wheel::new(),
            table: RefCell::new(HashTable::new()),
            alarm: RefCell::new(alarm),
        }));
        // SAFETY: just made, and never freed; from here on there are shared references only.
        let this: &'static Self = unsafe { &*queue };
        let clerk = poll_fn(|context| this.turn(context));
        match Builder::new()
            .name("embassy-time")
            .essential()
            .priority(Priority::HIGHEST)
            .spawn_local(clerk)
        {
            Ok(handle) => handle.detach(),
            Err(error) => panic!("cannot start Embassy's timers: {error}"),
        }
        slot.store(queue, Ordering::Relaxed);
        this
    }

    /// Has `waker` woken at `deadline`, in the machine's ticks, or earlier.
    pub(crate) fn schedule(&self, deadline: u64, waker: Waker) {
        // Let go of before a waker is dropped, which is foreign code.
        let mut table = self.table.borrow_mut();
        let hash = hash(&waker);
        // SAFETY: entries of the table are valid.
        let is_same = |entry: &NonNull<Entry>| unsafe { entry.as_ref() }.waker.will_wake(&waker);
        let (entry, unused) = match table.find(hash, is_same) {
            Some(&entry) => {
                // SAFETY: as above; and it is in this wheel.
                unsafe {
                    let node = &entry.as_ref().node;
                    if node.deadline() <= deadline {
                        return;
                    }
                    self.wheel.remove(NonNull::from(node));
                }
                (entry, Some(waker))
            }
            None => {
                let entry = NonNull::from(Box::leak(Box::new(Entry { node: Node::new(), waker })));
                table.insert_unique(hash, entry, |entry| {
                    // SAFETY: entries of the table are valid.
                    self::hash(&unsafe { entry.as_ref() }.waker)
                });
                (entry, None)
            }
        };
        // SAFETY: a node in no wheel, of an entry that is freed when it is popped. The wheel stays.
        unsafe { self.wheel.insert(NonNull::from(&entry.as_ref().node), deadline, entry) };
        let mut alarm = self.alarm.borrow_mut();
        if deadline < alarm.sleep.deadline() {
            alarm.set(deadline);
        }
        drop((alarm, table));
        drop(unused);
    }

    /// The clerk's turn: wakes whoever's time has come.
    fn turn(&self, context: &mut Context<'_>) -> Poll<()> {
        self.wheel.advance(timer::now());
        while let Some(waker) = self.take_expired() {
            waker.wake();
        }
        let mut alarm = self.alarm.borrow_mut();
        alarm.clerk.get_or_insert_with(|| context.waker().clone());
        alarm.set(self.wheel.next_deadline().unwrap_or(NEVER));
        Poll::Pending
    }

    /// Takes out the next waker that is due.
    fn take_expired(&self) -> Option<Waker> {
        let entry = self.wheel.pop_expired()?;
        // SAFETY: in the wheel are entries of the table, which are valid.
        let hash = hash(&unsafe { entry.as_ref() }.waker);
        let mut table = self.table.borrow_mut();
        table.find_entry(hash, |other| *other == entry).expect("what was in the wheel").remove();
        // SAFETY: a box that was leaked, and is in neither of the two any more.
        Some(unsafe { Box::from_raw(entry.as_ptr()) }.waker)
    }
}

/// The sleep of the clerk.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// `None` until its first turn, which sets the alarm.
    clerk: Option<Waker>,
}

impl Alarm {
    /// Gives the clerk a turn at `deadline`.
    fn set(&mut self, deadline: u64) {
        let Some(clerk) = &self.clerk else { return };
        self.sleep.as_mut().reset(deadline);
        if deadline == NEVER {
            return; // what is never is not filed
        }
        if self.sleep.as_mut().poll(&mut Context::from_waker(clerk)).is_ready() {
            clerk.wake_by_ref();
        }
    }
}

/// Spreads the addresses of tasks over all bits: the table looks at the highest and the lowest.
fn hash(waker: &Waker) -> u64 {
    // 2^64 divided by the golden ratio (Knuth, TAOCP 3, section 6.4).
    let product = (waker.data().addr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}
