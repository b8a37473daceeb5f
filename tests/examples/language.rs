//! The languages, and their components.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use portcullis_tests::binary::root;
use sha2::{Digest, Sha256};

/// One folder of `examples/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Language {
    Rust,
    JavaScript,
    TypeScript,
    Python,
    C,
    Go,
}

/// What builds leave in the folders: no sources.
const MADE: [&str; 10] = [
    "badge.wasm",
    "list.wasm",
    "gen",
    "target",
    "node_modules",
    "__pycache__",
    "schema.js",
    "schema.ts",
    "schema.py",
    "config.schema.json",
];

impl Language {
    pub(crate) const ALL: [Self; 6] = [Self::Rust, Self::JavaScript, Self::TypeScript, Self::Python, Self::C, Self::Go];

    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Rust => "badge-rust",
            Self::JavaScript => "badge-js",
            Self::TypeScript => "badge-ts",
            Self::Python => "badge-python",
            Self::C => "badge-c",
            Self::Go => "badge-go",
        }
    }

    /// The component, built if its sources have changed.
    pub(crate) fn component(self) -> Vec<u8> {
        static BUILT: OnceLock<Mutex<BTreeMap<Language, PathBuf>>> = OnceLock::new();
        // One at a time: each compiler takes all processors that it finds.
        let mut built = BUILT.get_or_init(Mutex::default).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let path = built.entry(self).or_insert_with(|| self.built());
        std::fs::read(path).expect("the component that was built")
    }

    fn built(self) -> PathBuf {
        let kept = kept();
        std::fs::create_dir_all(&kept).unwrap();
        let path = kept.join(format!("{}-{}.wasm", self.folder(), &self.sources()[..16]));
        if path.is_file() {
            return path;
        }
        let begun = std::time::Instant::now();
        let aside = kept.join(format!("{}.new", self.folder()));
        let output = Command::new(root().join("examples").join(self.folder()).join("build"))
            .arg(&aside)
            .env("PATH", path_with_compilers())
            // The guest's build is no part of the build that runs this test.
            .env("CARGO_TARGET_DIR", kept.join("target"))
            .env_remove("CARGO")
            .output()
            .expect("the build script can be run");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{} cannot be built: {}\n{out}{err}", self.folder(), output.status);
        std::fs::rename(&aside, &path).unwrap();
        #[allow(clippy::print_stderr, reason = "what a build costs is worth a line of the log")]
        {
            eprintln!("{} was built in {:.1} s", self.folder(), begun.elapsed().as_secs_f64());
        }
        path
    }

    /// SHA-256 of all that the component is made of.
    fn sources(self) -> String {
        let mut files = Vec::new();
        for folder in [&*format!("examples/{}", self.folder()), "examples/wit", "wit", "policies/toolchain.sh"] {
            collect(&root().join(folder), &mut files);
        }
        files.push(root().join("examples/config.schema.json"));
        files.sort();
        let mut hash = Sha256::new();
        for file in files {
            hash.update(file.strip_prefix(root()).unwrap().as_os_str().as_encoded_bytes());
            hash.update([0]);
            hash.update(std::fs::read(&file).unwrap());
        }
        hash.finalize().iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

/// Builds another example than the badge policy, with its own script.
pub(crate) fn build(folder: &str, at: &Path) {
    let script = root().join("examples").join(folder).join("build");
    let output = Command::new(script).arg(at).env("PATH", path_with_compilers()).output().expect("the build script");
    assert!(output.status.success(), "{folder}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Where components and their machine code stay between runs.
pub(crate) fn kept() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("examples")
}

/// `PATH`, with what `tests/run` has installed in front.
pub(crate) fn path_with_compilers() -> std::ffi::OsString {
    let own = root().join("tests/examples");
    let mut path = vec![own.join(".venv/bin"), own.join(".tools/bin")];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    std::env::join_paths(path).unwrap()
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_owned());
        return;
    }
    for entry in std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // The contract is collected for itself, and not through a link; pages for people are no sources.
        let is_link = entry.file_type().unwrap().is_symlink();
        if !is_link && !name.ends_with(".md") && !MADE.contains(&&*name) {
            collect(&entry.path(), files);
        }
    }
}
