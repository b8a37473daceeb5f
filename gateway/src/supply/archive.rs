//! The versions of policies that were live, in the data directory: `policies/<name>/<digest>.wasm`, with the signature
//! beside it, and `record.json`, which says what they are.
//!
//! A component is on disk whole before the record names it, and is removed after the record has forgotten it: whenever
//! the power fails, the record that is found leads to what is there.

use std::io;
use std::path::{Path, PathBuf};

use hyper::body::Bytes;

use super::Component;
use super::record::{Record, TakenBack, Version};
use crate::files::{self, Readers};

/// Octets of all kept versions of one policy; the live one and the one before are kept in any case.
const OCTETS: u64 = 256 << 20;
const RECORD: &str = "record.json";

/// The folder. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    folder: PathBuf,
    data: PathBuf,
}

/// What is about to be live.
pub(crate) struct Change<'a> {
    /// The policy's configured name.
    pub(crate) name: &'a str,
    /// What is put in place.
    pub(crate) component: &'a Component,
    /// How many versions are kept.
    pub(crate) keep: usize,
    /// Seconds since 1970.
    pub(crate) now: u64,
    /// The version that it replaces, if that is not to be taken up again.
    pub(crate) taken_back: Option<TakenBack>,
}

impl Archive {
    /// In a data directory. Nothing is made before there is something to keep.
    pub(crate) fn of(data: &Path) -> Self {
        Self { folder: data.join("policies"), data: data.to_owned() }
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// What is remembered of a policy. A record that cannot be read is reported, and counts as none.
    pub(crate) async fn record(&self, name: &str) -> Record {
        let path = self.folder.join(name).join(RECORD);
        match tokio::fs::read(&path).await {
            Ok(content) => serde_json::from_slice(&content).unwrap_or_else(|why| {
                tracing::error!(
                    "{} cannot be understood and is begun anew, so that earlier versions are forgotten: {why}",
                    path.display()
                );
                Record::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Record::default(),
            Err(error) => {
                tracing::error!("{} cannot be read: {}", path.display(), crate::plain(&error));
                Record::default()
            }
        }
    }

    /// A kept component and its signature.
    pub(crate) async fn read(&self, name: &str, digest: &str) -> io::Result<(Bytes, Option<String>)> {
        let folder = self.folder.join(name);
        let bytes = tokio::fs::read(folder.join(format!("{digest}.wasm"))).await?;
        let signature = tokio::fs::read_to_string(folder.join(format!("{digest}.minisig"))).await.ok();
        Ok((bytes.into(), signature))
    }

    /// Notes that a version goes live. When this returns, a restart finds it so.
    ///
    /// # Errors
    /// The disk refuses. A restart finds what was there before.
    pub(crate) async fn goes_live(&self, change: Change<'_>) -> io::Result<()> {
        let Change { name, component, keep, now, taken_back } = change;
        let before = self.record(name).await;
        let folder = self.folder.join(name);
        let is_builtin = component.origin.starts_with("builtin:");
        let same = before.live.as_deref() == Some(&*component.digest)
            && before.stands_in_for.as_deref() == (component.digest != component.source).then_some(&*component.source)
            && taken_back.is_none()
            && before.was_taken_back(&component.digest).is_none();
        let is_kept = folder.join(format!("{}.wasm", component.digest)).exists();
        let signature = tokio::fs::read_to_string(folder.join(format!("{}.minisig", component.digest))).await.ok();
        let same_signature = signature == component.signature;
        if same && (is_builtin || is_kept && same_signature) {
            return Ok(());
        }
        let mut record = before;
        let version = Version {
            digest: component.digest.to_string(),
            origin: component.origin.clone(),
            octets: component.bytes.len() as u64,
            since: now,
            how: component.how,
        };
        if let Some(taken) = taken_back {
            record.takes_back(taken);
        }
        let gone = record.goes_live(version, &component.source, keep, OCTETS);
        let component = component.clone();
        let write = move || -> io::Result<()> {
            files::make_directory(&folder)?;
            let file = |digest: &str, kind: &str| folder.join(format!("{digest}.{kind}"));
            if let Some(signature) = component.signature.as_ref().filter(|_| !same_signature) {
                files::write(&file(&component.digest, "minisig"), signature.as_bytes(), Readers::Owner)?;
            }
            // A built-in one comes with the program.
            if !is_builtin && !is_kept {
                files::write(&file(&component.digest, "wasm"), &component.bytes, Readers::Owner)?;
            }
            let content = serde_json::to_vec_pretty(&record)?;
            files::write(&folder.join(RECORD), &content, Readers::Owner)?;
            for version in gone {
                for kind in ["wasm", "minisig"] {
                    // What is left over costs room and nothing else.
                    let _ = std::fs::remove_file(file(&version.digest, kind));
                }
            }
            Ok(())
        };
        tokio::task::spawn_blocking(write).await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::How;
    use super::*;

    fn component(content: &'static [u8], how: How, source: &str) -> Component {
        let made = Component::new(Bytes::from_static(content), "x.wasm".to_owned(), Some("signed".to_owned()));
        made.standing_in(how, source.into())
    }

    async fn put(archive: &Archive, component: &Component) {
        let change = Change { name: "p", component, keep: 2, now: 7, taken_back: None };
        archive.goes_live(change).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_live_is_found_again_and_what_is_old_is_gone() {
        let data = tempfile::tempdir().unwrap();
        let archive = Archive::of(data.path());
        let digests: Vec<_> =
            [&b"one"[..], b"two", b"three"].iter().map(|content| portcullis_policy::digest_of(content)).collect();
        put(&archive, &component(b"one", How::Source, &digests[0])).await;
        put(&archive, &component(b"two", How::Promoted, &digests[0])).await;
        let record = archive.record("p").await;
        assert_eq!(record.instead_of(&digests[0]), Some(digests[1].as_str()));
        assert_eq!(record.how(&digests[1]), How::Promoted);
        put(&archive, &component(b"three", How::Source, &digests[2])).await;
        assert_eq!(&archive.read("p", &digests[1]).await.unwrap().0[..], b"two");
        assert_eq!(archive.read("p", &digests[1]).await.unwrap().1.as_deref(), Some("signed"));
        assert!(archive.read("p", &digests[0]).await.is_err());
        let files = std::fs::read_dir(data.path().join("policies/p")).unwrap().count();
        assert_eq!(files, 5, "two components, two signatures, one record");
    }

    #[tokio::test]
    async fn a_damaged_record_is_no_reason_not_to_start() {
        let data = tempfile::tempdir().unwrap();
        let archive = Archive::of(data.path());
        std::fs::create_dir_all(data.path().join("policies/p")).unwrap();
        std::fs::write(data.path().join("policies/p/record.json"), b"{\"live\":").unwrap();
        assert_eq!(archive.record("p").await, Record::default());
    }
}
