//! A certificate's facts in the words of the contract (`wit/peer.wit`).

use std::net::{IpAddr, Ipv6Addr};

use bytes::Bytes;
use portcullis_grant::Certificate;
use x509_parser::asn1_rs::{Any, Class, FromDer, Sequence};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::x509::X509Name;

use crate::tls::name::{common_name, rfc4514};

/// Reads the facts of a DER certificate. None: it is not X.509. Nothing is verified here.
#[must_use]
pub fn read_certificate(der: &[u8]) -> Option<Certificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    Some(Certificate {
        subject: rfc4514(certificate.subject()),
        common_name: common_name(certificate.subject()),
        issuer: rfc4514(certificate.issuer()),
        serial: serial(certificate.raw_serial()),
        fingerprint: hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref()),
        not_before_at: seconds(validity.not_before),
        not_after_at: seconds(validity.not_after),
        alternative_names: alternative_names(&certificate),
        der: Bytes::copy_from_slice(der),
    })
}

/// A positive INTEGER may begin with an octet 0 that is only its sign.
pub(super) fn serial(octets: &[u8]) -> String {
    match octets {
        [0, rest @ ..] if !rest.is_empty() => hex(rest),
        _ => hex(octets),
    }
}

fn hex(octets: &[u8]) -> String {
    use std::fmt::Write;
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<(&'static str, String)> {
    let Ok(Some(extension)) = certificate.get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME) else {
        return Vec::new();
    };
    let Ok((_, names)) = Sequence::from_der(extension.value) else { return Vec::new() };
    let mut rest: &[u8] = &names.content;
    let mut list = Vec::new();
    while let Ok((after, name)) = Any::from_der(rest) {
        let Some(whole) = rest.get(..rest.len() - after.len()) else { break };
        list.push(alternative_name(&name).unwrap_or_else(|| ("other", hex(whole))));
        rest = after;
    }
    list
}

/// RFC 5280 §4.2.1.6. None: of a kind without a word of its own, or not what its kind promises.
fn alternative_name(name: &Any<'_>) -> Option<(&'static str, String)> {
    if name.class() != Class::ContextSpecific {
        return None;
    }
    let ascii = || name.data.is_ascii().then(|| name.data.iter().copied().map(char::from).collect());
    match name.tag().0 {
        1 => Some(("email", ascii()?)),
        2 => Some(("dns", ascii()?)),
        4 => Some(("directory", rfc4514(&X509Name::from_der(name.data).ok()?.1))),
        6 => Some(("uri", ascii()?)),
        7 => Some(("ip", address(name.data)?.to_string())),
        _ => None,
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(octets).ok().map(|v6| IpAddr::V6(Ipv6Addr::from(v6)).to_canonical())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, OtherNameValue, SanType};

    use super::*;

    fn read(params: &CertificateParams) -> Certificate {
        let key = KeyPair::generate().unwrap();
        read_certificate(params.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn names_are_written_as_rfc_4514_says() {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "AT");
        params.distinguished_name.push(DnType::OrganizationName, "Müller & Söhne, \"Nord\" ");
        params.distinguished_name.push(DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99999, 1]), "own");
        params.distinguished_name.push(DnType::CommonName, DnValue::BmpString("Žluť".try_into().unwrap()));
        let certificate = read(&params);
        assert_eq!(
            certificate.subject,
            "CN=Žluť,1.3.6.1.4.1.99999.1=#0c036f776e,O=Müller & Söhne\\, \\\"Nord\\\"\\ ,C=AT"
        );
        assert_eq!(certificate.common_name.as_deref(), Some("Žluť"));
        assert_eq!(certificate.issuer, certificate.subject);
    }

    #[test]
    fn alternative_names_keep_their_order_and_kind() {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::URI("urn:dev:mac:0024befffe804ff1".try_into().unwrap()),
            SanType::DnsName("Pump.example".try_into().unwrap()),
            SanType::IpAddress("192.0.2.7".parse().unwrap()),
            SanType::IpAddress("2001:db8:0:0::1".parse().unwrap()),
            SanType::Rfc822Name("a@b.example".try_into().unwrap()),
            SanType::OtherName((vec![1, 2, 3], OtherNameValue::Utf8String("x".to_owned()))),
        ];
        let names = read(&params).alternative_names;
        let expected = [
            ("uri", "urn:dev:mac:0024befffe804ff1"),
            ("dns", "Pump.example"),
            ("ip", "192.0.2.7"),
            ("ip", "2001:db8::1"),
            ("email", "a@b.example"),
            ("other", "a00906022a03a0030c0178"),
        ];
        let names: Vec<_> = names.iter().map(|(kind, value)| (*kind, value.as_str())).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn serials_fingerprints_and_dates() {
        let mut params = CertificateParams::default();
        params.serial_number = Some(vec![0x8f, 0x00, 0x0a].into());
        params.not_before = rcgen::date_time_ymd(1960, 1, 1);
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
        let certificate = read(&params);
        assert_eq!(certificate.serial, "8f000a", "without the octet that is only a sign");
        assert_eq!((certificate.not_before_at, certificate.not_after_at), (0, 4_102_444_800));
        assert_eq!(certificate.fingerprint.len(), 64);
        assert!(certificate.alternative_names.is_empty());
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        assert!(read_certificate(b"").is_none());
        assert!(read_certificate(b"-----BEGIN CERTIFICATE-----").is_none());
        assert!(read_certificate(&[0x30, 0x82, 0xff, 0xff]).is_none());
    }
}
