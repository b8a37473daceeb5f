//! What callers hand in: changes that are written together or not at all.

use crate::tables::{directory, key_value, meta, sessions};

/// One change to one table. Each kind of data has a variant and a file in `tables/`.
#[derive(Debug)]
pub(crate) enum Operation {
    Directory(directory::Change),
    Meta(meta::Change),
    Session(sessions::Change),
    /// Alone in its batch: it may be refused, and the rest would have to be undone.
    KeyValue(key_value::Change),
    /// Removes so many expired values.
    Sweep(u32),
}

impl Operation {
    /// Octets of memory that it takes while it waits, roughly.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Directory(change) => change.size(),
                Self::Meta(change) => change.size(),
                Self::Session(change) => change.size(),
                Self::KeyValue(change) => change.size(),
                Self::Sweep(_) => 0,
            }
    }
}

/// Changes that are written together or not at all, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) operations: Vec<Operation>,
    size: usize,
}

impl Batch {
    /// A batch without changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many changes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Octets of memory that it takes while it waits, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Adds the changes of another batch behind those of this one.
    pub fn append(&mut self, mut other: Self) -> &mut Self {
        self.size += other.size;
        self.operations.append(&mut other.operations);
        self
    }

    /// Writes a directory entry, in place of any other of this kind and identifier.
    pub fn put_entry(&mut self, kind: &'static str, id: &str, bytes: Vec<u8>) -> &mut Self {
        self.push(Operation::Directory(directory::Change { kind, id: id.into(), bytes: Some(bytes) }))
    }

    /// Deletes a directory entry, if it is there.
    pub fn delete_entry(&mut self, kind: &'static str, id: &str) -> &mut Self {
        self.push(Operation::Directory(directory::Change { kind, id: id.into(), bytes: None }))
    }

    /// Writes a value of the store's own, such as a counter of starts.
    pub fn put_meta(&mut self, name: &'static str, bytes: Vec<u8>) -> &mut Self {
        self.push(Operation::Meta(meta::Change { name, bytes }))
    }

    /// Writes the record of a session, in place of any other of this client.
    pub fn put_session(&mut self, client_id: &str, bytes: Vec<u8>) -> &mut Self {
        self.session(sessions::Change::PutSession { client_id: client_id.into(), bytes })
    }

    /// Deletes a session with all that is stored under its number.
    pub fn delete_session(&mut self, client_id: &str, session: u64) -> &mut Self {
        self.session(sessions::Change::DeleteSession { client_id: client_id.into(), session })
    }

    /// Deletes all that is stored under the number of a session that is not there itself.
    pub fn clear_session(&mut self, session: u64) -> &mut Self {
        self.session(sessions::Change::ClearSession { session })
    }

    /// Writes a subscription of a session.
    pub fn put_subscription(&mut self, session: u64, filter: &str, bytes: Vec<u8>) -> &mut Self {
        self.session(sessions::Change::PutSubscription { session, filter: filter.into(), bytes })
    }

    /// Deletes a subscription of a session.
    pub fn delete_subscription(&mut self, session: u64, filter: &str) -> &mut Self {
        self.session(sessions::Change::DeleteSubscription { session, filter: filter.into() })
    }

    /// Remembers the identifier of a QoS 2 message that was received and is not released yet.
    pub fn put_unreleased(&mut self, session: u64, id: u16) -> &mut Self {
        self.session(sessions::Change::PutUnreleased { session, id })
    }

    /// Forgets such an identifier.
    pub fn delete_unreleased(&mut self, session: u64, id: u16) -> &mut Self {
        self.session(sessions::Change::DeleteUnreleased { session, id })
    }

    /// Writes a message for a session. A sequence number is never used for another message of the session.
    pub fn put_queued(&mut self, session: u64, sequence: u64, bytes: Vec<u8>) -> &mut Self {
        self.session(sessions::Change::PutQueued { session, sequence, bytes })
    }

    /// Deletes a message of a session.
    pub fn delete_queued(&mut self, session: u64, sequence: u64) -> &mut Self {
        self.session(sessions::Change::DeleteQueued { session, sequence })
    }

    /// Writes the will of a session.
    pub fn put_will(&mut self, session: u64, bytes: Vec<u8>) -> &mut Self {
        self.session(sessions::Change::PutWill { session, bytes })
    }

    /// Deletes the will of a session.
    pub fn delete_will(&mut self, session: u64) -> &mut Self {
        self.session(sessions::Change::DeleteWill { session })
    }

    /// Writes the retained message of a topic.
    pub fn put_retained(&mut self, topic: &str, bytes: Vec<u8>) -> &mut Self {
        self.session(sessions::Change::PutRetained { topic: topic.into(), bytes })
    }

    /// Deletes the retained message of a topic.
    pub fn delete_retained(&mut self, topic: &str) -> &mut Self {
        self.session(sessions::Change::DeleteRetained { topic: topic.into() })
    }

    fn session(&mut self, change: sessions::Change) -> &mut Self {
        self.push(Operation::Session(change))
    }

    pub(crate) fn single(operation: Operation) -> Self {
        let mut batch = Self::default();
        batch.push(operation);
        batch
    }

    fn push(&mut self, operation: Operation) -> &mut Self {
        self.size += operation.size();
        self.operations.push(operation);
        self
    }
}
