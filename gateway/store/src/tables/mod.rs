//! The tables, opened once per transaction and only when they are needed.

pub(crate) mod directory;
pub(crate) mod key_value;
pub(crate) mod meta;
pub(crate) mod sessions;

use std::collections::HashSet;

use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};

use crate::batch::Operation;
use crate::error::KeyValueError;
use crate::ticket::{Answer, Outcome};

/// The engine failed: the whole transaction is lost.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) String);

/// Every error of the engine ends a transaction, whatever its type.
macro_rules! faults {
    ($($error:ty),*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self(error.to_string())
            }
        }
    )*};
}
faults!(redb::StorageError, TableError, redb::TransactionError, redb::CommitError, redb::SetDurabilityError);

/// The tables of a write transaction.
pub(crate) struct Tables<'t> {
    transaction: &'t WriteTransaction,
    /// Milliseconds since 1970: one time for the whole transaction.
    now_ms: u64,
    directory: Option<directory::Writing<'t>>,
    key_value: Option<key_value::Writing<'t>>,
    meta: Option<meta::Writing<'t>>,
    sessions: Option<sessions::Writing<'t>>,
    premature: &'t mut sessions::Premature,
}

impl<'t> Tables<'t> {
    /// `premature` is kept from one transaction to the next.
    pub(crate) fn new(transaction: &'t WriteTransaction, now_ms: u64, premature: &'t mut sessions::Premature) -> Self {
        Self { transaction, now_ms, directory: None, key_value: None, meta: None, sessions: None, premature }
    }

    /// Tells of messages that are done with before the transaction ends; see [`sessions::Writing::skip`].
    pub(crate) fn skip_queued(&mut self, done: HashSet<sessions::Message>) -> Result<(), Fault> {
        if !done.is_empty() {
            opened(&mut self.sessions, || sessions::Writing::open(self.transaction))?.skip(done);
        }
        Ok(())
    }

    /// Applies a batch. The inner error is the caller's and nothing was changed; the outer one ends the transaction.
    pub(crate) fn apply(&mut self, operations: &[Operation]) -> Result<Outcome, Fault> {
        let mut answer = Answer::Done;
        for operation in operations {
            answer = match self.apply_one(operation)? {
                Ok(answer) => answer,
                Err(refused) => return Ok(Err(refused)),
            };
        }
        Ok(Ok(answer))
    }

    fn apply_one(&mut self, operation: &Operation) -> Result<Result<Answer, KeyValueError>, Fault> {
        match operation {
            Operation::Directory(change) => {
                opened(&mut self.directory, || directory::Writing::open(self.transaction))?.apply(change)?;
                Ok(Ok(Answer::Done))
            }
            Operation::Meta(change) => {
                opened(&mut self.meta, || meta::Writing::open(self.transaction))?.apply(change)?;
                Ok(Ok(Answer::Done))
            }
            Operation::Session(change) => {
                opened(&mut self.sessions, || sessions::Writing::open(self.transaction))?
                    .apply(change, self.premature)?;
                Ok(Ok(Answer::Done))
            }
            Operation::KeyValue(change) => self.key_value()?.apply(change),
            Operation::Sweep(limit) => Ok(Ok(Answer::Count(self.key_value()?.sweep(*limit)?))),
        }
    }

    fn key_value(&mut self) -> Result<&mut key_value::Writing<'t>, Fault> {
        opened(&mut self.key_value, || key_value::Writing::open(self.transaction, self.now_ms))
    }

    /// Writes what was put off to the end of the transaction.
    pub(crate) fn finish(self) -> Result<(), Fault> {
        self.key_value.map_or(Ok(()), key_value::Writing::finish)
    }
}

fn opened<T>(slot: &mut Option<T>, open: impl FnOnce() -> Result<T, Fault>) -> Result<&mut T, Fault> {
    match slot {
        Some(table) => Ok(table),
        None => Ok(slot.insert(open()?)),
    }
}

/// Makes all tables, so that reading never meets one that is not there.
pub(crate) fn create(transaction: &WriteTransaction) -> Result<(), Fault> {
    meta::create(transaction)?;
    directory::create(transaction)?;
    key_value::create(transaction)
}

/// Copies all rows to a new file, in which nothing is yet.
pub(crate) fn copy(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), Fault> {
    meta::copy(from, to)?;
    directory::copy(from, to)?;
    key_value::copy(from, to)?;
    sessions::copy(from, to)
}

fn copy_table<K: redb::Key + 'static, V: redb::Value + 'static>(
    table: TableDefinition<'static, K, V>,
    from: &ReadTransaction,
    to: &WriteTransaction,
) -> Result<(), Fault> {
    let mut copied = to.open_table(table)?;
    for row in from.open_table(table)?.iter()? {
        let (key, value) = row?;
        copied.insert(key.value(), value.value())?;
    }
    Ok(())
}

/// Whether the file holds tables at all.
pub(crate) fn is_empty(transaction: &ReadTransaction) -> Result<bool, Fault> {
    Ok(transaction.list_tables()?.next().is_none() && transaction.list_multimap_tables()?.next().is_none())
}
