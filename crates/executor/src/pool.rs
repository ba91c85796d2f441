//! Memory for tasks in a static: for machines without a heap, or tasks that must always find room.

use core::{cell::UnsafeCell, fmt, future::Future, mem::MaybeUninit, ptr::NonNull};

use crate::task::{CLASS_STATIC, Fit, Header, Label};

/// Room for `COUNT` tasks whose futures take up to `SIZE` bytes each (names: 16 more).
///
/// ```ignore
/// static BLINKERS: Pool<128, 2> = Pool::new();
/// ```
pub struct Pool<const SIZE: usize, const COUNT: usize> {
    slots: [Slot<SIZE>; COUNT],
}

/// A header and the memory behind it, where `task::Cell` lies.
#[repr(C, align(64))]
struct Slot<const SIZE: usize> {
    header: Header,
    rest: UnsafeCell<MaybeUninit<[u8; SIZE]>>,
}

// SAFETY: who claims a slot by its header's state has its memory; only `Send` futures leave the hart.
unsafe impl<const SIZE: usize, const COUNT: usize> Sync for Pool<SIZE, COUNT> {}

impl<const SIZE: usize, const COUNT: usize> Pool<SIZE, COUNT> {
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
        }
    }

    /// Claims a slot: it is `QUEUED` now. Returns its state before.
    pub(crate) fn take<L: Label, F: Future>(&'static self) -> Option<(NonNull<Header>, u32)> {
        const {
            assert!(
                Fit::<L, F>::SIZE <= size_of::<Slot<SIZE>>(),
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

impl<const SIZE: usize, const COUNT: usize> fmt::Debug for Pool<SIZE, COUNT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool<{SIZE}, {COUNT}>")
    }
}
