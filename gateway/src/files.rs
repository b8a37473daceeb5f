//! Files that the gateway writes beside its database: whole or not at all, and readable by nobody else when they hold a
//! secret. And files that operators hand it, which may be anything.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Octets of the largest file that is read whole: a component may have as many.
pub(crate) const LARGEST: u64 = 64 << 20;

/// Reads a file. One that is too large is not read at all, and what is no file is not opened: a running gateway must not end
/// on the image of a disk that somebody has copied over a policy, or wait for who writes to a pipe.
///
/// # Errors
/// It is one of these, or what the operating system says.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    if metadata.len() > LARGEST {
        return Err(too_large(metadata.len()));
    }
    read_bounded(path)
}

/// Reads whatever it is, a pipe as well, and no more of it than [`LARGEST`]: for commands.
///
/// # Errors
/// There is more, or what the operating system says.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > LARGEST {
        return Err(too_large(length));
    }
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {LARGEST} octets")));
    }
    Ok(content)
}

/// The same, as text.
///
/// # Errors
/// As [`read_bounded`], and it is no text.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_bounded(path)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

fn too_large(octets: u64) -> io::Error {
    let why = format!("it has {octets} octets, and at most {LARGEST} are read");
    io::Error::new(io::ErrorKind::FileTooLarge, why)
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Only the gateway's own user: mode 0600.
    Owner,
    /// Everybody: mode 0644, less what the process's mask takes away.
    All,
}

/// Writes a file in one step: whoever reads meanwhile sees the old one or the new one, also after a crash.
///
/// # Errors
/// What the operating system says. The old file is still there then.
pub(crate) fn write(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    // One name a process: two that write at once do not mix their octets.
    let temporary = directory.join(format!(".{name}.{}.new", std::process::id()));
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::All => 0o644,
    };
    let written = (|| {
        // A leftover of a crash may have other rights.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        // The first error is the one that says something.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Makes a directory (mode 0700) and those above it, if they are not there.
///
/// # Errors
/// What the operating system says.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/secret");
        make_directory(path.parent().unwrap()).unwrap();
        write(&path, b"old", Readers::All).unwrap();
        write(&path, b"new", Readers::Owner).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing temporary stays");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let taken = directory.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        assert!(write(&taken, b"x", Readers::All).is_err());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
