//! Where a database lies, and how it is opened again while the gateway runs.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase};

use crate::error::OpenError;
use crate::open::{self, Checked};
use crate::options::Options;
use crate::tables;
use crate::watched::{Suspicion, Watched};

/// A new file while it is filled. What it holds counts only once it has the name of the file.
const UNFINISHED: &str = "redb.new";
/// How many times what it holds a file may take before it is rewritten at a start.
const SPARSE: u64 = 4;

/// Where a database lies.
#[derive(Debug)]
pub(crate) struct Origin {
    place: Place,
    options: Options,
    /// Whether what the system shows of it may differ from what is on disk.
    suspicion: Suspicion,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Memory,
    #[cfg(feature = "test-disk")]
    Disk(crate::disk::Disk),
}

impl Origin {
    pub(crate) fn file(path: PathBuf, options: &Options) -> Self {
        Self { place: Place::File(path), options: options.clone(), suspicion: Suspicion::default() }
    }

    pub(crate) fn memory(options: &Options) -> Self {
        Self { place: Place::Memory, options: options.clone(), suspicion: Suspicion::default() }
    }

    #[cfg(feature = "test-disk")]
    pub(crate) fn disk(disk: &crate::disk::Disk, options: &Options) -> Self {
        Self { place: Place::Disk(disk.clone()), options: options.clone(), suspicion: Suspicion::default() }
    }

    /// What errors call it.
    pub(crate) fn path(&self) -> &Path {
        match &self.place {
            Place::File(path) => path,
            Place::Memory => Path::new("memory"),
            #[cfg(feature = "test-disk")]
            Place::Disk(_) => Path::new("disk"),
        }
    }

    /// Whether it is a file of the system's.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// Opens it as it lies there.
    pub(crate) fn open(&self, checked: Checked) -> Result<Database, OpenError> {
        let database = open::guarded(self.path(), || {
            let mut builder = open::builder(&self.options);
            let (length, watched): (u64, _) = match &self.place {
                Place::Memory => return builder.create_with_backend(redb::backends::InMemoryBackend::new()),
                Place::File(path) => {
                    let file = OpenOptions::new().read(true).write(true).open(path)?;
                    (file.metadata()?.len(), Watched::new(FileBackend::new(file)?, &self.suspicion))
                }
                #[cfg(feature = "test-disk")]
                Place::Disk(disk) => {
                    let length = redb::StorageBackend::len(disk)?;
                    builder.set_check_integrity_on_open(length > 0 && checked.covers(length, &self.options));
                    return builder.create_with_backend(Watched::new(disk.clone(), &self.suspicion));
                }
            };
            builder.set_check_integrity_on_open(checked.covers(length, &self.options));
            let shown = self.path().to_owned();
            builder.set_repair_callback(move |session| {
                tracing::debug!(path = %shown.display(), progress = session.progress(), "checking the store");
            });
            builder.create_with_backend(watched)
        })?;
        open::prepare(&database, self.path())?;
        Ok(database)
    }

    /// Opens it after a failure. Where a sync has failed, that is a copy of it: of what the system shows, nobody knows
    /// which pages it will ever write.
    pub(crate) fn open_again(&self) -> Result<Database, OpenError> {
        if let Place::Memory = self.place {
            return Err(OpenError::Engine {
                path: self.path().to_owned(),
                why: "memory does not come back".to_owned(),
            });
        }
        if self.suspicion.arises() {
            self.rewrite()?;
            self.suspicion.is_settled();
        }
        self.open(Checked::Always)
    }

    /// Rewrites a large file that is mostly empty, so that what once was much does not stay on disk for ever. Before
    /// anybody waits for it, since it takes as long as what it holds is large. The file as it is does as well: whatever
    /// is in the way is only told.
    pub(crate) fn tidied(&self, database: Database) -> Result<Database, OpenError> {
        let Place::File(path) = &self.place else { return Ok(database) };
        let length = std::fs::metadata(path).map_or(0, |found| found.len());
        if length < self.options.rewrite_from {
            return Ok(database);
        }
        match live_bytes(&database) {
            Ok(live) if live.saturating_mul(SPARSE) < length => {}
            _ => return Ok(database),
        }
        drop(database);
        match self.rewrite() {
            Ok(()) => {
                let now = std::fs::metadata(path).map_or(0, |found| found.len());
                tracing::info!(path = %path.display(), before = length, after = now, "the store was rewritten to be smaller");
            }
            Err(why) => tracing::warn!(%why, "the store could not be rewritten to be smaller"),
        }
        self.open(Checked::Small)
    }

    /// Copies all that is there to a new file, which takes the place of the old one when it is whole.
    fn rewrite(&self) -> Result<(), OpenError> {
        let from = self.open(Checked::Always)?;
        match &self.place {
            Place::Memory => Ok(()),
            Place::File(path) => {
                let unfinished = path.with_extension(UNFINISHED);
                open::private(&mut OpenOptions::new())
                    .create(true)
                    .truncate(true)
                    .open(&unfinished)
                    .map_err(|source| OpenError::Io { action: "make", path: unfinished.clone(), source })?;
                let copied = self.copy(&from, &unfinished, |builder| builder.create(&unfinished));
                drop(from);
                let renamed = copied.and_then(|()| {
                    std::fs::rename(&unfinished, path).map_err(|source| OpenError::Io {
                        action: "make",
                        path: path.clone(),
                        source,
                    })
                });
                if renamed.is_err() {
                    // It takes room that the file itself may need.
                    let _ = std::fs::remove_file(&unfinished);
                }
                renamed?;
                sync_directory(path)
            }
            #[cfg(feature = "test-disk")]
            Place::Disk(disk) => {
                let aside = disk.aside();
                self.copy(&from, self.path(), |builder| builder.create_with_backend(aside.clone()))?;
                drop(from);
                disk.replace_with(&aside);
                Ok(())
            }
        }
    }

    fn copy(
        &self,
        from: &Database,
        path: &Path,
        make: impl FnOnce(&redb::Builder) -> Result<Database, DatabaseError>,
    ) -> Result<(), OpenError> {
        let to = open::guarded(path, || make(&open::builder(&self.options)))?;
        let copied = open::stumbling(|| {
            let (reading, writing) = (from.begin_read()?, to.begin_write()?);
            tables::copy(&reading, &writing)?;
            Ok(writing.commit()?)
        });
        copied.map_err(|fault| OpenError::Engine { path: path.to_owned(), why: fault.0 })?;
        // Closing writes as well, and must have worked before the file may take the other's place.
        to.close().map_err(|why| OpenError::Engine { path: path.to_owned(), why: why.to_string() })
    }
}

/// Octets of rows and of what it takes to find them.
fn live_bytes(database: &Database) -> Result<u64, tables::Fault> {
    let transaction = database.begin_write()?;
    let statistics = transaction.stats()?;
    let live = statistics.stored_bytes() + statistics.metadata_bytes();
    transaction.abort()?;
    Ok(live)
}

/// A new name must outlast a power cut as well. Where directories cannot be synced, nothing more can be done.
pub(crate) fn sync_directory(path: &Path) -> Result<(), OpenError> {
    let synced = match path.parent().map(File::open) {
        Some(Ok(directory)) => directory.sync_all(),
        _ => Ok(()),
    };
    match synced {
        Err(source) if source.kind() != io::ErrorKind::InvalidInput => {
            Err(OpenError::Io { action: "sync the directory of", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
