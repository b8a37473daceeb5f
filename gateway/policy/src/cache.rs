//! Compiled code on disk, so that a restart compiles nothing.
//!
//! One file for each component and engine: `<digest>-<compatibility>.cwasm`. Loading compiled code is loading a program
//! into the gateway, so a file is believed only if the gateway itself wrote it: it begins with an HMAC-SHA-256 over the
//! component's digest, the engine's compatibility and the code, under a key that lies outside the cache. A file that
//! was damaged, renamed, or brought from elsewhere fails the check, is removed, and the component is compiled again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::code::MachineCode;
use crate::digest::authenticate;

const MAGIC: &[u8; 8] = b"PCCWASM1";
const HEADER: usize = MAGIC.len() + 32;
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
    pub(crate) fn load(&self, digest: &str, compatibility: &str) -> Result<MachineCode, Miss> {
        let path = self.path(digest, compatibility);
        let mut file = File::open(&path).map_err(|_| Miss::Absent)?;
        // Read once and checked in memory: what is checked is what is loaded, whoever writes to the file meanwhile.
        if let Ok((header, code)) = parts(&mut file)
            && header.starts_with(MAGIC)
            && same(
                &header[MAGIC.len()..],
                &authenticate(&self.key, &[digest.as_bytes(), compatibility.as_bytes(), &code]),
            )
        {
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
        let tag = authenticate(&self.key, &[digest.as_bytes(), compatibility.as_bytes(), code]);
        let written = (|| {
            let mut file = private().create_new(true).open(&temporary)?;
            file.write_all(MAGIC)?;
            file.write_all(&tag)?;
            file.write_all(code)?;
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

fn parts(file: &mut File) -> io::Result<([u8; HEADER], MachineCode)> {
    let mut header = [0; HEADER];
    file.read_exact(&mut header)?;
    let rest = file.metadata()?.len().saturating_sub(HEADER as u64);
    Ok((header, MachineCode::from_file(file, usize::try_from(rest).map_err(io::Error::other)?)?))
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

    #[test]
    fn what_was_stored_is_loaded_also_after_a_restart() {
        let (data, cache) = cache();
        assert_eq!(cache.load("d", "c"), Err(Miss::Absent));
        cache.store("d", "c", b"code").expect("stored");
        assert_eq!(cache.load("d", "c").expect("hit").to_vec(), b"code");
        let again = CodeCache::open(data.path()).expect("cache");
        assert_eq!(again.load("d", "c").expect("hit").to_vec(), b"code");
    }

    #[test]
    fn every_damaged_octet_is_noticed() {
        let (_data, cache) = cache();
        cache.store("d", "c", b"code").expect("stored");
        let whole = fs::read(cache.path("d", "c")).expect("file");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(cache.path("d", "c"), damaged).expect("written");
            assert_eq!(cache.load("d", "c"), Err(Miss::Refused), "octet {at}");
            assert!(!cache.path("d", "c").exists());
        }
        for length in 0..whole.len() {
            fs::write(cache.path("d", "c"), &whole[..length]).expect("written");
            assert_eq!(cache.load("d", "c"), Err(Miss::Refused), "length {length}");
        }
    }

    #[test]
    fn a_file_is_good_for_one_component_one_engine_and_one_gateway() {
        let (_data, cache) = cache();
        cache.store("d", "c", b"code").expect("stored");
        fs::copy(cache.path("d", "c"), cache.path("e", "c")).expect("copied");
        assert_eq!(cache.load("e", "c"), Err(Miss::Refused));
        fs::copy(cache.path("d", "c"), cache.path("d", "x")).expect("copied");
        assert_eq!(cache.load("d", "x"), Err(Miss::Refused));
        let (_elsewhere, other) = self::cache();
        fs::copy(cache.path("d", "c"), other.path("d", "c")).expect("copied");
        assert_eq!(other.load("d", "c"), Err(Miss::Refused));
    }

    #[test]
    fn files_are_private_and_few() {
        use std::os::unix::fs::PermissionsExt;
        let (data, cache) = cache();
        for n in 0..MAX_FILES + 5 {
            cache.store(&format!("d{n}"), "c", b"code").expect("stored");
        }
        let mode = |path: &Path| fs::metadata(path).expect("file").permissions().mode() & 0o777;
        assert_eq!(mode(&cache.path(&format!("d{}", MAX_FILES + 4), "c")), 0o600);
        assert_eq!(mode(&data.path().join("cache.key")), 0o600);
        assert_eq!(mode(&cache.directory), 0o700);
        assert_eq!(fs::read_dir(&cache.directory).expect("directory").count(), MAX_FILES);
    }
}
