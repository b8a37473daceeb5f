//! What was pulled, in the data directory: `cache/oci/<digest of the reference>.json` names what is in
//! `cache/oci/<digest of the component>.wasm`.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use hyper::body::Bytes;
use portcullis_policy::digest_of;
use serde::{Deserialize, Serialize};

use super::Reference;
use crate::files::{self, Readers};

/// References that are kept; the one that was written first goes first.
const REFERENCES: usize = 32;

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

/// What a reference named.
#[derive(Clone, Debug)]
pub(crate) struct Pulled {
    /// The component.
    pub(crate) bytes: Bytes,
    /// SHA-256 of its manifest.
    pub(crate) manifest: String,
    /// The text of its signature.
    pub(crate) signature: Option<String>,
}

/// What the cache knows of a reference.
#[derive(Serialize, Deserialize)]
struct Entry {
    reference: String,
    manifest: String,
    component: String,
    signature: Option<String>,
}

impl Cache {
    /// In a folder, which need not be there.
    pub(crate) fn of(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn entry(&self, reference: &Reference) -> PathBuf {
        self.folder.join(format!("{}.json", digest_of(reference.to_string().as_bytes())))
    }

    /// What was pulled last for a reference. What was damaged is not there.
    pub(super) async fn find(&self, reference: &Reference) -> Option<Pulled> {
        let entry: Entry = serde_json::from_slice(&tokio::fs::read(self.entry(reference)).await.ok()?).ok()?;
        let bytes = tokio::fs::read(self.folder.join(format!("{}.wasm", entry.component))).await.ok()?;
        let sound = entry.reference == reference.to_string() && digest_of(&bytes) == entry.component;
        sound.then(|| Pulled { bytes: bytes.into(), manifest: entry.manifest, signature: entry.signature })
    }

    /// Keeps what was pulled.
    pub(super) async fn keep(&self, reference: &Reference, pulled: &Pulled) -> io::Result<()> {
        let (path, folder) = (self.entry(reference), self.folder.clone());
        let entry = Entry {
            reference: reference.to_string(),
            manifest: pulled.manifest.clone(),
            component: digest_of(&pulled.bytes),
            signature: pulled.signature.clone(),
        };
        let bytes = pulled.bytes.clone();
        let write = move || {
            files::make_directory(&folder)?;
            let component = folder.join(format!("{}.wasm", entry.component));
            let content = serde_json::to_vec_pretty(&entry)?;
            // What is there already is not written again: flash wears out.
            if std::fs::read(&component).is_ok_and(|there| there == bytes)
                && std::fs::read(&path).is_ok_and(|there| there == content)
            {
                return Ok(());
            }
            files::write(&component, &bytes, Readers::Owner)?;
            files::write(&path, &content, Readers::Owner)?;
            tidy(&folder)
        };
        tokio::task::spawn_blocking(write).await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
    }
}

/// Removes what is too much, and components that no reference names.
fn tidy(folder: &std::path::Path) -> io::Result<()> {
    let mut entries: Vec<(SystemTime, PathBuf)> = Vec::new();
    let mut components = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        let path = file.path();
        match path.extension().and_then(|kind| kind.to_str()) {
            Some("json") => entries.push((file.metadata()?.modified()?, path)),
            Some("wasm") => components.push(path),
            _ => {}
        }
    }
    entries.sort();
    let surplus = entries.len().saturating_sub(REFERENCES);
    for (_, path) in entries.drain(..surplus) {
        std::fs::remove_file(path)?;
    }
    let named: HashSet<String> = entries
        .iter()
        .filter_map(|(_, path)| serde_json::from_slice::<Entry>(&std::fs::read(path).ok()?).ok())
        .map(|entry| entry.component)
        .collect();
    for path in components {
        if path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| !named.contains(stem)) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_pulled_is_found_and_no_more_is_kept_than_may() {
        let data = tempfile::tempdir().unwrap();
        let cache = Cache::of(data.path().join("oci"));
        let reference = |tag: usize| Reference::parse(&format!("r.example/a:{tag}")).unwrap();
        let pulled = |content: String| Pulled {
            bytes: content.into_bytes().into(),
            manifest: "m".to_owned(),
            signature: Some("s".to_owned()),
        };
        for tag in 0..REFERENCES + 3 {
            cache.keep(&reference(tag), &pulled(format!("component {tag}"))).await.unwrap();
        }
        let last = cache.find(&reference(REFERENCES + 2)).await.unwrap();
        assert_eq!(
            (&last.bytes[..], last.signature.as_deref()),
            (format!("component {}", REFERENCES + 2).as_bytes(), Some("s"))
        );
        assert_eq!(std::fs::read_dir(data.path().join("oci")).unwrap().count(), 2 * REFERENCES);
        // A tag that moved leaves nothing behind.
        cache.keep(&reference(REFERENCES + 2), &pulled("moved".to_owned())).await.unwrap();
        assert_eq!(std::fs::read_dir(data.path().join("oci")).unwrap().count(), 2 * REFERENCES);
        // Damage is noticed.
        let component = data.path().join("oci").join(format!("{}.wasm", digest_of(b"moved")));
        std::fs::write(component, b"changed").unwrap();
        assert!(cache.find(&reference(REFERENCES + 2)).await.is_none());
    }
}
