//! UUIDs as Layer writes them: in lower case, and within names such as `layer:///keys/<uuid>`.

use policy_support::digest::sha256;

/// The UUID that a text is, in lower case. None: it is none.
pub fn parse(text: &str) -> Option<String> {
    let octets = text.as_bytes();
    let formed = octets.len() == 36
        && octets.iter().enumerate().all(|(at, octet)| match at {
            8 | 13 | 18 | 23 => *octet == b'-',
            _ => octet.is_ascii_hexdigit(),
        });
    formed.then(|| text.to_ascii_lowercase())
}

/// A UUID made of a name (version 8, RFC 9562 §5.8): the same name gives the same UUID.
pub fn derived(name: &str) -> String {
    let digest = sha256(&["uuid", name]);
    // Version and variant stand in the places that the RFC gives them; the rest is the digest's.
    format!("{}-{}-8{}-a{}-{}", &digest[..8], &digest[8..12], &digest[13..16], &digest[17..20], &digest[20..32])
}

#[cfg(test)]
mod tests {
    use super::{derived, parse};

    #[test]
    fn uuids_are_told_from_other_texts() {
        assert_eq!(
            parse("E49E50AA-ffda-453f-adc8-404f68de84ae").as_deref(),
            Some("e49e50aa-ffda-453f-adc8-404f68de84ae")
        );
        for other in [
            "",
            "e49e50aaffda453fadc8404f68de84ae",
            "e49e50aa-ffda-453f-adc8-404f68de84aü",
            "g49e50aa-ffda-453f-adc8-404f68de84ae",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_has_one_uuid() {
        let made = derived("a");
        assert_eq!(parse(&made), Some(made.clone()));
        assert_eq!(made.as_bytes()[14], b'8');
        assert_eq!(derived("a"), made);
        assert_ne!(derived("b"), made);
    }
}
