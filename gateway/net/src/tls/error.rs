//! What can be wrong with a certificate, in one sentence with the mend.

use std::io;

use thiserror::Error;

/// Why a TLS configuration cannot be used. The names in the sentences are the paths of the files.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {what} {path}: {source}; check the path, and that the gateway's user may read the file")]
    Read {
        /// `the certificate`, `the key`, `the client CA` or `the revocation list`.
        what: &'static str,
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// PEM that breaks off or is not base64.
    #[error("{path} is damaged: {reason}; it must be a PEM file (text with `-----BEGIN …-----` lines)")]
    Damaged {
        /// The file.
        path: String,
        /// What the PEM reader says.
        reason: String,
    },
    /// No certificate in the file.
    #[error(
        "{path} holds no certificate; expected PEM text with `-----BEGIN CERTIFICATE-----` (a DER file is converted by \
         `openssl x509 -inform der`)"
    )]
    NoCertificate {
        /// The file.
        path: String,
    },
    /// A certificate that is none.
    #[error("{path} holds a certificate that cannot be read: {reason}; issue it anew as X.509 version 3")]
    BadCertificate {
        /// The file.
        path: String,
        /// What the parser says.
        reason: String,
    },
    /// No private key in the file.
    #[error("{path} holds no private key; expected PEM text with `-----BEGIN PRIVATE KEY-----`")]
    NoKey {
        /// The file.
        path: String,
    },
    /// A key under a pass phrase.
    #[error(
        "the key in {path} is encrypted, and nobody is there to type its pass phrase; decrypt it with \
         `openssl pkey -in {path} -out plain.key` and give that file, readable only by the gateway's user"
    )]
    EncryptedKey {
        /// The file.
        path: String,
    },
    /// A key of a kind that is not supported.
    #[error(
        "the key in {path} cannot be used: {reason}; use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits"
    )]
    BadKey {
        /// The file.
        path: String,
        /// What rustls says.
        reason: String,
    },
    /// The certificate is another key's.
    #[error("the key in {key} does not belong to the first certificate in {cert}; {mend}")]
    Mismatch {
        /// The certificate's file.
        cert: String,
        /// The key's file.
        key: String,
        /// What to do.
        mend: &'static str,
    },
    /// Client certificates without an authority.
    #[error("`client-auth` asks for client certificates and no `client-ca` says who issues them; give its PEM file")]
    NoClientCa,
    /// The authority's certificate cannot serve as one.
    #[error(
        "{path} cannot serve as `client-ca`: {reason}; give the PEM certificate of the authority that signs devices"
    )]
    BadClientCa {
        /// The file.
        path: String,
        /// What the verifier says.
        reason: String,
    },
    /// No revocation list in the file.
    #[error(
        "{path} holds no revocation list; expected PEM text with `-----BEGIN X509 CRL-----` (a DER file is converted by \
         `openssl crl -inform der`)"
    )]
    NoRevocationList {
        /// The file.
        path: String,
    },
    /// A revocation list that is none.
    #[error("{path} holds a revocation list that cannot be read; have the authority issue it anew (X.509 version 2)")]
    BadRevocationList {
        /// The file.
        path: String,
    },
    /// The cryptographic library refuses.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}
