//! Namespaces of keys and values with a time to live and a quota: four tables that are always changed together.
//!
//! - `key-value`: (namespace, key) to (expiry, value); the expiry is in milliseconds since 1970, 0 for never;
//! - `key-value-expiry`: (expiry, namespace, key), exactly one for each value that expires, so that sweeping touches only
//!   what is due;
//! - `key-value-usage`: namespace to octets, what the quota is compared with;
//! - `key-value-count`: namespace to keys. A file of before it was there has none: then they are counted once.

use std::collections::HashMap;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

use super::Fault;
use crate::error::KeyValueError;
use crate::ticket::Answer;

const VALUES: TableDefinition<'static, (&str, &str), (u64, &[u8])> = TableDefinition::new("key-value");
const EXPIRY: TableDefinition<'static, (u64, &str, &str), ()> = TableDefinition::new("key-value-expiry");
const USAGE: TableDefinition<'static, &str, u64> = TableDefinition::new("key-value-usage");

const COUNT: TableDefinition<'static, &str, u64> = TableDefinition::new("key-value-count");

/// What an entry costs beside its key and value, so that many small ones are not free.
const OVERHEAD: u64 = 32;
/// Expired values removed before a namespace is called full.
const SWEEP_WHEN_FULL: u32 = 10_000;
const NEVER: u64 = 0;

/// One operation on one key.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) namespace: Arc<str>,
    /// Octets that the namespace may use.
    pub(crate) quota: u64,
    /// Keys that it may have.
    pub(crate) most_keys: u64,
    pub(crate) key: Box<str>,
    pub(crate) action: Action,
}

/// What to do with the key. Times to live are in seconds, not 0.
#[derive(Debug)]
pub(crate) enum Action {
    Set { value: Vec<u8>, ttl: Option<u32> },
    SetIfAbsent { value: Vec<u8>, ttl: Option<u32> },
    Take,
    Delete,
    Increment { delta: i64, ttl: Option<u32> },
}

impl Change {
    pub(crate) fn size(&self) -> usize {
        let value = match &self.action {
            Action::Set { value, .. } | Action::SetIfAbsent { value, .. } => value.len(),
            _ => 0,
        };
        self.key.len() + value
    }
}

/// A value as it lies there.
struct Old {
    expiry: u64,
    value: Vec<u8>,
}

impl Old {
    fn lives_at(&self, now_ms: u64) -> bool {
        lives(self.expiry, now_ms)
    }
}

fn lives(expiry: u64, now_ms: u64) -> bool {
    expiry == NEVER || expiry > now_ms
}

fn cost(key: &str, value: &[u8]) -> u64 {
    OVERHEAD + (key.len() + value.len()) as u64
}

pub(crate) struct Writing<'t> {
    values: Table<'t, (&'static str, &'static str), (u64, &'static [u8])>,
    expiry: Table<'t, (u64, &'static str, &'static str), ()>,
    usage: Table<'t, &'static str, u64>,
    count: Table<'t, &'static str, u64>,
    /// Usage of the namespaces touched by this transaction, written once at its end.
    used: HashMap<Arc<str>, u64>,
    /// Keys of them, likewise.
    counted: HashMap<Arc<str>, u64>,
    now_ms: u64,
}

impl<'t> Writing<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction, now_ms: u64) -> Result<Self, Fault> {
        Ok(Self {
            values: transaction.open_table(VALUES)?,
            expiry: transaction.open_table(EXPIRY)?,
            usage: transaction.open_table(USAGE)?,
            count: transaction.open_table(COUNT)?,
            used: HashMap::new(),
            counted: HashMap::new(),
            now_ms,
        })
    }

    pub(crate) fn apply(&mut self, change: &Change) -> Result<Result<Answer, KeyValueError>, Fault> {
        let Change { namespace, quota, most_keys, key, action } = change;
        let bounds = Bounds { octets: *quota, keys: *most_keys };
        let there = self.read(namespace, key)?;
        let alive = there.as_ref().filter(|old| old.lives_at(self.now_ms));
        match action {
            Action::Set { value, ttl } => {
                let expiry = self.expiry_of(*ttl);
                let written = self.write(namespace, bounds, key, there.as_ref(), expiry, value)?;
                Ok(written.map(|()| Answer::Done))
            }
            Action::SetIfAbsent { .. } if alive.is_some() => Ok(Ok(Answer::Flag(false))),
            Action::SetIfAbsent { value, ttl } => {
                let expiry = self.expiry_of(*ttl);
                let written = self.write(namespace, bounds, key, there.as_ref(), expiry, value)?;
                Ok(written.map(|()| Answer::Flag(true)))
            }
            Action::Take => {
                let alive = alive.map(|old| old.value.clone());
                self.remove(namespace, key, there.as_ref())?;
                Ok(Ok(Answer::Value(alive)))
            }
            Action::Delete => {
                let was_alive = alive.is_some();
                self.remove(namespace, key, there.as_ref())?;
                Ok(Ok(Answer::Flag(was_alive)))
            }
            Action::Increment { delta, ttl } => {
                let (number, expiry) = match alive {
                    None => (Some(0), self.expiry_of(*ttl)),
                    Some(old) => (number(&old.value), old.expiry),
                };
                let Some(sum) = number.map(|number| number.checked_add(*delta)) else {
                    return Ok(Err(KeyValueError::Invalid("the value is not a decimal number".to_owned())));
                };
                let Some(sum) = sum else {
                    return Ok(Err(KeyValueError::Invalid("the sum does not fit 64 bits".to_owned())));
                };
                let text = sum.to_string();
                let written = self.write(namespace, bounds, key, there.as_ref(), expiry, text.as_bytes())?;
                Ok(written.map(|()| Answer::Number(sum)))
            }
        }
    }

    fn expiry_of(&self, ttl: Option<u32>) -> u64 {
        ttl.map_or(NEVER, |seconds| self.now_ms.saturating_add(u64::from(seconds) * 1000))
    }

    fn read(&self, namespace: &str, key: &str) -> Result<Option<Old>, Fault> {
        Ok(self.values.get((namespace, key))?.map(|found| {
            let (expiry, value) = found.value();
            Old { expiry, value: value.to_vec() }
        }))
    }

    fn write(
        &mut self,
        namespace: &Arc<str>,
        bounds: Bounds,
        key: &str,
        there: Option<&Old>,
        expiry: u64,
        value: &[u8],
    ) -> Result<Result<(), KeyValueError>, Fault> {
        let new = cost(key, value);
        let freed = there.map_or(0, |old| cost(key, &old.value));
        let mut there = there;
        let mut used = self.used(namespace)?;
        // What does not grow is always let in, so that a lowered quota does not make values unchangeable.
        let mut keys = self.keys(namespace)?;
        let too_large = |used: u64, freed: u64| new > freed && used.saturating_sub(freed) + new > bounds.octets;
        if too_large(used, freed) || there.is_none() && keys >= bounds.keys {
            self.sweep(SWEEP_WHEN_FULL)?;
            // The sweep may have taken the old value of this very key.
            there = there.filter(|old| old.lives_at(self.now_ms));
            used = self.used(namespace)?;
            keys = self.keys(namespace)?;
            let freed = there.map_or(0, |old| cost(key, &old.value));
            if too_large(used, freed) {
                return Ok(Err(KeyValueError::Full(bounds.octets)));
            }
            if there.is_none() && keys >= bounds.keys {
                return Ok(Err(KeyValueError::TooMany(bounds.keys)));
            }
        }
        let freed = there.map_or(0, |old| cost(key, &old.value));
        let old_expiry = there.map_or(NEVER, |old| old.expiry);
        if old_expiry != expiry {
            if old_expiry != NEVER {
                self.expiry.remove((old_expiry, &**namespace, key))?;
            }
            if expiry != NEVER {
                self.expiry.insert((expiry, &**namespace, key), ())?;
            }
        }
        self.values.insert((&**namespace, key), (expiry, value))?;
        self.used.insert(Arc::clone(namespace), used.saturating_sub(freed) + new);
        self.counted.insert(Arc::clone(namespace), keys + u64::from(there.is_none()));
        Ok(Ok(()))
    }

    fn remove(&mut self, namespace: &Arc<str>, key: &str, there: Option<&Old>) -> Result<(), Fault> {
        let Some(old) = there else { return Ok(()) };
        // Before it goes: keys that were never counted are counted as they lie there.
        self.keys(namespace)?;
        self.values.remove((&**namespace, key))?;
        if old.expiry != NEVER {
            self.expiry.remove((old.expiry, &**namespace, key))?;
        }
        let used = self.used(namespace)?;
        self.used.insert(Arc::clone(namespace), used.saturating_sub(cost(key, &old.value)));
        let keys = self.keys(namespace)?;
        self.counted.insert(Arc::clone(namespace), keys.saturating_sub(1));
        Ok(())
    }

    fn used(&mut self, namespace: &Arc<str>) -> Result<u64, Fault> {
        if let Some(used) = self.used.get(namespace) {
            return Ok(*used);
        }
        let used = self.usage.get(&**namespace)?.map_or(0, |used| used.value());
        self.used.insert(Arc::clone(namespace), used);
        Ok(used)
    }

    fn keys(&mut self, namespace: &Arc<str>) -> Result<u64, Fault> {
        if let Some(keys) = self.counted.get(namespace) {
            return Ok(*keys);
        }
        let stored = self.count.get(&**namespace)?.map(|keys| keys.value());
        let keys = match stored {
            Some(keys) => keys,
            None => count(&self.values, namespace)?,
        };
        self.counted.insert(Arc::clone(namespace), keys);
        Ok(keys)
    }

    /// Removes values that have expired, those that did so first, at most `limit`. Returns how many.
    pub(crate) fn sweep(&mut self, limit: u32) -> Result<u64, Fault> {
        let mut due = Vec::new();
        // `..=now` with the greatest namespace cannot be written as a bound; the next millisecond's first can.
        for entry in self.expiry.range(..(self.now_ms.saturating_add(1), "", ""))?.take(limit as usize) {
            let (row, _) = entry?;
            let (_, namespace, key) = row.value();
            due.push((Arc::<str>::from(namespace), Box::<str>::from(key)));
        }
        for (namespace, key) in &due {
            let there = self.read(namespace, key)?;
            self.remove(namespace, key, there.as_ref())?;
        }
        Ok(due.len() as u64)
    }

    /// Writes the usage of the namespaces that were touched.
    pub(crate) fn finish(mut self) -> Result<(), Fault> {
        for (namespace, used) in &self.used {
            if *used == 0 {
                self.usage.remove(&**namespace)?
            } else {
                self.usage.insert(&**namespace, *used)?
            };
        }
        for (namespace, keys) in &self.counted {
            if *keys == 0 {
                self.count.remove(&**namespace)?
            } else {
                self.count.insert(&**namespace, *keys)?
            };
        }
        Ok(())
    }
}

/// What a namespace may hold.
#[derive(Clone, Copy)]
struct Bounds {
    octets: u64,
    keys: u64,
}

/// Counts the keys of a namespace.
fn count(
    values: &impl ReadableTable<(&'static str, &'static str), (u64, &'static [u8])>,
    namespace: &str,
) -> Result<u64, Fault> {
    let mut keys = 0;
    for entry in values.range((namespace, "")..)? {
        let (row, _) = entry?;
        if row.value().0 != namespace {
            break;
        }
        keys += 1;
    }
    Ok(keys)
}

/// A number as `increment` writes it: decimal, with a sign only if it is negative.
fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

pub(crate) fn create(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(VALUES)?;
    transaction.open_table(EXPIRY)?;
    transaction.open_table(USAGE)?;
    transaction.open_table(COUNT)?;
    Ok(())
}

pub(crate) fn copy(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), Fault> {
    super::copy_table(VALUES, from, to)?;
    super::copy_table(EXPIRY, from, to)?;
    super::copy_table(USAGE, from, to)
}

/// Reads a value that has not expired.
pub(crate) fn get(
    transaction: &ReadTransaction,
    namespace: &str,
    key: &str,
    now_ms: u64,
) -> Result<Option<Vec<u8>>, Fault> {
    let found = transaction.open_table(VALUES)?.get((namespace, key))?;
    Ok(found.and_then(|found| {
        let (expiry, value) = found.value();
        lives(expiry, now_ms).then(|| value.to_vec())
    }))
}

/// Octets that a namespace uses.
pub(crate) fn usage(transaction: &ReadTransaction, namespace: &str) -> Result<u64, Fault> {
    Ok(transaction.open_table(USAGE)?.get(namespace)?.map_or(0, |used| used.value()))
}

/// Keys of a namespace.
pub(crate) fn keys(transaction: &ReadTransaction, namespace: &str) -> Result<u64, Fault> {
    let stored = match transaction.open_table(COUNT) {
        Ok(table) => table.get(namespace)?.map(|keys| keys.value()),
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(why) => return Err(why.into()),
    };
    match stored {
        Some(keys) => Ok(keys),
        None => count(&transaction.open_table(VALUES)?, namespace),
    }
}

/// Whether something has expired and lies there still.
pub(crate) fn is_due(transaction: &ReadTransaction, now_ms: u64) -> Result<bool, Fault> {
    let table = transaction.open_table(EXPIRY)?;
    let first = table.first()?;
    Ok(first.is_some_and(|(row, _)| row.value().0 <= now_ms))
}
