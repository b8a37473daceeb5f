//! What the lock of a mailbox guards, and the steps that need nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_mqtt::QoS;

use super::link::{Link, Wake};
use super::packet::{Queued, fit, parts};
use super::queue::Queue;
use crate::alias::Aliases;
use crate::batch::Change;
use crate::buffers::Buffer;
use crate::inflight::{InFlight, Resend, Resent};
use crate::limits::MailboxLimits;
use crate::message::Message;
use crate::now_ms;

#[derive(Default)]
pub(super) struct Inner {
    pub link: Option<Link>,
    /// Appended, not yet taken by a writer.
    pub buf: Buffer,
    /// Being written.
    pub cur: Buffer,
    pub dirty: bool,
    pub writing: bool,
    /// The socket was full; the owner waits for it to become writable.
    pub blocked: bool,
    /// The socket failed; the owner ends the connection.
    pub broken: bool,
    /// The session is over.
    pub closed: bool,
    /// Too slow for too long: publishers no longer wait for it, QoS 0 is dropped.
    pub stalled: bool,
    /// Whether the session outlives its connection.
    pub persistent: bool,
    /// The last sequence number that was given to a message.
    pub sequence: u64,
    /// Counts connections, so that what was meant for an earlier one is not sent to this.
    pub attachments: u32,
    pub inflight: Option<Box<InFlight>>,
    pub queue: Option<Box<Queue>>,
    /// What few mailboxes have at a time.
    pub seldom: Option<Box<Seldom>>,
    /// What the sum of all mailboxes has of this one.
    pub counted: u32,
}

/// What belongs to stored sessions, to clients that take topic aliases, and to those that do not keep up.
#[derive(Default)]
pub(super) struct Seldom {
    /// Of this connection, where the client takes any.
    pub aliases: Option<Box<Aliases>>,
    /// The batch that was told last that it is full: once is enough.
    pub marked: u32,
    /// The session's number in the store; 0: it is not stored.
    pub session: u64,
    /// The last of the sequence numbers of [`Change::Withdrawn`].
    pub withdrawn: u64,
    /// QoS 2 messages of a stored session that are not on disk yet, and so not sent: they could come again, under the same
    /// identifier, as other messages. Each counts by itself, since the batches of several publishers reach the disk in
    /// another order than their messages came here.
    pub awaited: BTreeSet<u64>,
    /// Publishers who wait until it has room.
    pub waiters: Vec<Arc<dyn Wake>>,
}

/// Octets of memory that a queued message takes beside its own.
const BESIDE: usize = size_of::<Queued>() + size_of::<Message>();

impl Inner {
    /// Octets that wait for this client.
    pub(super) fn backlog(&self) -> usize {
        self.unsent() + self.queue.as_ref().map_or(0, |queue| queue.bytes())
    }

    /// Octets that it holds: what waits, and what is kept until it is acknowledged.
    pub(super) fn held(&self) -> usize {
        let queued = self.queue.as_ref().map_or(0, |q| q.len() * BESIDE);
        let in_flight = self.inflight.as_ref().map_or(0, |f| f.bytes());
        self.backlog() + queued + in_flight
    }

    /// The session is over: nothing of it stays.
    pub(super) fn end(&mut self) {
        self.closed = true;
        self.inflight = None;
        self.queue = None;
        if let Some(seldom) = &mut self.seldom {
            seldom.awaited.clear();
        }
    }

    pub(super) fn aliases(&self) -> Option<&Aliases> {
        self.seldom.as_ref()?.aliases.as_deref()
    }

    pub(super) fn set_aliases(&mut self, aliases: Option<Box<Aliases>>) {
        if aliases.is_some() || self.seldom.is_some() {
            self.seldom.get_or_insert_default().aliases = aliases;
        }
    }

    /// The session's number in the store; 0: it is not stored.
    pub(super) fn session(&self) -> u64 {
        self.seldom.as_ref().map_or(0, |seldom| seldom.session)
    }

    /// What belonged to the connection alone is no memory any more.
    pub(super) fn tidy(&mut self) {
        self.seldom.take_if(|seldom| {
            seldom.session == 0 && seldom.awaited.is_empty() && seldom.waiters.is_empty() && seldom.aliases.is_none()
        });
    }

    /// Whether publishers wait until it has room.
    pub(super) fn is_waited_for(&self) -> bool {
        self.seldom.as_ref().is_some_and(|seldom| !seldom.waiters.is_empty())
    }

    /// Those that wait, who are to be told.
    pub(super) fn take_waiters(&mut self) -> Vec<Arc<dyn Wake>> {
        self.seldom.as_mut().map(|seldom| std::mem::take(&mut seldom.waiters)).unwrap_or_default()
    }

    /// Octets that the socket has not taken.
    pub(super) fn unsent(&self) -> usize {
        self.buf.len() + self.cur.unwritten().len()
    }

    /// How many more messages may be in flight: not more than the client's window, and none while it does not read, or
    /// does not acknowledge, what is many octets already. A window of many large messages is no licence to have them all
    /// held in memory; the queue, which has bounds, takes them.
    pub(super) fn room(&self, limits: &MailboxLimits) -> usize {
        let Some(link) = &self.link else { return 0 };
        if self.unsent() > limits.high_water {
            return 0;
        }
        match &self.inflight {
            // What is to be sent again goes first.
            Some(f) if f.bytes() > limits.queued_bytes || f.is_behind() => 0,
            Some(f) => f.room(link.window),
            None => usize::from(link.window),
        }
    }

    /// Whether something that waits for the socket or the window may go now.
    pub(super) fn may_drain(&self, limits: &MailboxLimits) -> bool {
        let (Some(link), reads) = (&self.link, self.unsent() <= limits.high_water) else { return false };
        if reads && self.inflight.as_ref().is_some_and(|f| f.may_send_held(link.window)) {
            return true;
        }
        self.may_send_head(limits)
    }

    /// Whether the head of the queue may go now.
    fn may_send_head(&self, limits: &MailboxLimits) -> bool {
        self.queue.as_ref().and_then(|q| q.front()).is_some_and(|head| self.may_send(head)) && self.room(limits) > 0
    }

    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    /// Puts one message on the wire. False: it has expired, or is too large for this client.
    pub(super) fn send_queued(&mut self, queued: Queued, now: u64) -> bool {
        let Some(link) = &self.link else { return false };
        let Ok(expiry) = queued.message.remaining(now) else { return false };
        let mut parts = parts(&queued, link.wire, expiry, queued.dup);
        let aliases = self.seldom.as_mut().and_then(|seldom| seldom.aliases.as_deref_mut());
        if !fit(&mut parts, link, aliases) {
            return false;
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

    pub(super) fn in_flight(&mut self, sequence: u64) -> &mut InFlight {
        self.inflight.get_or_insert_with(|| Box::new(InFlight::starting_at(sequence)))
    }

    /// Whether the message at the head of the queue may go now.
    pub(super) fn may_send(&self, head: &Queued) -> bool {
        let on_disk = self.seldom.as_ref().is_none_or(|seldom| !seldom.awaited.contains(&head.sequence));
        on_disk && self.inflight.as_ref().is_none_or(|f| f.takes(head.sequence))
    }

    /// Tells the store that a message is done with.
    pub(super) fn forget(&self, sequence: u64, changes: &mut Vec<Change>) {
        let session = self.session();
        if session != 0 && sequence != 0 {
            changes.push(Change::Done { session, sequence });
        }
    }

    /// Tells the store that a message that may have been sent is not sent again, whatever the client has made of it.
    pub(super) fn withdraw(&mut self, sequence: u64, changes: &mut Vec<Change>) {
        let Some(seldom) = self.seldom.as_mut().filter(|seldom| seldom.session != 0 && sequence > seldom.withdrawn)
        else {
            self.forget(sequence, changes);
            return;
        };
        let before = std::mem::replace(&mut seldom.withdrawn, sequence);
        changes.push(Change::Withdrawn { session: seldom.session, sequence, before });
    }

    /// Writes what is to be sent again, as `pick` gives it out, until as much is unsent as may be. True if anything was.
    pub(super) fn send_again(
        &mut self,
        limits: &MailboxLimits,
        pick: impl FnOnce(&mut InFlight, u16, &mut dyn FnMut(Resend<'_>) -> Resent) -> Vec<u64>,
        changes: &mut Vec<Change>,
    ) -> bool {
        let (Some(link), Some(inflight)) = (&self.link, &mut self.inflight) else { return false };
        let (now, before) = (now_ms(), self.buf.len());
        let written = self.cur.unwritten().len();
        let mut aliases = self.seldom.as_mut().and_then(|seldom| seldom.aliases.as_deref_mut());
        let dropped = pick(inflight, link.window, &mut |again| {
            match again {
                Resend::Publish(id, queued) => {
                    if written + self.buf.len() > limits.high_water {
                        return Resent::Later;
                    }
                    // One that expired meanwhile is resent all the same: its delivery had begun (§3.3.2.3.3).
                    let expiry = queued.message.remaining(now).unwrap_or(Some(1));
                    let mut parts = parts(queued, link.wire, expiry, true);
                    if !fit(&mut parts, link, aliases.as_deref_mut()) {
                        return Resent::Never;
                    }
                    let at = parts.write(&mut self.buf);
                    self.buf[at..at + 2].copy_from_slice(&id.to_be_bytes());
                }
                Resend::PubRel(id) => {
                    let [high, low] = id.to_be_bytes();
                    self.buf.extend_from_slice(&[0x62, 2, high, low]);
                }
            }
            Resent::Sent
        });
        for sequence in dropped {
            self.withdraw(sequence, changes);
        }
        self.buf.len() > before
    }

    /// Moves what the window allows to the buffer: what is still to be sent again, then from the queue. True if anything
    /// was.
    pub(super) fn drain_queue(&mut self, limits: &MailboxLimits, changes: &mut Vec<Change>) -> bool {
        let mut any = self.send_again(limits, |f, window, write| f.send_held(window, write), changes);
        if self.link.is_none() || self.queue.is_none() {
            return any;
        }
        let now = now_ms();
        while self.may_send_head(limits) {
            let Some(queued) = self.queue.as_mut().and_then(|q| q.pop_front()) else { break };
            let (sequence, sent_before) = (queued.sequence, queued.dup);
            if self.send_queued(queued, now) {
                any = true;
            } else if sent_before {
                self.withdraw(sequence, changes);
            } else {
                self.forget(sequence, changes);
            }
        }
        if self.queue.as_ref().is_some_and(|q| q.is_empty()) {
            self.queue = None;
        }
        any
    }
}
