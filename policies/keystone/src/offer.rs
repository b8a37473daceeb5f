//! What a client offers: a token in the MQTT password or in a header, or a user name with its domain and a password.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use policy_support::wit::types::{Connection, Credentials, Denial};
use policy_support::{Gateway, bearer};

use crate::config::{Config, Mode};
use crate::fiware::Service;
use crate::http::OWN;

/// A credential of this scheme, by its looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// A token, and the service that the client names beside it.
    Token {
        /// The token.
        token: String,
        /// The MQTT user name.
        service: Option<Service>,
    },
    /// A password.
    Password {
        /// The user's name.
        user: String,
        /// The user's domain, and what the login is to be for.
        service: Service,
        /// The password.
        password: Vec<u8>,
    },
}

/// The credential that a client offers, if it is of this scheme. The MQTT password is looked at first; headers only where
/// there is none.
///
/// # Errors
/// A header is there more than once.
pub fn find(
    gateway: &impl Gateway,
    config: &Config,
    connection: &Connection,
    credentials: &Credentials,
) -> Result<Option<Offer>, Denial> {
    if credentials.method.is_some() {
        return Ok(None);
    }
    let username = credentials.username.as_deref().filter(|name| !name.is_empty());
    let service = username.map(Service::parse);
    if let Some(password) = credentials.password.as_deref().filter(|password| !password.is_empty()) {
        if is_ours(config, password) {
            let token = String::from_utf8_lossy(password).into_owned();
            return Ok(Some(Offer::Token { token, service }));
        }
        return Ok(username
            .filter(|_| config.passwords && !is_anothers(password))
            .and_then(|name| login(name, password)));
    }
    if !bearer::has_request(connection) {
        return Ok(None);
    }
    if let Some(token) = bearer::single(gateway, OWN)? {
        return Ok(Some(Offer::Token { token, service }));
    }
    let bearer = bearer::token(gateway)?.filter(|token| is_ours(config, token.as_bytes()));
    Ok(bearer.map(|token| Offer::Token { token, service }))
}

/// Reads `user@domain`, or `user@domain/project`. Users may have an `@` in their names: the last one counts.
fn login(name: &str, password: &[u8]) -> Option<Offer> {
    let (user, service) = name.rsplit_once('@')?;
    let service = Service::parse(service);
    (!user.is_empty() && !service.name.is_empty()).then(|| Offer::Password {
        user: user.to_owned(),
        service,
        password: password.to_vec(),
    })
}

/// Whether these octets are a token of Keystone's.
fn is_ours(config: &Config, octets: &[u8]) -> bool {
    is_keystones_jws(octets) || matches!(config.mode, Mode::Upstream(_)) && is_fernet(octets)
}

/// Whether these octets look like a JWS with Keystone's claims: other schemes' tokens have three parts too.
fn is_keystones_jws(octets: &[u8]) -> bool {
    let mut parts = octets.split(|octet| *octet == b'.');
    let (Some(header), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    header.starts_with(b"e")
        && BASE64_URL_SAFE_NO_PAD.decode(claims).is_ok_and(|claims| {
            // Every name begins behind a quotation mark: there are few of them, and many octets.
            let mut names = claims.iter().enumerate().filter(|(_, octet)| **octet == b'"').map(|(at, _)| &claims[at..]);
            claims.first() == Some(&b'{') && names.any(|name| name.starts_with(ISSUED.as_bytes()))
        })
}

/// A claim that every token of Keystone's has.
const ISSUED: &str = "\"openstack_audit_ids\"";

/// Whether these octets look like a Fernet token: base64url of the version 0x80 and a time of this century.
fn is_fernet(octets: &[u8]) -> bool {
    octets.starts_with(b"gAAAAA")
        && octets.len() >= 100
        && octets.iter().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'='))
}

/// Whether these octets look like the credential of another scheme: any JWS, or a key with its prefix.
fn is_anothers(octets: &[u8]) -> bool {
    octets.starts_with(b"sk_")
        || octets.starts_with(b"rk_")
        || octets.starts_with(b"ey") && octets.iter().filter(|octet| **octet == b'.').count() == 2
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Offer, find};
    use crate::config::Config;
    use crate::fiware::Service;
    use policy_support::fake::{Fake, connection, credentials, http};
    use proptest::prelude::*;

    /// `{"openstack_audit_ids":["a"]}`
    pub(crate) const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJvcGVuc3RhY2tfYXVkaXRfaWRzIjpbImEiXX0.c2ln";
    /// `{"sub":"a"}`
    const ANOTHERS: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";

    fn config(upstream: bool) -> Config {
        Config::parse(if upstream { r#"{"mode":"upstream","url":"http://k"}"# } else { "{}" }).unwrap()
    }

    fn token(token: &str, service: Option<&str>) -> Option<Offer> {
        Some(Offer::Token { token: token.into(), service: service.map(Service::parse) })
    }

    #[test]
    fn tokens_are_told_from_others() {
        let gateway = Fake::default();
        let fernet = format!("gAAAAABr{}", "A".repeat(100));
        let ask = |upstream, username, password: &str| {
            find(&gateway, &config(upstream), &connection("tcp"), &credentials("c", username, Some(password))).unwrap()
        };
        assert_eq!(ask(false, Some("smart"), TOKEN), token(TOKEN, Some("smart")));
        assert_eq!(ask(false, None, TOKEN), token(TOKEN, None));
        assert_eq!(ask(true, Some("smart/gardens"), &fernet), token(&fernet, Some("smart/gardens")));
        assert_eq!(ask(false, Some("smart"), &fernet), None);
        for other in [ANOTHERS, "sk_0123", "rk_0123", "secret", "a.b.c", "e..", "eyJ.=.x"] {
            assert_eq!(ask(true, Some("smart"), other), None, "{other}");
        }
        for other in [ANOTHERS, "sk_0123", "rk_0123"] {
            assert_eq!(ask(false, Some("ann@smart"), other), None, "{other}");
        }
        assert_eq!(gateway.calls.get(), 0);
    }

    #[test]
    fn a_user_name_with_a_domain_is_a_login() {
        let ask = |name, more: &str| {
            let config = Config::parse(more).unwrap();
            find(&Fake::default(), &config, &connection("tls"), &credentials("c", Some(name), Some("pw"))).unwrap()
        };
        let login = |user: &str, service: &str| {
            let service = Service::parse(service);
            Some(Offer::Password { user: user.into(), service, password: b"pw".to_vec() })
        };
        assert_eq!(ask("ann@smart", "{}"), login("ann", "smart"));
        assert_eq!(ask("ann@example.com@smart/gardens", "{}"), login("ann@example.com", "smart/gardens"));
        for name in ["ann", "@smart", "ann@", "ann@/gardens"] {
            assert_eq!(ask(name, "{}"), None, "{name}");
        }
        assert_eq!(ask("ann@smart", r#"{"passwords":false}"#), None);
    }

    #[test]
    fn headers_are_looked_at_where_there_is_no_password() {
        let ask = |gateway: &Fake, connection, password| {
            find(gateway, &config(false), &connection, &credentials("c", None, password))
        };
        let own = Fake::default().with_header("x-auth-token", "anything");
        assert_eq!(ask(&own, http(), None), Ok(token("anything", None)));
        assert_eq!(ask(&own, connection("wss"), None), Ok(token("anything", None)));
        assert_eq!(ask(&own, connection("tcp"), None), Ok(None));
        assert_eq!(ask(&own, connection("wss"), Some("secret")), Ok(None));
        let bearer = |token: &str| Fake::default().with_header("authorization", &format!("Bearer {token}"));
        assert_eq!(ask(&bearer(TOKEN), http(), None), Ok(token(TOKEN, None)));
        assert_eq!(ask(&bearer(ANOTHERS), http(), None), Ok(None));
        let twice = Fake::default().with_header("x-auth-token", "a").with_header("x-auth-token", "b");
        assert!(ask(&twice, http(), None).is_err());
    }

    proptest! {
        #[test]
        fn any_password_is_survived(name in ".{0,20}", password in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut offered = credentials("c", Some(&name), None);
            offered.password = Some(password);
            let _ = find(&Fake::default(), &config(true), &connection("tcp"), &offered);
        }
    }
}
