//! `[[key]]`: keys that policies use by name and never see.

use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::reader::{Located, Section};
use super::relative;

/// What a key's file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// PEM: a private key signs and verifies, public ones verify. Its type says with which algorithms.
    Pem,
    /// The octets of an HMAC secret.
    Secret,
}

/// One `[[key]]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyEntry {
    /// Its name: unique, and what `allow.keys` calls it.
    pub(crate) name: Located<String>,
    /// What the file holds.
    pub(crate) kind: KeyKind,
    /// The file.
    pub(crate) file: Located<PathBuf>,
}

/// What the names of the gateway's own keys begin with.
pub(super) const RESERVED: &str = "gateway-";

impl KeyEntry {
    pub(super) fn read_all(sections: Vec<Section<'_>>, base: &Path) -> Vec<Self> {
        sections.into_iter().filter_map(|section| Self::read(section, base)).collect()
    }

    fn read(mut section: Section<'_>, base: &Path) -> Option<Self> {
        let name = section.required::<Located<String>>("name", "a name that is its own");
        let pem = section.optional("pem").map(|file| (KeyKind::Pem, file));
        let secret = section.optional("secret").map(|file| (KeyKind::Secret, file));
        let wrong = section.is_wrong("pem") || section.is_wrong("secret");
        let help = "`pem` is the path of a PEM file, `secret` the path of an HMAC secret of at least 32 octets";
        match (&pem, &secret) {
            (None, None) if !wrong => {
                section
                    .problems()
                    .add(Problem::new(section.span(), "[[key]] has neither `pem` nor `secret`").help(help));
            }
            (Some(_), Some((_, file))) => section
                .problems()
                .add(Problem::new(Located::span(file), "a [[key]] has either `pem` or `secret`").help(help)),
            _ => {}
        }
        if let Some(name) = name.as_ref().filter(|name| name.starts_with(RESERVED)) {
            let message = format!("names that begin with {RESERVED:?} are those of the gateway's own keys");
            section.problems().add(Problem::new(Located::span(name), message));
        }
        section.finish();
        let (kind, file) = pem.or(secret)?;
        Some(Self { name: name?, kind, file: relative(file, base) })
    }
}
