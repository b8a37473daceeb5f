//! What a policy is made of, as one digest: if it is the same, building again would change nothing but what another
//! compiler changes.
//!
//! The digest is SHA-256 over the files in the order of their paths (octets compared); for each its path from the
//! repository's root with `/`, a zero octet, its length as eight octets big-endian, and its octets. The files are those
//! of `wit/`, of `policies/support/` and of the policy's folder, and `policies/Cargo.toml` and `policies/Cargo.lock`;
//! pages for people (`.md`) and tests (`*_tests.rs`) do not count.

use std::error::Error;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn hexadecimal(octets: &[u8]) -> String {
    Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The digest of a policy's sources.
pub(crate) fn digest(root: &Path, policy: &str) -> Result<String, Box<dyn Error>> {
    let mut files = vec![PathBuf::from("policies/Cargo.toml"), PathBuf::from("policies/Cargo.lock")];
    for folder in ["wit", "policies/support", &format!("policies/{policy}")] {
        collect(root, Path::new(folder), &mut files)?;
    }
    let mut named: Vec<(String, PathBuf)> = files.into_iter().map(|file| (name(&file), root.join(file))).collect();
    named.sort();
    let mut hash = Sha256::new();
    for (name, file) in named {
        let octets = std::fs::read(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update((octets.len() as u64).to_be_bytes());
        hash.update(&octets);
    }
    Ok(hash.finalize().iter().map(|octet| format!("{octet:02x}")).collect())
}

fn name(file: &Path) -> String {
    file.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    let path = root.join(folder);
    let entries = std::fs::read_dir(&path).map_err(|error| format!("cannot list {}: {error}", path.display()))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("cannot list {}: {error}", path.display()))?;
        let file = folder.join(entry.file_name());
        if entry.file_type().map_err(|error| format!("cannot look at {}: {error}", file.display()))?.is_dir() {
            collect(root, &file, files)?;
        } else if counts(&entry.file_name().to_string_lossy()) {
            files.push(file);
        }
    }
    Ok(())
}

/// Editors leave hidden files and files that end in `~`.
fn counts(name: &str) -> bool {
    let built = [".rs", ".toml", ".json", ".wit"].iter().any(|ending| name.ends_with(ending));
    built && !name.starts_with('.') && !name.ends_with("_tests.rs")
}

/// The version that all bundled policies have: that of the workspace.
pub(crate) fn version(root: &Path) -> Result<String, Box<dyn Error>> {
    let file = root.join("policies/Cargo.toml");
    let text = std::fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let line =
        text.lines().skip_while(|line| *line != "[workspace.package]").find_map(|l| l.strip_prefix("version = "));
    line.map(|value| value.trim_matches('"').to_owned())
        .ok_or_else(|| format!("{} has no version", file.display()).into())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{counts, digest, version};

    /// A folder of its own, gone with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("policy-builder-{name}-{}", std::process::id()));
            for folder in ["wit", "policies/support/src", "policies/jwt/src", "policies/device/src"] {
                std::fs::create_dir_all(path.join(folder)).unwrap();
            }
            let scratch = Self(path);
            scratch.write("policies/Cargo.toml", "[workspace.package]\nversion = \"1.2.3\"\n");
            scratch.write("policies/Cargo.lock", "");
            scratch.write("wit/types.wit", "types");
            scratch.write("policies/support/src/lib.rs", "support");
            scratch.write("policies/jwt/src/lib.rs", "jwt");
            scratch
        }

        fn write(&self, file: &str, text: &str) {
            std::fs::write(self.0.join(file), text).unwrap();
        }

        fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_a_policy_is_made_of_changes_its_digest_and_nothing_else_does() {
        let scratch = Scratch::new("digest");
        let first = digest(scratch.path(), "jwt").unwrap();
        assert_eq!(first.len(), 64);
        for other in ["policies/device/src/lib.rs", "policies/jwt/README.md", "policies/jwt/src/flow_tests.rs"] {
            scratch.write(other, "changed");
            assert_eq!(digest(scratch.path(), "jwt").unwrap(), first, "{other}");
        }
        let mut seen = vec![first];
        for part in ["wit/types.wit", "policies/support/src/lib.rs", "policies/jwt/src/lib.rs", "policies/Cargo.lock"] {
            scratch.write(part, "changed");
            let digest = digest(scratch.path(), "jwt").unwrap();
            assert!(!seen.contains(&digest), "{part}");
            seen.push(digest);
        }
    }

    #[test]
    fn the_version_is_the_workspaces() {
        assert_eq!(version(Scratch::new("version").path()).unwrap(), "1.2.3");
    }

    #[test]
    fn what_people_and_editors_leave_does_not_count() {
        assert!(counts("lib.rs") && counts("config.schema.json") && counts("types.wit") && counts("Cargo.toml"));
        assert!(!counts("README.md") && !counts("lib.rs~") && !counts(".lib.rs") && !counts("a_tests.rs"));
    }
}
