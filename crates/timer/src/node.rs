//! The nodes, and the one place where lists are made of them.

use core::{cell::Cell, marker::PhantomPinned, mem::MaybeUninit, ptr::NonNull};

/// The start of a list, or what follows a node in it.
pub(crate) type Link<T> = Cell<Option<NonNull<Node<T>>>>;

/// A place in a [`Wheel`](crate::Wheel) for one waiter, who owns it.
///
/// Four words (32 bytes for a target of one word). It goes where the waiter's state is, for example
/// into the future that sleeps; it must not move and must not go away while it is linked. It may be
/// used any number of times, one after another.
///
/// Everything in it is a cell: the wheel writes to it while its owner holds a reference to it.
//
// Invariants: `previous` is `None` while the node is in no list. Otherwise it is the link that holds
// the node, which is either a list's start or the `next` of the node before.
#[repr(C)]
pub struct Node<T: Copy> {
    pub(crate) next: Link<T>,
    pub(crate) previous: Cell<Option<NonNull<Link<T>>>>,
    deadline: Cell<u64>,
    target: Cell<MaybeUninit<T>>,
    _pinned: PhantomPinned,
}

// SAFETY: whoever inserts a node promises that it is touched under the exclusion of its wheel only.
unsafe impl<T: Copy + Send> Send for Node<T> {}

impl<T: Copy> Node<T> {
    /// A node that is in no wheel.
    pub const fn new() -> Self {
        Self {
            next: Cell::new(None),
            previous: Cell::new(None),
            deadline: Cell::new(0),
            target: Cell::new(MaybeUninit::uninit()),
            _pinned: PhantomPinned,
        }
    }

    /// A node that is in no wheel, with what it is to wait for.
    pub(crate) const fn at(deadline: u64, target: T) -> Self {
        Self {
            next: Cell::new(None),
            previous: Cell::new(None),
            deadline: Cell::new(deadline),
            target: Cell::new(MaybeUninit::new(target)),
            _pinned: PhantomPinned,
        }
    }

    /// Whether the node is in a wheel: inserted, and neither removed nor popped since.
    #[inline]
    pub const fn is_linked(&self) -> bool {
        self.previous.get().is_some()
    }

    /// The deadline with which the node was inserted last, in ticks; 0 before that.
    #[inline]
    pub const fn deadline(&self) -> u64 {
        self.deadline.get()
    }

    /// Writes down what the node waits for.
    #[inline]
    pub(crate) fn set(&self, deadline: u64, target: T) {
        self.deadline.set(deadline);
        self.target.set(MaybeUninit::new(target));
    }

    /// # Safety
    ///
    /// [`Node::set`] was called.
    #[inline]
    pub(crate) unsafe fn target(&self) -> T {
        // SAFETY: written by `set`, and `T` is `Copy`: it can be read any number of times.
        unsafe { self.target.get().assume_init() }
    }
}

impl<T: Copy> Default for Node<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy> Drop for Node<T> {
    /// Nothing, except in debug builds: a node that goes away while it is linked is a bug of its
    /// owner's, and it panics before the wheel follows the link.
    #[inline]
    fn drop(&mut self) {
        debug_assert!(!self.is_linked(), "a node was dropped while it was in a wheel");
    }
}

/// Makes `node` the first of the list that starts at `start`; says whether the list was empty.
///
/// # Safety
///
/// `node` is valid and in no list, the nodes of the list are valid, and `start` stays where it is
/// until the list is empty.
#[inline]
pub(crate) unsafe fn push_first<T: Copy>(start: &Link<T>, node: NonNull<Node<T>>) -> bool {
    let second = start.replace(Some(node));
    // SAFETY: valid by the caller's contract.
    let entry = unsafe { node.as_ref() };
    entry.next.set(second);
    entry.previous.set(Some(NonNull::from(start)));
    let Some(second) = second else { return true };
    // SAFETY: valid because it is in the list.
    unsafe { second.as_ref() }.previous.set(Some(NonNull::from(&entry.next)));
    false
}

/// Makes `node` what `end` points to, and returns the list's new end. The caller sets that to
/// `None` before anybody looks.
///
/// # Safety
///
/// `node` is valid and in no list; `end` is the last link of a list and stays where it is while the
/// node is in it.
#[inline]
pub(crate) unsafe fn push_last<T: Copy>(
    end: NonNull<Link<T>>,
    node: NonNull<Node<T>>,
) -> NonNull<Link<T>> {
    // SAFETY: both are valid by the caller's contract.
    let (end_link, entry) = unsafe { (end.as_ref(), node.as_ref()) };
    end_link.set(Some(node));
    entry.previous.set(Some(end));
    NonNull::from(&entry.next)
}

/// Takes `node` out of the list it is in, if it is in one. If it was the last of it, returns the
/// link that is now the last.
///
/// # Safety
///
/// `node`, and the nodes and the start of the list it is in, are valid.
#[inline]
pub(crate) unsafe fn unlink<T: Copy>(node: NonNull<Node<T>>) -> Option<NonNull<Link<T>>> {
    // SAFETY: valid by the caller's contract.
    let entry = unsafe { node.as_ref() };
    let previous = entry.previous.take()?;
    let next = entry.next.get();
    // SAFETY: by the invariant, a link of the list that the node is in.
    unsafe { previous.as_ref() }.set(next);
    let Some(next) = next else { return Some(previous) };
    // SAFETY: a node of that list.
    unsafe { next.as_ref() }.previous.set(Some(previous));
    None
}

/// Takes the first node out of the list that starts at `start`.
///
/// # Safety
///
/// The nodes of the list are valid.
#[inline]
pub(crate) unsafe fn pop_first<T: Copy>(start: &Link<T>) -> Option<NonNull<Node<T>>> {
    let node = start.get()?;
    // SAFETY: valid because it is in the list.
    let entry = unsafe { node.as_ref() };
    entry.previous.set(None);
    let second = entry.next.get();
    start.set(second);
    if let Some(second) = second {
        // SAFETY: valid because it is in the list.
        unsafe { second.as_ref() }.previous.set(Some(NonNull::from(start)));
    }
    Some(node)
}

#[cfg(test)]
mod tests {
    use super::Node;

    #[test]
    fn a_node_is_four_words() {
        const { assert!(size_of::<Node<usize>>() == 24 + size_of::<usize>()) };
        const { assert!(align_of::<Node<usize>>() == 8) };
        const { assert!(size_of::<Node<()>>() == 24) };
    }

    #[test]
    fn a_node_starts_outside() {
        let node = Node::<u8>::default();
        assert!(!node.is_linked());
        assert_eq!(node.deadline(), 0);
    }
}
