//! What goes out of a mailbox's window, and what follows from its queue.

use std::sync::Arc;

use super::Mailbox;
use super::patience::resume_all;
use crate::batch::{Batch, Change};
use crate::inflight::{AckError, InFlight};
use crate::message::Message;

impl Mailbox {
    /// The QoS 2 message with this sequence number is on disk.
    pub fn committed(self: &Arc<Self>, sequence: u64, batch: &mut Batch) {
        let mut g = self.inner.lock();
        if let Some(seldom) = &mut g.seldom {
            seldom.awaited.remove(&sequence);
        }
        if g.drain_queue(&self.limits.get(), &mut batch.changes) {
            self.mark(&mut g, batch);
        }
    }

    /// For the owner, when the socket has taken what there was: puts more of the queue into the buffer, if it waited for
    /// that. True if anything was.
    pub fn refill(self: &Arc<Self>, batch: &mut Batch) -> bool {
        let mut g = self.inner.lock();
        if !g.may_drain(&self.limits.get()) {
            return false;
        }
        let any = g.drain_queue(&self.limits.get(), &mut batch.changes);
        self.mark(&mut g, batch);
        any
    }

    /// PUBACK from the client.
    ///
    /// # Errors
    /// When nothing in flight awaits it.
    pub fn puback(self: &Arc<Self>, id: u16, batch: &mut Batch) -> Result<(), AckError> {
        self.acknowledge(batch, std::slice::from_ref(&id), InFlight::puback)
    }

    /// Several PUBACKs at once, under one lock: the frames of one read.
    ///
    /// # Errors
    /// As [`Self::puback`]; those before the bad one are done.
    pub fn puback_run(self: &Arc<Self>, ids: &[u16], batch: &mut Batch) -> Result<(), AckError> {
        self.acknowledge(batch, ids, InFlight::puback)
    }

    /// PUBRECs: the messages are released. The caller answers each with PUBREL, as `answer` is told in their order, once what
    /// this changes is on disk. An error: nothing in flight awaits it.
    pub fn pubrec_run(
        self: &Arc<Self>,
        ids: &[u16],
        batch: &mut Batch,
        mut answer: impl FnMut(u16, Result<(), AckError>),
    ) {
        let mut g = self.inner.lock();
        let session = g.session();
        for id in ids {
            let released = g.inflight.as_mut().ok_or(AckError::NotFound).and_then(|f| f.pubrec(*id));
            if let (true, Ok(Some(sequence))) = (session != 0, released) {
                batch.changes.push(Change::Released { session, sequence });
            }
            answer(*id, released.map(drop));
        }
    }

    /// PUBREC with a reason of 0x80 or more: the message is not sent again.
    ///
    /// # Errors
    /// When nothing in flight awaits it.
    pub fn pubrec_refused(self: &Arc<Self>, id: u16, batch: &mut Batch) -> Result<(), AckError> {
        self.acknowledge(batch, std::slice::from_ref(&id), InFlight::pubrec_refused)
    }

    /// PUBCOMPs, as [`Self::puback_run`].
    ///
    /// # Errors
    /// When nothing in flight awaits one.
    pub fn pubcomp_run(self: &Arc<Self>, ids: &[u16], batch: &mut Batch) -> Result<(), AckError> {
        self.acknowledge(batch, ids, InFlight::pubcomp)
    }

    fn acknowledge(
        self: &Arc<Self>,
        batch: &mut Batch,
        ids: &[u16],
        step: impl Fn(&mut InFlight, u16) -> Result<u64, AckError>,
    ) -> Result<(), AckError> {
        let mut g = self.inner.lock();
        let mut done = Ok(());
        for id in ids {
            match g.inflight.as_mut().ok_or(AckError::NotFound).and_then(|f| step(f, *id)) {
                Ok(sequence) => g.forget(sequence, &mut batch.changes),
                Err(e) => done = Err(e),
            }
        }
        if g.drain_queue(&self.limits.get(), &mut batch.changes) {
            self.mark(&mut g, batch);
        }
        self.count(&mut g);
        let waiters = self.release(&mut g);
        drop(g);
        resume_all(waiters);
        done
    }

    /// Removes queued messages whose topic fails the test: after a grant was narrowed. Returns how many.
    pub fn retain_queued(&self, batch: &mut Batch, mut keep: impl FnMut(&Message) -> bool) -> usize {
        let mut guard = self.inner.lock();
        let g = &mut *guard;
        let Some(mut queue) = g.queue.take() else { return 0 };
        let before = queue.len();
        queue.retain(|q| {
            let stays = keep(&q.message);
            match (stays, q.dup) {
                (true, _) => {}
                (false, true) => g.withdraw(q.sequence, &mut batch.changes),
                (false, false) => g.forget(q.sequence, &mut batch.changes),
            }
            stays
        });
        let removed = before - queue.len();
        g.queue = (!queue.is_empty()).then_some(queue);
        self.count(g);
        removed
    }
}
