//! The example's policy in each of its languages, as `examples/portcullis.toml` configures it, and the service that it
//! asks for badges.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use portcullis_tests::binary::root;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A language, and the folder of the example that is written in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Language {
    pub(crate) name: &'static str,
    folder: &'static str,
}

/// All of them.
pub(crate) const ALL: [Language; 6] = [
    Language { name: "Rust", folder: "badge-rust" },
    Language { name: "C", folder: "badge-c" },
    Language { name: "Go", folder: "badge-go" },
    Language { name: "JavaScript", folder: "badge-js" },
    Language { name: "TypeScript", folder: "badge-ts" },
    Language { name: "Python", folder: "badge-python" },
];

impl Language {
    /// The component that was built last: in the example's folder by its script, or by the tests of the examples.
    fn path(self) -> Option<PathBuf> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let tested =
            std::fs::read_dir(target.join("examples")).into_iter().flatten().flatten().map(|entry| entry.path());
        let prefix = format!("{}-", self.folder);
        let is_ours = |path: &PathBuf| {
            path.extension().is_some_and(|extension| extension == "wasm")
                && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        };
        let own = root().join("examples").join(self.folder).join("badge.wasm");
        let built = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
        tested.filter(is_ours).chain([own]).filter(|path| path.is_file()).max_by_key(|path| built(path))
    }

    pub(crate) fn component(self) -> Result<Vec<u8>> {
        let folder = self.folder;
        let wanted = || {
            format!(
                "the policy in {} is not built: `examples/{folder}/build` does it, and says which compiler is missing",
                self.name
            )
        };
        Ok(std::fs::read(self.path().with_context(wanted)?)?)
    }
}

/// The PIN of every badge.
pub(crate) const PIN: &str = "4711";

/// The number of a badge.
pub(crate) fn badge(number: usize) -> String {
    format!("{}", 2000 + number)
}

/// The only client identifier that the holder of a badge may have.
pub(crate) fn client(badge: &str) -> String {
    format!("acme-halle-{badge}")
}

/// The badge service, a process of its own.
pub(crate) struct BadgeService {
    child: Child,
    address: String,
    _badges: TempDir,
}

impl BadgeService {
    /// With so many badges, all of them on duty.
    pub(crate) fn start(badges: usize) -> Result<Self> {
        let secret: String = Sha256::digest(format!("s{PIN}")).iter().map(|octet| format!("{octet:02x}")).collect();
        let known: serde_json::Map<String, Value> = (0..badges)
            .map(|number| {
                let shifts = json!([{ "from": -3600, "to": 36_000 }]);
                let secrets = [format!("s${secret}")];
                let roles = ["operator"];
                let told =
                    json!({ "tenant": "acme", "site": "halle", "roles": roles, "secrets": secrets, "shifts": shifts });
                (badge(number), told)
            })
            .collect();
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("badges.json");
        std::fs::write(&file, Value::from(known).to_string())?;
        let mut command = Command::new("python3");
        command.arg(root().join("examples/badge-service.py")).args(["--port", "0"]).arg(&file);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("the badge service needs python3")?;
        let mut said = BufReader::new(child.stdout.take().context("its output")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        // Its other lines are nobody's, and must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        let service =
            Self { child, address: line.split('/').nth(2).unwrap_or_default().to_owned(), _badges: directory };
        ensure!(!service.address.is_empty(), "the badge service says {line:?}");
        Ok(service)
    }
}

impl Drop for BadgeService {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example's entry for the policy, without the bounds that a load reaches.
pub(crate) fn entry(service: &BadgeService) -> Result<String> {
    let text = std::fs::read_to_string(root().join("examples/portcullis.toml"))?;
    let entry = text.find("[[policy]]").and_then(|begin| text.get(begin..text.find("[admin]")?));
    Ok(entry
        .context("examples/portcullis.toml has an entry for the policy, and the admin API after it")?
        .replace("127.0.0.1:8099", &service.address)
        .replace("logins-per-hour = 20", "logins-per-hour = 1000000")
        .replace("deadline = \"1s\"", "deadline = \"5s\", self-test = \"30s\""))
}
