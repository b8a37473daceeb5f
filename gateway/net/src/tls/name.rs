//! Distinguished names as text (RFC 4514).

use std::fmt::Write;

use x509_parser::asn1_rs::{Any, Oid, Tag};
use x509_parser::x509::X509Name;

/// The short names that RFC 4514 §3 requires, and the registered ones that certificates use besides.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.4", "sn"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "givenName"),
    ("2.5.4.46", "dnQualifier"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

const COMMON_NAME: &str = "2.5.4.3";

/// The name as RFC 4514 writes it: the last relative name first, `,` between them, `+` within one, no spaces.
pub(crate) fn rfc4514(name: &X509Name<'_>) -> String {
    let names: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (position, relative) in names.into_iter().rev().enumerate() {
        if position > 0 {
            text.push(',');
        }
        // Within one any order is right; this is the one that `openssl x509 -nameopt RFC2253` shows.
        let attributes: Vec<_> = relative.iter().collect();
        for (position, attribute) in attributes.into_iter().rev().enumerate() {
            if position > 0 {
                text.push('+');
            }
            write_attribute(&mut text, attribute.attr_type(), attribute.attr_value());
        }
    }
    text
}

/// The last common name, if it is text.
pub(crate) fn common_name(name: &X509Name<'_>) -> Option<String> {
    let names: Vec<_> = name.iter_attributes().filter(|a| a.attr_type().to_id_string() == COMMON_NAME).collect();
    names.last().and_then(|attribute| decode(attribute.attr_value()))
}

fn write_attribute(text: &mut String, kind: &Oid<'_>, value: &Any<'_>) {
    let dotted = kind.to_id_string();
    let short = SHORT_NAMES.iter().find(|(oid, _)| *oid == dotted).map(|(_, short)| *short);
    // §2.4: a type without a short name, or a value that is not a string, is written as the octets of its encoding.
    match (short, decode(value)) {
        (Some(short), Some(string)) => {
            text.push_str(short);
            text.push('=');
            escape(text, &string);
        }
        (short, _) => {
            text.push_str(short.unwrap_or(&dotted));
            text.push_str("=#");
            hex_of_encoding(text, value);
        }
    }
}

/// A directory string of any of its types (RFC 5280 §4.1.2.4). None: another type, or not what its type promises.
fn decode(value: &Any<'_>) -> Option<String> {
    let octets = value.data;
    match value.tag() {
        Tag::Utf8String => std::str::from_utf8(octets).ok().map(str::to_owned),
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            octets.is_ascii().then(|| octets.iter().copied().map(char::from).collect())
        }
        // In practice Latin-1.
        Tag::TeletexString => Some(octets.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let (units, []) = octets.as_chunks::<2>() else { return None };
            char::decode_utf16(units.iter().map(|unit| u16::from_be_bytes(*unit))).collect::<Result<_, _>>().ok()
        }
        Tag::UniversalString => {
            let (units, []) = octets.as_chunks::<4>() else { return None };
            units.iter().map(|unit| char::from_u32(u32::from_be_bytes(*unit))).collect()
        }
        _ => None,
    }
}

/// §2.4. Control characters are escaped as well, which is allowed, so that a name cannot forge lines in a log.
fn escape(text: &mut String, value: &str) {
    let last = value.char_indices().next_back().map_or(0, |(at, _)| at);
    for (at, character) in value.char_indices() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', character]),
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            _ if character.is_control() => {
                let mut buffer = [0; 4];
                for octet in character.encode_utf8(&mut buffer).bytes() {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\\{octet:02x}");
                }
            }
            _ => text.push(character),
        }
    }
}

/// Tag, length and octets, in hexadecimal.
fn hex_of_encoding(text: &mut String, value: &Any<'_>) {
    use x509_parser::asn1_rs::ToDer;
    for octet in value.to_der_vec_raw().unwrap_or_default() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(value: &str) -> String {
        let mut text = String::new();
        escape(&mut text, value);
        text
    }

    /// The reading side of §3, for strings.
    fn unescape(text: &str) -> String {
        let mut octets = Vec::new();
        let mut rest = text.bytes();
        while let Some(octet) = rest.next() {
            if octet != b'\\' {
                octets.push(octet);
                continue;
            }
            let first = rest.next().unwrap();
            if let Some(high) = char::from(first).to_digit(16) {
                let low = char::from(rest.next().unwrap()).to_digit(16).unwrap();
                octets.push((high * 16 + low) as u8);
            } else {
                octets.push(first);
            }
        }
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn the_examples_of_the_rfc() {
        assert_eq!(escaped("James \"Jim\" Smith, III"), "James \\\"Jim\\\" Smith\\, III");
        assert_eq!(escaped("Before\rAfter"), "Before\\0dAfter");
        assert_eq!(escaped(" # "), "\\ #\\ ");
        assert_eq!(escaped("#1"), "\\#1");
        assert_eq!(escaped(" "), "\\ ");
        assert_eq!(escaped("Lučić"), "Lučić");
    }

    proptest! {
        #[test]
        fn an_escaped_value_reads_back_and_splits_nothing(value in any::<String>()) {
            let text = escaped(&value);
            prop_assert_eq!(unescape(&text), value);
            let mut plain = text.clone();
            while let Some(at) = plain.find('\\') {
                plain.drain(at..at + 1 + plain[at + 1..].chars().next().map_or(0, char::len_utf8));
            }
            prop_assert!(!plain.contains([',', '+', ';', '\n']));
        }
    }
}
