//! Credentials that ride in HTTP header fields: of a request to be authenticated, or of a WebSocket upgrade.

use crate::Gateway;
use crate::answer::deny;
use crate::wit::types::{Connection, Denial, DenyReason};

/// Whether this connection has an HTTP request whose header may be asked for. Known without a call to the gateway.
#[must_use]
pub fn has_request(connection: &Connection) -> bool {
    connection.protocol == "http" || matches!(connection.transport.as_str(), "ws" | "wss")
}

/// The value of a header field that may be there once. Surrounding blanks are cut off; an empty value is none.
///
/// # Errors
/// It is there more than once: which one counts would be a guess.
pub fn single(gateway: &impl Gateway, name: &str) -> Result<Option<String>, Denial> {
    let mut values = gateway.header(name);
    if values.len() > 1 {
        return Err(deny(DenyReason::Malformed, format!("the header field {name} is there {} times", values.len())));
    }
    Ok(values.pop().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()))
}

/// The token of `Authorization: Bearer …` (RFC 6750 §2.1). None: there is no such field, or it is of another scheme.
///
/// # Errors
/// The field is there more than once.
pub fn token(gateway: &impl Gateway) -> Result<Option<String>, Denial> {
    let Some(value) = single(gateway, "authorization")? else { return Ok(None) };
    Ok(value
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{single, token};
    use crate::fake::Fake;
    use crate::wit::types::DenyReason;

    #[test]
    fn bearer_tokens_are_found() {
        for (value, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("Bearer", None),
            ("Token abc", None),
        ] {
            let gateway = Fake::default().with_header("authorization", value);
            assert_eq!(token(&gateway), Ok(expected.map(str::to_owned)), "{value}");
        }
        assert_eq!(token(&Fake::default()), Ok(None));
    }

    #[test]
    fn two_of_them_are_refused() {
        let gateway = Fake::default().with_header("x-app-id", "a").with_header("x-app-id", "b");
        assert_eq!(single(&gateway, "x-app-id").unwrap_err().reason, DenyReason::Malformed);
    }
}
