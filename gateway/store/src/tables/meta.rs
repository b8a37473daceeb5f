//! A few values of the store's own: the schema version, counters.

use redb::{ReadTransaction, Table, TableDefinition, TableError, WriteTransaction};

use super::Fault;

const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

/// Writes a value.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

impl Change {
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

pub(crate) struct Writing<'t>(Table<'t, &'static str, &'static [u8]>);

impl<'t> Writing<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self(transaction.open_table(META)?))
    }

    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), Fault> {
        self.0.insert(change.name, change.bytes.as_slice())?;
        Ok(())
    }
}

pub(crate) fn create(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(META)?;
    Ok(())
}

pub(crate) fn copy(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), Fault> {
    super::copy_table(META, from, to)
}

/// Reads a value. None also when the file has no such table: that is how a file of another program is known.
pub(crate) fn get(transaction: &ReadTransaction, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    match transaction.open_table(META) {
        Ok(table) => Ok(table.get(name)?.map(|bytes| bytes.value().to_vec())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
