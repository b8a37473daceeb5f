//! Sessions on disk: what is handed to the store, and what waits for it.
//!
//! *An acknowledgement means stored.* What a read changes about stored sessions goes to the store as one batch, and the
//! replies of that read are held back until the batch is on disk; what is replied later stays behind them. Deliveries at
//! QoS 1 do not wait, since at worst they come again. Deliveries at QoS 2 do: see
//! [`portcullis_router::Mailbox::committed`].

mod record;
mod recovery;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use portcullis_mqtt::ReasonCode;
use portcullis_router::{Batch, Change, Mailbox, Wake};
use portcullis_store::{Durability, Fate, Store, StoreError, Submitter};

use crate::handle::{Control, Handle};
use crate::scratch::Scratch;

pub(crate) use record::{SessionRecord, WillRecord, encode_retained, encode_subscription};
pub use recovery::RecoveryError;
pub(crate) use recovery::{Found, recover};

/// For what nobody waits for: it shares the sync of what somebody does, or has one of its own within this time.
pub(crate) const SOON: Durability = Durability::Interval(Duration::from_millis(200));

/// Marks the sequence number of a message that is not there any more and that a client may have.
const WITHDRAWN: u64 = 1 << 63;

/// The store, as sessions use it.
pub(crate) struct Durable {
    submitter: Submitter,
    /// Keeps the file open.
    _store: Store,
    /// The number of the next session that is stored.
    next: AtomicU64,
    /// Publishers who wait because the store has more to write than it should.
    waiting: Arc<Mutex<Vec<Arc<Handle>>>>,
}

/// Replies of a connection that wait for the store.
#[derive(Default)]
pub(crate) struct Held(Mutex<HeldState>);

#[derive(Default)]
struct HeldState {
    /// Batches that are not on disk yet.
    pending: u32,
    /// Replies that came after the last of them and must not overtake it.
    tail: Vec<u8>,
    /// The store has failed, and the connection is told to end: what is left to say to it waits for nothing.
    ending: bool,
    /// Who waits for the last of them: the connection itself, if it ends, and others of the same session.
    waiters: Vec<Arc<Handle>>,
}

/// Whose replies they are.
pub(crate) struct Recipient<'a> {
    pub mailbox: &'a Arc<Mailbox>,
    pub handle: &'a Arc<Handle>,
    pub held: &'a Arc<Held>,
}

impl Held {
    /// Keeps replies behind those that wait. False: none wait, and they may go at once.
    pub(crate) fn behind(&self, replies: &[u8]) -> bool {
        let mut state = self.0.lock();
        if state.pending == 0 || state.ending {
            return false;
        }
        state.tail.extend_from_slice(replies);
        true
    }

    fn begin(&self, replies: &[u8]) -> Vec<u8> {
        let mut state = self.0.lock();
        state.pending += 1;
        let mut all = std::mem::take(&mut state.tail);
        all.extend_from_slice(replies);
        all
    }

    /// Whether there are batches that are not on disk yet; `handle` is woken when they are.
    pub(crate) fn keeps_waiting(&self, handle: &Arc<Handle>) -> bool {
        self.is_waited_for_by(handle, |state| state.pending > 0)
    }

    /// Whether replies, and what was to follow them, are still owed to the client; `handle` is woken when they are on their way.
    pub(crate) fn owes(&self, handle: &Arc<Handle>) -> bool {
        self.is_waited_for_by(handle, |state| state.pending > 0 && !state.ending)
    }

    fn is_waited_for_by(&self, handle: &Arc<Handle>, waits: impl FnOnce(&HeldState) -> bool) -> bool {
        let mut state = self.0.lock();
        if !waits(&state) {
            return false;
        }
        // Whoever waits asks again each time that something wakes it.
        if !state.waiters.iter().any(|waiter| Arc::ptr_eq(waiter, handle)) {
            state.waiters.push(Arc::clone(handle));
        }
        true
    }

    /// The connection ends before its batches are on disk. Whoever comes back for the session waits for them all the same.
    fn let_go(&self) {
        self.0.lock().ending = true;
    }

    /// One batch is done, and its replies are on their way. If it was the last, `send` is given what has to follow them:
    /// what the owner replies meanwhile stays behind that.
    fn done(&self, send: impl FnOnce(&[u8])) {
        let mut state = self.0.lock();
        state.pending = state.pending.saturating_sub(1);
        if state.pending > 0 {
            return;
        }
        send(&std::mem::take(&mut state.tail));
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        for waiter in waiters {
            waiter.wake();
        }
    }
}

impl Durable {
    pub(crate) fn new(store: Store, next: u64) -> Self {
        Self { submitter: store.submitter(), _store: store, next: AtomicU64::new(next), waiting: Arc::default() }
    }

    /// Whether the store has failed: nothing is promised until it is back.
    pub(crate) fn has_stopped(&self) -> bool {
        self.submitter.has_stopped()
    }

    /// A number for a session that is to be stored.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands in what this batch changed, without anybody waiting for it.
    pub(crate) fn submit(&self, s: &mut Scratch, durability: Durability) {
        let Some((batch, _)) = gather(s) else { return };
        let mut uncommitted = std::mem::take(&mut s.batch.uncommitted);
        let waiting = Arc::clone(&self.waiting);
        let store = self.submitter.clone();
        self.submitter.submit_then(batch, durability, move |fate| {
            if fate == Fate::Written {
                finish(&store, std::mem::take(&mut uncommitted), |_| {});
            }
            resume(&store, &waiting);
        });
    }

    /// Hands in what this read changed, and sends its replies to the client when they are true.
    pub(crate) fn submit_with_replies(&self, s: &mut Scratch, durability: Durability, to: &Recipient<'_>) {
        let Some((batch, must_wait)) = gather(s) else { return };
        let mut uncommitted = std::mem::take(&mut s.batch.uncommitted);
        let waiting = Arc::clone(&self.waiting);
        let store = self.submitter.clone();
        if !must_wait || s.replies.is_empty() {
            if !s.replies.is_empty() && !to.held.behind(&s.replies) {
                to.mailbox.push(&s.replies, &mut s.batch);
            }
            s.replies.clear();
            let handle = Arc::clone(to.handle);
            self.submitter.submit_then(batch, SOON, move |fate| {
                match fate {
                    Fate::Written => finish(&store, std::mem::take(&mut uncommitted), |_| {}),
                    Fate::Delayed(why) | Fate::Lost(why) => storage_failed(&handle, &why),
                }
                resume(&store, &waiting);
            });
        } else {
            let replies = to.held.begin(&s.replies);
            s.replies.clear();
            let (mailbox, handle, held) = (Arc::clone(to.mailbox), Arc::clone(to.handle), Arc::clone(to.held));
            let attachment = mailbox.attachment();
            self.submitter.submit_then(batch, durability, move |fate| {
                match fate {
                    Fate::Written => {
                        finish(&store, std::mem::take(&mut uncommitted), |batch| {
                            mailbox.push_late(&replies, attachment, batch);
                            held.done(|tail| mailbox.push_late(tail, attachment, batch));
                        });
                    }
                    // Nothing is acknowledged that is not stored.
                    Fate::Delayed(why) => {
                        held.let_go();
                        storage_failed(&handle, &why);
                    }
                    Fate::Lost(why) => {
                        held.done(|_| {});
                        storage_failed(&handle, &why);
                    }
                }
                resume(&store, &waiting);
            });
        }
        self.slow_down(to.handle);
    }

    /// Has a client that hands in more than the store can write stop reading until there is room, whatever its
    /// acknowledgements mean: what waits is memory.
    pub(crate) fn slow_down(&self, handle: &Arc<Handle>) {
        if self.submitter.is_crowded() {
            handle.wait_for_store();
            self.waiting.lock().push(Arc::clone(handle));
            // It may have emptied in between, with nobody left to call.
            resume(&self.submitter, &self.waiting);
        }
    }
}

/// What the batch changed, for the store; and whether an acknowledgement has to wait for it.
fn gather(s: &mut Scratch) -> Option<(portcullis_store::Batch, bool)> {
    let changes = std::mem::take(&mut s.batch.changes);
    if changes.is_empty() && s.journal.is_empty() {
        return None;
    }
    let mut must_wait = !s.journal.is_empty();
    let mut batch = portcullis_store::Batch::new();
    for change in changes {
        match change {
            Change::Queued { session, queued } => {
                must_wait = true;
                batch.put_queued(session, queued.sequence, record::encode_queued(&queued));
            }
            Change::Released { session, sequence } => {
                must_wait = true;
                batch.put_queued(session, sequence, record::encode_released());
            }
            gone @ (Change::Done { .. } | Change::Withdrawn { .. }) => remove(&mut batch, &gone),
        }
    }
    // After the messages: the end of a session takes them with it.
    batch.append(std::mem::take(&mut s.journal));
    Some((batch, must_wait))
}

/// A message is not kept any more.
fn remove(batch: &mut portcullis_store::Batch, change: &Change) {
    match *change {
        Change::Done { session, sequence } => {
            batch.delete_queued(session, sequence);
        }
        Change::Withdrawn { session, sequence, before } => {
            batch.delete_queued(session, sequence);
            batch.put_queued(session, sequence | WITHDRAWN, record::encode_withdrawn());
            if before != 0 {
                batch.delete_queued(session, before | WITHDRAWN);
            }
        }
        Change::Queued { .. } | Change::Released { .. } => {}
    }
}

/// On the writer's thread: the messages that were waiting for the disk may go, and what `send` puts into mailboxes.
/// Their owners write; the writer has other things to do.
fn finish(store: &Submitter, uncommitted: Vec<(Arc<Mailbox>, u64)>, send: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::default();
    for (mailbox, sequence) in uncommitted {
        mailbox.committed(sequence, &mut batch);
    }
    send(&mut batch);
    batch.wake_owners();
    let mut changes = portcullis_store::Batch::new();
    batch.changes.drain(..).for_each(|change| remove(&mut changes, &change));
    if !changes.is_empty() {
        store.submit_then(changes, SOON, |_| {});
    }
}

fn resume(store: &Submitter, waiting: &Mutex<Vec<Arc<Handle>>>) {
    if store.is_crowded() {
        return;
    }
    for handle in std::mem::take(&mut *waiting.lock()) {
        handle.store_has_room();
    }
}

fn storage_failed(handle: &Handle, why: &StoreError) {
    let detail = format!("what it sent could not be stored: {why}");
    handle.request(Control::Disconnect { reason: ReasonCode::SERVER_UNAVAILABLE, detail });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replied_later_stays_behind_what_waited() {
        let held = Held::default();
        assert!(!held.behind(b"at once"));
        assert_eq!(held.begin(b"first"), b"first");
        assert!(held.behind(b"second"));
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            held.done(|tail| {
                // The owner, who has another reply just now.
                scope.spawn(|| {
                    assert!(!held.behind(b"third"));
                    order.lock().push(b"third".to_vec());
                });
                assert!(held.0.is_locked(), "else the third could overtake");
                order.lock().push(tail.to_vec());
            });
        });
        assert_eq!(order.into_inner(), [b"second".to_vec(), b"third".to_vec()]);
    }
}
