//! For unit tests: requests, and a gateway whose signatures can be checked.

use policy_support::fake::Fake;
use policy_support::fake::scheme::user;
use policy_support::wit::jose::{self, KeySource, Requirements, VerifiedToken};
use policy_support::wit::types::{HttpRequest, HttpResponse};
use serde_json::Value;

/// A request with these header fields and this body.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> HttpRequest {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
    HttpRequest {
        method: method.into(),
        authority: "gateway".into(),
        path: path.into(),
        query,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: body.into(),
    }
}

/// The value of a header field of a response.
pub(crate) fn header_of<'r>(response: &'r HttpResponse, name: &str) -> Option<&'r str> {
    response.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The body of a response as JSON.
pub(crate) fn json_of(response: &HttpResponse) -> Value {
    serde_json::from_slice(&response.body).unwrap_or(Value::Null)
}

/// The time at which the stage is set.
pub(crate) const NOW: u64 = 1_000_000;

/// A gateway with the user `id-ann` (`ann@example.org`, `a good secret`), which checks what its own `sign` made, and what
/// begins with the text of a provider's PEM, as if that were a signature.
pub(crate) fn stage() -> Fake {
    let gateway =
        Fake { now: NOW, verifier: Some(Box::new(|token, wanted| verify(NOW, token, wanted))), ..Fake::default() };
    let mut ann = user("id-ann", "ann@example.org");
    ann.attributes = vec![("first-name".into(), "Ann".into()), ("last-name".into(), "Miller".into())];
    gateway.scheme.users.borrow_mut().push((ann, b"a good secret".to_vec()));
    gateway
}

/// The same at another time.
pub(crate) fn at(now: u64, mut gateway: Fake) -> Fake {
    gateway.now = now;
    gateway.verifier = Some(Box::new(move |token, wanted| verify(now, token, wanted)));
    gateway
}

fn verify(now: u64, token: &str, wanted: &Requirements) -> Result<VerifiedToken, jose::Error> {
    let mut parts = token.splitn(3, '|');
    let mut part = || parts.next().ok_or_else(|| jose::Error::Malformed("no token".into()));
    let (key, header, claims) = (part()?, part()?, part()?);
    assert_eq!(wanted.algorithms, ["RS256"]);
    assert_eq!(wanted.issuers.len(), 1);
    let known = match &wanted.keys {
        KeySource::Jwks(jwks) => {
            // Keys without the name that the gateway has for them: the token's `kid` is Layer's.
            assert!(!jwks.contains("kid"), "{jwks}");
            key == "gateway-rs256"
        }
        KeySource::Pem(pem) => key == pem,
        _ => false,
    };
    if !known {
        return Err(jose::Error::BadSignature);
    }
    let read: Value = serde_json::from_str(claims).map_err(|_| jose::Error::Malformed("no claims".into()))?;
    if let Some(missing) = wanted.required.iter().find(|name| read.get(name.as_str()).is_none()) {
        return Err(jose::Error::BadClaim(missing.clone()));
    }
    let expires_at = read["exp"].as_u64().ok_or_else(|| jose::Error::BadClaim("exp".into()))?;
    if now >= expires_at + u64::from(wanted.leeway) {
        return Err(jose::Error::Expired(expires_at));
    }
    Ok(VerifiedToken {
        header: header.into(),
        claims: claims.into(),
        issuer: read["iss"].as_str().map(str::to_owned),
        subject: None,
        audience: vec![],
        expires_at: Some(expires_at),
        issued_at: read["iat"].as_u64(),
        id: None,
    })
}
