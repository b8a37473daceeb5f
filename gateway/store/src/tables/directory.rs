//! Entries of the identity directory: kind and identifier to bytes. Indexes over them are the directory's own affair.

use redb::{ReadTransaction, Table, TableDefinition, WriteTransaction};

use super::Fault;

const ENTRIES: TableDefinition<'static, (&str, &str), &[u8]> = TableDefinition::new("directory");

/// Writes an entry, or deletes it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: &'static str,
    pub(crate) id: Box<str>,
    pub(crate) bytes: Option<Vec<u8>>,
}

impl Change {
    pub(crate) fn size(&self) -> usize {
        self.id.len() + self.bytes.as_ref().map_or(0, Vec::len)
    }
}

pub(crate) struct Writing<'t>(Table<'t, (&'static str, &'static str), &'static [u8]>);

impl<'t> Writing<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self(transaction.open_table(ENTRIES)?))
    }

    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), Fault> {
        match &change.bytes {
            Some(bytes) => self.0.insert((change.kind, &*change.id), bytes.as_slice())?,
            None => self.0.remove((change.kind, &*change.id))?,
        };
        Ok(())
    }
}

pub(crate) fn create(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(ENTRIES)?;
    Ok(())
}

pub(crate) fn copy(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), Fault> {
    super::copy_table(ENTRIES, from, to)
}

/// Visits all entries of a kind, ordered by identifier.
pub(crate) fn visit(transaction: &ReadTransaction, kind: &str, mut see: impl FnMut(&str, &[u8])) -> Result<(), Fault> {
    let table = transaction.open_table(ENTRIES)?;
    for entry in table.range((kind, "")..)? {
        let (key, value) = entry?;
        let (of, id) = key.value();
        if of != kind {
            break;
        }
        see(id, value.value());
    }
    Ok(())
}
