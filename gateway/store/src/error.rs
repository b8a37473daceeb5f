//! What can go wrong with storage, worded for the person who reads the log.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a store cannot be opened. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store of this one, has the data directory.
    #[error("the data directory {} is in use by another Portcullis process; stop that one, or give this one another directory with --data", .0.display())]
    InUse(PathBuf),
    /// The file's schema is of a later version.
    #[error(
        "{} was written by a newer Portcullis (schema {found}; this one knows {known}); use the newer version, or another data directory",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// The latest version that this build knows.
        known: u32,
    },
    /// The file is not intact. It is left as it is.
    #[error("{} is damaged ({why}); it was left as it is: restore it from a backup, or move it away to start empty", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The file is intact, but not ours.
    #[error("{} is a database of another program; move it away or give another directory with --data", .0.display())]
    Foreign(PathBuf),
    /// The operating system refused.
    #[error("cannot {action} {}: {source}{}", path.display(), mend(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The storage engine refused.
    #[error("cannot open {}: {why}", path.display())]
    Engine {
        /// The file.
        path: PathBuf,
        /// What it says.
        why: String,
    },
}

/// What the operator can do about it, where that is known.
fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "; make room on the disk, or in the quota of the gateway's user"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; the data directory must be on a file system that is mounted writable",
        io::ErrorKind::PermissionDenied => "; the gateway's user must be allowed to read and write it",
        _ => "",
    }
}

/// Why something could not be stored or read. Cloned to all callers whose batches shared the transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// More is waiting to be written than [`crate::Options::queue`] allows. Nothing was written; try again later.
    #[error("the store has more to write than it may hold back")]
    Busy,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The disk is full, or failed, or the file is damaged. Nothing of the batch can be relied upon; it may be found
    /// written, whole, when the store is back.
    #[error("the store failed: {0}")]
    Failed(Arc<str>),
}

/// Why an operation on a namespace of keys and values failed. Nothing was changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyValueError {
    /// The namespace has used up its share.
    #[error("the namespace has used up its {0} octets of storage")]
    Full(u64),
    /// It has as many keys as it may have.
    #[error("the namespace has its {0} keys, and may have no more")]
    TooMany(u64),
    /// A key or value is too long, a time to live is 0, or `increment` met what is not a number.
    #[error("{0}")]
    Invalid(String),
    /// The store itself failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
