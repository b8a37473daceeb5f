//! How what was appended reaches the client: written from the publisher's task, or by the owner of the connection.

use std::io;
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::Mailbox;
use super::inner::Inner;
use super::link::Flush;
use super::patience::resume_all;
use crate::buffers::{self, Buffer};

/// How often one call of [`Mailbox::flush`] goes back to the socket for what was appended meanwhile.
const WRITES_PER_FLUSH: u32 = 8;

impl Mailbox {
    /// Writes what waits, or has its owner do it.
    pub fn flush(&self) -> Flush {
        let mut g = self.inner.lock();
        g.dirty = false;
        if g.writing {
            return Flush::Done;
        }
        if g.blocked {
            return Flush::Blocked;
        }
        let Some(link) = &g.link else { return Flush::Done };
        let Some(writer) = link.writer.clone() else {
            let owner = Arc::clone(&link.owner);
            drop(g);
            owner.wake();
            return Flush::Owner;
        };
        let mut writes = 0;
        loop {
            if g.cur.is_empty() {
                if g.buf.is_empty() {
                    self.count(&mut g);
                    let waiters = self.release(&mut g);
                    // What waited in the queue for the socket is the owner's to fetch.
                    let outcome = if g.may_drain(&self.limits.get()) {
                        self.leave_to_owner(g, Flush::Owner)
                    } else {
                        unlocked(g, Flush::Done)
                    };
                    resume_all(waiters);
                    return outcome;
                }
                if writes == WRITES_PER_FLUSH {
                    // Others keep appending: their bytes are the owner's to write, not this publisher's.
                    return self.leave_to_owner(g, Flush::Owner);
                }
                g.cur = std::mem::take(&mut g.buf);
            }
            writes += 1;
            let mut bytes = std::mem::take(&mut g.cur);
            g.writing = true;
            drop(g);
            let result = writer.try_write(bytes.unwritten());
            g = self.inner.lock();
            g.writing = false;
            match result {
                Ok(n) if n == bytes.unwritten().len() => buffers::give(bytes),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => g.cur = bytes,
                Ok(n) => {
                    bytes.advance(n);
                    g.cur = bytes;
                    g.blocked = true;
                    self.count(&mut g);
                    let waiters = self.release(&mut g);
                    let left = self.leave_to_owner(g, Flush::Blocked);
                    resume_all(waiters);
                    return left;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    g.cur = bytes;
                    g.blocked = true;
                    self.count(&mut g);
                    return self.leave_to_owner(g, Flush::Blocked);
                }
                Err(_) => {
                    g.broken = true;
                    let waiters = g.take_waiters();
                    let left = self.leave_to_owner(g, Flush::Dead);
                    resume_all(waiters);
                    return left;
                }
            }
        }
    }

    fn leave_to_owner(&self, g: MutexGuard<'_, Inner>, outcome: Flush) -> Flush {
        let owner = g.link.as_ref().map(|l| Arc::clone(&l.owner));
        drop(g);
        if let Some(owner) = owner {
            owner.wake();
        }
        outcome
    }

    /// Has the owner write what waits.
    pub fn wake_owner(&self) {
        let mut g = self.inner.lock();
        g.dirty = false;
        self.leave_to_owner(g, Flush::Owner);
    }

    /// For the owner: whether there is nothing to be written and nothing to be found out about the socket, at the price of one
    /// look. So it is whenever a client that publishes is woken by what it sends.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let g = self.inner.lock();
        let written = g.buf.is_empty() && g.cur.is_empty() && g.queue.is_none();
        let well = !g.blocked && !g.broken && !g.stalled && !g.is_waited_for();
        written && well && g.inflight.as_ref().is_none_or(|f| !f.is_behind())
    }

    /// For the owner: whether the socket was full and a retry is due once it is writable.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.inner.lock().blocked
    }

    /// For the owner, when the socket became writable: the next [`Self::flush`] tries again.
    pub fn unblock(&self) {
        self.inner.lock().blocked = false;
    }

    /// For the owner: whether the socket failed under another's hands.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.inner.lock().broken
    }

    /// For the owner: octets that the client has not taken yet, without what its window holds back.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.inner.lock().unsent()
    }

    /// For the owner of a connection that nobody else may write: takes what waits. None: nothing does.
    pub fn take_output(&self) -> Option<Buffer> {
        let mut g = self.inner.lock();
        g.dirty = false;
        if g.cur.is_empty() {
            if g.buf.is_empty() {
                return None;
            }
            g.cur = std::mem::take(&mut g.buf);
        }
        g.blocked = true;
        Some(std::mem::take(&mut g.cur))
    }

    /// Gives back what [`Self::take_output`] took: written whole, or in part when the transport takes no more now.
    pub fn return_output(&self, output: Buffer) {
        let mut g = self.inner.lock();
        if output.unwritten().is_empty() {
            g.blocked = false;
            buffers::give(output);
        } else {
            g.cur = output;
        }
        self.count(&mut g);
        let waiters = self.release(&mut g);
        drop(g);
        resume_all(waiters);
    }
}

fn unlocked<T>(guard: MutexGuard<'_, Inner>, value: T) -> T {
    drop(guard);
    value
}
