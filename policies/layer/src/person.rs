//! Who somebody is: a user of the directory, or whom another provider vouches for; and whether they may come in now.

use policy_support::answer::directory_failed;
use policy_support::wit::directory::{Key, User, UserSelector};
use policy_support::wit::types::{Denial, DenyReason};
use policy_support::{SchemeGateway, deny};

use crate::config::{Config, Provider};

/// What session tokens begin with, so that they are known at a glance.
pub const SESSION_PREFIX: &str = "layer_";

/// Kinds of keys in the directory.
pub const TOKEN: &str = "token";
/// See [`TOKEN`].
pub const SESSION: &str = "session";

/// The attribute of a session's key that names the provider of a foreign principal.
pub const PROVIDER: &str = "provider";
/// The attribute of a session's key with the UUID of the Layer app.
pub const APP: &str = "layer-app";

/// Somebody.
#[derive(Clone, Debug)]
pub enum Person {
    /// A user of the directory.
    Local(User),
    /// A principal of another provider.
    Foreign {
        /// The provider's UUID.
        provider: String,
        /// Whatever the provider calls them.
        principal: String,
        /// The app of the directory whose consumer this is.
        app: Option<String>,
    },
}

/// Somebody, and the key that they showed.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// Who.
    pub person: Person,
    /// The key. None: they came with an identity token.
    pub key: Option<Key>,
}

impl Bearer {
    /// An attribute of the key.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        attribute(self.key.as_ref()?, name)
    }
}

fn attribute<'k>(key: &'k Key, name: &str) -> Option<&'k str> {
    key.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// A refusal of what somebody showed.
pub fn bad(detail: impl Into<String>) -> Denial {
    deny(DenyReason::BadCredentials, detail)
}

/// Whether a text has the form of a token of km-api: 40 hexadecimal digits in lower case.
pub fn is_token(octets: &[u8]) -> bool {
    octets.len() == 40 && octets.iter().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a text has the form of a session token.
pub fn is_session(octets: &[u8]) -> bool {
    octets.len() == 48
        && octets.starts_with(SESSION_PREFIX.as_bytes())
        && octets.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'_')
}

/// Who bears a token of km-api.
///
/// # Errors
/// Nobody does, or they may not come in.
pub fn by_token(gateway: &impl SchemeGateway, config: &Config, secret: &str) -> Result<Bearer, Denial> {
    let unknown = || bad("the token is unknown or revoked, or its user is disabled");
    if !is_token(secret.as_bytes()) {
        return Err(bad("the token has not the form of one"));
    }
    let key = gateway.find_key(secret)?.filter(|key| key.kind == TOKEN).ok_or_else(unknown)?;
    let id = key.owner.strip_prefix("user:").ok_or_else(unknown)?;
    // Unlike a session it outlives a change of password, as in km-api: it is revoked as a key.
    let user = local(gateway, config, id, None)?;
    Ok(Bearer { person: Person::Local(user), key: Some(key) })
}

/// Who bears a session token.
///
/// # Errors
/// Nobody does, or they may not come in.
pub fn by_session(gateway: &impl SchemeGateway, config: &Config, secret: &str) -> Result<Bearer, Denial> {
    let unknown = || bad("the session is unknown, expired or revoked, or its user is disabled");
    if !is_session(secret.as_bytes()) {
        return Err(bad("the session token has not the form of one"));
    }
    let key = gateway.find_key(secret)?.filter(|key| key.kind == SESSION).ok_or_else(unknown)?;
    // The configuration may have changed since it was opened.
    if !config.admits_app(attribute(&key, APP).unwrap_or_default()) {
        return Err(bad("the session is of an app that is not one of this service any more"));
    }
    let person = match key.owner.split_once(':') {
        Some(("user", id)) => Person::Local(local(gateway, config, id, Some(key.created_at))?),
        Some(("consumer", principal)) => {
            let provider = attribute(&key, PROVIDER).ok_or_else(unknown)?;
            let provider = foreign(config, provider)
                .ok_or_else(|| bad(format!("the provider {provider} is not believed any more")))?;
            Person::Foreign {
                provider: provider.id.clone(),
                principal: principal.to_owned(),
                app: provider.app.clone(),
            }
        }
        _ => return Err(unknown()),
    };
    Ok(Bearer { person, key: Some(key) })
}

/// A provider that is configured.
pub fn foreign<'c>(config: &'c Config, id: &str) -> Option<&'c Provider> {
    config.providers.iter().find(|provider| provider.id == id)
}

/// A user who may come in. `issued`: when what they show was issued, if it does not outlive a change of password.
///
/// # Errors
/// There is none, they are disabled or not verified, or what they show is void.
pub fn local(gateway: &impl SchemeGateway, config: &Config, id: &str, issued: Option<u64>) -> Result<User, Denial> {
    let found = gateway.find_user(&UserSelector::Id(id.to_owned())).map_err(directory_failed)?;
    let user = found.ok_or_else(|| bad(format!("there is no user {id:?}")))?;
    if !user.enabled {
        return Err(bad(format!("the user {id} is disabled")));
    }
    if let Some(issued) = issued
        && gateway.tokens_valid_from(id).map_err(directory_failed)?.is_some_and(|from| issued < from)
    {
        return Err(bad(format!("issued at {issued}, before everything that the user {id} had was made void")));
    }
    verified(config, &user)?;
    Ok(user)
}

/// Refuses a user whose e-mail address was not confirmed, where that matters.
///
/// # Errors
/// So.
pub fn verified(config: &Config, user: &User) -> Result<(), Denial> {
    if user.verified || !config.require_verified {
        return Ok(());
    }
    Err(Denial {
        message: Some("The e-mail address has not been confirmed.".into()),
        ..deny(DenyReason::NotAuthorized, format!("the e-mail address of the user {} was not confirmed", user.id))
    })
}

/// An attribute of a user, empty if there is none.
pub fn about<'u>(user: &'u User, name: &str) -> &'u str {
    user.attributes.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
}
