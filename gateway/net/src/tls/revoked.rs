//! Which certificates their authorities have revoked (RFC 5280 §5): for connections that were let in before. Handshakes
//! are judged by the verifier, which checks the lists' signatures too.

use std::collections::HashSet;

use portcullis_grant::Certificate;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::tls::certificate::serial;
use crate::tls::error::TlsError;
use crate::tls::name::rfc4514;

/// What a listener's revocation lists say.
#[derive(Debug, Default)]
pub struct Revoked {
    /// Issuer and serial number, as in [`Certificate`].
    certificates: HashSet<(String, String)>,
    /// Issuer, and when the next list was promised.
    promised: Vec<(String, u64)>,
}

impl Revoked {
    /// Adds what a list (DER) says.
    pub(super) fn add(&mut self, path: &str, der: &[u8]) -> Result<(), TlsError> {
        let bad = || TlsError::BadRevocationList { path: path.to_owned() };
        let (_, list) = CertificateRevocationList::from_der(der).map_err(|_| bad())?;
        let issuer = rfc4514(list.issuer());
        let entries = list.iter_revoked_certificates();
        self.certificates.extend(entries.map(|entry| (issuer.clone(), serial(entry.raw_serial()))));
        if let Some(next) = list.next_update() {
            self.promised.push((issuer, u64::try_from(next.timestamp()).unwrap_or(0)));
        }
        Ok(())
    }

    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// Whether this certificate is.
    #[must_use]
    pub fn has(&self, certificate: &Certificate) -> bool {
        !self.is_empty() && self.certificates.contains(&(certificate.issuer.clone(), certificate.serial.clone()))
    }

    /// Lists whose successor is overdue at `now` (seconds since 1970).
    pub(super) fn warnings(&self, now: u64) -> impl Iterator<Item = String> {
        self.promised.iter().filter(move |(_, next)| *next < now).map(|(issuer, _)| {
            format!("the revocation list of `{issuer}` is past its date and still used; fetch the next one")
        })
    }
}
