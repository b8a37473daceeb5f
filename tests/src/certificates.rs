//! Certificates for tests: an authority, and what it signs.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;

/// A certificate with its private key, as PEM and as DER.
pub struct Leaf {
    /// The certificate.
    pub certificate_pem: String,
    /// PKCS#8.
    pub key_pem: String,
    /// The certificate.
    pub der: CertificateDer<'static>,
}

/// A private certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, with this common name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    /// Its certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for a server on the loopback addresses.
    #[must_use]
    pub fn server(&self, name: &str) -> Leaf {
        let names = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
        self.sign(name, names, ExtendedKeyUsagePurpose::ServerAuth, None)
    }

    /// A certificate for a client with this common name.
    #[must_use]
    pub fn client(&self, name: &str) -> Leaf {
        self.sign(name, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, None)
    }

    /// A certificate for a client, which ended in 2001.
    #[must_use]
    pub fn expired_client(&self, name: &str) -> Leaf {
        let past = (rcgen::date_time_ymd(2000, 1, 1), rcgen::date_time_ymd(2001, 1, 1));
        self.sign(name, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, Some(past))
    }

    fn sign(
        &self,
        name: &str,
        names: Vec<String>,
        usage: ExtendedKeyUsagePurpose,
        validity: Option<(time::OffsetDateTime, time::OffsetDateTime)>,
    ) -> Leaf {
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        if let Some((from, until)) = validity {
            params.not_before = from;
            params.not_after = until;
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), der: certificate.der().clone() }
    }
}

/// SHA-256 of a certificate's DER, 64 lower-case hexadecimal digits: what the directory registers for a device.
#[must_use]
pub fn fingerprint(der: &CertificateDer<'_>) -> String {
    use sha2::{Digest, Sha256};
    use std::fmt::Write;
    Sha256::digest(der).iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}
