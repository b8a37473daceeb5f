//! The namespaces that policies keep their data in: bounds of keys and values, and one ticket per change.

use std::sync::Arc;

use crate::batch::{Batch, Operation};
use crate::error::{KeyValueError, StoreError};
use crate::options::Durability;
use crate::store::Store;
use crate::tables::key_value::{Action, Change};
use crate::ticket::{Answer, Outcome, Ticket};

/// Octets of a key.
pub const MAX_KEY: usize = 512;
/// Octets of a value.
pub const MAX_VALUE: usize = 64 * 1024;
/// Octets of a namespace's name.
pub const MAX_NAMESPACE: usize = 128;

/// A namespace of keys and values. Cheap to clone.
///
/// Reading is quick and sees what was committed. Changing gives a [`Ticket`] at once and never blocks; changes of one
/// key happen in the order in which they were asked for, each in one step. Values that have expired are never seen,
/// whether they were swept yet or not.
#[derive(Clone, Debug)]
pub struct KeyValue {
    store: Store,
    namespace: Arc<str>,
    quota: u64,
    most_keys: u64,
    durability: Durability,
}

impl KeyValue {
    pub(crate) fn new(store: Store, namespace: &str, quota: u64) -> Result<Self, KeyValueError> {
        if namespace.is_empty() || namespace.len() > MAX_NAMESPACE {
            return Err(KeyValueError::Invalid(format!(
                "a namespace has 1 to {MAX_NAMESPACE} octets, not {}",
                namespace.len()
            )));
        }
        Ok(Self { store, namespace: namespace.into(), quota, most_keys: u64::MAX, durability: Durability::Ack })
    }

    /// The same namespace, whose changes are as durable as this says. From the start: [`Durability::Ack`].
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The same namespace, with so many keys at most.
    #[must_use]
    pub fn with_keys(mut self, most: u64) -> Self {
        self.most_keys = most;
        self
    }

    /// Keys of the namespace. Values that have expired count until they are swept.
    ///
    /// # Errors
    /// The store failed.
    pub fn keys(&self) -> Result<u64, StoreError> {
        self.store.read_keys(&self.namespace)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`KeyValueError::Invalid`] for a key that is too long; [`KeyValueError::Store`].
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        check_key(key)?;
        Ok(self.store.read_value(&self.namespace, key)?)
    }

    /// Octets that the namespace uses: keys, values and 32 for each pair. Values that have expired count until they are
    /// swept.
    ///
    /// # Errors
    /// The store failed.
    pub fn usage(&self) -> Result<u64, StoreError> {
        self.store.read_usage(&self.namespace)
    }

    /// Writes a value, in place of any other. `ttl`: seconds after which it is gone, not 0; none: never.
    pub fn set(&self, key: &str, value: &[u8], ttl: Option<u32>) -> Ticket<(), KeyValueError> {
        match check(key, value, ttl) {
            Ok(()) => self.submit(key, Action::Set { value: value.to_vec(), ttl }, |outcome| outcome.map(drop)),
            Err(why) => Ticket::refused(why),
        }
    }

    /// Writes a value only if there is none. True if it was written.
    pub fn set_if_absent(&self, key: &str, value: &[u8], ttl: Option<u32>) -> Ticket<bool, KeyValueError> {
        match check(key, value, ttl) {
            Ok(()) => self.submit(key, Action::SetIfAbsent { value: value.to_vec(), ttl }, flag),
            Err(why) => Ticket::refused(why),
        }
    }

    /// Reads a value and deletes it.
    pub fn take(&self, key: &str) -> Ticket<Option<Vec<u8>>, KeyValueError> {
        match check_key(key) {
            Ok(()) => self.submit(key, Action::Take, |outcome| match outcome? {
                Answer::Value(value) => Ok(value),
                _ => Err(strange()),
            }),
            Err(why) => Ticket::refused(why),
        }
    }

    /// Deletes a value. True if there was one.
    pub fn delete(&self, key: &str) -> Ticket<bool, KeyValueError> {
        match check_key(key) {
            Ok(()) => self.submit(key, Action::Delete, flag),
            Err(why) => Ticket::refused(why),
        }
    }

    /// Adds to a number and returns the sum. Numbers are decimal text, as `get` shows them. What is absent counts as 0
    /// and then gets `ttl`; what is present keeps the time to live that it has.
    pub fn increment(&self, key: &str, delta: i64, ttl: Option<u32>) -> Ticket<i64, KeyValueError> {
        match check(key, &[], ttl) {
            Ok(()) => self.submit(key, Action::Increment { delta, ttl }, |outcome| match outcome? {
                Answer::Number(sum) => Ok(sum),
                _ => Err(strange()),
            }),
            Err(why) => Ticket::refused(why),
        }
    }

    fn submit<T>(
        &self,
        key: &str,
        action: Action,
        read: fn(Outcome) -> Result<T, KeyValueError>,
    ) -> Ticket<T, KeyValueError> {
        let (quota, most_keys) = (self.quota, self.most_keys);
        let change = Change { namespace: Arc::clone(&self.namespace), quota, most_keys, key: key.into(), action };
        self.store.hand_in(Batch::single(Operation::KeyValue(change)), self.durability, read)
    }
}

fn flag(outcome: Outcome) -> Result<bool, KeyValueError> {
    match outcome? {
        Answer::Flag(flag) => Ok(flag),
        _ => Err(strange()),
    }
}

fn strange() -> KeyValueError {
    StoreError::Failed("the writer gave another operation's answer".into()).into()
}

fn check_key(key: &str) -> Result<(), KeyValueError> {
    if key.len() > MAX_KEY {
        return Err(KeyValueError::Invalid(format!("a key has at most {MAX_KEY} octets, not {}", key.len())));
    }
    Ok(())
}

fn check(key: &str, value: &[u8], ttl: Option<u32>) -> Result<(), KeyValueError> {
    check_key(key)?;
    if value.len() > MAX_VALUE {
        return Err(KeyValueError::Invalid(format!("a value has at most {MAX_VALUE} octets, not {}", value.len())));
    }
    if ttl == Some(0) {
        return Err(KeyValueError::Invalid(
            "a time to live of 0 seconds: leave it out to keep the value for ever".to_owned(),
        ));
    }
    Ok(())
}
