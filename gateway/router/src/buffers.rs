//! Output buffers that a worker lends to mailboxes, so that an idle connection owns none.

#![allow(clippy::vec_box, reason = "one word instead of three in every idle mailbox")]

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// A buffer larger than this is given back to the allocator instead of being kept.
const LARGEST_KEPT: usize = 128 * 1024;
/// How many each worker keeps.
const MOST_KEPT: usize = 64;
const FIRST_SIZE: usize = 4096;

thread_local! {
    static POOL: RefCell<Vec<Box<Lent>>> = const { RefCell::new(Vec::new()) };
}

static NOTHING: Vec<u8> = Vec::new();

/// A buffer that is borrowed from the worker when something is first put into it. Until then it is one word.
#[derive(Debug, Default)]
pub struct Buffer(Option<Box<Lent>>);

#[derive(Debug)]
struct Lent {
    bytes: Vec<u8>,
    /// How many of them have gone to the client.
    written: usize,
}

impl Buffer {
    /// What has not gone to the client.
    #[must_use]
    pub fn unwritten(&self) -> &[u8] {
        self.0.as_ref().and_then(|lent| lent.bytes.get(lent.written..)).unwrap_or_default()
    }

    /// So many more octets have gone to the client.
    pub fn advance(&mut self, by: usize) {
        if let Some(lent) = &mut self.0 {
            lent.written += by;
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        self.0.as_ref().map_or(&NOTHING, |lent| &lent.bytes)
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0.get_or_insert_with(take).bytes
    }
}

/// An empty buffer with some capacity.
fn take() -> Box<Lent> {
    let new = || Box::new(Lent { bytes: Vec::with_capacity(FIRST_SIZE), written: 0 });
    POOL.with_borrow_mut(Vec::pop).unwrap_or_else(new)
}

/// Gives a buffer back.
pub(crate) fn give(Buffer(buffer): Buffer) {
    let Some(mut buffer) = buffer.filter(|lent| (1..=LARGEST_KEPT).contains(&lent.bytes.capacity())) else { return };
    buffer.bytes.clear();
    buffer.written = 0;
    POOL.with_borrow_mut(|pool| {
        if pool.len() < MOST_KEPT {
            pool.push(buffer);
        }
    });
}
