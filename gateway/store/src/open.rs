//! The data directory: whose it is, how the file comes to be, and what may be wrong with it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Builder, Database, DatabaseError, StorageError};

use crate::error::OpenError;
use crate::options::Options;
use crate::origin::{Origin, sync_directory};
use crate::schema::{self, MIGRATIONS, SchemaError};
use crate::tables::Fault;

const FILE: &str = "portcullis.redb";
/// What a first start was writing when it was interrupted. It never held data.
const UNFINISHED: &str = "portcullis.redb.new";
const LOCK: &str = "portcullis.lock";

/// An open database, how it is opened again, and what keeps others out of its directory.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) origin: Origin,
    pub(crate) keeper: Keeper,
}

/// Keeps the data directory, locked; to be dropped after the database. The file stays: removing it would let two
/// processes lock two files of the same name.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    _lock: Option<File>,
}

/// Which files are verified page by page when they are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Those up to [`Options::verify_up_to`].
    Small,
    /// All.
    Always,
}

impl Checked {
    pub(crate) fn covers(self, length: u64, options: &Options) -> bool {
        self == Self::Always || length <= options.verify_up_to
    }
}

/// Opens the file in the data directory, or makes both.
pub(crate) fn open(data: &Path, options: &Options) -> Result<Opened, OpenError> {
    create_directory(data)?;
    let lock = lock(data)?;
    let path = data.join(FILE);
    let origin = Origin::file(path.clone(), options);
    match std::fs::metadata(&path) {
        // The engine would take an empty file for a new one; ours is never empty, see `create`.
        Ok(found) if found.len() == 0 => {
            return Err(OpenError::Damaged { path, why: "it is empty".to_owned() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(data, &path, options)?,
        Err(source) => return Err(OpenError::Io { action: "read", path, source }),
    }
    let database = origin.tidied(origin.open(Checked::Small)?)?;
    Ok(Opened { database, origin, keeper: Keeper { _lock: Some(lock) } })
}

/// A database in memory.
pub(crate) fn in_memory(options: &Options) -> Result<Opened, OpenError> {
    let origin = Origin::memory(options);
    Ok(Opened { database: origin.open(Checked::Small)?, origin, keeper: Keeper::default() })
}

/// A database on a disk that a test plays, opened as a file is.
#[cfg(feature = "test-disk")]
pub(crate) fn on_disk(disk: &crate::disk::Disk, options: &Options) -> Result<Opened, OpenError> {
    let origin = Origin::disk(disk, options);
    Ok(Opened { database: origin.open(Checked::Small)?, origin, keeper: Keeper::default() })
}

fn create_directory(data: &Path) -> Result<(), OpenError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(data).map_err(|source| OpenError::Io { action: "make the directory", path: data.to_owned(), source })
}

/// Only the owner may read: the directory holds hashes of passwords and the gateway's private keys.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
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
fn create(data: &Path, path: &Path, options: &Options) -> Result<(), OpenError> {
    let unfinished = data.join(UNFINISHED);
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { action, path, source }
    };
    private(&mut OpenOptions::new()).create(true).truncate(true).open(&unfinished).map_err(io("make", &unfinished))?;
    let database = guarded(&unfinished, || builder(options).create(&unfinished))?;
    prepare(&database, &unfinished)?;
    drop(database);
    std::fs::rename(&unfinished, path).map_err(io("make", path))?;
    sync_directory(path)?;
    tracing::info!(path = %path.display(), "made a new store");
    Ok(())
}

pub(crate) fn builder(options: &Options) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache);
    builder
}

pub(crate) fn prepare(database: &Database, path: &Path) -> Result<(), OpenError> {
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
pub(crate) fn guarded(
    path: &Path,
    open: impl FnOnce() -> Result<Database, DatabaseError>,
) -> Result<Database, OpenError> {
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

/// Works with the engine on a file whose contents it may stumble over.
pub(crate) fn stumbling<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Fault("the storage engine stumbled over the file's contents".to_owned())))
}
