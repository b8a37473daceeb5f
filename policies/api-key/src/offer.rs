//! Where a key rides, and who it is used for.

use policy_support::wit::types::{Connection, Credentials, Denial, DenyReason};
use policy_support::{Gateway, bearer, deny};

/// The MQTT 5 authentication method that carries a key in its data.
pub const METHOD: &str = "API-KEY";

/// The lengths that the directory gives to secrets.
const LENGTHS: std::ops::RangeInclusive<usize> = 32..=128;

/// What a key says that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `sk_`: acts for consumers.
    Secret,
    /// `rk_`: asks devices to reset.
    Reset,
}

impl Kind {
    /// The word in the directory.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Reset => "reset",
        }
    }

    /// By the prefix. None: it is no key of ours.
    #[must_use]
    pub fn of(secret: &[u8]) -> Option<Self> {
        match secret {
            [b's', b'k', b'_', ..] => Some(Self::Secret),
            [b'r', b'k', b'_', ..] => Some(Self::Reset),
            _ => None,
        }
    }
}

/// A key, and what came with it. No `Debug`: it holds a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    /// By its prefix.
    pub kind: Kind,
    /// The key.
    pub secret: String,
    /// The consumer that it is to be used for.
    pub consumer: Option<String>,
}

/// The key that a client offers, if it offers one. Cheap facts first: what is not a key costs no call.
///
/// # Errors
/// It offers a key of ours that cannot be one, or contradicts itself.
pub fn find(
    gateway: &impl Gateway,
    connection: &Connection,
    credentials: &Credentials,
) -> Result<Option<Offer>, Denial> {
    let has_request = bearer::has_request(connection);
    let found = if let Some(method) = &credentials.method {
        if method != METHOD {
            return Ok(None);
        }
        let data = credentials.data.as_deref().unwrap_or_default();
        match Kind::of(data) {
            Some(kind) => Some((kind, text(data)?)),
            None => return Err(deny(DenyReason::BadCredentials, "the authentication data is not an API key")),
        }
    } else if let Some(password) = credentials.password.as_deref().filter(|password| !password.is_empty()) {
        match Kind::of(password) {
            Some(kind) => Some((kind, text(password)?)),
            None => None,
        }
    } else if has_request {
        in_header(gateway)?
    } else {
        None
    };
    let Some((kind, secret)) = found else { return Ok(None) };
    let named = credentials.username.clone().filter(|name| !name.is_empty());
    let header = if has_request { bearer::single(gateway, "x-on-behalf-of")? } else { None };
    if named.is_some() && header.is_some() && named != header {
        return Err(deny(DenyReason::Malformed, "the user name and X-On-Behalf-Of name different consumers"));
    }
    Ok(Some(Offer { kind, secret, consumer: header.or(named) }))
}

fn in_header(gateway: &impl Gateway) -> Result<Option<(Kind, String)>, Denial> {
    let ours = |value: &String| Kind::of(value.as_bytes()).is_some();
    let bearer = bearer::token(gateway)?.filter(ours);
    let own = bearer::single(gateway, "x-api-key")?.filter(ours);
    if bearer.is_some() && own.is_some() && bearer != own {
        return Err(deny(DenyReason::Malformed, "Authorization and X-API-Key carry different keys"));
    }
    match bearer.or(own) {
        None => Ok(None),
        Some(secret) => Ok(Kind::of(secret.as_bytes()).zip(Some(text(secret.as_bytes())?))),
    }
}

/// The key as text, if it has the form of one. What has not is not looked up.
fn text(octets: &[u8]) -> Result<String, Denial> {
    let formed = LENGTHS.contains(&octets.len()) && octets.iter().all(|o| o.is_ascii_alphanumeric() || *o == b'_');
    match std::str::from_utf8(octets) {
        Ok(text) if formed => Ok(text.to_owned()),
        _ => Err(deny(DenyReason::BadCredentials, "the key has not the form of one")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, METHOD, find};
    use policy_support::fake::{Fake, connection, credentials, http};
    use policy_support::wit::types::{Connection, Credentials, DenyReason};

    const SECRET: &str = "sk_0123456789012345678901234567890123456789ABcde";
    const RESET: &str = "rk_0123456789012345678901234567890123456789ABcde";

    type Found = Result<Option<(Kind, String, Option<String>)>, DenyReason>;

    fn ask(gateway: &Fake, connection: &Connection, credentials: &Credentials) -> Found {
        let offer = find(gateway, connection, credentials).map_err(|denial| denial.reason)?;
        Ok(offer.map(|offer| (offer.kind, offer.secret, offer.consumer)))
    }

    fn found(kind: Kind, secret: &str, consumer: Option<&str>) -> Found {
        Ok(Some((kind, secret.into(), consumer.map(Into::into))))
    }

    #[test]
    fn each_place_is_looked_at() {
        let none = Fake::default();
        let password = |secret| credentials("c", Some("ann"), Some(secret));
        assert_eq!(ask(&none, &connection("tcp"), &password(SECRET)), found(Kind::Secret, SECRET, Some("ann")));
        assert_eq!(ask(&none, &connection("tcp"), &password(RESET)), found(Kind::Reset, RESET, Some("ann")));

        let empty = credentials("", None, None);
        let bearer = Fake::default().with_header("authorization", &format!("Bearer {SECRET}"));
        assert_eq!(ask(&bearer, &http(), &empty), found(Kind::Secret, SECRET, None));
        let own = Fake::default().with_header("x-api-key", RESET).with_header("x-on-behalf-of", "bob");
        assert_eq!(ask(&own, &http(), &empty), found(Kind::Reset, RESET, Some("bob")));
        assert_eq!(
            ask(&own, &connection("wss"), &credentials("c", Some("bob"), None)),
            found(Kind::Reset, RESET, Some("bob"))
        );
        assert_eq!(ask(&own, &connection("wss"), &credentials("c", Some("ann"), None)), Err(DenyReason::Malformed));
        assert_eq!(ask(&own, &connection("tls"), &credentials("c", Some("ann"), None)), Ok(None));

        let mut method = credentials("c", None, None);
        method.method = Some(METHOD.into());
        method.data = Some(SECRET.into());
        assert_eq!(ask(&none, &connection("tcp"), &method), found(Kind::Secret, SECRET, None));
        method.data = Some(b"other".to_vec());
        assert_eq!(ask(&none, &connection("tcp"), &method), Err(DenyReason::BadCredentials));
        method.method = Some("JWT".into());
        assert_eq!(ask(&none, &connection("tcp"), &method), Ok(None));
    }

    #[test]
    fn contradictions_are_refused() {
        let two =
            Fake::default().with_header("authorization", &format!("Bearer {SECRET}")).with_header("x-api-key", RESET);
        assert_eq!(ask(&two, &http(), &credentials("", None, None)), Err(DenyReason::Malformed));
        let same =
            Fake::default().with_header("authorization", &format!("Bearer {SECRET}")).with_header("x-api-key", SECRET);
        assert_eq!(ask(&same, &http(), &credentials("", None, None)), found(Kind::Secret, SECRET, None));
    }

    #[test]
    fn what_is_not_a_key_is_passed_without_a_call_and_a_misformed_one_refused() {
        let gateway = Fake::default();
        for password in ["secret", "eyJ.a.b", "sk-", "SK_"] {
            assert_eq!(ask(&gateway, &connection("wss"), &credentials("c", Some("u"), Some(password))), Ok(None));
        }
        for password in ["sk_", "rk_short", &format!("{SECRET}/"), &format!("sk_{}", "a".repeat(126))] {
            assert_eq!(
                ask(&gateway, &connection("tcp"), &credentials("c", Some("u"), Some(password))),
                Err(DenyReason::BadCredentials)
            );
        }
        assert_eq!(gateway.calls.get(), 0);
    }
}
