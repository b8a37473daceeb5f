//! What callers hand in: changes that are written together or not at all.

use crate::tables::{directory, key_value, meta};

/// One change to one table. Each kind of data has a variant and a file in `tables/`.
#[derive(Debug)]
pub(crate) enum Operation {
    Directory(directory::Change),
    Meta(meta::Change),
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
