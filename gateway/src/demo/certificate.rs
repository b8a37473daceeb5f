//! The demo's certificates: an authority of its own, and a server certificate for this machine's loopback names.
//!
//! The authority is kept, so that clients who were given `ca.pem` still trust a server certificate that was renewed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;

use crate::files::{self, Readers};

/// How long the authority is good.
const AUTHORITY: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long a server certificate is good. Some clients refuse more than 825 days.
const SERVER: Duration = Duration::from_secs(397 * 86_400);
/// A server certificate with less than this before it is made anew.
const RENEW: Duration = Duration::from_secs(30 * 86_400);

/// The files, under `<data>/tls`.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    /// The authority, for clients.
    pub(crate) ca: PathBuf,
    /// The server's certificate.
    pub(crate) cert: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// A file cannot be read or written.
    #[error("{} cannot be used: {}", path.display(), crate::plain(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What the authority's files hold is no authority.
    #[error("{} is not the authority that it was ({why}); remove the directory, and new certificates are made", .path.display())]
    Authority {
        /// The directory.
        path: PathBuf,
        /// What the library says.
        why: String,
    },
    /// The library cannot make one.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
}

impl Certificates {
    /// Those in the directory, made or renewed where needed.
    ///
    /// # Errors
    /// Something is in the way, or what is there cannot be used.
    pub(crate) fn ensure(directory: &Path) -> Result<Self, CertificateError> {
        let files = Self {
            ca: directory.join("ca.pem"),
            cert: directory.join("server.pem"),
            key: directory.join("server.key"),
        };
        let ca_key = directory.join("ca.key");
        if files.is_fresh() {
            return Ok(files);
        }
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| CertificateError::Io { path, source }
        };
        files::make_directory(directory).map_err(io(directory))?;
        if !files.ca.exists() || !ca_key.exists() {
            let (pem, key) = make_authority()?;
            files::write(&ca_key, key.as_bytes(), Readers::Owner).map_err(io(&ca_key))?;
            files::write(&files.ca, pem.as_bytes(), Readers::All).map_err(io(&files.ca))?;
        }
        let pem = std::fs::read_to_string(&files.ca).map_err(io(&files.ca))?;
        let key = std::fs::read_to_string(&ca_key).map_err(io(&ca_key))?;
        let authority = KeyPair::from_pem(&key)
            .and_then(|key| Issuer::from_ca_cert_pem(&pem, key))
            .map_err(|error| CertificateError::Authority { path: directory.to_owned(), why: error.to_string() })?;
        let (pem, key) = make_server(&authority)?;
        files::write(&files.key, key.as_bytes(), Readers::Owner).map_err(io(&files.key))?;
        files::write(&files.cert, pem.as_bytes(), Readers::All).map_err(io(&files.cert))?;
        Ok(files)
    }

    /// Whether all are there and the server's certificate is good for a while.
    fn is_fresh(&self) -> bool {
        if !self.ca.exists() || !self.key.exists() {
            return false;
        }
        let Ok(der) = CertificateDer::from_pem_file(&self.cert) else { return false };
        let Some(certificate) = portcullis_net::tls::read_certificate(&der) else { return false };
        let until = certificate.not_after_at;
        until > u64::try_from((OffsetDateTime::now_utc() + RENEW).unix_timestamp()).unwrap_or(u64::MAX)
    }
}

fn parameters(names: &[&str], life: Duration, common_name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    // A device whose clock is a little behind is common.
    parameters.not_before = OffsetDateTime::now_utc() - Duration::from_secs(86_400);
    parameters.not_after = OffsetDateTime::now_utc() + life;
    Ok(parameters)
}

fn make_authority() -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut parameters = parameters(&[], AUTHORITY, "Portcullis demo authority")?;
    // It signs servers and nothing else: no authority may stand below it.
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok((parameters.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn make_server(authority: &Issuer<'_, KeyPair>) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut parameters = parameters(&["localhost", "127.0.0.1", "::1"], SERVER, "localhost")?;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    Ok((parameters.signed_by(&key, authority)?.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use portcullis_net::{ClientAuth, TlsPurpose, TlsSpec};

    use super::*;

    fn loads(files: &Certificates) {
        let spec = TlsSpec {
            cert: files.cert.clone(),
            key: files.key.clone(),
            client_ca: None,
            client_crl: Vec::new(),
            client_auth: ClientAuth::None,
            purpose: TlsPurpose::Mqtt,
        };
        spec.load().unwrap();
    }

    #[test]
    fn they_are_made_once_and_the_keys_are_secret() {
        let data = tempfile::tempdir().unwrap();
        let directory = data.path().join("tls");
        let files = Certificates::ensure(&directory).unwrap();
        loads(&files);
        for key in ["ca.key", "server.key"] {
            let mode = std::fs::metadata(directory.join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
        let before = std::fs::read(&files.cert).unwrap();
        Certificates::ensure(&directory).unwrap();
        assert_eq!(std::fs::read(&files.cert).unwrap(), before);
    }

    #[test]
    fn a_damaged_certificate_is_made_anew_under_the_same_authority() {
        let data = tempfile::tempdir().unwrap();
        let files = Certificates::ensure(data.path()).unwrap();
        let authority = std::fs::read(&files.ca).unwrap();
        std::fs::write(&files.cert, "not a certificate").unwrap();
        loads(&Certificates::ensure(data.path()).unwrap());
        assert_eq!(std::fs::read(&files.ca).unwrap(), authority);
    }

    #[test]
    fn an_authority_that_is_none_is_said_and_not_overwritten() {
        let data = tempfile::tempdir().unwrap();
        let files = Certificates::ensure(data.path()).unwrap();
        std::fs::write(data.path().join("ca.key"), "nothing").unwrap();
        std::fs::remove_file(&files.cert).unwrap();
        let error = Certificates::ensure(data.path()).unwrap_err();
        assert!(matches!(error, CertificateError::Authority { .. }), "{error}");
    }
}
