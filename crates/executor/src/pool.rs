//! Memory for tasks in a static: for machines without a heap, or tasks that must always find room.

use core::{
    cell::UnsafeCell,
    fmt,
    future::Future,
    marker::PhantomData,
    mem::{MaybeUninit, offset_of},
    ptr::NonNull,
};

#[cfg(not(loom))]
use crate::task::CLASS_STATIC;
use crate::{
    platform::Platform,
    task::{Fit, Header, Label},
};

/// Room for `COUNT` tasks of the platform `P`, whose futures and outputs take up to `SIZE` bytes each, a
/// name's 16 included.
///
/// ```ignore
/// static BLINKERS: Pool<Machine, 128, 2> = Pool::new();
/// ```
pub struct Pool<P, const SIZE: usize, const COUNT: usize> {
    slots: [Slot<SIZE>; COUNT],
    /// A late waker goes to the harts of its own platform.
    platform: PhantomData<fn() -> P>,
}

/// A header and the memory behind it, where `task::Cell` lies.
#[repr(C, align(64))]
struct Slot<const SIZE: usize> {
    header: Header,
    rest: UnsafeCell<MaybeUninit<[u8; SIZE]>>,
}

// SAFETY: who claims a slot by its header's state has its memory; only `Send` futures leave the hart.
unsafe impl<P, const SIZE: usize, const COUNT: usize> Sync for Pool<P, SIZE, COUNT> {}

impl<P: Platform, const SIZE: usize, const COUNT: usize> Pool<P, SIZE, COUNT> {
    /// Room without tasks.
    #[cfg(not(loom))]
    #[expect(clippy::new_without_default, reason = "it is made for statics")]
    pub const fn new() -> Self {
        Self {
            slots: [const {
                Slot {
                    header: Header::vacant(CLASS_STATIC),
                    rest: UnsafeCell::new(MaybeUninit::uninit()),
                }
            }; COUNT],
            platform: PhantomData,
        }
    }

    /// Claims a slot: it is `QUEUED` now. Returns its state before.
    pub(crate) fn take<L: Label, F: Future>(&'static self) -> Option<(NonNull<Header>, u32)> {
        const {
            assert!(
                Fit::<L, F>::END <= offset_of!(Slot<SIZE>, rest) + SIZE,
                "the future of this task is larger than the pool's slots"
            );
            assert!(Fit::<L, F>::ALIGN <= align_of::<Slot<SIZE>>(), "no pool is aligned like this");
        }
        self.slots.iter().find_map(|slot| {
            let state = slot.header.state.claim()?;
            Some((NonNull::from(slot).cast(), state))
        })
    }
}

impl<P, const SIZE: usize, const COUNT: usize> fmt::Debug for Pool<P, SIZE, COUNT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool<{SIZE}, {COUNT}>")
    }
}
