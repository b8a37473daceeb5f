//! A session's mailbox: the output buffer of its connection, its window, and the queue behind it.
//!
//! Publishers append encoded bytes under a short lock and mark the mailbox dirty once a batch; whoever marked it flushes
//! it. On plain TCP the flush writes to the socket from the publisher's task. The `writing` flag keeps that to one
//! writer at a time, and whoever appends meanwhile leaves it to that writer; nobody holds the lock during the call. TLS
//! and WebSocket cannot be written from elsewhere: their owner is woken.
//!
//! What a client may make us hold is bounded. Above the high-water mark its publishers wait ([`Mailbox::full`]), QoS 1 and 2
//! go to the queue, which [`MailboxLimits`] bounds, and QoS 0 is dropped at twice the mark. What all clients make us hold
//! is bounded as well: see [`crate::Router::new`].

mod acknowledge;
mod deliver;
mod inner;
mod link;
mod output;
mod packet;
mod patience;
mod queue;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use parking_lot::{Mutex, MutexGuard};

use inner::Inner;
pub use link::{Backlog, DirectWriter, Flush, Link, Wake};
pub use packet::Queued;
pub use patience::Full;
use patience::resume_all;
use queue::Queue;

use crate::alias::Aliases;
use crate::batch::Batch;
use crate::buffers;
use crate::encode::Wire;
use crate::limits::{Bounds, MailboxLimits};
use crate::waiting::{SHARE, Waiting};

/// See the module's description.
pub struct Mailbox {
    /// Unique while the process lives; never 0.
    pub number: u64,
    limits: Bounds,
    /// Beginnings and ends of the spells in which it was full: odd while it is. Changed under the lock.
    spells: AtomicU32,
    waiting: Arc<Waiting>,
    inner: Mutex<Inner>,
}

// One for each session, idle or not: with its counts a size class of the allocator's.
const _: () = assert!(size_of::<Mailbox>() <= 144);

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Mailbox {
    /// A mailbox without a connection. `persistent`: its session outlives connections, so messages in flight are kept.
    /// `waiting`: with whom it shares the bound on what waits.
    #[must_use]
    pub(crate) fn new(number: u64, limits: MailboxLimits, persistent: bool, waiting: &Arc<Waiting>) -> Arc<Self> {
        Arc::new(Self {
            number,
            limits: Bounds::new(limits),
            spells: AtomicU32::new(0),
            waiting: Arc::clone(waiting),
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
        self.count(g);
        let backlog = g.backlog();
        // The share of each is the least that the mark may be; below it nobody else's memory need be looked at.
        let least = SHARE.min(self.limits.get().high_water);
        let open = g.link.is_some() && !g.stalled;
        if open && backlog > least && backlog > self.water() {
            let marked = &mut g.seldom.get_or_insert_default().marked;
            if std::mem::replace(marked, batch.serial()) != batch.serial() {
                batch.over.push(self.begin_spell());
            }
        }
    }

    /// Tells the sum of all mailboxes what this one holds.
    fn count(&self, g: &mut Inner) {
        let held = g.held();
        self.waiting.count(&mut g.counted, held);
    }

    /// Whether it may not have `more` octets, since all mailboxes hold too much together and this one has its share. A
    /// packet that is larger than a share goes to a client that has nothing else to read.
    fn is_beyond_share(&self, g: &Inner, more: usize) -> bool {
        let held = g.held();
        let reads = held == 0 && !g.blocked && g.link.is_some();
        held + more > SHARE && !reads && self.waiting.is_full()
    }

    /// Gives it a connection: `greeting` (the CONNACK) goes first, then what was in flight is sent again in its order
    /// with DUP set, then what waited. `topic_aliases`: how many the client takes (MQTT 5 §3.1.2.11.5).
    pub fn attach(self: &Arc<Self>, link: Link, topic_aliases: u16, greeting: &[u8], batch: &mut Batch) {
        let mut guard = self.inner.lock();
        let g = &mut *guard;
        g.blocked = false;
        g.broken = false;
        g.stalled = false;
        self.end_spell();
        buffers::give(std::mem::take(&mut g.buf));
        g.set_aliases(if link.wire == Wire::V5 { Aliases::new(topic_aliases) } else { None });
        g.link = Some(link);
        g.buffer().extend_from_slice(greeting);
        let limits = self.limits.get();
        g.send_again(&limits, |f, window, write| f.send_again(window, write), &mut batch.changes);
        g.attachments = g.attachments.wrapping_add(1);
        g.drain_queue(&limits, &mut batch.changes);
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
        g.set_aliases(None);
        g.blocked = false;
        buffers::give(std::mem::take(&mut g.buf));
        buffers::give(std::mem::take(&mut g.cur));
        g.stalled = false;
        self.end_spell();
        if !keep {
            g.end();
        }
        self.count(&mut g);
        let waiters = g.take_waiters();
        g.tidy();
        drop(g);
        resume_all(waiters);
        Some(())
    }

    /// Ends a session that has no connection.
    pub fn close(&self) {
        let mut g = self.inner.lock();
        g.end();
        self.count(&mut g);
    }

    /// Whether the session outlives its connection from now on.
    pub fn set_persistent(&self, persistent: bool) {
        self.inner.lock().persistent = persistent;
    }

    /// The session is stored from now on, under this number. 0: it is not.
    pub fn set_session(&self, number: u64) {
        let mut g = self.inner.lock();
        if g.session() != number {
            let seldom = g.seldom.get_or_insert_default();
            (seldom.session, seldom.withdrawn) = (number, 0);
        }
    }

    /// Fills the mailbox of a session that was found in the store. `queued` is in the order of the sequence numbers;
    /// `released` are the QoS 2 messages whose PUBREC had come, `withdrawn` is what [`Change::Withdrawn`] told last.
    ///
    /// [`Change::Withdrawn`]: crate::Change::Withdrawn
    pub fn restore(&self, session: u64, queued: Vec<Queued>, released: &[u64], withdrawn: u64) {
        let mut g = self.inner.lock();
        g.persistent = true;
        let seldom = g.seldom.get_or_insert_default();
        (seldom.session, seldom.withdrawn) = (session, withdrawn);
        let last_queued = queued.last().map_or(0, |q| q.sequence);
        g.sequence = last_queued.max(released.last().copied().unwrap_or(0)).max(withdrawn);
        let last_released = released.last().copied().unwrap_or(0);
        let mut waiting = Queue::default();
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
                waiting.push_back(message);
            }
        }
        for sequence in released {
            g.in_flight(sequence).restore_released(sequence);
        }
        if !waiting.is_empty() {
            g.queue = Some(Box::new(waiting));
        }
        self.count(&mut g);
    }

    /// Whether what waits in it is stored.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.inner.lock().session() != 0
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
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.waiting.count(&mut self.inner.get_mut().counted, 0);
    }
}
