//! Compiled code on disk, so that a restart compiles nothing, and so that its pages are the system's to take and give back.
//!
//! One file for each component and engine: `<digest>-<compatibility>.cwasm`. Loading compiled code is loading a program
//! into the gateway, so a file is believed only if the gateway itself wrote it: behind the code it has an HMAC-SHA-256 over
//! the component's digest, the engine's compatibility and the code, under a key that lies outside the cache. A file that
//! was damaged, renamed, or brought from elsewhere fails the check, is removed, and the component is compiled again.
//!
//! What was verified is then mapped, not read (ARCHITECTURE.md says what that saves). So the code of a running gateway is in
//! this file as it is in the gateway's own binary: nobody may write to it. It is replaced by renaming, never in place, and
//! it is made read-only. Whoever can change it all the same has the rights of the gateway's user, and with them the key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::code::MachineCode;
use crate::digest::Authenticator;

/// What stands between the code and its tag. The code comes first: it is mapped in whole pages.
const MAGIC: &[u8; 8] = b"PCCWASM2";
const TRAILER: usize = MAGIC.len() + 32;
/// Octets that are verified at a time.
const PIECE: usize = 64 << 10;
/// The most files that are kept; the oldest go first.
const MAX_FILES: usize = 64;

/// The cache of one data directory.
#[derive(Debug)]
pub(crate) struct CodeCache {
    directory: PathBuf,
    key: [u8; 32],
}

/// Why there is nothing to load.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// There is no such file.
    Absent,
    /// There was one that is not to be believed; it is gone now.
    Refused,
}

impl CodeCache {
    /// Opens `<data>/cache/policies` with the key `<data>/cache.key`, making what is not there.
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        let directory = data.join("cache").join("policies");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        Ok(Self { key: key(&data.join("cache.key"))?, directory })
    }

    /// The machine code for a component, checked.
    pub(crate) fn load(&self, digest: &str, compatibility: &str) -> Result<Verified, Miss> {
        let path = self.path(digest, compatibility);
        let file = File::open(&path).map_err(|_| Miss::Absent)?;
        if let Ok(Some(code)) = verify(file, self.about(digest, compatibility)) {
            return Ok(code);
        }
        tracing::warn!(file = %path.display(), "a file of compiled policy code is damaged or not ours; it is removed and the policy compiled again");
        let _ = fs::remove_file(&path);
        Err(Miss::Refused)
    }

    /// Keeps machine code. The file appears whole or not at all.
    pub(crate) fn store(&self, digest: &str, compatibility: &str, code: &[u8]) -> io::Result<()> {
        let path = self.path(digest, compatibility);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let temporary = path.with_extension(format!("{}.tmp", crate::digest::hex(&random)));
        let tag = self.about(digest, compatibility).part(code).tag();
        let written = (|| {
            let mut file = private().create_new(true).open(&temporary)?;
            file.write_all(code)?;
            file.write_all(MAGIC)?;
            file.write_all(&tag)?;
            file.set_permissions(fs::Permissions::from_mode(0o400))?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        self.trim();
        written
    }

    /// Removes what is left of the file for a component, because wasmtime did not take it.
    pub(crate) fn forget(&self, digest: &str, compatibility: &str) {
        let _ = fs::remove_file(self.path(digest, compatibility));
    }

    /// What a tag is about, but for the code.
    fn about(&self, digest: &str, compatibility: &str) -> Authenticator {
        Authenticator::new(&self.key).part(digest.as_bytes()).part(compatibility.as_bytes())
    }

    fn path(&self, digest: &str, compatibility: &str) -> PathBuf {
        self.directory.join(format!("{digest}-{compatibility}.cwasm"))
    }

    /// Hot reload leaves a file for each version of a policy; only the latest are worth their place.
    fn trim(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let mut files: Vec<_> = entries
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let surplus = files.len().saturating_sub(MAX_FILES);
        for (_, path) in files.into_iter().take(surplus) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Machine code that was verified, in its file.
#[derive(Debug)]
pub(crate) struct Verified {
    file: File,
    length: u64,
}

impl Verified {
    /// A path that leads to the file that was verified, whatever has become of its name.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Reads it into memory.
    pub(crate) fn read(&self) -> io::Result<MachineCode> {
        let length = usize::try_from(self.length).map_err(io::Error::other)?;
        MachineCode::from_file(&mut &self.file, length)
    }
}

/// Reads a file in pieces: what is verified is not kept in memory. None: it is not to be believed.
fn verify(mut file: File, about: Authenticator) -> io::Result<Option<Verified>> {
    let Some(length) = file.metadata()?.len().checked_sub(TRAILER as u64) else { return Ok(None) };
    let mut tag = about.part_of(length);
    let (mut rest, mut buffer) = (length, vec![0; PIECE]);
    while rest > 0 {
        let piece = &mut buffer[..usize::try_from(rest).unwrap_or(PIECE).min(PIECE)];
        file.read_exact(piece)?;
        tag = tag.piece(piece);
        rest -= piece.len() as u64;
    }
    let mut trailer = [0; TRAILER];
    file.read_exact(&mut trailer)?;
    file.rewind()?;
    let (magic, theirs) = trailer.split_at(MAGIC.len());
    Ok((magic == MAGIC && same(theirs, &tag.tag())).then_some(Verified { file, length }))
}

/// Options for files that only the gateway's user may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    match File::open(path) {
        Ok(mut file) => {
            let mut rest = [0];
            if file.read_exact(&mut key).is_ok() && file.read(&mut rest)? == 0 {
                return Ok(key);
            }
            // Half a key: the one who wrote it was interrupted. Everything is compiled again.
            fs::remove_file(path)?;
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        Err(why) => return Err(why),
    }
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let mut file = private().create_new(true).open(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

/// Compares without telling by time where two tags differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, CodeCache) {
        let data = tempfile::tempdir().expect("directory");
        let cache = CodeCache::open(data.path()).expect("cache");
        (data, cache)
    }

    fn miss(cache: &CodeCache, digest: &str, compatibility: &str) -> Option<Miss> {
        cache.load(digest, compatibility).err()
    }

    #[test]
    fn what_was_stored_is_loaded_also_after_a_restart() {
        let (data, cache) = cache();
        assert_eq!(miss(&cache, "d", "c"), Some(Miss::Absent));
        for code in [&b""[..], b"code", &[7; PIECE], &[7; 3 * PIECE + 1]] {
            cache.store("d", "c", code).expect("stored");
            assert_eq!(*cache.load("d", "c").expect("hit").read().expect("read"), *code);
            let again = CodeCache::open(data.path()).expect("cache");
            assert_eq!(*again.load("d", "c").expect("hit").read().expect("read"), *code);
        }
    }

    #[test]
    fn what_was_verified_stays_though_its_name_is_given_away() {
        let (_data, cache) = cache();
        cache.store("d", "c", b"code").expect("stored");
        let code = cache.load("d", "c").expect("hit");
        cache.store("d", "c", b"other").expect("stored");
        let through_its_path = fs::read(code.path()).expect("file");
        assert!(through_its_path.starts_with(b"code"), "{through_its_path:?}");
    }

    #[test]
    fn every_damaged_octet_is_noticed() {
        let (_data, cache) = cache();
        cache.store("d", "c", b"code").expect("stored");
        let whole = fs::read(cache.path("d", "c")).expect("file");
        fs::remove_file(cache.path("d", "c")).expect("removed");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(cache.path("d", "c"), damaged).expect("written");
            assert_eq!(miss(&cache, "d", "c"), Some(Miss::Refused), "octet {at}");
            assert!(!cache.path("d", "c").exists());
        }
        for length in 0..whole.len() {
            fs::write(cache.path("d", "c"), &whole[..length]).expect("written");
            assert_eq!(miss(&cache, "d", "c"), Some(Miss::Refused), "length {length}");
        }
    }

    #[test]
    fn a_file_is_good_for_one_component_one_engine_and_one_gateway() {
        let (_data, cache) = cache();
        cache.store("d", "c", b"code").expect("stored");
        fs::copy(cache.path("d", "c"), cache.path("e", "c")).expect("copied");
        assert_eq!(miss(&cache, "e", "c"), Some(Miss::Refused));
        fs::copy(cache.path("d", "c"), cache.path("d", "x")).expect("copied");
        assert_eq!(miss(&cache, "d", "x"), Some(Miss::Refused));
        let (_elsewhere, other) = self::cache();
        fs::copy(cache.path("d", "c"), other.path("d", "c")).expect("copied");
        assert_eq!(miss(&other, "d", "c"), Some(Miss::Refused));
    }

    #[test]
    fn files_are_private_and_few() {
        let (data, cache) = cache();
        for n in 0..MAX_FILES + 5 {
            cache.store(&format!("d{n}"), "c", b"code").expect("stored");
        }
        let mode = |path: &Path| fs::metadata(path).expect("file").permissions().mode() & 0o777;
        assert_eq!(mode(&cache.path(&format!("d{}", MAX_FILES + 4), "c")), 0o400);
        assert_eq!(mode(&data.path().join("cache.key")), 0o600);
        assert_eq!(mode(&cache.directory), 0o700);
        assert_eq!(fs::read_dir(&cache.directory).expect("directory").count(), MAX_FILES);
    }
}
