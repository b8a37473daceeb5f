//! Where a token, a session or an identity token rides.

use policy_support::wit::types::{Connection, Credentials, Denial, DenyReason};
use policy_support::{SchemeGateway, bearer, deny, http};

use crate::person::{SESSION_PREFIX, bad, is_token};

/// The MQTT 5 authentication method.
pub const METHOD: &str = "Layer";

/// What a client offers. No `Debug`: it holds secrets.
#[derive(Clone, PartialEq, Eq)]
pub enum Offer {
    /// A token of km-api.
    Token(String),
    /// A session token.
    Session(String),
    /// The method, and nothing yet: the client wants a nonce.
    Ask,
    /// The method, and an identity token that answers a nonce from elsewhere.
    Answer(String),
}

/// What a client offers, if it offers something of ours. Cheap facts first: what is not ours costs no call.
///
/// # Errors
/// It offers something of ours that cannot be it, or contradicts itself.
pub fn find(
    gateway: &impl SchemeGateway,
    connection: &Connection,
    credentials: &Credentials,
) -> Result<Option<Offer>, Denial> {
    if let Some(method) = &credentials.method {
        if method != METHOD {
            return Ok(None);
        }
        return match credentials.data.as_deref() {
            None | Some([]) => Ok(Some(Offer::Ask)),
            Some(data) => Ok(Some(Offer::Answer(identity_token(data)?))),
        };
    }
    if let Some(password) = credentials.password.as_deref().filter(|password| !password.is_empty()) {
        // Both forms are ASCII, so that what is not text is not one of them.
        let Ok(text) = std::str::from_utf8(password) else { return Ok(None) };
        return Ok(match () {
            () if is_token(password) => Some(Offer::Token(text.to_owned())),
            () if text.starts_with(SESSION_PREFIX) => Some(Offer::Session(text.to_owned())),
            () => None,
        });
    }
    if !bearer::has_request(connection) {
        return Ok(None);
    }
    let header = in_header(gateway)?;
    // Only where headers cannot be set, which is in browsers: a query ends up in logs.
    let query = if connection.protocol == "mqtt" { in_query(gateway)? } else { None };
    match (header, query) {
        (Some(header), Some(query)) if header != query => {
            Err(deny(DenyReason::Malformed, "Authorization and session_token are different credentials"))
        }
        (header, query) => Ok(header.or(query)),
    }
}

/// The text of an identity token.
///
/// # Errors
/// It is no text.
pub fn identity_token(data: &[u8]) -> Result<String, Denial> {
    let text = std::str::from_utf8(data).map_err(|_| bad("the authentication data is not an identity token"))?;
    Ok(text.to_owned())
}

fn in_header(gateway: &impl SchemeGateway) -> Result<Option<Offer>, Denial> {
    let Some(value) = bearer::single(gateway, "authorization")? else { return Ok(None) };
    let (scheme, rest) = value.split_once(' ').unwrap_or((&value, ""));
    if scheme.eq_ignore_ascii_case("token") {
        return Ok(Some(Offer::Token(rest.trim().to_owned())));
    }
    if !scheme.eq_ignore_ascii_case("layer") {
        return Ok(None);
    }
    match session_token(rest) {
        Some(token) => Ok(Some(Offer::Session(token.to_owned()))),
        None => Err(bad("Authorization is not of the form Layer session-token=\"…\"")),
    }
}

/// What stands behind `session-token=`, in double or single quotes or in none.
pub fn session_token(parameters: &str) -> Option<&str> {
    let value = parameters.trim().strip_prefix("session-token=")?.trim();
    let quoted = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    let token = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
    (!token.is_empty() && !token.contains(['"', '\''])).then_some(token)
}

fn in_query(gateway: &impl SchemeGateway) -> Result<Option<Offer>, Denial> {
    let pairs = gateway.query().map(|query| http::pairs(&query)).unwrap_or_default();
    let mut tokens = pairs.into_iter().filter(|(name, _)| name == "session_token").map(|(_, value)| value);
    match (tokens.next(), tokens.next()) {
        (_, Some(_)) => Err(deny(DenyReason::Malformed, "session_token is there more than once")),
        (token, None) => Ok(token.filter(|token| !token.is_empty()).map(Offer::Session)),
    }
}

#[cfg(test)]
mod tests {
    use super::{METHOD, Offer, find};
    use policy_support::fake::{Fake, connection, credentials, http};
    use policy_support::wit::types::{Connection, Credentials, DenyReason};

    const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";
    const SESSION: &str = "layer_0123456789012345678901234567890123456789AB";

    fn ask(gateway: &Fake, connection: &Connection, credentials: &Credentials) -> Result<Option<String>, DenyReason> {
        let offer = find(gateway, connection, credentials).map_err(|denial| denial.reason)?;
        Ok(offer.map(|offer| match offer {
            Offer::Token(text) => format!("token {text}"),
            Offer::Session(text) => format!("session {text}"),
            Offer::Ask => "ask".into(),
            Offer::Answer(text) => format!("answer {text}"),
        }))
    }

    fn token() -> Result<Option<String>, DenyReason> {
        Ok(Some(format!("token {TOKEN}")))
    }

    fn session() -> Result<Option<String>, DenyReason> {
        Ok(Some(format!("session {SESSION}")))
    }

    #[test]
    fn each_place_is_looked_at() {
        let none = Fake::default();
        let empty = credentials("c", None, None);
        let password = |password| credentials("c", Some("ann"), Some(password));
        assert_eq!(ask(&none, &connection("tcp"), &password(TOKEN)), token());
        assert_eq!(ask(&none, &connection("tcp"), &password(SESSION)), session());

        let header = |value: &str| Fake::default().with_header("authorization", value);
        for connection in [connection("wss"), http()] {
            assert_eq!(ask(&header(&format!("Token {TOKEN}")), &connection, &empty), token());
            for value in [
                format!("Layer session-token=\"{SESSION}\""),
                format!("layer session-token='{SESSION}'"),
                format!("Layer  session-token={SESSION}"),
            ] {
                assert_eq!(ask(&header(&value), &connection, &empty), session(), "{value}");
            }
        }
        assert_eq!(ask(&header(&format!("Token {TOKEN}")), &connection("tls"), &empty), Ok(None));

        let mut query = Fake::default();
        query.scheme.query = Some(format!("a=b&session_token={SESSION}"));
        assert_eq!(ask(&query, &connection("ws"), &empty), session());
        assert_eq!(ask(&query, &http(), &empty), Ok(None), "the query of a request is not for credentials");
        assert_eq!(ask(&query, &connection("tcp"), &empty), Ok(None));
    }

    #[test]
    fn the_method_asks_or_answers() {
        let none = Fake::default();
        let mut method = credentials("c", None, None);
        method.method = Some(METHOD.into());
        assert_eq!(ask(&none, &connection("tcp"), &method), Ok(Some("ask".into())));
        method.data = Some(b"a.b.c".to_vec());
        assert_eq!(ask(&none, &connection("tcp"), &method), Ok(Some("answer a.b.c".into())));
        method.data = Some(vec![0xff]);
        assert_eq!(ask(&none, &connection("tcp"), &method), Err(DenyReason::BadCredentials));
        method.method = Some("JWT".into());
        assert_eq!(ask(&none, &connection("tcp"), &method), Ok(None));
        assert_eq!(none.calls.get(), 0);
    }

    #[test]
    fn contradictions_and_broken_forms_are_refused() {
        let empty = credentials("c", None, None);
        for value in ["Layer", "Layer session-token=", "Layer session-token=\"\"", "Layer session-token=\"a", "Layer x"]
        {
            let gateway = Fake::default().with_header("authorization", value);
            assert_eq!(ask(&gateway, &http(), &empty), Err(DenyReason::BadCredentials), "{value}");
        }
        let mut both = Fake::default().with_header("authorization", &format!("Token {TOKEN}"));
        both.scheme.query = Some(format!("session_token={SESSION}"));
        assert_eq!(ask(&both, &connection("ws"), &empty), Err(DenyReason::Malformed));
        let mut twice = Fake::default();
        twice.scheme.query = Some("session_token=a&session_token=b".into());
        assert_eq!(ask(&twice, &connection("ws"), &empty), Err(DenyReason::Malformed));
    }

    #[test]
    fn what_is_of_another_scheme_is_passed_without_a_call() {
        let gateway = Fake::default();
        let upper = TOKEN.to_uppercase();
        for password in ["secret", "eyJ.a.b", "sk_0123", &TOKEN[1..], &upper] {
            assert_eq!(ask(&gateway, &connection("wss"), &credentials("c", Some("u"), Some(password))), Ok(None));
        }
        let mut binary = credentials("c", Some("u"), None);
        binary.password = Some(vec![0xff; 40]);
        assert_eq!(ask(&gateway, &connection("tcp"), &binary), Ok(None));
        assert_eq!(gateway.calls.get(), 0);
        let other = Fake::default().with_header("authorization", "Bearer abc");
        assert_eq!(ask(&other, &http(), &credentials("", None, None)), Ok(None));
    }
}
