//! The store over memory of a test's own, with every block's content as the witness that no two overlap.

use super::*;
use crate::heap::remote::Remote;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use std::alloc::{alloc, dealloc};
use std::thread;

const ARENA: Layout = match Layout::from_size_align(16 << 20, 4096) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};

/// Memory of a fixed length that is given away from its start.
struct Arena {
    start: *mut u8,
    used: Cell<usize>,
    limit: usize,
}

impl Arena {
    fn new(limit: usize) -> Self {
        assert!(limit <= ARENA.size());
        // SAFETY: the length is not 0.
        Arena { start: unsafe { alloc(ARENA) }, used: Cell::new(0), limit }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout.
        unsafe { dealloc(self.start, ARENA) };
    }
}

// SAFETY: the arena is given away once, from its start, page by page.
unsafe impl Memory for &Arena {
    fn grow(&self, len_bytes: usize) -> Option<NonNull<[u8]>> {
        let len = len_bytes.next_multiple_of(4096);
        let used = self.used.get();
        if len > self.limit - used {
            return None;
        }
        self.used.set(used + len);
        // SAFETY: inside of the arena.
        Some(NonNull::slice_from_raw_parts(NonNull::new(unsafe { self.start.add(used) })?, len))
    }

    unsafe fn give_back(&self, len_bytes: usize) {
        assert!(len_bytes.is_multiple_of(4096) && len_bytes <= self.used.get());
        self.used.set(self.used.get() - len_bytes);
    }
}

/// A block with a content that no other has.
struct Block {
    start: *mut u8,
    layout: Layout,
    fill: u8,
}

impl Block {
    fn new(store: &mut Store<&Arena>, layout: Layout, fill: u8) -> Option<Self> {
        let start = store.allocate(layout);
        if start.is_null() {
            return None;
        }
        assert!(start.addr().is_multiple_of(layout.align()));
        // SAFETY: the block is so long.
        unsafe { start.write_bytes(fill, layout.size()) };
        Some(Block { start, layout, fill })
    }

    fn check(&self, len: usize) {
        // SAFETY: the block is at least so long and was filled.
        let content = unsafe { core::slice::from_raw_parts(self.start, len) };
        assert!(content.iter().all(|&byte| byte == self.fill), "somebody wrote into a block of {:?}", self.layout);
    }

    fn free(self, store: &mut Store<&Arena>) {
        self.check(self.layout.size());
        // SAFETY: from this store with this layout, and the block is given up.
        unsafe { store.free(self.start, self.layout) };
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % limit
    }

    fn layout(&mut self) -> Layout {
        let size = 1 + (self.below(1 << 16) >> self.below(16));
        Layout::from_size_align(size, 1 << self.below(if self.0.is_multiple_of(16) { 13 } else { 5 })).unwrap()
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

#[test]
fn no_two_blocks_overlap_and_the_account_is_exact_whatever_is_asked_for() {
    for seed in 1..20 {
        let arena = Arena::new(8 << 20);
        let mut store = Store::new(&arena);
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed);
        let mut blocks: Vec<Block> = vec![];
        for n in 0..4000_u32 {
            match random.below(8) {
                0..4 => blocks.extend(Block::new(&mut store, random.layout(), n.to_le_bytes()[0])),
                4 if !blocks.is_empty() => {
                    let index = random.below(blocks.len());
                    let block = &mut blocks[index];
                    let size = random.layout().size();
                    // SAFETY: the block is of this store with this layout.
                    if unsafe { store.resize_in_place(block.start, block.layout, size) } {
                        block.check(size.min(block.layout.size()));
                        block.layout = Layout::from_size_align(size, block.layout.align()).unwrap();
                        // SAFETY: the block is now so long.
                        unsafe { block.start.write_bytes(block.fill, size) };
                    }
                }
                _ if !blocks.is_empty() => blocks.swap_remove(random.below(blocks.len())).free(&mut store),
                _ => {}
            }
            assert_eq!(store.live_bytes, blocks.iter().map(|block| block.layout.size()).sum::<usize>());
        }
        for block in blocks {
            block.free(&mut store);
        }
        let levels = store.levels();
        assert_eq!(levels.live_bytes, 0);
        assert!(levels.largest_free_bytes <= levels.free_bytes);
        assert!(store.counts().all(|count| count.allocs >= count.frees));
        store.trim(true);
        assert_eq!(store.cached_bytes, 0);
        assert!(arena.used.get() <= 8192, "{} bytes of an empty heap stay", arena.used.get());
    }
}

#[test]
fn when_memory_is_out_an_allocation_fails_and_the_heap_goes_on() {
    let arena = Arena::new(1 << 20);
    let mut store = Store::new(&arena);
    let mut blocks = vec![];
    while let Some(block) = Block::new(&mut store, layout(1000), 7) {
        blocks.push(block);
    }
    assert!(blocks.len() > 900, "{} of 1000 bytes fit 1 MiB", blocks.len());
    assert!(store.allocate(layout(64 << 10)).is_null());
    for block in blocks.drain(..) {
        block.free(&mut store);
    }
    // Everything lies in small blocks now, many of them in a cache: only merging makes this possible.
    let whole = Block::new(&mut store, layout(900 << 10), 8).unwrap();
    whole.free(&mut store);
}

#[test]
fn an_impossible_length_is_refused() {
    let arena = Arena::new(1 << 20);
    let mut store = Store::new(&arena);
    assert!(store.allocate(layout(isize::MAX as usize - 7)).is_null());
    assert!(store.allocate(Layout::from_size_align(8, 1 << 40).unwrap()).is_null());
    assert_eq!(store.live_bytes, 0);
}

#[test]
fn the_longest_free_block_is_found_to_an_eighth() {
    let arena = Arena::new(8 << 20);
    let mut store = Store::new(&arena);
    let hole = Block::new(&mut store, layout(3 << 20), 1).unwrap();
    let wall = Block::new(&mut store, layout(1 << 20), 2).unwrap();
    hole.free(&mut store);
    let largest = store.levels().largest_free_bytes;
    assert!(((3 << 20) * 7 / 8..=4 << 20).contains(&largest), "{largest}");
    wall.free(&mut store);
}

#[test]
fn what_other_threads_free_comes_back_once_each() {
    let arena = Arena::new(8 << 20);
    let mut store = Store::new(&arena);
    let remote = Remote::new();
    for _ in 0..20 {
        let mut random = Random(77);
        let layouts: Vec<_> = (0..1000).map(|_| random.layout()).collect();
        let blocks: Vec<_> =
            layouts.iter().map(|&layout| (store.allocate(layout).expose_provenance(), layout)).collect();
        thread::scope(|scope| {
            for part in blocks.chunks(300) {
                let remote = &remote;
                scope.spawn(move || {
                    for &(block, layout) in part {
                        if block != 0 {
                            // SAFETY: the block is the store's, and nobody uses it any more.
                            unsafe { remote.push(core::ptr::with_exposed_provenance_mut(block), layout) };
                        }
                    }
                });
            }
        });
        // SAFETY: what comes from the stack is the store's, with its layout.
        remote.take(|block, layout| unsafe { store.free(block, layout) });
        assert!(remote.is_empty());
        assert_eq!(store.live_bytes, 0);
    }
}
