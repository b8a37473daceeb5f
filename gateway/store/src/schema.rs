//! The version of the schema in the file, and the way from each version to the next.
//!
//! The version is written in the transaction that makes it true, so a crash leaves the file whole in the one or the
//! other. A file without any table is of version 0; making the tables is the first migration like any other.

use redb::{Database, WriteTransaction};

use crate::tables::{self, Fault, meta};

/// One step: what leads from version `n` to `n + 1`, `n` being its place in the list. It must not lose data, and must
/// work on what a store of version `n` wrote, so it names tables by itself and is never edited once released.
pub(crate) type Migration = fn(&WriteTransaction) -> Result<(), Fault>;

/// In order, from version 0.
pub(crate) const MIGRATIONS: &[Migration] = &[tables::create, tables::sessions::create];

/// The version that this build writes and reads.
pub const VERSION: u32 = MIGRATIONS.len() as u32;

const NAME: &str = "schema-version";

/// Why a file's schema is not ours to use.
#[derive(Debug)]
pub(crate) enum SchemaError {
    Newer(u32),
    Foreign,
    Damaged(String),
    Engine(Fault),
}

impl<T: Into<Fault>> From<T> for SchemaError {
    fn from(fault: T) -> Self {
        Self::Engine(fault.into())
    }
}

/// Brings a file to the version at the end of `migrations`. Returns the version it had.
pub(crate) fn migrate(database: &Database, migrations: &[Migration]) -> Result<u32, SchemaError> {
    let known = migrations.len() as u32;
    let found = version(database)?;
    if found > known {
        return Err(SchemaError::Newer(found));
    }
    if found < known {
        let transaction = database.begin_write()?;
        for step in &migrations[found as usize..] {
            step(&transaction)?;
        }
        meta::Writing::open(&transaction)?.apply(&meta::Change { name: NAME, bytes: known.to_le_bytes().to_vec() })?;
        transaction.commit()?;
    }
    Ok(found)
}

fn version(database: &Database) -> Result<u32, SchemaError> {
    use redb::ReadableDatabase;
    let transaction = database.begin_read()?;
    match meta::get(&transaction, NAME)? {
        Some(bytes) => match <[u8; 4]>::try_from(bytes.as_slice()) {
            Ok(bytes) => Ok(u32::from_le_bytes(bytes)),
            Err(_) => Err(SchemaError::Damaged(format!("its schema version has {} octets", bytes.len()))),
        },
        None if tables::is_empty(&transaction)? => Ok(0),
        None => Err(SchemaError::Foreign),
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    fn database() -> Database {
        Database::builder().create_with_backend(InMemoryBackend::new()).unwrap()
    }

    #[test]
    fn an_older_file_is_migrated_in_order_and_only_once() {
        const OLD: redb::TableDefinition<'static, &str, &[u8]> = redb::TableDefinition::new("meta");
        let add: Migration = |transaction| {
            transaction.open_table(OLD)?.insert("trail", b"2".as_slice())?;
            Ok(())
        };
        let append: Migration = |transaction| {
            let mut table = transaction.open_table(OLD)?;
            let trail = table.remove("trail")?.map_or(Vec::new(), |bytes| bytes.value().to_vec());
            table.insert("trail", [trail, b"3".to_vec()].concat().as_slice())?;
            Ok(())
        };
        let database = database();
        assert_eq!(migrate(&database, MIGRATIONS).unwrap(), 0);
        let longer = [MIGRATIONS, &[add, append]].concat();
        assert_eq!(migrate(&database, &longer).unwrap(), VERSION);
        assert_eq!(migrate(&database, &longer).unwrap(), VERSION + 2);
        use redb::ReadableDatabase;
        assert_eq!(meta::get(&database.begin_read().unwrap(), "trail").unwrap(), Some(b"23".to_vec()));
    }

    #[test]
    fn a_newer_file_is_refused_untouched() {
        let database = database();
        let longer = [MIGRATIONS, &[(|_| Ok(())) as Migration]].concat();
        migrate(&database, &longer).unwrap();
        assert!(matches!(migrate(&database, MIGRATIONS), Err(SchemaError::Newer(found)) if found == VERSION + 1));
        assert_eq!(version(&database).unwrap(), VERSION + 1);
    }

    #[test]
    fn a_failed_migration_leaves_the_old_version() {
        let database = database();
        migrate(&database, MIGRATIONS).unwrap();
        let fail: Migration = |transaction| {
            tables::create(transaction)?;
            Err(Fault("no".to_owned()))
        };
        assert!(matches!(migrate(&database, &[MIGRATIONS, &[fail]].concat()), Err(SchemaError::Engine(_))));
        assert_eq!(version(&database).unwrap(), VERSION);
    }

    #[test]
    fn a_file_of_another_program_is_not_ours() {
        let database = database();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap();
        transaction.commit().unwrap();
        assert!(matches!(migrate(&database, MIGRATIONS), Err(SchemaError::Foreign)));
    }
}
