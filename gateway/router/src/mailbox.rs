//! A session's mailbox: the output buffer of its connection, its window, and the queue behind it.
//!
//! Publishers append encoded bytes under a short lock and mark the mailbox dirty once a batch; whoever marked it flushes
//! it. On plain TCP the flush writes to the socket from the publisher's task. The `writing` flag keeps that to one
//! writer at a time, and whoever appends meanwhile leaves it to that writer; nobody holds the lock during the call. TLS
//! and WebSocket cannot be written from elsewhere: their owner is woken.
//!
//! What a client may make us hold is bounded: unsent bytes by making publishers wait ([`Mailbox::wait_for_room`]) and
//! then by dropping QoS 0, queued messages by [`MailboxLimits`].

#![allow(clippy::box_collection, reason = "one word instead of three or four in every idle mailbox")]

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use portcullis_mqtt::QoS;
use smallvec::SmallVec;

use crate::alias::{Alias, Aliases};
use crate::batch::{Batch, Change};
use crate::buffers;
use crate::encode::{ALIAS_LEN, Parts, Wire};
use crate::inflight::{AckError, InFlight, Resend};
use crate::limits::{Bounds, MailboxLimits};
use crate::message::Message;
use crate::now_ms;
use crate::retained::Retained;
use crate::route::Target;
use crate::run::Run;

/// How often one call of [`Mailbox::flush`] goes back to the socket for what was appended meanwhile.
const WRITES_PER_FLUSH: u32 = 8;

/// A socket that may be written from any thread.
pub trait DirectWriter: Send + Sync {
    /// Writes what the socket takes now.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; anything else ends the connection.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// The owner of a connection.
pub trait Wake: Send + Sync {
    /// There is something to do: output, or the end.
    fn wake(&self);
    /// A mailbox that this publisher waited for has room again.
    fn resume(&self);
}

/// A live connection, as its mailbox sees it.
pub struct Link {
    /// Its owner.
    pub owner: Arc<dyn Wake>,
    /// Plain TCP; none where the owner has to write.
    pub writer: Option<Arc<dyn DirectWriter>>,
    /// The form of PUBLISH that it gets.
    pub wire: Wire,
    /// Octets of the largest packet that the client takes (MQTT 5 §3.1.2.11.4); `u32::MAX`: any.
    pub max_packet: u32,
    /// How many topic aliases the client takes (MQTT 5 §3.1.2.11.5); 0: none.
    pub topic_alias_maximum: u16,
    /// The client's receive maximum (MQTT 5 §3.1.2.11.3), already lowered to our own bound.
    pub window: u16,
}

/// What became of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Everything is written, or another writer is at it.
    Done,
    /// The socket takes no more; its owner waits for it.
    Blocked,
    /// The owner was woken to write.
    Owner,
    /// The connection is broken; its owner was woken.
    Dead,
}

/// A message for one receiver.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The message.
    pub message: Arc<Message>,
    /// Its number in the session, from 1; 0 at QoS 0. The packet identifier follows from it.
    pub sequence: u64,
    /// The quality of service that this receiver gets.
    pub qos: QoS,
    /// RETAIN as this receiver gets it.
    pub retain: bool,
    /// Whether it may have been sent before: by a gateway that was restarted meanwhile.
    pub dup: bool,
    /// Subscription identifiers.
    pub ids: SmallVec<[u32; 1]>,
}

#[derive(Default)]
struct Inner {
    link: Option<Link>,
    /// Of this connection, where the client takes any.
    aliases: Option<Box<Aliases>>,
    /// Appended, not yet taken by a writer.
    buf: Vec<u8>,
    /// Being written, from `cur_at` on.
    cur: Vec<u8>,
    cur_at: u32,
    dirty: bool,
    writing: bool,
    /// The socket was full; the owner waits for it to become writable.
    blocked: bool,
    /// The socket failed; the owner ends the connection.
    broken: bool,
    /// The session is over.
    closed: bool,
    /// Too slow for too long: publishers no longer wait for it, QoS 0 is dropped.
    stalled: bool,
    /// Whether the session outlives its connection.
    persistent: bool,
    /// The session's number in the store; 0: it is not stored.
    session: u64,
    /// The last sequence number that was given to a message.
    sequence: u64,
    /// QoS 2 messages of a stored session that are not on disk yet, and so not sent: they could come again, under the same
    /// identifier, as other messages. Each counts by itself, since the batches of several publishers reach the disk in
    /// another order than their messages came here.
    awaited: Option<Box<BTreeSet<u64>>>,
    /// Counts connections, so that what was meant for an earlier one is not sent to this.
    attachments: u32,
    inflight: Option<Box<InFlight>>,
    queue: Option<Box<VecDeque<Queued>>>,
    queued_bytes: u32,
    waiters: Option<Box<Vec<Arc<dyn Wake>>>>,
}

impl Inner {
    /// Octets that wait for this client.
    fn backlog(&self) -> usize {
        self.unsent() + self.queued_bytes as usize
    }

    /// Octets that the socket has not taken.
    fn unsent(&self) -> usize {
        self.buf.len() + self.cur.len().saturating_sub(self.cur_at as usize)
    }

    /// How many more messages may be in flight: not more than the client's window, and none while it does not read, or
    /// does not acknowledge, what is many octets already. A window of many large messages is no licence to have them all
    /// held in memory; the queue, which has bounds, takes them.
    fn room(&self, limits: &MailboxLimits) -> usize {
        let Some(link) = &self.link else { return 0 };
        if self.unsent() > limits.high_water {
            return 0;
        }
        match &self.inflight {
            Some(f) if f.bytes() > limits.queued_bytes => 0,
            Some(f) => f.room(link.window),
            None => usize::from(link.window),
        }
    }

    /// Whether the head of the queue may go now.
    fn may_drain(&self, limits: &MailboxLimits) -> bool {
        self.queue.as_ref().and_then(|q| q.front()).is_some_and(|head| self.may_send(head)) && self.room(limits) > 0
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        if self.buf.capacity() == 0 {
            self.buf = buffers::take();
        }
        &mut self.buf
    }

    /// Puts one message on the wire. False: it has expired, or is too large for this client.
    fn send_queued(&mut self, queued: Queued, now: u64) -> bool {
        let Some(link) = &self.link else { return false };
        let Ok(expiry) = queued.message.remaining(now) else { return false };
        let mut parts = parts(&queued, link.wire, expiry, queued.dup);
        if !fit(&mut parts, link, &mut self.aliases) {
            return false;
        }
        if self.buf.capacity() == 0 {
            self.buf = buffers::take();
        }
        let at = parts.write(&mut self.buf);
        if queued.qos != QoS::AtMostOnce {
            let (qos, sequence) = (queued.qos, queued.sequence);
            let kept = self.persistent.then(|| Box::new(queued));
            let id = self.in_flight(sequence).send(sequence, qos, kept);
            self.buf[at..at + 2].copy_from_slice(&id.to_be_bytes());
        }
        true
    }

    fn in_flight(&mut self, sequence: u64) -> &mut InFlight {
        self.inflight.get_or_insert_with(|| Box::new(InFlight::starting_at(sequence)))
    }

    /// Whether the message at the head of the queue may go now.
    fn may_send(&self, head: &Queued) -> bool {
        let on_disk = self.awaited.as_ref().is_none_or(|awaited| !awaited.contains(&head.sequence));
        on_disk && self.inflight.as_ref().is_none_or(|f| f.takes(head.sequence))
    }

    /// Tells the store that a message is done with.
    fn forget(&self, sequence: u64, changes: &mut Vec<Change>) {
        if self.session != 0 && sequence != 0 {
            changes.push(Change::Done { session: self.session, sequence });
        }
    }

    /// Writes what is to be sent again, as `pick` gives it out. True if anything was.
    fn send_again(
        &mut self,
        pick: impl FnOnce(&mut InFlight, u16, &mut dyn FnMut(Resend<'_>) -> bool) -> Vec<u64>,
        changes: &mut Vec<Change>,
    ) -> bool {
        let (Some(link), Some(inflight)) = (&self.link, &mut self.inflight) else { return false };
        let (now, before) = (now_ms(), self.buf.len());
        let dropped = pick(inflight, link.window, &mut |again| {
            match again {
                Resend::Publish(id, queued) => {
                    // One that expired meanwhile is resent all the same: its delivery had begun (§3.3.2.3.3).
                    let expiry = queued.message.remaining(now).unwrap_or(Some(1));
                    let mut parts = parts(queued, link.wire, expiry, true);
                    if !fit(&mut parts, link, &mut self.aliases) {
                        return false;
                    }
                    let at = parts.write(&mut self.buf);
                    self.buf[at..at + 2].copy_from_slice(&id.to_be_bytes());
                }
                Resend::PubRel(id) => {
                    let [high, low] = id.to_be_bytes();
                    self.buf.extend_from_slice(&[0x62, 2, high, low]);
                }
            }
            true
        });
        for sequence in dropped {
            self.forget(sequence, changes);
        }
        self.buf.len() > before
    }

    /// Moves what the window allows to the buffer: what is still to be sent again, then from the queue. True if anything
    /// was.
    fn drain_queue(&mut self, limits: &MailboxLimits, changes: &mut Vec<Change>) -> bool {
        let mut any = self.send_again(|f, window, write| f.send_held(window, write), changes);
        if self.link.is_none() || self.queue.is_none() {
            return any;
        }
        let now = now_ms();
        while self.may_drain(limits) {
            let Some(queued) = self.queue.as_mut().and_then(|q| q.pop_front()) else { break };
            self.queued_bytes -= queued.message.size() as u32;
            let sequence = queued.sequence;
            if self.send_queued(queued, now) {
                any = true;
            } else {
                self.forget(sequence, changes);
            }
        }
        if self.queue.as_ref().is_some_and(|q| q.is_empty()) {
            self.queue = None;
        }
        any
    }

    fn take_waiters(&mut self, limits: &MailboxLimits) -> Option<Box<Vec<Arc<dyn Wake>>>> {
        if self.waiters.is_none() && !self.stalled {
            return None;
        }
        if self.backlog() > limits.high_water / 2 {
            return None;
        }
        self.stalled = false;
        self.waiters.take()
    }
}

/// Whether the client takes a packet as large as this. If so, it is sent, and says its topic in the shortest way.
///
/// One that would fit only because its topic goes by an alias does not: the same message came or not by accident.
fn fit(parts: &mut Parts<'_>, link: &Link, aliases: &mut Option<Box<Aliases>>) -> bool {
    let most = link.max_packet as usize;
    if link.max_packet == u32::MAX && aliases.is_none() {
        return true;
    }
    let len = parts.len();
    if len > most {
        return false;
    }
    if let Some(aliases) = aliases {
        parts.alias = aliases.next(parts.topic, len + ALIAS_LEN <= most);
    }
    true
}

fn parts<'a>(queued: &'a Queued, wire: Wire, expiry: Option<u32>, dup: bool) -> Parts<'a> {
    Parts {
        wire,
        qos: queued.qos,
        retain: queued.retain,
        dup,
        topic: queued.message.topic(),
        alias: Alias::None,
        forward: queued.message.forward(),
        expiry,
        subscription_ids: &queued.ids,
        payload: queued.message.payload(),
    }
}

fn unlocked<T>(guard: MutexGuard<'_, Inner>, value: T) -> T {
    drop(guard);
    value
}

fn resume_all(waiters: Option<Box<Vec<Arc<dyn Wake>>>>) {
    for waiter in waiters.into_iter().flat_map(|w| *w) {
        waiter.resume();
    }
}

/// Output that the owner of a TLS or WebSocket connection took to write itself.
pub struct Output {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// How many of them are written.
    pub at: usize,
}

/// How much waits for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Octets not yet written, and of queued messages.
    pub bytes: usize,
    /// Messages queued behind the window.
    pub queued: usize,
    /// Messages in flight.
    pub in_flight: usize,
}

/// See the module's description.
pub struct Mailbox {
    /// Unique while the process lives; never 0.
    pub number: u64,
    limits: Bounds,
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Mailbox {
    /// A mailbox without a connection. `persistent`: its session outlives connections, so messages in flight are kept.
    #[must_use]
    pub fn new(number: u64, limits: MailboxLimits, persistent: bool) -> Arc<Self> {
        Arc::new(Self {
            number,
            limits: Bounds::new(limits),
            inner: Mutex::new(Inner { persistent, ..Inner::default() }),
        })
    }

    /// Bounds what it takes from now on; what waits in it stays.
    pub fn set_limits(&self, limits: MailboxLimits) {
        self.limits.set(limits);
    }

    /// Marks it dirty for this batch, and its publisher as one who should wait if it holds too much.
    fn mark(self: &Arc<Self>, g: &mut MutexGuard<'_, Inner>, batch: &mut Batch) {
        if g.link.is_some() && !g.dirty && !g.writing && !g.blocked {
            g.dirty = true;
            batch.dirty.push(Arc::clone(self));
        }
        if g.backlog() > self.limits.get().high_water && !g.stalled {
            batch.over.push(Arc::clone(self));
        }
    }

    /// Gives it a connection: `greeting` (the CONNACK) goes first, then what was in flight is sent again in its order
    /// with DUP set, then what waited.
    pub fn attach(self: &Arc<Self>, link: Link, greeting: &[u8], batch: &mut Batch) {
        let mut guard = self.inner.lock();
        let g = &mut *guard;
        g.blocked = false;
        g.broken = false;
        g.stalled = false;
        g.buf.clear();
        g.aliases = if link.wire == Wire::V5 { Aliases::new(link.topic_alias_maximum) } else { None };
        g.link = Some(link);
        g.buffer().extend_from_slice(greeting);
        g.send_again(|f, window, write| f.send_again(window, write), &mut batch.changes);
        g.attachments = g.attachments.wrapping_add(1);
        g.drain_queue(&self.limits.get(), &mut batch.changes);
        self.mark(&mut guard, batch);
    }

    /// Which connection this is of the session's, for [`Self::push_late`].
    #[must_use]
    pub fn attachment(&self) -> u32 {
        self.inner.lock().attachments
    }

    /// Takes the connection away. `None`: someone is writing to it at this moment; try again shortly. `keep`: the session
    /// lives on, with what is in flight and queued; else everything is dropped.
    pub fn detach(&self, keep: bool) -> Option<()> {
        let mut g = self.inner.lock();
        if g.writing {
            return None;
        }
        g.link = None;
        g.aliases = None;
        g.blocked = false;
        buffers::give(std::mem::take(&mut g.buf));
        buffers::give(std::mem::take(&mut g.cur));
        g.cur_at = 0;
        g.stalled = false;
        if !keep {
            g.closed = true;
            g.inflight = None;
            g.queue = None;
            g.awaited = None;
            g.queued_bytes = 0;
        }
        let waiters = g.waiters.take();
        drop(g);
        resume_all(waiters);
        Some(())
    }

    /// Ends a session that has no connection.
    pub fn close(&self) {
        let mut g = self.inner.lock();
        g.closed = true;
        g.inflight = None;
        g.queue = None;
        g.awaited = None;
        g.queued_bytes = 0;
    }

    /// Whether the session outlives its connection from now on.
    pub fn set_persistent(&self, persistent: bool) {
        self.inner.lock().persistent = persistent;
    }

    /// The session is stored from now on, under this number. 0: it is not.
    pub fn set_session(&self, number: u64) {
        self.inner.lock().session = number;
    }

    /// Fills the mailbox of a session that was found in the store. `queued` is in the order of the sequence numbers;
    /// `released` are the QoS 2 messages whose PUBREC had come.
    pub fn restore(&self, session: u64, queued: Vec<Queued>, released: &[u64], last_sequence: u64) {
        let mut g = self.inner.lock();
        g.persistent = true;
        g.session = session;
        g.sequence = last_sequence;
        let last_released = released.last().copied().unwrap_or(0);
        let mut waiting = VecDeque::new();
        let mut released = released.iter().copied().peekable();
        for message in queued {
            while let Some(sequence) = released.next_if(|r| *r < message.sequence) {
                g.in_flight(sequence).restore_released(sequence);
            }
            if message.sequence < last_released {
                // Something after it was released, so it was in flight itself.
                let (sequence, qos) = (message.sequence, message.qos);
                g.in_flight(sequence).send(sequence, qos, Some(Box::new(message)));
            } else {
                g.queued_bytes += message.message.size() as u32;
                waiting.push_back(message);
            }
        }
        for sequence in released {
            g.in_flight(sequence).restore_released(sequence);
        }
        if !waiting.is_empty() {
            g.queue = Some(Box::new(waiting));
        }
    }

    /// The QoS 2 message with this sequence number is on disk.
    pub fn committed(self: &Arc<Self>, sequence: u64, batch: &mut Batch) {
        let mut g = self.inner.lock();
        if let Some(awaited) = &mut g.awaited {
            awaited.remove(&sequence);
            if awaited.is_empty() {
                g.awaited = None;
            }
        }
        if g.drain_queue(&self.limits.get(), &mut batch.changes) {
            self.mark(&mut g, batch);
        }
    }

    /// Whether what waits in it is stored.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.inner.lock().session != 0
    }

    /// Whether it has a connection.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.inner.lock().link.is_some()
    }

    /// Appends the session's own replies.
    pub fn push(self: &Arc<Self>, bytes: &[u8], batch: &mut Batch) {
        let mut g = self.inner.lock();
        if g.link.is_none() {
            return;
        }
        g.buffer().extend_from_slice(bytes);
        self.mark(&mut g, batch);
    }

    /// As [`Self::push`], if the session still has the connection that the replies are for.
    pub fn push_late(self: &Arc<Self>, bytes: &[u8], attachment: u32, batch: &mut Batch) {
        let mut g = self.inner.lock();
        if g.link.is_none() || g.attachments != attachment {
            return;
        }
        g.buffer().extend_from_slice(bytes);
        self.mark(&mut g, batch);
    }

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
        if qos == QoS::AtMostOnce && (g.stalled || self.is_overfull(g)) {
            batch.counts.dropped += n as u64;
            return 0;
        }
        // One encoding for all, unless this client's differs.
        let shared = g.aliases.is_none() && (target.ids.is_empty() || link.wire == Wire::V3);
        // QoS 2 of a stored session waits until it is on disk.
        let at_once = g.session == 0 || qos != QoS::ExactlyOnce;
        let in_reach = g.inflight.as_ref().is_none_or(|f| f.takes(g.sequence + n as u64));
        let straight =
            qos == QoS::AtMostOnce || (at_once && in_reach && g.queue.is_none() && g.room(&self.limits.get()) >= n);
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
                    for (i, f) in encoded.frames.iter().enumerate() {
                        g.sequence += 1;
                        let sequence = g.sequence;
                        let kept = if g.persistent {
                            batch.owned.get(i).map(|m| Box::new(queued(m, target, qos, retain, sequence)))
                        } else {
                            None
                        };
                        if let (true, Some(kept)) = (g.session != 0, &kept) {
                            batch.changes.push(Change::Queued { session: g.session, queued: (**kept).clone() });
                        }
                        let id = g.in_flight(sequence).send(sequence, qos, kept);
                        let at = base + f.id as usize;
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

    /// Whether so much waits that even QoS 0, which no acknowledgement slows down, is dropped: not every publisher can be
    /// made to wait.
    fn is_overfull(&self, g: &Inner) -> bool {
        let limits = self.limits.get();
        g.backlog() > limits.high_water.saturating_mul(4).saturating_add(limits.queued_bytes)
    }

    /// QoS 0 with subscription identifiers or topic aliases, or with messages too large for this client.
    fn write_each(&self, g: &mut Inner, run: &Run<'_>, target: &Target, retain: bool, batch: &mut Batch) {
        let Some(link) = &g.link else { return };
        if g.buf.capacity() == 0 {
            g.buf = buffers::take();
        }
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
            if !fit(&mut parts, link, &mut g.aliases) {
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
        let queue = g.queue.get_or_insert_default();
        let limits = self.limits.get();
        let most_bytes = limits.queued_bytes.min(u32::MAX as usize);
        if !passes && (queue.len() >= limits.queued_messages || g.queued_bytes as usize + size > most_bytes) {
            if queue.is_empty() {
                g.queue = None;
            }
            return false;
        }
        g.sequence += 1;
        queued.sequence = g.sequence;
        if g.session != 0 {
            batch.changes.push(Change::Queued { session: g.session, queued: queued.clone() });
            if queued.qos == QoS::ExactlyOnce {
                g.awaited.get_or_insert_default().insert(queued.sequence);
                batch.uncommitted.push((Arc::clone(self), queued.sequence));
            }
        }
        g.queued_bytes += size as u32;
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
        self.takes_more(&g) || (g.link.is_some() && !g.blocked && g.unsent() > 0)
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
        let queued = Queued { message, sequence: 0, qos, retain, dup: false, ids: SmallVec::from_slice(ids) };
        if qos == QoS::AtMostOnce {
            if g.link.is_some() && (g.stalled || self.is_overfull(&g)) {
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

    /// PUBREC: the message is released. The caller answers with PUBREL, once what this changes is on disk.
    ///
    /// # Errors
    /// When nothing in flight awaits it.
    pub fn pubrec(self: &Arc<Self>, id: u16, batch: &mut Batch) -> Result<(), AckError> {
        let mut g = self.inner.lock();
        let released = g.inflight.as_mut().ok_or(AckError::NotFound)?.pubrec(id)?;
        if let (true, Some(sequence)) = (g.session != 0, released) {
            batch.changes.push(Change::Released { session: g.session, sequence });
        }
        Ok(())
    }

    /// PUBREC with a reason of 0x80 or more: the message is not sent again.
    ///
    /// # Errors
    /// When nothing in flight awaits it.
    pub fn pubrec_refused(self: &Arc<Self>, id: u16, batch: &mut Batch) -> Result<(), AckError> {
        self.acknowledge(batch, std::slice::from_ref(&id), InFlight::pubrec_refused)
    }

    /// PUBCOMP.
    ///
    /// # Errors
    /// When nothing in flight awaits it.
    pub fn pubcomp(self: &Arc<Self>, id: u16, batch: &mut Batch) -> Result<(), AckError> {
        self.acknowledge(batch, std::slice::from_ref(&id), InFlight::pubcomp)
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
        let waiters = g.take_waiters(&self.limits.get());
        drop(g);
        resume_all(waiters);
        done
    }

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
                    let waiters = g.take_waiters(&self.limits.get());
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
                g.cur_at = 0;
            }
            writes += 1;
            let bytes = std::mem::take(&mut g.cur);
            let at = g.cur_at as usize;
            g.writing = true;
            drop(g);
            let result = writer.try_write(&bytes[at..]);
            g = self.inner.lock();
            g.writing = false;
            match result {
                Ok(n) if at + n == bytes.len() => {
                    g.cur_at = 0;
                    buffers::give(bytes);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => g.cur = bytes,
                Ok(n) => {
                    g.cur = bytes;
                    g.cur_at = (at + n) as u32;
                    g.blocked = true;
                    let waiters = g.take_waiters(&self.limits.get());
                    let left = self.leave_to_owner(g, Flush::Blocked);
                    resume_all(waiters);
                    return left;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    g.cur = bytes;
                    g.blocked = true;
                    return self.leave_to_owner(g, Flush::Blocked);
                }
                Err(_) => {
                    g.broken = true;
                    g.cur_at = 0;
                    let waiters = g.waiters.take();
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
    pub fn take_output(&self) -> Option<Output> {
        let mut g = self.inner.lock();
        g.dirty = false;
        if g.cur.is_empty() {
            if g.buf.is_empty() {
                return None;
            }
            g.cur = std::mem::take(&mut g.buf);
            g.cur_at = 0;
        }
        g.blocked = true;
        Some(Output { bytes: std::mem::take(&mut g.cur), at: std::mem::take(&mut g.cur_at) as usize })
    }

    /// Gives back what [`Self::take_output`] took: written whole, or in part when the transport takes no more now.
    pub fn return_output(&self, output: Output) {
        let mut g = self.inner.lock();
        if output.at == output.bytes.len() {
            g.blocked = false;
            buffers::give(output.bytes);
        } else {
            g.cur = output.bytes;
            g.cur_at = output.at as u32;
        }
        let waiters = g.take_waiters(&self.limits.get());
        drop(g);
        resume_all(waiters);
    }

    /// For a publisher who filled it: true if it must wait; it is then resumed when there is room.
    pub fn wait_for_room(&self, waiter: &Arc<dyn Wake>) -> bool {
        let mut g = self.inner.lock();
        if g.stalled || g.link.is_none() || g.closed || g.broken || g.backlog() <= self.limits.get().high_water {
            return false;
        }
        g.waiters.get_or_insert_default().push(Arc::clone(waiter));
        true
    }

    /// For a publisher who has waited long enough: nobody waits for this receiver any more until it has caught up; its
    /// QoS 0 messages are dropped meanwhile.
    pub fn give_up_waiting(&self) {
        let mut g = self.inner.lock();
        // It may have caught up just before its time was over; then nothing would ever end the stall again.
        g.stalled = g.backlog() > self.limits.get().high_water / 2;
        let waiters = g.waiters.take();
        drop(g);
        resume_all(waiters);
    }

    /// The last sequence number that was given to a message.
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        self.inner.lock().sequence
    }

    /// How much waits.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let g = self.inner.lock();
        Backlog {
            bytes: g.backlog(),
            queued: g.queue.as_ref().map_or(0, |q| q.len()),
            in_flight: g.inflight.as_ref().map_or(0, |f| f.live() as usize),
        }
    }

    /// Removes queued messages whose topic fails the test: after a grant was narrowed. Returns how many.
    pub fn retain_queued(&self, batch: &mut Batch, mut keep: impl FnMut(&Message) -> bool) -> usize {
        let mut guard = self.inner.lock();
        let g = &mut *guard;
        let session = g.session;
        let Some(queue) = &mut g.queue else { return 0 };
        let before = queue.len();
        let mut bytes = 0;
        queue.retain(|q| {
            let stays = keep(&q.message);
            if stays {
                bytes += q.message.size() as u32;
            } else if session != 0 && q.sequence != 0 {
                batch.changes.push(Change::Done { session, sequence: q.sequence });
            }
            stays
        });
        g.queued_bytes = bytes;
        before - queue.len()
    }
}

fn queued(message: &Arc<Message>, target: &Target, qos: QoS, retain: bool, sequence: u64) -> Queued {
    Queued { message: Arc::clone(message), sequence, qos, retain, dup: false, ids: target.ids.clone() }
}
