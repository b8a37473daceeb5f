//! Percent-encoding (RFC 3986 §2.1) and query strings.

/// Undoes percent-encoding. None: an escape is malformed, or the octets are not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            let digit = |octet: u8| char::from(octet).to_digit(16);
            octets.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
            rest = after;
        } else {
            octets.push(*first);
            rest = after;
        }
    }
    String::from_utf8(octets).ok()
}

/// The parameters of a query in the form of HTML forms: `+` is a space. None: as [`decode`].
pub(crate) fn parameters(query: Option<&str>) -> Option<Vec<(String, String)>> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes() {
        assert_eq!(decode("a%2Fb%c3%bc+").as_deref(), Some("a/bü+"));
        for bad in ["%", "%4", "%zz", "%+1", "%ff"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn queries() {
        let pairs = parameters(Some("client=a+b%26&&flag&x=1=2")).unwrap();
        assert_eq!(pairs, [("client", "a b&"), ("flag", ""), ("x", "1=2")].map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(parameters(None), Some(Vec::new()));
        assert_eq!(parameters(Some("a=%")), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(text in any::<String>()) {
            let encoded: String = text.bytes().map(|octet| format!("%{octet:02X}")).collect();
            prop_assert_eq!(decode(&encoded), Some(text));
        }

        #[test]
        fn any_query_is_survived(query in any::<String>()) {
            let _ = parameters(Some(&query));
        }
    }
}
