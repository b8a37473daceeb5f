//! What one worker gathers while it works through one read: mailboxes to flush, encodings to share, counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_mqtt::QoS;

use crate::alias::Alias;
use crate::encode::{Parts, Wire};
use crate::mailbox::{Flush, Full, Mailbox, Queued};
use crate::message::Message;
use crate::run::{FrameMark, Run};
use crate::waiting::Waiting;

/// Octets that a batch may put into mailboxes before it has them written.
const MOST_UNFLUSHED: usize = 32 * 1024 * 1024;

/// Messages and octets, added to the gateway's totals once a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// PUBLISH packets taken from clients.
    pub received: u64,
    /// Octets of them.
    pub received_bytes: u64,
    /// PUBLISH packets put into mailboxes or queues.
    pub delivered: u64,
    /// QoS 0 messages not delivered, because their receiver was too slow.
    pub dropped: u64,
    /// QoS 1 or 2 messages refused, because their receiver's queue was full, and messages of any QoS that could not be
    /// retained, because there was no room for more.
    pub refused: u64,
    /// Messages that were larger than their receiver takes (MQTT 5 §3.1.2.11.4).
    pub oversized: u64,
    /// Publications that the grant does not permit.
    pub unauthorized: u64,
}

/// What a batch changes about stored sessions. Whoever ends the batch hands it to the store, and only then answers.
#[derive(Clone, Debug)]
pub enum Change {
    /// A message waits for a session, or is in flight to it.
    Queued {
        /// The session's number.
        session: u64,
        /// The message.
        queued: Queued,
    },
    /// The client has a QoS 2 message: only PUBREL is to be sent again.
    Released {
        /// The session's number.
        session: u64,
        /// The message's sequence number.
        sequence: u64,
    },
    /// The client has it, or it is not to be delivered.
    Done {
        /// The session's number.
        session: u64,
        /// The message's sequence number.
        sequence: u64,
    },
    /// The client may have it, has not acknowledged it, and is not sent it again. No other message may come under its
    /// identifier as if that were free: the session goes on behind its sequence number after a restart.
    Withdrawn {
        /// The session's number.
        session: u64,
        /// The message's sequence number.
        sequence: u64,
        /// The one that was withdrawn before, which need not be remembered any more. 0: there is none.
        before: u64,
    },
}

/// One worker's scratch. Kept between batches for its buffers.
#[derive(Default)]
pub struct Batch {
    /// Mailboxes with something new to write.
    pub(crate) dirty: Vec<Arc<Mailbox>>,
    /// Receivers that hold more than they should: whoever filled them ought to wait.
    pub(crate) over: Vec<Full>,
    /// Which list of them this is; 0 until one is begun.
    serial: u32,
    /// Octets that were put into mailboxes and are not flushed yet.
    appended: usize,
    pub(crate) encodings: Encodings,
    pub(crate) owned: Vec<Arc<Message>>,
    /// What is to be stored.
    pub changes: Vec<Change>,
    /// QoS 2 messages that are to be sent once `changes` are on disk: call [`Mailbox::committed`] then.
    pub uncommitted: Vec<(Arc<Mailbox>, u64)>,
    /// Of this batch.
    pub counts: Counts,
}

impl Batch {
    /// Writes, or has their owners write, what was put into mailboxes. Call it when the batch ends.
    pub fn flush(&mut self) {
        self.appended = 0;
        for mailbox in self.dirty.drain(..) {
            // What is blocked or not ours to write wakes its owner.
            let _: Flush = mailbox.flush();
        }
    }

    /// After `bytes` were given to one more receiver: writes what waits, if that is much. A large fan-out would else be
    /// held in memory whole; and while memory is short, what can go at once should not wait for the end of the batch.
    pub(crate) fn appended(&mut self, bytes: usize, waiting: &Waiting) {
        self.appended += bytes;
        if self.appended > MOST_UNFLUSHED || waiting.is_full() {
            self.flush();
        }
    }

    /// The receivers that this batch has found full, each once. The next list begins.
    pub fn take_full(&mut self) -> Vec<Full> {
        if !self.over.is_empty() {
            self.serial = 0;
        }
        std::mem::take(&mut self.over)
    }

    /// Unique to the list of full receivers that is being made, among those of a long time.
    pub(crate) fn serial(&mut self) -> u32 {
        static LAST: AtomicU32 = AtomicU32::new(0);
        if self.serial == 0 {
            self.serial = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        }
        self.serial
    }

    /// Has the owners write what was put into mailboxes: for threads that have better things to do.
    pub fn wake_owners(&mut self) {
        for mailbox in self.dirty.drain(..) {
            mailbox.wake_owner();
        }
    }

    /// Forgets the encodings of the run before. Called at the begin of each run.
    pub(crate) fn begin_run(&mut self) {
        self.encodings.clear();
        self.owned.clear();
    }

    /// The messages of the run as owned values, made when the first mailbox needs to keep them.
    pub(crate) fn owned(owned: &mut Vec<Arc<Message>>, run: &Run<'_>) {
        if owned.is_empty() {
            owned.extend((0..run.frames.len()).map(|i| Arc::new(Message::of_run(run, i))));
        }
    }
}

/// A run in one of the forms that subscribers get.
#[derive(Clone, Copy)]
pub(crate) struct Encoded<'a> {
    pub bytes: &'a [u8],
    /// `start`, `id` and `end` count; `payload` may be stale.
    pub frames: &'a [FrameMark],
    /// The place in which `bytes` begin, as the marks count.
    pub from: u32,
}

#[derive(Default)]
struct Form {
    made: bool,
    bytes: Vec<u8>,
    frames: Vec<FrameMark>,
}

/// The run in each form that a subscriber asked for, encoded once: wire × quality of service × RETAIN.
#[derive(Default)]
pub(crate) struct Encodings {
    forms: [Form; 12],
    any: bool,
}

impl Encodings {
    fn clear(&mut self) {
        if self.any {
            for form in &mut self.forms {
                form.made = false;
            }
            self.any = false;
        }
    }

    pub(crate) fn get<'a>(&'a mut self, run: &Run<'a>, wire: Wire, qos: QoS, retain: bool) -> Encoded<'a> {
        if run.verbatim && run.wire == wire && run.qos == qos && !retain {
            let (from, end) = (run.frames.first().map_or(0, |f| f.start), run.frames.last().map_or(0, |f| f.end));
            let bytes = run.bytes.get(from as usize..end as usize).unwrap_or_default();
            return Encoded { bytes, frames: run.frames, from };
        }
        let index = usize::from(wire == Wire::V5) * 6 + qos as usize * 2 + usize::from(retain);
        // In range by construction: 2 forms of wire, 3 of QoS, 2 of RETAIN.
        let form = &mut self.forms[index];
        if !form.made {
            form.made = true;
            self.any = true;
            form.bytes.clear();
            form.frames.clear();
            for i in 0..run.frames.len() {
                let start = form.bytes.len() as u32;
                let parts = Parts {
                    wire,
                    qos,
                    retain,
                    dup: false,
                    topic: run.topic,
                    alias: Alias::None,
                    forward: run.forward,
                    expiry: run.expiry,
                    subscription_ids: &[],
                    payload: run.payload(i),
                };
                let id = parts.write(&mut form.bytes) as u32;
                form.frames.push(FrameMark { start, id, payload: 0, end: form.bytes.len() as u32 });
            }
        }
        Encoded { bytes: &form.bytes, frames: &form.frames, from: 0 }
    }
}
