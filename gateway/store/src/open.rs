//! The data directory: whose it is, how the file comes to be, and what may be wrong with it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::InMemoryBackend;
use redb::{Builder, Database, DatabaseError, StorageError};

use crate::error::OpenError;
use crate::options::Options;
use crate::schema::{self, MIGRATIONS, SchemaError};

const FILE: &str = "portcullis.redb";
/// What a first start was writing when it was interrupted. It never held data.
const UNFINISHED: &str = "portcullis.redb.new";
const LOCK: &str = "portcullis.lock";

/// An open database, and what keeps others out of its directory.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) keeper: Keeper,
}

/// Keeps the data directory; to be dropped after the database.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    /// The database's file; none in memory.
    pub(crate) path: Option<PathBuf>,
    /// Locked while it is open. The file stays: removing it would let two processes lock two files of the same name.
    _lock: Option<File>,
}

/// Opens the file in the data directory, or makes both.
pub(crate) fn open(data: &Path, options: &Options) -> Result<Opened, OpenError> {
    create_directory(data)?;
    let lock = lock(data)?;
    let path = data.join(FILE);
    let length = match std::fs::metadata(&path) {
        Ok(found) => Some(found.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(OpenError::Io { action: "read", path, source }),
    };
    let database = match length {
        // The engine would take an empty file for a new one; ours is never empty, see `create`.
        Some(0) => return Err(OpenError::Damaged { path, why: "it is empty".to_owned() }),
        Some(length) => open_file(&path, length, options)?,
        None => create(data, &path, options)?,
    };
    Ok(Opened { database, keeper: Keeper { path: Some(path), _lock: Some(lock) } })
}

/// A database in memory.
pub(crate) fn in_memory(options: &Options) -> Result<Opened, OpenError> {
    let path = PathBuf::from("memory");
    let database = guarded(&path, || builder(options).create_with_backend(InMemoryBackend::new()))?;
    prepare(&database, &path)?;
    Ok(Opened { database, keeper: Keeper::default() })
}

/// A database on a disk that a test plays, opened as a file is.
#[cfg(feature = "test-disk")]
pub(crate) fn on_disk(disk: &crate::disk::Disk, options: &Options) -> Result<Opened, OpenError> {
    let path = PathBuf::from("disk");
    let database = guarded(&path, || {
        let length = redb::StorageBackend::len(disk)?;
        let mut builder = builder(options);
        builder.set_check_integrity_on_open(length > 0 && length <= options.verify_up_to);
        builder.create_with_backend(disk.clone())
    })?;
    prepare(&database, &path)?;
    Ok(Opened { database, keeper: Keeper::default() })
}

fn create_directory(data: &Path) -> Result<(), OpenError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(data).map_err(|source| OpenError::Io { action: "make the directory", path: data.to_owned(), source })
}

/// Only the owner may read: the directory holds hashes of passwords and the gateway's private keys.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.read(true).write(true)
}

fn lock(data: &Path) -> Result<File, OpenError> {
    let path = data.join(LOCK);
    let opened = private(&mut OpenOptions::new()).create(true).truncate(false).open(&path);
    let file = opened.map_err(|source| OpenError::Io { action: "open", path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(data.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { action: "lock", path, source }),
    }
}

/// Makes the file under another name and renames it when it is whole, so that a first start that is interrupted leaves
/// nothing that looks damaged.
fn create(data: &Path, path: &Path, options: &Options) -> Result<Database, OpenError> {
    let unfinished = data.join(UNFINISHED);
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { action, path, source }
    };
    private(&mut OpenOptions::new()).create(true).truncate(true).open(&unfinished).map_err(io("make", &unfinished))?;
    let database = guarded(&unfinished, || builder(options).create(&unfinished))?;
    prepare(&database, &unfinished)?;
    std::fs::rename(&unfinished, path).map_err(io("make", path))?;
    // The new name must outlast a power cut as well. Where directories cannot be synced, nothing more can be done.
    if let Ok(directory) = File::open(data) {
        let _ = directory.sync_all();
    }
    tracing::info!(path = %path.display(), "made a new store");
    Ok(database)
}

fn open_file(path: &Path, length: u64, options: &Options) -> Result<Database, OpenError> {
    let shown = path.to_owned();
    let database = guarded(path, || {
        let mut builder = builder(options);
        builder.set_check_integrity_on_open(length <= options.verify_up_to);
        builder.set_repair_callback(move |session| {
            tracing::debug!(path = %shown.display(), progress = session.progress(), "checking the store");
        });
        builder.open(path)
    })?;
    prepare(&database, path)?;
    Ok(database)
}

fn builder(options: &Options) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache);
    builder
}

fn prepare(database: &Database, path: &Path) -> Result<(), OpenError> {
    let migrated = catch_unwind(AssertUnwindSafe(|| schema::migrate(database, MIGRATIONS)));
    let path = path.to_owned();
    match migrated {
        Ok(Ok(found)) => {
            if found != 0 && found != schema::VERSION {
                tracing::info!(path = %path.display(), from = found, to = schema::VERSION, "brought the store up to date");
            }
            Ok(())
        }
        Ok(Err(SchemaError::Newer(found))) => Err(OpenError::Newer { path, found, known: schema::VERSION }),
        Ok(Err(SchemaError::Foreign)) => Err(OpenError::Foreign(path)),
        Ok(Err(SchemaError::Damaged(why))) => Err(OpenError::Damaged { path, why }),
        Ok(Err(SchemaError::Engine(fault))) => Err(OpenError::Engine { path, why: fault.0 }),
        Err(_) => Err(OpenError::Damaged { path, why: "the engine stumbled over its contents".to_owned() }),
    }
}

/// Opens with the engine. A file that was changed behind its back may make it panic; to us that is damage like other.
fn guarded(path: &Path, open: impl FnOnce() -> Result<Database, DatabaseError>) -> Result<Database, OpenError> {
    let damaged = |why: String| OpenError::Damaged { path: path.to_owned(), why };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch)) => {
            Err(OpenError::InUse(path.parent().unwrap_or(path).to_owned()))
        }
        Ok(Err(DatabaseError::Storage(StorageError::Corrupted(why)))) => Err(damaged(why)),
        Ok(Err(DatabaseError::Storage(StorageError::Io(error)))) => Err(match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => damaged(error.to_string()),
            _ => OpenError::Io { action: "open", path: path.to_owned(), source: error },
        }),
        Ok(Err(error)) => Err(OpenError::Engine { path: path.to_owned(), why: error.to_string() }),
        Err(_) => Err(damaged("the engine stumbled over its contents".to_owned())),
    }
}
