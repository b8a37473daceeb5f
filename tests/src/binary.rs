//! Where the binary under test comes from.
//!
//! `PORTCULLIS_BIN` names one; otherwise Cargo builds it once per test process, in the profile of the tests, so that
//! plain `cargo test` can never run against a stale binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The root of the repository.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// The path of the `portcullis` binary, built if need be.
///
/// # Panics
/// When it cannot be built; Cargo has then said why.
#[must_use]
pub fn portcullis() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("PORTCULLIS_BIN") {
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(path.is_file(), "PORTCULLIS_BIN names {}, which is not a file", path.display());
            path
        }
        None => build(),
    })
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        // All binaries and not only this one: with the features that `cargo test --workspace` has chosen for the
        // dependencies, what it has compiled is used again.
        .args(["build", "--workspace", "--bins", "--message-format", "json-render-diagnostics"])
        .current_dir(root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().expect("cargo can be started");
    assert!(output.status.success(), "cargo could not build the portcullis binary");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "portcullis")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable that it built")
}
