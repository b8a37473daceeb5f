//! MQTT sessions and what belongs to them, and retained messages. All values are the session room's own encoding.
//!
//! - `sessions`: client identifier to the session's record;
//! - `session-subscriptions`: (session, filter) to options;
//! - `session-unreleased`: (session, packet identifier): QoS 2 messages received and not released;
//! - `session-queue`: (session, sequence) to a message that waits or is in flight;
//! - `session-will`: session to the will that waits or that a live connection left here;
//! - `retained`: topic to message.
//!
//! A session is known by its number in all tables but the first, so that a row costs eight octets and not the client
//! identifier. A message that is written and done with inside one transaction, as most of those for clients that are
//! there, never reaches a table: see [`Writing::skip`].

use std::collections::HashSet;

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::Fault;

const SESSIONS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("sessions");
const SUBSCRIPTIONS: TableDefinition<'static, (u64, &str), &[u8]> = TableDefinition::new("session-subscriptions");
const UNRELEASED: TableDefinition<'static, (u64, u16), ()> = TableDefinition::new("session-unreleased");
const QUEUE: TableDefinition<'static, (u64, u64), &[u8]> = TableDefinition::new("session-queue");
const WILLS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("session-will");
const RETAINED: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("retained");

/// One change. `session` is the session's number.
#[derive(Debug)]
pub(crate) enum Change {
    PutSession {
        client_id: Box<str>,
        bytes: Vec<u8>,
    },
    /// Removes the session and all rows that are its own.
    DeleteSession {
        client_id: Box<str>,
        session: u64,
    },
    /// Removes rows that no session owns.
    ClearSession {
        session: u64,
    },
    PutSubscription {
        session: u64,
        filter: Box<str>,
        bytes: Vec<u8>,
    },
    DeleteSubscription {
        session: u64,
        filter: Box<str>,
    },
    PutUnreleased {
        session: u64,
        id: u16,
    },
    DeleteUnreleased {
        session: u64,
        id: u16,
    },
    PutQueued {
        session: u64,
        sequence: u64,
        bytes: Vec<u8>,
    },
    DeleteQueued {
        session: u64,
        sequence: u64,
    },
    PutWill {
        session: u64,
        bytes: Vec<u8>,
    },
    DeleteWill {
        session: u64,
    },
    PutRetained {
        topic: Box<str>,
        bytes: Vec<u8>,
    },
    DeleteRetained {
        topic: Box<str>,
    },
}

impl Change {
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::PutSession { client_id: key, bytes } | Self::PutRetained { topic: key, bytes } => {
                key.len() + bytes.len()
            }
            Self::PutSubscription { filter, bytes, .. } => filter.len() + bytes.len(),
            Self::PutQueued { bytes, .. } | Self::PutWill { bytes, .. } => bytes.len(),
            Self::DeleteSession { client_id: key, .. }
            | Self::DeleteSubscription { filter: key, .. }
            | Self::DeleteRetained { topic: key } => key.len(),
            _ => 0,
        }
    }
}

pub(crate) struct Writing<'t> {
    sessions: Table<'t, &'static str, &'static [u8]>,
    subscriptions: Table<'t, (u64, &'static str), &'static [u8]>,
    unreleased: Table<'t, (u64, u16), ()>,
    queue: Table<'t, (u64, u64), &'static [u8]>,
    wills: Table<'t, u64, &'static [u8]>,
    retained: Table<'t, &'static str, &'static [u8]>,
    /// See [`Writing::skip`].
    done: HashSet<Message>,
    /// Those of them that were skipped and not deleted yet.
    skipped: HashSet<Message>,
}

/// A message of a session: the session's number and the sequence number.
pub(crate) type Message = (u64, u64);

/// How many messages [`Premature`] remembers.
const REMEMBERED: usize = 65_536;

/// Messages that were deleted before they came to be written.
///
/// A client may acknowledge a message that one publisher has put in its way and another has sent, while the batch of the
/// first is not handed in yet; the writing then comes after the deletion, and must not leave a row that nobody deletes.
/// Each is forgotten when its writing comes. One whose writing never comes would stay: beyond [`REMEMBERED`] all are
/// forgotten, at the price that some messages may come again after a restart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Premature(HashSet<Message>);

impl Premature {
    fn insert(&mut self, message: Message) {
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        self.0.insert(message);
    }
}

impl<'t> Writing<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            sessions: transaction.open_table(SESSIONS)?,
            subscriptions: transaction.open_table(SUBSCRIPTIONS)?,
            unreleased: transaction.open_table(UNRELEASED)?,
            queue: transaction.open_table(QUEUE)?,
            wills: transaction.open_table(WILLS)?,
            retained: transaction.open_table(RETAINED)?,
            done: HashSet::new(),
            skipped: HashSet::new(),
        })
    }

    /// Messages that this transaction deletes: writing them first would be for nothing. A sequence number is used for
    /// one message only, so nothing is written under it after the deletion.
    pub(crate) fn skip(&mut self, done: HashSet<Message>) {
        self.done = done;
    }

    pub(crate) fn apply(&mut self, change: &Change, premature: &mut Premature) -> Result<(), Fault> {
        match change {
            Change::PutSession { client_id, bytes } => drop(self.sessions.insert(&**client_id, bytes.as_slice())?),
            Change::DeleteSession { client_id, session } => {
                drop(self.sessions.remove(&**client_id)?);
                self.clear(*session)?;
            }
            Change::ClearSession { session } => self.clear(*session)?,
            Change::PutSubscription { session, filter, bytes } => {
                drop(self.subscriptions.insert((*session, &**filter), bytes.as_slice())?);
            }
            Change::DeleteSubscription { session, filter } => {
                drop(self.subscriptions.remove((*session, &**filter))?);
            }
            Change::PutUnreleased { session, id } => drop(self.unreleased.insert((*session, *id), ())?),
            Change::DeleteUnreleased { session, id } => drop(self.unreleased.remove((*session, *id))?),
            Change::PutQueued { session, sequence, bytes } => {
                let message = (*session, *sequence);
                if premature.0.remove(&message) {
                    // It is done with already.
                } else if self.done.contains(&message) {
                    self.skipped.insert(message);
                } else {
                    drop(self.queue.insert(message, bytes.as_slice())?);
                }
            }
            Change::DeleteQueued { session, sequence } => {
                let message = (*session, *sequence);
                let there = self.queue.remove(message)?.is_some();
                if !self.skipped.remove(&message) && !there {
                    premature.insert(message);
                }
            }
            Change::PutWill { session, bytes } => drop(self.wills.insert(*session, bytes.as_slice())?),
            Change::DeleteWill { session } => drop(self.wills.remove(*session)?),
            Change::PutRetained { topic, bytes } => drop(self.retained.insert(&**topic, bytes.as_slice())?),
            Change::DeleteRetained { topic } => drop(self.retained.remove(&**topic)?),
        }
        Ok(())
    }

    fn clear(&mut self, session: u64) -> Result<(), Fault> {
        let next = session.saturating_add(1);
        self.subscriptions.retain_in((session, "")..(next, ""), |_, _| false)?;
        self.unreleased.retain_in((session, 0)..(next, 0), |_, ()| false)?;
        self.queue.retain_in((session, 0)..(next, 0), |_, _| false)?;
        drop(self.wills.remove(session)?);
        Ok(())
    }
}

pub(crate) fn create(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(SESSIONS)?;
    transaction.open_table(SUBSCRIPTIONS)?;
    transaction.open_table(UNRELEASED)?;
    transaction.open_table(QUEUE)?;
    transaction.open_table(WILLS)?;
    transaction.open_table(RETAINED)?;
    Ok(())
}

pub(crate) fn copy(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), Fault> {
    super::copy_table(SESSIONS, from, to)?;
    super::copy_table(SUBSCRIPTIONS, from, to)?;
    super::copy_table(UNRELEASED, from, to)?;
    super::copy_table(QUEUE, from, to)?;
    super::copy_table(WILLS, from, to)?;
    super::copy_table(RETAINED, from, to)
}

/// A row as it was last committed.
#[derive(Clone, Copy, Debug)]
pub enum SessionRow<'a> {
    /// A session. These come first.
    Session {
        /// Its client identifier.
        client_id: &'a str,
        /// Its record.
        bytes: &'a [u8],
    },
    /// A subscription.
    Subscription {
        /// The session's number.
        session: u64,
        /// The filter.
        filter: &'a str,
        /// Its options.
        bytes: &'a [u8],
    },
    /// A QoS 2 message that was received and not released.
    Unreleased {
        /// The session's number.
        session: u64,
        /// The packet identifier.
        id: u16,
    },
    /// A message for the session, in the order of their sequence numbers.
    Queued {
        /// The session's number.
        session: u64,
        /// The sequence number.
        sequence: u64,
        /// The message.
        bytes: &'a [u8],
    },
    /// A will.
    Will {
        /// The session's number.
        session: u64,
        /// The will.
        bytes: &'a [u8],
    },
    /// A retained message.
    Retained {
        /// The topic.
        topic: &'a str,
        /// The message.
        bytes: &'a [u8],
    },
}

/// Visits everything, sessions first; of each kind in the order of its key.
pub(crate) fn visit(transaction: &ReadTransaction, mut see: impl FnMut(SessionRow<'_>)) -> Result<(), Fault> {
    for row in transaction.open_table(SESSIONS)?.iter()? {
        let (client_id, bytes) = row?;
        see(SessionRow::Session { client_id: client_id.value(), bytes: bytes.value() });
    }
    for row in transaction.open_table(SUBSCRIPTIONS)?.iter()? {
        let (key, bytes) = row?;
        let (session, filter) = key.value();
        see(SessionRow::Subscription { session, filter, bytes: bytes.value() });
    }
    for row in transaction.open_table(UNRELEASED)?.iter()? {
        let (session, id) = row?.0.value();
        see(SessionRow::Unreleased { session, id });
    }
    for row in transaction.open_table(QUEUE)?.iter()? {
        let (key, bytes) = row?;
        let (session, sequence) = key.value();
        see(SessionRow::Queued { session, sequence, bytes: bytes.value() });
    }
    for row in transaction.open_table(WILLS)?.iter()? {
        let (session, bytes) = row?;
        see(SessionRow::Will { session: session.value(), bytes: bytes.value() });
    }
    for row in transaction.open_table(RETAINED)?.iter()? {
        let (topic, bytes) = row?;
        see(SessionRow::Retained { topic: topic.value(), bytes: bytes.value() });
    }
    Ok(())
}
