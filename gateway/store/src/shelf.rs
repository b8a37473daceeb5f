//! Where the open database stands, for the writer that may take it away and everybody who reads.

use std::sync::Arc;

use parking_lot::RwLock;
use redb::Database;

use crate::tables::Fault;

/// The open database, or none while it is opened again.
#[derive(Debug)]
pub(crate) struct Shelf(RwLock<Option<Arc<Database>>>);

impl Shelf {
    pub(crate) fn new(database: Database) -> Self {
        Self(RwLock::new(Some(Arc::new(database))))
    }

    /// For one reading or one transaction: whoever keeps it keeps the file open.
    pub(crate) fn database(&self) -> Result<Arc<Database>, Fault> {
        let database = self.0.read().clone();
        database.ok_or_else(|| Fault("the file is being opened again".to_owned()))
    }

    /// Takes it away.
    pub(crate) fn clear(&self) {
        let database = self.0.write().take();
        // Closing a file may take long: not under the lock.
        drop(database);
    }

    pub(crate) fn put(&self, database: Database) {
        *self.0.write() = Some(Arc::new(database));
    }
}
