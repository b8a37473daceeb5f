//! `manifest.json` beside the built components.

use std::error::Error;
use std::path::Path;

use serde_json::{Value, json};

const FILE: &str = "manifest.json";

/// What is known of one built policy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The policy's name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Octets of the component.
    pub(crate) size: u64,
    /// SHA-256 of the component, in hexadecimal.
    pub(crate) sha256: String,
    /// SHA-256 of its sources, in hexadecimal: see [`crate::sources`].
    pub(crate) sources: String,
}

impl Entry {
    /// The component's file name.
    pub(crate) fn file(&self) -> String {
        format!("{}.wasm", self.name)
    }
}

/// All of them, in the order of their names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The compiler that made them.
    pub(crate) rustc: String,
    /// The policies.
    pub(crate) policies: Vec<Entry>,
}

impl Manifest {
    fn to_json(&self) -> Value {
        let policies: Vec<_> = self
            .policies
            .iter()
            .map(|entry| {
                json!({
                    "name": entry.name,
                    "version": entry.version,
                    "file": entry.file(),
                    "size": entry.size,
                    "sha256": entry.sha256,
                    "sources-sha256": entry.sources,
                })
            })
            .collect();
        json!({ "rustc": self.rustc, "policies": policies })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let policies = value["policies"].as_array()?.iter().map(|entry| {
            Some(Entry {
                name: text(&entry["name"])?,
                version: text(&entry["version"])?,
                size: entry["size"].as_u64()?,
                sha256: text(&entry["sha256"])?,
                sources: text(&entry["sources-sha256"])?,
            })
        });
        Some(Self { rustc: text(&value["rustc"])?, policies: policies.collect::<Option<_>>()? })
    }

    pub(crate) fn write(&self, directory: &Path) -> Result<(), Box<dyn Error>> {
        let file = directory.join(FILE);
        let text = format!("{:#}\n", self.to_json());
        std::fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()).into())
    }

    pub(crate) fn read(directory: &Path) -> Result<Self, Box<dyn Error>> {
        let file = directory.join(FILE);
        let text =
            std::fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let value = serde_json::from_str(&text).map_err(|error| format!("{} is not JSON: {error}", file.display()))?;
        Self::from_json(&value).ok_or_else(|| format!("{} is not a manifest of policies", file.display()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Manifest};

    #[test]
    fn what_is_written_is_read() {
        let entry =
            Entry { name: "jwt".into(), version: "0.1.0".into(), size: 3, sha256: "ab".into(), sources: "cd".into() };
        let manifest = Manifest { rustc: "rustc 1".into(), policies: vec![entry] };
        assert_eq!(Manifest::from_json(&manifest.to_json()), Some(manifest));
        assert_eq!(Manifest::from_json(&serde_json::json!({ "policies": [{}] })), None);
    }
}
