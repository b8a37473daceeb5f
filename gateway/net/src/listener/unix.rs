//! Unix sockets: a file that is made, guarded by its mode, and removed.
//!
//! A gateway that was killed leaves its file behind, and the system refuses to bind where a file is. So a socket on which
//! nobody listens is removed; one that somebody listens on, and anything that is no socket, stays.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::listener::endpoint::Endpoint;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Octets of a path that the system takes (`sun_path` of unix(7), with its terminating zero).
pub const MAX_SOCKET_PATH: usize = 107;

/// Who may connect unless the configuration says otherwise: the user that the gateway runs as.
pub(crate) const DEFAULT_MODE: u32 = 0o600;

/// The file of a socket that we listen on. Removed on drop, if it is still ours: a successor may have its own there.
#[derive(Debug)]
pub(crate) struct SocketFile(FileKey);

/// Names such a file, for those who do not hold the socket.
#[derive(Clone, Debug)]
pub(crate) struct FileKey {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    pub(crate) fn key(&self) -> &FileKey {
        &self.0
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.0.is_ours() {
            // If it stays, the next start finds nobody there and removes it.
            let _ = fs::remove_file(&self.0.path);
        }
    }
}

impl FileKey {
    /// Says anew who may connect.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        if self.is_ours() {
            fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// Where it is.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.path.clone())
    }

    fn is_ours(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity)
    }
}

/// What stands where a socket is to be.
pub(crate) enum InTheWay {
    /// Somebody listens there.
    Listener,
    /// Something that is no socket.
    File,
    /// What the system says.
    Error(io::Error),
}

/// A listening socket at `path`. Nobody can connect before the file has its mode: until then nothing listens.
pub(crate) fn listen(path: &Path, mode: u32, backlog: u32) -> Result<(UnixListener, SocketFile), InTheWay> {
    remove_stale(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let opened = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let socket = opened.map_err(|error| InTheWay::Error(error.into()))?;
    let bound = SocketAddrUnix::new(path).and_then(|address| rustix::net::bind(&socket, &address));
    bound.map_err(|error| InTheWay::Error(error.into()))?;
    let file = (|| {
        let made = fs::symlink_metadata(path)?;
        let file = SocketFile(FileKey { path: path.to_owned(), identity: (made.dev(), made.ino()) });
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        rustix::net::listen(&socket, i32::try_from(backlog.max(1)).unwrap_or(i32::MAX))?;
        Ok(file)
    })();
    file.map(|file| (UnixListener::from(socket), file)).map_err(InTheWay::Error)
}

/// Removes a socket that nobody listens on.
fn remove_stale(path: &Path) -> Result<(), InTheWay> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(InTheWay::Error(error)),
    };
    if !found.file_type().is_socket() {
        return Err(InTheWay::File);
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(InTheWay::Error)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(InTheWay::Error(error)),
        // It answers, or its queue is full, or it is of another kind: somebody has it.
        Ok(_) | Err(_) => Err(InTheWay::Listener),
    }
}
