//! Where a policy's component comes from, whether it may be trusted, and which version of it is live.
//!
//! The configured source is the source of truth. What an operator promoted or rolled back to stands in for it, across
//! reloads and restarts, until the source's content changes: the archive remembers which content that was.
//!
//! Knows nothing of how components run.

mod archive;
mod oci;
mod precompiled;
mod record;
mod trust;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::body::Bytes;
use portcullis_policy::digest_of;

pub(crate) use archive::{Archive, Change};
pub(crate) use oci::{Access, Reference};
pub(crate) use precompiled::precompiled;
pub(crate) use record::{How, Record, TakenBack};
pub(crate) use trust::{PublicKey, beside, signer, verify};

use crate::builtin;
use crate::config::{Config, PolicyEntry, Source};
use crate::files;
use crate::policies::PolicyError;

/// Versions that are kept of a policy unless its entry says otherwise.
pub(crate) const KEPT: usize = 5;

/// A component that may go live.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    /// The bytes.
    pub(crate) bytes: Bytes,
    /// SHA-256 of them.
    pub(crate) digest: Arc<str>,
    /// Where they came from, for people.
    pub(crate) origin: String,
    /// The text of its detached signature, if there is one.
    pub(crate) signature: Option<String>,
    /// How it comes to be live.
    pub(crate) how: How,
    /// Digest of what the configured source has now. It is another one when this component stands in for it.
    pub(crate) source: Arc<str>,
    /// What an operator should know about why it is this one.
    pub(crate) note: Option<String>,
}

impl Component {
    /// What a source gives.
    pub(crate) fn new(bytes: Bytes, origin: String, signature: Option<String>) -> Self {
        let digest: Arc<str> = digest_of(&bytes).into();
        Self { bytes, source: Arc::clone(&digest), digest, origin, signature, how: How::Source, note: None }
    }

    /// The same, put in place by somebody, whatever the source has.
    pub(crate) fn standing_in(mut self, how: How, source: Arc<str>) -> Self {
        self.how = how;
        self.source = source;
        self
    }
}

/// Gets components for one configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supply {
    keys: Arc<[PublicKey]>,
    archive: Option<Archive>,
}

impl Supply {
    /// With the keys of a configuration. Without an archive every policy is what its source has.
    pub(crate) fn new(config: &Config, archive: Option<Archive>) -> Self {
        Self { keys: config.trust.iter().cloned().collect(), archive }
    }

    /// The component that is to be live: what the source has, or what stands in for it.
    pub(crate) async fn resolve(&self, entry: &PolicyEntry) -> Result<Component, PolicyError> {
        let source = self.fetch(entry).await?;
        let Some(archive) = &self.archive else { return self.checked(entry, source) };
        let record = archive.record(&entry.name).await;
        let mut note = None;
        if let Some(live) = record.instead_of(&source.digest) {
            let words = record.words_for(&source.digest, live);
            match self.version(entry, live).await {
                Ok(component) => {
                    let how = record.how(live);
                    return Ok(Component { note: Some(words), ..component.standing_in(how, source.digest) });
                }
                Err(why) => note = Some(format!("{why}; the content of its source is taken instead of that version")),
            }
        } else if let Some((before, how)) = record.stood_in().filter(|(live, _)| *live != &*source.digest) {
            note = Some(format!(
                "the content of its source has changed: it takes the place of {}, which had been {}",
                short(before),
                how.words()
            ));
        }
        Ok(Component { note, ..self.checked(entry, source)? })
    }

    /// The component that the source has, whatever stands in for it.
    pub(crate) async fn source(&self, entry: &PolicyEntry) -> Result<Component, PolicyError> {
        self.checked(entry, self.fetch(entry).await?)
    }

    /// A version that was live before.
    pub(crate) async fn version(&self, entry: &PolicyEntry, digest: &str) -> Result<Component, PolicyError> {
        let missing = |why: &str| {
            let (name, digest) = (entry.name.value.clone(), short(digest).to_owned());
            PolicyError::Version { name, digest, why: why.to_owned() }
        };
        if let Source::Builtin(name) = &entry.source.value
            && let Some(builtin) = builtin::find(name).filter(|builtin| digest_of(builtin.component) == digest)
        {
            return Ok(Component::new(Bytes::from_static(builtin.component), format!("builtin:{name}"), None));
        }
        let archive = self.archive.as_ref().ok_or_else(|| missing("no versions are kept here"))?;
        let record = archive.record(&entry.name).await;
        let version = record.versions.iter().find(|version| version.digest == digest);
        let version = version.ok_or_else(|| missing("it is not kept"))?;
        if version.origin.starts_with("builtin:") {
            return Err(missing("it came with another build of the gateway"));
        }
        let (bytes, signature) = archive.read(&entry.name, digest).await.map_err(|why| missing(&crate::plain(&why)))?;
        let component = Component::new(bytes, version.origin.clone(), signature);
        if *component.digest != *digest {
            return Err(missing("the file that was kept is damaged"));
        }
        self.checked(entry, component)
    }

    /// Whether a component may go live: pinned and signed as the configuration wants it.
    pub(crate) fn checked(&self, entry: &PolicyEntry, component: Component) -> Result<Component, PolicyError> {
        if let Some(pinned) = &entry.digest
            && **pinned != *component.digest
        {
            let why =
                format!("its entry pins the digest sha256:{}, and it has sha256:{}", pinned.value, component.digest);
            let (name, origin) = (entry.name.value.clone(), component.origin);
            return Err(PolicyError::Untrusted { name, origin, why });
        }
        self.trusted(entry, component)
    }

    /// Whether a component may be run at all: signed as the configuration wants it.
    pub(crate) fn trusted(&self, entry: &PolicyEntry, component: Component) -> Result<Component, PolicyError> {
        let is_own = matches!(&entry.source.value, Source::Builtin(name)
            if builtin::find(name).is_some_and(|builtin| digest_of(builtin.component) == *component.digest));
        if !is_own && !self.keys.is_empty() {
            verify(&self.keys, &component.bytes, component.signature.as_deref()).map_err(|why| {
                let (name, origin) = (entry.name.value.clone(), component.origin.clone());
                PolicyError::Untrusted { name, origin, why: why.to_string() }
            })?;
        }
        Ok(component)
    }

    /// Gets what the source has.
    async fn fetch(&self, entry: &PolicyEntry) -> Result<Component, PolicyError> {
        match &entry.source.value {
            Source::Builtin(name) => match builtin::find(name) {
                Some(found) => Ok(Component::new(Bytes::from_static(found.component), format!("builtin:{name}"), None)),
                None => Err(PolicyError::Unknown(name.clone())),
            },
            Source::File(path) => {
                let bytes = read(entry, path).await?;
                let signature = match configured(entry).await? {
                    Some(signature) => Some(signature),
                    // One beside the component is found by itself; without it the component is unsigned.
                    None => content(beside(path)).await.ok().map(|content| text(&content)),
                };
                Ok(Component::new(bytes, path.display().to_string(), signature))
            }
            Source::Oci(reference) => {
                let access = entry.registry.clone().unwrap_or_default();
                let cache = self.archive.as_ref().map(|archive| oci::Cache::of(archive.data().join("cache/oci")));
                let pulled = oci::pull(reference, &access, cache.as_ref())
                    .await
                    .map_err(|why| PolicyError::Pull { name: entry.name.value.clone(), why: why.to_string() })?;
                let signature = configured(entry).await?.or(pulled.signature);
                let origin = format!("{reference} (manifest {})", short(&pulled.manifest));
                Ok(Component::new(pulled.bytes, origin, signature))
            }
        }
    }
}

/// The signature that the entry names.
async fn configured(entry: &PolicyEntry) -> Result<Option<String>, PolicyError> {
    match &entry.signature {
        Some(file) => Ok(Some(text(&read(entry, file).await?))),
        None => Ok(None),
    }
}

fn text(content: &[u8]) -> String {
    String::from_utf8_lossy(content).into_owned()
}

async fn read(entry: &PolicyEntry, path: &Path) -> Result<Bytes, PolicyError> {
    let content = content(path.to_owned()).await.map_err(|error| PolicyError::Read {
        name: entry.name.value.clone(),
        file: path.display().to_string(),
        why: crate::plain(&error),
    })?;
    Ok(content.into())
}

async fn content(path: PathBuf) -> io::Result<Vec<u8>> {
    tokio::task::spawn_blocking(move || files::read(&path)).await.map_err(io::Error::other)?
}

/// The beginning of a digest: enough for people.
pub(crate) fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
