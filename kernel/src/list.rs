//! A list whose links lie in its members: joining and leaving cost a few stores and no memory.
//!
//! Invariant: a node is linked from exactly the list that it was put into, from `push_back` until `remove` or `pop_front`.
//! Its owner keeps it pinned and takes it out before it dies, so no list ever holds a dangling pointer.
//!
//! Wait queues and the timer wheel are made of it: the node lies in the waiting future, which is pinned while it waits.
//! Everything happens on the guest's CPU outside of interrupt handlers, hence plain cells.
#![expect(unsafe_code, reason = "links between pinned members are pointers; the contract is `push_back`'s")]

use core::cell::Cell;
use core::marker::PhantomPinned;
use core::ptr;

/// A member of a [`List`], with what the list's user keeps in it.
pub(crate) struct Node<T> {
    previous: Cell<*const Node<T>>,
    next: Cell<*const Node<T>>,
    linked: Cell<bool>,
    /// The user's part.
    pub(crate) data: T,
    _pinned: PhantomPinned,
}

impl<T> Node<T> {
    pub(crate) const fn new(data: T) -> Self {
        Node {
            previous: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            linked: Cell::new(false),
            data,
            _pinned: PhantomPinned,
        }
    }

    /// Whether the node is in a list.
    pub(crate) fn is_linked(&self) -> bool {
        self.linked.get()
    }
}

/// Nodes in the order in which they came.
pub(crate) struct List<T> {
    first: Cell<*const Node<T>>,
    last: Cell<*const Node<T>>,
}

impl<T> List<T> {
    pub(crate) const fn new() -> Self {
        List { first: Cell::new(ptr::null()), last: Cell::new(ptr::null()) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }

    /// Puts `node` at the end.
    ///
    /// # Safety
    /// `node` is in no list, stays at its address and alive until it was taken out of this list, and after `pop_front`
    /// nobody uses the returned reference once the node's owner may have run.
    pub(crate) unsafe fn push_back(&self, node: &Node<T>) {
        debug_assert!(!node.is_linked());
        node.previous.set(self.last.get());
        node.next.set(ptr::null());
        node.linked.set(true);
        // SAFETY: by the invariant a pointer in the list is null or a live node.
        match unsafe { self.last.get().as_ref() } {
            Some(last) => last.next.set(node),
            None => self.first.set(node),
        }
        self.last.set(node);
    }

    /// Takes `node` out; nothing happens if it is in no list.
    ///
    /// # Safety
    /// `node` is in this list or in none.
    pub(crate) unsafe fn remove(&self, node: &Node<T>) {
        if !node.linked.replace(false) {
            return;
        }
        // SAFETY: the node was linked, and by the contract in this list, so its neighbours are null or live nodes of it.
        let (previous, next) = unsafe { (node.previous.get().as_ref(), node.next.get().as_ref()) };
        match previous {
            Some(previous) => previous.next.set(node.next.get()),
            None => self.first.set(node.next.get()),
        }
        match next {
            Some(next) => next.previous.set(node.previous.get()),
            None => self.last.set(node.previous.get()),
        }
    }

    /// The node that came first, left in the list.
    pub(crate) fn front(&self) -> Option<&Node<T>> {
        // SAFETY: by the invariant the pointer is null or a live node.
        unsafe { self.first.get().as_ref() }
    }

    /// Takes the node that came first.
    pub(crate) fn pop_front(&self) -> Option<&Node<T>> {
        let node = self.front()?;
        // SAFETY: `front` is in this list.
        unsafe { self.remove(node) };
        Some(node)
    }

    /// The nodes in order; the list must not change meanwhile.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Node<T>> {
        let mut next = self.front();
        core::iter::from_fn(move || {
            let node = next?;
            // SAFETY: `node` is in the list, so its neighbour is null or a live node.
            next = unsafe { node.next.get().as_ref() };
            Some(node)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;
    use alloc::vec::Vec;

    fn values(list: &List<u32>) -> Vec<u32> {
        list.iter().map(|node| node.data).collect()
    }

    #[test]
    fn members_leave_from_any_place_and_the_rest_keeps_its_order() {
        for leave in 0..4 {
            let list = List::new();
            let nodes: Vec<_> = (0..4).map(|n| Box::pin(Node::new(n))).collect();
            for node in &nodes {
                // SAFETY: boxed, and the list goes first.
                unsafe { list.push_back(node) };
            }
            // SAFETY: in this list.
            unsafe { list.remove(&nodes[leave]) };
            // SAFETY: in none.
            unsafe { list.remove(&nodes[leave]) };
            assert_eq!(values(&list), (0..4).filter(|&n| n as usize != leave).collect::<Vec<_>>());
            // SAFETY: in none, boxed.
            unsafe { list.push_back(&nodes[leave]) };
            assert_eq!(list.iter().last().map(|node| node.data), u32::try_from(leave).ok());
            assert_eq!(core::iter::from_fn(|| list.pop_front()).count(), 4);
            assert!(list.is_empty());
        }
    }
}
