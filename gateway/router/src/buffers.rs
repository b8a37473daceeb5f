//! Output buffers that a worker lends to mailboxes, so that an idle connection owns none.

use std::cell::RefCell;

/// A buffer larger than this is given back to the allocator instead of being kept.
const LARGEST_KEPT: usize = 128 * 1024;
/// How many each worker keeps.
const MOST_KEPT: usize = 64;
const FIRST_SIZE: usize = 4096;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with some capacity.
pub(crate) fn take() -> Vec<u8> {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(FIRST_SIZE))
}

/// Gives a buffer back.
pub(crate) fn give(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > LARGEST_KEPT {
        return;
    }
    buffer.clear();
    POOL.with_borrow_mut(|pool| {
        if pool.len() < MOST_KEPT {
            pool.push(buffer);
        }
    });
}
