//! `tls = { … }` of a listener: its certificate, and whose certificates it takes.

use std::path::{Path, PathBuf};

use super::ClientAuth;
use crate::config::problem::Problem;
use crate::config::reader::{Located, OneOrMany, Section};
use crate::config::relative;

/// `tls = { … }`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TlsFiles {
    /// PEM: the certificate, then the chain to the root.
    pub(crate) cert: Located<PathBuf>,
    /// PEM: the private key.
    pub(crate) key: Located<PathBuf>,
    /// PEM: the authorities that issue clients' certificates.
    pub(crate) client_ca: Option<Located<PathBuf>>,
    /// PEM: what they have revoked.
    pub(crate) client_crl: Vec<Located<PathBuf>>,
    /// What is asked of clients.
    pub(crate) client_auth: ClientAuth,
}

impl TlsFiles {
    pub(super) fn read(mut section: Section<'_>, base: &Path) -> Option<Self> {
        let cert = section.required("cert", "the path of a PEM file with the certificate and its chain");
        let key = section.required("key", "the path of a PEM file with the private key");
        let client_ca = section.optional("client-ca").map(|ca| relative(ca, base));
        let client_crl: Vec<_> = section
            .optional::<OneOrMany<_>>("client-crl")
            .map(|OneOrMany(lists)| lists.into_iter().map(|list| relative(list, base)).collect())
            .unwrap_or_default();
        let client_auth = section.optional::<Located<ClientAuth>>("client-auth");
        if let (Some(list), None) = (client_crl.first(), &client_ca) {
            section.problems().add(
                Problem::new(list.span.clone(), "`client-crl` does nothing without a `client-ca`")
                    .help("add `client-ca = \"ca.pem\"`: the authorities whose lists these are"),
            );
        }
        match (&client_ca, &client_auth) {
            (None, Some(auth)) if auth.value != ClientAuth::None => section.problems().add(
                Problem::new(auth.span.clone(), "clients' certificates cannot be verified without a `client-ca`")
                    .help("add `client-ca = \"ca.pem\"`: the authorities that issue them"),
            ),
            (Some(ca), Some(auth)) if auth.value == ClientAuth::None => section.problems().add(
                Problem::new(ca.span.clone(), "`client-ca` does nothing when `client-auth` is \"none\"")
                    .help("write `client-auth = \"optional\"` or \"required\", or leave `client-ca` out"),
            ),
            _ => {}
        }
        let default = if client_ca.is_some() { ClientAuth::Required } else { ClientAuth::None };
        let files = cert.zip(key).map(|(cert, key)| Self {
            cert: relative(cert, base),
            key: relative(key, base),
            client_ca,
            client_crl,
            client_auth: client_auth.map_or(default, |auth| auth.value),
        });
        section.finish();
        files
    }
}
