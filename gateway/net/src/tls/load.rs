//! From PEM files to a server configuration, with every mistake named before the first client meets it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_grant::Certificate;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::tls::certificate::read_certificate;
use crate::tls::error::TlsError;
use crate::tls::revoked::Revoked;

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// None is asked for.
    #[default]
    None,
    /// One is asked for; who has none comes in without. One that is wrong ends the handshake.
    Optional,
    /// Without a good one the handshake ends.
    Required,
}

/// What will be spoken inside, offered by ALPN (RFC 7301). Clients that do not use ALPN are welcome everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPurpose {
    /// `mqtt`.
    Mqtt,
    /// `http/1.1`: an upgrade to WebSocket is a matter of HTTP/1.1.
    WebSocket,
    /// `h2` or `http/1.1`.
    Http,
}

/// Where the parts of a TLS configuration are.
#[derive(Clone, Debug)]
pub struct TlsSpec {
    /// PEM: the server's certificate, followed by the intermediate ones.
    pub cert: PathBuf,
    /// PEM: its private key (PKCS #8, PKCS #1 or SEC 1), not encrypted.
    pub key: PathBuf,
    /// PEM: the authorities whose client certificates are good.
    pub client_ca: Option<PathBuf>,
    /// PEM: what those authorities have revoked. Empty: nobody asks.
    pub client_crl: Vec<PathBuf>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// What is spoken inside.
    pub purpose: TlsPurpose,
}

/// A TLS configuration that was read and checked.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    certificate: Arc<Certificate>,
    revoked: Arc<Revoked>,
}

/// A PEM text with the name that errors call it by.
struct Pem<'a> {
    name: &'a str,
    text: &'a [u8],
}

/// What is asked of clients.
struct Clients<'a> {
    ca: Option<Pem<'a>>,
    crls: Vec<Pem<'a>>,
    auth: ClientAuth,
}

impl TlsSpec {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// The first thing that is wrong, in a sentence with the mend.
    pub fn load(&self) -> Result<Tls, TlsError> {
        let read = |what, path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Read { what, path: path.display().to_string(), source })
        };
        let cert = read("the certificate", &self.cert)?;
        let key = read("the key", &self.key)?;
        let client_ca = self.client_ca.as_deref().map(|path| read("the client CA", path)).transpose()?;
        let lists = self.client_crl.iter().map(|path| Ok((path, read("the revocation list", path)?)));
        let lists = lists.collect::<Result<Vec<_>, TlsError>>()?;
        let names: Vec<_> = lists.iter().map(|(path, _)| path.display().to_string()).collect();
        let crls: Vec<_> = names.iter().zip(&lists).map(|(name, (_, text))| Pem { name, text }).collect();
        let client_ca_name = self.client_ca.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        assemble(
            &Pem { name: &self.cert.display().to_string(), text: &cert },
            &Pem { name: &self.key.display().to_string(), text: &key },
            &Clients {
                ca: client_ca.as_deref().map(|text| Pem { name: &client_ca_name, text }),
                crls,
                auth: self.client_auth,
            },
            self.purpose,
        )
    }
}

impl Tls {
    /// The same from PEM texts that are already in memory.
    ///
    /// # Errors
    /// As [`TlsSpec::load`].
    pub fn from_pem(
        cert: &[u8],
        key: &[u8],
        client_ca: Option<&[u8]>,
        client_auth: ClientAuth,
        purpose: TlsPurpose,
    ) -> Result<Self, TlsError> {
        assemble(
            &Pem { name: "the certificate's PEM", text: cert },
            &Pem { name: "the key's PEM", text: key },
            &Clients {
                ca: client_ca.map(|text| Pem { name: "the client CA's PEM", text }),
                crls: Vec::new(),
                auth: client_auth,
            },
            purpose,
        )
    }

    /// The configuration for rustls.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The server's own certificate, for status pages.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What clients' authorities have revoked.
    #[must_use]
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// What is allowed and surely not meant, as of `now`: a certificate or a revocation list out of its dates.
    #[must_use]
    pub fn warnings(&self, now: SystemTime) -> Vec<String> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.certificate_warning(now).into_iter().chain(self.revoked.warnings(now)).collect()
    }

    fn certificate_warning(&self, now: u64) -> Option<String> {
        let Certificate { subject, not_before_at, not_after_at, .. } = &*self.certificate;
        let days = |from: u64, to: u64| to.saturating_sub(from).div_ceil(86_400);
        if *not_after_at < now {
            let ago = days(*not_after_at, now);
            Some(format!("the certificate of `{subject}` ended {ago} day(s) ago and clients will refuse it; renew it"))
        } else if *not_before_at > now {
            let ahead = days(now, *not_before_at);
            Some(format!(
                "the certificate of `{subject}` begins only in {ahead} day(s); check the clock of this machine"
            ))
        } else {
            None
        }
    }
}

/// The one provider of cryptography; never a process-wide default, which another library could have chosen.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}

fn assemble(cert: &Pem<'_>, key: &Pem<'_>, clients: &Clients<'_>, purpose: TlsPurpose) -> Result<Tls, TlsError> {
    let chain = certificates(cert)?;
    let Some(leaf) = chain.first() else { return Err(TlsError::NoCertificate { path: cert.name.to_owned() }) };
    let certificate = read_certificate(leaf)
        .ok_or_else(|| TlsError::BadCertificate { path: cert.name.to_owned(), reason: "not X.509".to_owned() })?;
    let certified = certified_key(chain, private_key(key)?, cert, key)?;

    let mut revoked = Revoked::default();
    let mut lists = Vec::new();
    for pem in &clients.crls {
        for list in revocation_lists(pem)? {
            revoked.add(pem.name, &list)?;
            lists.push(list);
        }
    }
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(verifier(clients, lists)?)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = match purpose {
        TlsPurpose::Mqtt => vec![b"mqtt".to_vec()],
        TlsPurpose::WebSocket => vec![b"http/1.1".to_vec()],
        TlsPurpose::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    // Stateless tickets: any number of devices may resume after a power cut at no memory of ours. One ticket each, since
    // a device comes back with one connection.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Tls { config: Arc::new(config), certificate: Arc::new(certificate), revoked: Arc::new(revoked) })
}

fn certificates(pem: &Pem<'_>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.text)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Damaged { path: pem.name.to_owned(), reason: words(&error) })?;
    if chain.is_empty() { Err(TlsError::NoCertificate { path: pem.name.to_owned() }) } else { Ok(chain) }
}

fn private_key(pem: &Pem<'_>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = String::from_utf8_lossy(pem.text);
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::EncryptedKey { path: pem.name.to_owned() });
    }
    PrivateKeyDer::from_pem_slice(pem.text).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { path: pem.name.to_owned() },
        other => TlsError::Damaged { path: pem.name.to_owned(), reason: words(&other) },
    })
}

/// A certificate with its key, checked to belong together.
fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    cert_pem: &Pem<'_>,
    key_pem: &Pem<'_>,
) -> Result<CertifiedKey, TlsError> {
    let signer = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| TlsError::BadKey { path: key_pem.name.to_owned(), reason: error.to_string() })?;
    let certified = CertifiedKey::new(chain, Arc::clone(&signer));
    match certified.keys_match() {
        // Unknown: a key that cannot say which public key is its own.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let later = certified.cert.iter().skip(1);
            let out_of_order = later
                .into_iter()
                .any(|other| CertifiedKey::new(vec![other.clone()], Arc::clone(&signer)).keys_match().is_ok());
            Err(TlsError::Mismatch {
                cert: cert_pem.name.to_owned(),
                key: key_pem.name.to_owned(),
                mend: if out_of_order {
                    "it belongs to a later one: put the server's certificate first, then those that signed it"
                } else {
                    "give the key that the certificate was requested with, or a certificate for this key"
                },
            })
        }
        Err(error) => Err(TlsError::BadCertificate { path: cert_pem.name.to_owned(), reason: error.to_string() }),
    }
}

fn revocation_lists(pem: &Pem<'_>) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(pem.text)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Damaged { path: pem.name.to_owned(), reason: words(&error) })?;
    if lists.is_empty() { Err(TlsError::NoRevocationList { path: pem.name.to_owned() }) } else { Ok(lists) }
}

fn verifier(
    clients: &Clients<'_>,
    lists: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if clients.auth == ClientAuth::None {
        return Ok(Arc::new(NoClientAuth));
    }
    let pem = clients.ca.as_ref().ok_or(TlsError::NoClientCa)?;
    let bad = |reason: String| TlsError::BadClientCa { path: pem.name.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for authority in certificates(pem)? {
        roots.add(authority).map_err(|error| bad(error.to_string()))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    if !lists.is_empty() {
        // Of the client's own certificate: an authority that no list speaks of cannot vouch that it revoked nothing. A list
        // past its date still says what was revoked; without an uplink an older one is better than nobody.
        builder = builder.with_crls(lists).only_check_end_entity_revocation();
    }
    if clients.auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| bad(error.to_string()))
}

/// The PEM reader's errors name markers as octets; these are for people.
fn words(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("the line `{}` is missing", String::from_utf8_lossy(end_marker))
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("the line `{}` begins no section", String::from_utf8_lossy(line))
        }
        pem::Error::Base64Decode(reason) => format!("the base64 text is wrong ({reason})"),
        other => format!("{other:?}"),
    }
}
