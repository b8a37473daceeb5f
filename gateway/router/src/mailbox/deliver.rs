//! What goes into a mailbox: runs from publishers, single messages, what is retained.

use std::sync::Arc;

use parking_lot::MutexGuard;
use portcullis_mqtt::QoS;
use smallvec::SmallVec;

use super::Mailbox;
use super::inner::Inner;
use super::packet::{Queued, fit, parts, queued};
use crate::alias::Alias;
use crate::batch::{Batch, Change};
use crate::encode::{Parts, Wire};
use crate::message::Message;
use crate::now_ms;
use crate::retained::Retained;
use crate::route::Target;
use crate::run::Run;

impl Mailbox {
    /// Puts a run into the mailbox, or queues it. Returns how many of its messages could not be taken because the queue
    /// is full.
    pub(crate) fn deliver(self: &Arc<Self>, run: &Run<'_>, target: &Target, batch: &mut Batch) -> usize {
        let qos = run.qos.min(target.qos);
        let retain = run.retain && target.retain_as_published;
        let n = run.frames.len();
        let mut guard = self.inner.lock();
        let g = &mut *guard;
        if g.closed {
            return 0;
        }
        let Some(link) = &g.link else {
            if qos == QoS::AtMostOnce {
                return 0;
            }
            return self.enqueue(g, run, target, qos, retain, batch);
        };
        if qos == QoS::AtMostOnce && self.drops(g, run.size()) {
            batch.counts.dropped += n as u64;
            return 0;
        }
        // One encoding for all, unless this client's differs.
        let shared = g.aliases().is_none() && (target.ids.is_empty() || link.wire == Wire::V3);
        // QoS 2 of a stored session waits until it is on disk.
        let at_once = g.session() == 0 || qos != QoS::ExactlyOnce;
        let in_reach = g.inflight.as_ref().is_none_or(|f| f.takes(g.sequence + n as u64));
        let has_room = || g.queue.is_none() && g.room(&self.limits.get()) >= n && !self.is_beyond_share(g, run.size());
        let straight = qos == QoS::AtMostOnce || (at_once && in_reach && has_room());
        let Some(link) = &g.link else { return 0 };
        if shared && straight {
            let encoded = batch.encodings.get(run, link.wire, qos, retain);
            let fits = link.max_packet == u32::MAX || encoded.frames.iter().all(|f| f.end - f.start <= link.max_packet);
            if fits {
                let base = {
                    let buffer = g.buffer();
                    let base = buffer.len();
                    buffer.extend_from_slice(encoded.bytes);
                    base
                };
                if qos != QoS::AtMostOnce {
                    if g.persistent {
                        Batch::owned(&mut batch.owned, run);
                    }
                    let session = g.session();
                    for (i, f) in encoded.frames.iter().enumerate() {
                        g.sequence += 1;
                        let sequence = g.sequence;
                        let kept = if g.persistent {
                            batch.owned.get(i).map(|m| Box::new(queued(m, target, qos, retain, sequence)))
                        } else {
                            None
                        };
                        if let (1.., Some(kept)) = (session, &kept) {
                            batch.changes.push(Change::Queued { session, queued: (**kept).clone() });
                        }
                        let id = g.in_flight(sequence).send(sequence, qos, kept);
                        let at = base + (f.id - encoded.from) as usize;
                        g.buf[at..at + 2].copy_from_slice(&id.to_be_bytes());
                    }
                }
                batch.counts.delivered += n as u64;
                self.mark(&mut guard, batch);
                return 0;
            }
        }
        if qos == QoS::AtMostOnce {
            self.write_each(g, run, target, retain, batch);
            self.mark(&mut guard, batch);
            return 0;
        }
        let refused = self.enqueue(g, run, target, qos, retain, batch);
        self.mark(&mut guard, batch);
        refused
    }

    /// Whether `more` octets at QoS 0, which no acknowledgement slows down, are dropped: not every publisher can be made to
    /// wait. What is unsent stays below twice the high-water mark, or, where a run or packet is larger than that, below the
    /// mark and one of them.
    fn drops(&self, g: &Inner, more: usize) -> bool {
        let (unsent, mark) = (g.unsent(), self.limits.get().high_water);
        g.stalled || (unsent > mark && unsent + more > mark.saturating_mul(2)) || self.is_beyond_share(g, more)
    }

    /// QoS 0 with subscription identifiers or topic aliases, or with messages too large for this client.
    fn write_each(&self, g: &mut Inner, run: &Run<'_>, target: &Target, retain: bool, batch: &mut Batch) {
        let Some(link) = &g.link else { return };
        for i in 0..run.frames.len() {
            let mut parts = Parts {
                wire: link.wire,
                qos: QoS::AtMostOnce,
                retain,
                dup: false,
                topic: run.topic,
                alias: Alias::None,
                forward: run.forward,
                expiry: run.expiry,
                subscription_ids: &target.ids,
                payload: run.payload(i),
            };
            let aliases = g.seldom.as_mut().and_then(|seldom| seldom.aliases.as_deref_mut());
            if !fit(&mut parts, link, aliases) {
                batch.counts.oversized += 1;
                continue;
            }
            parts.write(&mut g.buf);
            batch.counts.delivered += 1;
        }
    }

    fn enqueue(
        self: &Arc<Self>,
        g: &mut Inner,
        run: &Run<'_>,
        target: &Target,
        qos: QoS,
        retain: bool,
        batch: &mut Batch,
    ) -> usize {
        Batch::owned(&mut batch.owned, run);
        let mut refused = 0;
        for i in 0..batch.owned.len() {
            let Some(message) = batch.owned.get(i) else { break };
            let wanted = queued(message, target, qos, retain, 0);
            let oversized = g.link.as_ref().is_some_and(|l| {
                l.max_packet != u32::MAX && parts(&wanted, l.wire, None, false).len() > l.max_packet as usize
            });
            if oversized {
                batch.counts.oversized += 1;
            } else if self.try_enqueue(g, wanted, batch) {
                batch.counts.delivered += 1;
                // The window may have room for more than the queue has, and nothing be in flight to bring an
                // acknowledgement.
                g.drain_queue(&self.limits.get(), &mut batch.changes);
            } else {
                refused += 1;
            }
        }
        batch.counts.refused += refused as u64;
        refused
    }

    fn try_enqueue(self: &Arc<Self>, g: &mut Inner, mut queued: Queued, batch: &mut Batch) -> bool {
        let size = queued.message.size();
        // What goes on to the window at once does not count against the queue's bounds.
        let passes = g.queue.is_none() && g.room(&self.limits.get()) > 0;
        let beyond = self.is_beyond_share(g, size);
        let session = g.session();
        let queue = g.queue.get_or_insert_default();
        let limits = self.limits.get();
        let most_bytes = limits.queued_bytes.min(u32::MAX as usize);
        let full = queue.len() >= limits.queued_messages || queue.bytes() + size > most_bytes;
        if beyond || (full && !passes) {
            if queue.is_empty() {
                g.queue = None;
            }
            return false;
        }
        g.sequence += 1;
        queued.sequence = g.sequence;
        if session != 0 {
            batch.changes.push(Change::Queued { session, queued: queued.clone() });
            if queued.qos == QoS::ExactlyOnce {
                g.seldom.get_or_insert_default().awaited.insert(queued.sequence);
                batch.uncommitted.push((Arc::clone(self), queued.sequence));
            }
        }
        queue.push_back(queued);
        true
    }

    /// Puts one owned message into the mailbox. False: there is no room for it.
    pub fn send(
        self: &Arc<Self>,
        message: &Arc<Message>,
        qos: QoS,
        retain: bool,
        ids: &[u32],
        batch: &mut Batch,
    ) -> bool {
        let g = self.inner.lock();
        g.closed || self.send_locked(g, Arc::clone(message), qos, retain, ids, batch)
    }

    /// Puts what is retained for a topic at this moment into the mailbox, for a new subscription that was granted
    /// `granted`. False: so much waits for the client already that this one has to come later.
    ///
    /// It is looked up while nobody else can put anything here: whoever retains a message does so before delivering it,
    /// so that none comes after a newer one.
    pub fn send_retained(
        self: &Arc<Self>,
        retained: &Retained,
        topic: &str,
        granted: QoS,
        ids: &[u32],
        batch: &mut Batch,
    ) -> bool {
        let g = self.inner.lock();
        if g.closed {
            return true;
        }
        if !self.takes_more(&g) {
            return false;
        }
        let Some(message) = retained.get(topic) else { return true };
        let qos = message.qos.min(granted);
        // One that alone is more than may wait is counted as refused.
        self.send_locked(g, message, qos, true, ids, batch);
        true
    }

    /// Whether as little waits for the client as leaves room for what is published meanwhile.
    fn takes_more(&self, g: &Inner) -> bool {
        let waiting = g.queue.as_ref().map_or(0, |q| q.len());
        let limits = self.limits.get();
        let has_room = g.backlog() <= limits.high_water / 2 && waiting <= limits.queued_messages / 2;
        // One that was given up on would lose what comes at QoS 0; the write that empties it ends that first.
        g.link.is_some() && !g.stalled && has_room
    }

    /// Whether the client takes more now, or will once what is to be written has gone: it is not its window that is full,
    /// nor its socket.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        let g = self.inner.lock();
        // A full socket calls its owner when there is room again.
        !g.blocked && (self.takes_more(&g) || (g.link.is_some() && g.unsent() > 0))
    }

    fn send_locked(
        self: &Arc<Self>,
        mut g: MutexGuard<'_, Inner>,
        message: Arc<Message>,
        qos: QoS,
        retain: bool,
        ids: &[u32],
        batch: &mut Batch,
    ) -> bool {
        let message_size = message.size();
        let queued = Queued { message, sequence: 0, qos, retain, dup: false, ids: SmallVec::from_slice(ids) };
        if qos == QoS::AtMostOnce {
            if g.link.is_some() && self.drops(&g, message_size) {
                batch.counts.dropped += 1;
                return false;
            }
            // One that is too large for the client, or has expired, is done with.
            batch.counts.delivered += u64::from(g.send_queued(queued, now_ms()));
        } else if self.try_enqueue(&mut g, queued, batch) {
            batch.counts.delivered += 1;
            g.drain_queue(&self.limits.get(), &mut batch.changes);
        } else {
            batch.counts.refused += 1;
            return false;
        }
        self.mark(&mut g, batch);
        true
    }
}
