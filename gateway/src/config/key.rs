//! `[[key]]`: keys that policies use by name and never see.

use std::path::{Path, PathBuf};

use super::reader::{Located, Section, words};
use super::relative;

words! {
    /// What a key signs or verifies with (RFC 7518 §3.1, RFC 8037).
    Algorithm {
        /// HMAC with SHA-256: the file is the secret.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
        /// RSA PKCS #1 with SHA-256.
        Rs256 = "RS256",
        /// RSA PKCS #1 with SHA-384.
        Rs384 = "RS384",
        /// RSA PKCS #1 with SHA-512.
        Rs512 = "RS512",
        /// RSA-PSS with SHA-256.
        Ps256 = "PS256",
        /// RSA-PSS with SHA-384.
        Ps384 = "PS384",
        /// RSA-PSS with SHA-512.
        Ps512 = "PS512",
        /// ECDSA on P-256.
        Es256 = "ES256",
        /// ECDSA on P-384.
        Es384 = "ES384",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

/// One `[[key]]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyEntry {
    /// Its name: unique, and what `allow.keys` calls it.
    pub(crate) name: Located<String>,
    /// The key: PEM for the asymmetric algorithms, the raw secret for HMAC.
    pub(crate) file: Located<PathBuf>,
    /// What it is used with, and with nothing else.
    pub(crate) algorithm: Algorithm,
}

impl KeyEntry {
    pub(super) fn read_all(sections: Vec<Section<'_>>, base: &Path) -> Vec<Self> {
        sections.into_iter().filter_map(|section| Self::read(section, base)).collect()
    }

    fn read(mut section: Section<'_>, base: &Path) -> Option<Self> {
        let name = section.required("name", "a name that is its own");
        let file = section.required("file", "the path of the key: PEM, or the secret of an HMAC");
        let algorithm = section.required("algorithm", "the one algorithm that it is used with, such as \"RS256\"");
        section.finish();
        Some(Self { name: name?, file: relative(file?, base), algorithm: algorithm? })
    }
}
