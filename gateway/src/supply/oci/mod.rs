//! Components from a registry of the OCI distribution specification: one layer of WebAssembly behind a manifest.
//!
//! What was pulled is kept in the data directory, and is what counts while the registry is away. A reference with a digest
//! is asked for once. Every octet is compared with the digest that names it.

mod cache;
mod manifest;
mod reference;
mod registry;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use cache::Cache;
pub(crate) use reference::Reference;

use cache::Pulled;
use registry::Registry;

/// For a whole pull. A component of a scripting language has 20 MB.
const PATIENCE: Duration = Duration::from_secs(90);

/// How a registry is spoken to: `registry = { … }` of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    /// Plain HTTP, and not only on loopback.
    pub(crate) insecure: bool,
    /// A file with credentials, as `docker login` writes it.
    pub(crate) credentials: Option<PathBuf>,
    /// Certificates of authorities that are trusted beside the system's.
    pub(crate) ca: Option<PathBuf>,
}

/// Why nothing could be pulled. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    /// Nobody answers.
    #[error("the registry {host} cannot be reached: {why}")]
    Unreachable {
        /// The registry.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// It says no.
    #[error("the registry {host} answers {status} for {what}")]
    Refused {
        /// The registry.
        host: String,
        /// The status.
        status: u16,
        /// What was asked for.
        what: String,
    },
    /// What it says makes no sense, or is not what was asked for.
    #[error("what the registry {host} has is of no use: {why}")]
    Unusable {
        /// The registry.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// A file of ours cannot be used.
    #[error("{file} cannot be used: {why}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
}

/// Gets what a reference names: from the registry, or from the cache if the registry is away or need not be asked.
///
/// # Errors
/// It was never pulled, and cannot be pulled now.
pub(crate) async fn pull(reference: &Reference, access: &Access, cache: Option<&Cache>) -> Result<Pulled, PullError> {
    let cached = match cache {
        Some(cache) => cache.find(reference).await,
        None => None,
    };
    if let Some(found) = cached.as_ref().filter(|_| reference.digest.is_some()) {
        return Ok(found.clone());
    }
    let fresh = async { Registry::new(reference, access)?.pull(cached.as_ref()).await };
    let fresh = tokio::time::timeout(PATIENCE, fresh).await.unwrap_or_else(|_| {
        let why = format!("it was not done within {} seconds", PATIENCE.as_secs());
        Err(PullError::Unreachable { host: reference.host.clone(), why })
    });
    match (fresh, cached) {
        (Ok(pulled), _) => {
            if let Some(cache) = cache
                && let Err(why) = cache.keep(reference, &pulled).await
            {
                tracing::warn!(
                    "{reference} cannot be kept, and will not be there when its registry is away: {}",
                    crate::plain(&why)
                );
            }
            Ok(pulled)
        }
        (Err(error), Some(found)) => {
            tracing::warn!("{error}; {reference} is what was pulled before");
            Ok(found)
        }
        (Err(error), None) => Err(error),
    }
}
