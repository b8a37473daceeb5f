//! Where a token rides: in the MQTT password, in MQTT 5 authentication data, or in the header of a request.

use policy_support::wit::types::{Connection, Credentials, Denial, DenyReason};
use policy_support::{Gateway, bearer, deny};

/// The MQTT 5 authentication method that carries a token in its data.
pub const METHOD: &str = "JWT";

/// A token, and what came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// A JWS in compact form, by its looks.
    pub token: String,
    /// The app named by `X-APP-ID`.
    pub app: Option<String>,
    /// The MQTT user name, if it is there and not empty.
    pub username: Option<String>,
}

/// Whether octets look like a JWS in compact form (RFC 7515 §7.1): two dots between three parts of base64url, the first
/// of which begins as every JSON object does. The last may be empty, as in a token without a signature.
#[must_use]
pub fn looks_like_a_token(octets: &[u8]) -> bool {
    // `{` and any other octet encode as `e` and one of these.
    if !matches!(octets, [b'e', b'w'..=b'z' | b'0'..=b'9' | b'-' | b'_', ..]) {
        return false;
    }
    let mut dots = 0;
    let mut last_was_dot = false;
    for &octet in octets {
        match octet {
            b'.' if last_was_dot => return false,
            b'.' => dots += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            _ => return false,
        }
        last_was_dot = octet == b'.';
    }
    dots == 2
}

/// The token that a client offers, if it offers one. Cheap facts first: what is not a token costs no call.
///
/// # Errors
/// It says that it offers a token and does not.
pub fn find(
    gateway: &impl Gateway,
    connection: &Connection,
    credentials: &Credentials,
) -> Result<Option<Offer>, Denial> {
    let username = || credentials.username.clone().filter(|name| !name.is_empty());
    if let Some(method) = &credentials.method {
        if method != METHOD {
            return Ok(None);
        }
        return match credentials.data.as_deref().and_then(token) {
            Some(token) => Ok(Some(Offer { token, app: None, username: username() })),
            None => Err(deny(DenyReason::BadCredentials, "the authentication data is not a token")),
        };
    }
    let app = || match bearer::has_request(connection) {
        true => bearer::single(gateway, "x-app-id"),
        false => Ok(None),
    };
    if let Some(password) = credentials.password.as_deref().filter(|password| !password.is_empty()) {
        let Some(token) = token(password) else { return Ok(None) };
        return Ok(Some(Offer { token, app: app()?, username: username() }));
    }
    if !bearer::has_request(connection) {
        return Ok(None);
    }
    match bearer::token(gateway)?.filter(|token| looks_like_a_token(token.as_bytes())) {
        Some(token) => Ok(Some(Offer { token, app: app()?, username: username() })),
        None => Ok(None),
    }
}

fn token(octets: &[u8]) -> Option<String> {
    if !looks_like_a_token(octets) {
        return None;
    }
    std::str::from_utf8(octets).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{METHOD, Offer, find, looks_like_a_token};
    use policy_support::fake::{Fake, connection, credentials, http};
    use policy_support::wit::types::DenyReason;
    use proptest::prelude::*;

    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";

    #[test]
    fn tokens_are_told_from_passwords() {
        for token in [TOKEN, "ewogImEiOjF9.e30.", "eyB9.e30.x-_"] {
            assert!(looks_like_a_token(token.as_bytes()), "{token}");
        }
        for other in
            ["", "e", "secret", "sk_abc", "ey.a", "ey.a.b.c", "ey..b", "eyJ.a=.b", "xyJ.a.b", "eyJ.a b.c", "ea.b.c"]
        {
            assert!(!looks_like_a_token(other.as_bytes()), "{other}");
        }
    }

    fn offer(app: Option<&str>, username: Option<&str>) -> Result<Option<Offer>, DenyReason> {
        Ok(Some(Offer { token: TOKEN.into(), app: app.map(Into::into), username: username.map(Into::into) }))
    }

    #[test]
    fn each_place_is_looked_at() {
        let ask =
            |gateway: &Fake, connection, credentials| find(gateway, &connection, &credentials).map_err(|d| d.reason);
        let none = Fake::default();
        let password = credentials("c", Some("app1"), Some(TOKEN));
        assert_eq!(ask(&none, connection("tcp"), password.clone()), offer(None, Some("app1")));

        let header =
            Fake::default().with_header("authorization", &format!("Bearer {TOKEN}")).with_header("x-app-id", "app1");
        assert_eq!(ask(&header, http(), credentials("", None, None)), offer(Some("app1"), None));
        assert_eq!(ask(&header, connection("wss"), credentials("c", None, None)), offer(Some("app1"), None));
        assert_eq!(ask(&header, connection("wss"), password), offer(Some("app1"), Some("app1")));
        assert_eq!(ask(&header, connection("tls"), credentials("c", None, None)), Ok(None));

        let mut method = credentials("c", None, None);
        method.method = Some(METHOD.into());
        assert_eq!(ask(&none, connection("tcp"), method.clone()), Err(DenyReason::BadCredentials));
        method.data = Some(TOKEN.into());
        assert_eq!(ask(&none, connection("tcp"), method.clone()), offer(None, None));
        method.method = Some("SCRAM-SHA-256".into());
        assert_eq!(ask(&none, connection("tcp"), method), Ok(None));
    }

    #[test]
    fn what_is_not_a_token_is_passed_without_a_call() {
        let gateway = Fake::default();
        for (transport, password) in
            [("wss", Some("secret")), ("ws", Some("sk_0123")), ("tls", None), ("tcp", Some(""))]
        {
            assert_eq!(find(&gateway, &connection(transport), &credentials("c", Some("u"), password)), Ok(None));
        }
        assert_eq!(gateway.calls.get(), 0);
    }

    proptest! {
        /// Every JSON object's encoding begins as the check says.
        #[test]
        fn no_header_is_overlooked(second: u8) {
            const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let first = ALPHABET[usize::from(b'{' >> 2)];
            let next = ALPHABET[usize::from((b'{' & 3) << 4 | second >> 4)];
            prop_assert!(looks_like_a_token(&[first, next, b'.', b'a', b'.', b'b']));
        }
    }
}
