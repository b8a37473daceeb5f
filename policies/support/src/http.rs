//! Requests and responses of a scheme's own HTTP interface, in few words.

use serde_json::{Map, Value};

use crate::wit::types::{HttpRequest, HttpResponse};

/// What a path consists of: its segments, percent-decoded, empty ones at the end left out. None: an octet that is not
/// UTF-8, or a segment that hides a `/` or U+0000.
#[must_use]
pub fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(vec![]);
    }
    path.split('/').map(|part| decode(part, false).filter(|text| !text.contains(['/', '\0']))).collect()
}

/// The values of a query or of an `application/x-www-form-urlencoded` body, in order. What cannot be decoded is left out.
/// At most 256 are looked at.
#[must_use]
pub fn pairs(text: &str) -> Vec<(String, String)> {
    let parts = text.split('&').filter(|part| !part.is_empty()).take(256);
    parts
        .filter_map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decode(name, true)?, decode(value, true)?))
        })
        .collect()
}

fn decode(text: &str, plus: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        out.push(match octet {
            b'%' => {
                let mut digit = || octets.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

/// The one value of a header field, without surrounding blanks. `name` in lower case. None: it is not there, or more than
/// once, so that which one counts would be a guess.
#[must_use]
pub fn header<'r>(request: &'r HttpRequest, name: &str) -> Option<&'r str> {
    let mut values = request.headers.iter().filter(|(known, _)| known == name);
    let value = values.next()?.1.trim();
    values.next().is_none().then_some(value)
}

/// Whether a header field is there, however often.
#[must_use]
pub fn has_header(request: &HttpRequest, name: &str) -> bool {
    request.headers.iter().any(|(known, _)| known == name)
}

/// The token of `Authorization: <scheme> <token>`; the scheme without regard to case.
#[must_use]
pub fn authorization<'r>(request: &'r HttpRequest, scheme: &str) -> Option<&'r str> {
    let (named, token) = header(request, "authorization")?.split_once(' ')?;
    named.eq_ignore_ascii_case(scheme).then(|| token.trim())
}

/// The body as a JSON object. None: it is something else.
#[must_use]
pub fn object(request: &HttpRequest) -> Option<Map<String, Value>> {
    match serde_json::from_slice(&request.body).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// Whether the query has this name, with or without a value.
#[must_use]
pub fn asks(request: &HttpRequest, name: &str) -> bool {
    request.query.as_deref().is_some_and(|query| pairs(query).iter().any(|(known, _)| known == name))
}

/// A response without a body.
#[must_use]
pub fn empty(status: u16) -> HttpResponse {
    HttpResponse { status, headers: vec![], body: vec![] }
}

/// A response with a JSON body.
#[must_use]
pub fn json(status: u16, body: &Value) -> HttpResponse {
    HttpResponse {
        status,
        headers: vec![("content-type".into(), "application/json".into())],
        body: body.to_string().into_bytes(),
    }
}

/// A response with plain text.
#[must_use]
pub fn text(status: u16, body: &str) -> HttpResponse {
    HttpResponse {
        status,
        headers: vec![("content-type".into(), "text/plain; charset=utf-8".into())],
        body: body.as_bytes().to_vec(),
    }
}

/// The same with one more header field.
#[must_use]
pub fn with(mut response: HttpResponse, name: &str, value: &str) -> HttpResponse {
    response.headers.push((name.into(), value.into()));
    response
}

#[cfg(test)]
mod tests {
    use super::{authorization, header, pairs, segments};
    use crate::wit::types::HttpRequest;
    use proptest::prelude::*;

    fn request(headers: &[(&str, &str)]) -> HttpRequest {
        HttpRequest {
            method: "GET".into(),
            authority: "gateway".into(),
            path: "/".into(),
            query: None,
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            body: vec![],
        }
    }

    #[test]
    fn paths_are_decoded_segment_by_segment() {
        assert_eq!(segments("/v3/auth/tokens/").unwrap(), ["v3", "auth", "tokens"]);
        assert_eq!(segments("/").unwrap(), [""; 0]);
        assert_eq!(segments("/a%20b/%C3%BC").unwrap(), ["a b", "\u{fc}"]);
        for bad in ["a", "/a%2Fb", "/%00", "/%", "/%g0", "/%ff"] {
            assert_eq!(segments(bad), None, "{bad}");
        }
    }

    #[test]
    fn forms_are_decoded() {
        assert_eq!(
            pairs("a=1+2&b&c=%26&=x&%ff=1"),
            [("a", "1 2"), ("b", ""), ("c", "&"), ("", "x")].map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn a_header_that_is_there_twice_counts_as_none() {
        assert_eq!(header(&request(&[("x", " a ")]), "x"), Some("a"));
        assert_eq!(header(&request(&[("x", "a"), ("x", "a")]), "x"), None);
        assert_eq!(authorization(&request(&[("authorization", "token  abc")]), "Token"), Some("abc"));
        assert_eq!(authorization(&request(&[("authorization", "Bearer abc")]), "Token"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,60}") {
            let _ = (segments(&text), pairs(&text));
        }
    }
}
