//! Certificates for tests: an authority, and what it signs.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
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
    serial: SerialNumber,
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

    /// A certificate for a server on this address.
    #[must_use]
    pub fn server_at(&self, name: &str, address: std::net::IpAddr) -> Leaf {
        self.sign(name, vec![address.to_string()], ExtendedKeyUsagePurpose::ServerAuth, None)
    }

    /// A certificate for a client with this common name.
    #[must_use]
    pub fn client(&self, name: &str) -> Leaf {
        self.sign(name, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, None)
    }

    /// A certificate for a client with this common name and these URIs for alternative names.
    #[must_use]
    pub fn client_with(&self, name: &str, uris: &[&str]) -> Leaf {
        let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        self.sign_with(name, uris, ExtendedKeyUsagePurpose::ClientAuth, None)
    }

    /// A list (PEM) that revokes these certificates of this authority.
    #[must_use]
    pub fn revocation_list(&self, revoked: &[&Leaf]) -> String {
        let long_ago = rcgen::date_time_ymd(2020, 1, 1);
        let revoked_certs = revoked.iter().map(|leaf| RevokedCertParams {
            serial_number: leaf.serial.clone(),
            revocation_time: long_ago,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: long_ago,
            next_update: rcgen::date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
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
        let names = CertificateParams::new(names).unwrap().subject_alt_names;
        self.sign_with(name, names, usage, validity)
    }

    fn sign_with(
        &self,
        name: &str,
        names: Vec<SanType>,
        usage: ExtendedKeyUsagePurpose,
        validity: Option<(time::OffsetDateTime, time::OffsetDateTime)>,
    ) -> Leaf {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        if let Some((from, until)) = validity {
            params.not_before = from;
            params.not_after = until;
        }
        let key = KeyPair::generate().unwrap();
        // 64 bits of the key itself: each certificate has another, as it must.
        let serial = SerialNumber::from_slice(&key.public_key_raw()[key.public_key_raw().len() - 8..]);
        params.serial_number = Some(serial.clone());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let der = certificate.der().clone();
        Leaf { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), der, serial }
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
