//! Whether machine code that was made on another machine may be believed.
//!
//! It is a program, and is trusted as one: only where the configuration names its directory, signed if policies have to be,
//! with the digest that is pinned. A build without a compiler looks into its own data directory if nothing is named, which is
//! trusted in any case.

use std::path::{Path, PathBuf};

use portcullis_policy::{COMPILES, Precompiled, digest_of};

use super::trust::{PublicKey, beside, verify};
use crate::config::Config;

/// In the data directory.
const FOLDER: &str = "precompiled";

/// What a configuration says of it.
pub(crate) fn precompiled(config: &Config, data: &Path) -> Option<Precompiled> {
    let own = || (!COMPILES).then(|| data.join(FOLDER));
    let named = config.engine.precompiled.as_ref().map(|named| named.value.clone());
    let directory: PathBuf = named.or_else(own)?;
    let (keys, pinned) = (config.trust.clone(), config.engine.precompiled_digest.clone());
    Some(Precompiled::new(directory, Box::new(move |index, content| believe(&keys, pinned.as_deref(), index, content))))
}

fn believe(keys: &[PublicKey], pinned: Option<&str>, index: &Path, content: &[u8]) -> Result<(), String> {
    let digest = digest_of(content);
    if let Some(pinned) = pinned.filter(|pinned| **pinned != *digest) {
        return Err(format!("[engine] pins the digest sha256:{pinned}, and {} has sha256:{digest}", index.display()));
    }
    if !keys.is_empty() {
        let signature = std::fs::read(beside(index)).ok();
        let signature = signature.as_deref().map(String::from_utf8_lossy);
        verify(keys, content, signature.as_deref()).map_err(|why| format!("{}: {why}", index.display()))?;
    }
    Ok(())
}
