//! Output buffers that a worker lends to mailboxes, so that an idle connection owns none.

#![allow(clippy::box_collection, clippy::vec_box, reason = "one word instead of three in every idle mailbox")]

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// A buffer larger than this is given back to the allocator instead of being kept.
const LARGEST_KEPT: usize = 128 * 1024;
/// How many each worker keeps.
const MOST_KEPT: usize = 64;
const FIRST_SIZE: usize = 4096;

thread_local! {
    static POOL: RefCell<Vec<Box<Vec<u8>>>> = const { RefCell::new(Vec::new()) };
}

static NOTHING: Vec<u8> = Vec::new();

/// A buffer that is borrowed from the worker when something is first written to it. Until then it is one word.
#[derive(Debug, Default)]
pub struct Buffer(Option<Box<Vec<u8>>>);

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        self.0.get_or_insert_with(take)
    }
}

/// An empty buffer with some capacity.
fn take() -> Box<Vec<u8>> {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| Box::new(Vec::with_capacity(FIRST_SIZE)))
}

/// Gives a buffer back.
pub(crate) fn give(Buffer(buffer): Buffer) {
    let Some(mut buffer) = buffer.filter(|buffer| (1..=LARGEST_KEPT).contains(&buffer.capacity())) else { return };
    buffer.clear();
    POOL.with_borrow_mut(|pool| {
        if pool.len() < MOST_KEPT {
            pool.push(buffer);
        }
    });
}
