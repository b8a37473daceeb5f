//! `[engine]`: where machine code of policies comes from, and how it runs.

use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::reader::{Located, Section};
use super::relative;

/// `[engine]`. Nothing named: policies are compiled here, if this build can, and run as machine code of this processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EngineEntry {
    /// The directory that `portcullis policy precompile` made.
    pub(crate) precompiled: Option<Located<PathBuf>>,
    /// SHA-256 that its index must have, in hexadecimal.
    pub(crate) precompiled_digest: Option<String>,
    /// Whether what is not precompiled is compiled here.
    pub(crate) compile: bool,
    /// Whether policies are interpreted.
    pub(crate) interpret: bool,
}

impl Default for EngineEntry {
    fn default() -> Self {
        Self { precompiled: None, precompiled_digest: None, compile: portcullis_policy::COMPILES, interpret: false }
    }
}

impl EngineEntry {
    pub(super) fn read(mut section: Section<'_>, base: &Path) -> Self {
        let precompiled = section.optional("precompiled").map(|directory| relative(directory, base));
        let digest = section.optional::<Located<String>>("precompiled-digest");
        let compile = section.optional::<Located<bool>>("compile");
        let interpret = section.optional("interpret").unwrap_or_default();
        let problems = section.problems();
        if let Some(digest) = &digest {
            let hex = digest.strip_prefix("sha256:").unwrap_or_default();
            if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                let message = format!("{:?} is not a digest", digest.value);
                problems.add(
                    Problem::new(digest.span.clone(), message)
                        .help("write \"sha256:\" and what `sha256sum index.json` says"),
                );
            } else if precompiled.is_none() && !section.is_wrong("precompiled") {
                problems.add(Problem::new(
                    digest.span.clone(),
                    "this is the digest of an index, and [engine] names no `precompiled`",
                ));
            }
        }
        if let Some(compile) = compile.as_ref().filter(|compile| compile.value && !portcullis_policy::COMPILES) {
            problems.add(Problem::new(compile.span.clone(), "this build of the gateway has no compiler"));
        }
        section.finish();
        Self {
            precompiled,
            precompiled_digest: digest.and_then(|digest| Some(digest.strip_prefix("sha256:")?.to_owned())),
            compile: compile.map_or(portcullis_policy::COMPILES, |compile| compile.value),
            interpret,
        }
    }
}
