//! Percent-encoding (RFC 3986 §2.1).

/// A name as it stands in a path or query.
pub(crate) fn encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for octet in name.bytes() {
        if octet.is_ascii_alphanumeric() || b"-_.~".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            encoded.push_str(&format!("%{octet:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_kind_stand_in_a_path() {
        assert_eq!(encoded("a/b c?é"), "a%2Fb%20c%3F%C3%A9");
        assert_eq!(encoded("pump-1_x.y~z"), "pump-1_x.y~z");
    }
}
