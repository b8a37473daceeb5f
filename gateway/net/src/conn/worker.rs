//! What a worker thread lends to the connection that it is polling.

use std::cell::RefCell;

use portcullis_session::Scratch;

/// Octets of one read. A connection gives way after it, so that a light client beside saturating ones keeps its latency.
pub(super) const READ_SIZE: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct Worker {
    pub scratch: Scratch,
    pub buffer: Vec<u8>,
}

thread_local! {
    static WORKER: RefCell<Worker> = RefCell::default();
}

/// Lends the thread's worker. A poll that begins inside another (which nothing here does) gets one of its own.
pub(super) fn with<R>(f: impl FnOnce(&mut Worker) -> R) -> R {
    WORKER.with(|worker| match worker.try_borrow_mut() {
        Ok(mut worker) => f(&mut worker),
        Err(_) => f(&mut Worker::default()),
    })
}
