//! Whose key it is, whom it may be used for, and what for.

use policy_support::template::{Unfit, Value, Values};
use policy_support::wit::directory::Key;
use policy_support::wit::types::{Connection, Credentials, Denial, DenyReason, Grant, Identity};
use policy_support::{Gateway, Outcome, answer, client_id, deny, owned, rules, state};

use crate::config::Config;
use crate::offer::{self, Kind, Offer};

/// The word in `identity.scheme`.
pub const SCHEME: &str = "api-key";

/// Version of what is kept in `grant.state`.
const STATE: u8 = 1;

/// The most octets of a consumer's name.
const NAME_LIMIT: usize = 512;

/// Decides about a login.
///
/// # Errors
/// The client offers a key, and it is not good for this.
pub fn authenticate(
    gateway: &impl Gateway,
    config: &Config,
    connection: &Connection,
    credentials: &Credentials,
) -> Outcome {
    let Some(mut offer) = offer::find(gateway, connection, credentials)? else { return Ok(None) };
    if offer.consumer.is_none() {
        // MQTT 5 re-authentication has no user name: it is for whom the connection is already.
        let earlier = connection.identity.as_ref().filter(|identity| identity.scheme == SCHEME);
        offer.consumer = earlier.and_then(|identity| identity.acting_for.clone());
    }
    let client_id = (connection.protocol == "mqtt").then_some(credentials.client_id.as_str());
    admit(gateway, config, &offer, client_id).map(Some)
}

/// Looks at a login again.
///
/// # Errors
/// It would not be admitted now.
pub fn renew(gateway: &impl Gateway, config: &Config, connection: &Connection, state: &[u8]) -> Result<Grant, Denial> {
    let remembered = state::read(STATE, state).and_then(|[consumer, client_id, secret]| {
        let consumer = Some(consumer.to_owned()).filter(|name| !name.is_empty());
        Some((Offer { kind: Kind::of(secret.as_bytes())?, secret: secret.to_owned(), consumer }, client_id))
    });
    let Some((offer, client_id)) = remembered else {
        return Err(deny(DenyReason::NotAuthorized, "what was remembered of the login cannot be read: log in again"));
    };
    let grant = admit(gateway, config, &offer, Some(client_id))?;
    match &connection.identity {
        Some(earlier) if earlier.subject != grant.identity.subject => {
            Err(deny(DenyReason::BadCredentials, "the key is another one now"))
        }
        _ => Ok(grant),
    }
}

/// What the placeholders of the rules stand for.
struct Fillings<'a> {
    consumer: Option<&'a str>,
    app: Option<&'a str>,
    key: &'a str,
    client_id: Option<&'a str>,
    devices: Vec<String>,
}

impl Values for Fillings<'_> {
    fn value(&self, name: &str) -> Result<Value<'_>, Unfit> {
        Ok(match name {
            "consumer" => Value::maybe(self.consumer),
            "app" => Value::maybe(self.app),
            "key" => Value::one(self.key),
            "client-id" => Value::maybe(self.client_id),
            _ => Value::Many(self.devices.iter().map(|namespace| namespace.as_str().into()).collect()),
        })
    }
}

/// Whose key it is.
#[derive(Debug, PartialEq, Eq)]
struct Owner<'a> {
    app: Option<&'a str>,
    /// The only consumer that it may be used for.
    consumer: Option<&'a str>,
}

fn owner(key: &Key) -> Result<Owner<'_>, Denial> {
    match key.owner.split_once(':') {
        Some(("app", id)) if !id.is_empty() => Ok(Owner { app: Some(id), consumer: None }),
        Some(("consumer", id)) if !id.is_empty() => {
            let app = key.attributes.iter().find(|(name, _)| name == "app-id").map(|(_, value)| value.as_str());
            Ok(Owner { app, consumer: Some(id) })
        }
        _ => Err(deny(DenyReason::NotAuthorized, format!("the key {} is neither an app's nor a consumer's", key.id))),
    }
}

/// `client_id`: none where it is not on MQTT.
fn admit(gateway: &impl Gateway, config: &Config, offer: &Offer, client_id: Option<&str>) -> Result<Grant, Denial> {
    if offer.kind == Kind::Reset && !config.reset_keys {
        return Err(deny(
            DenyReason::NotAuthorized,
            "reset keys are not admitted here: `reset-keys = true` admits them",
        ));
    }
    let key = gateway
        .find_key(&offer.secret)?
        .ok_or_else(|| deny(DenyReason::BadCredentials, "the key is unknown, expired or revoked"))?;
    if key.kind != offer.kind.as_str() {
        let detail = format!("the key {} is of the kind {:?}, which its prefix denies", key.id, key.kind);
        return Err(deny(DenyReason::BadCredentials, detail));
    }
    let owner = owner(&key)?;
    let consumer = consumer(config, &key, &owner, offer.consumer.as_deref())?;
    if let Some(client_id) = client_id {
        client_id::not_a_devices(gateway, client_id)?;
    }
    let templates = if offer.kind == Kind::Reset { &config.reset_rules } else { &config.rules };
    let devices = match consumer {
        Some(consumer) if rules::use_placeholder(templates, "device") => {
            owned::devices(gateway, consumer, owner.app)?.into_iter().map(|device| device.namespace).collect()
        }
        _ => vec![],
    };
    let fillings = Fillings { consumer, app: owner.app, key: &key.id, client_id, devices };
    let rules = rules::expand(templates, &fillings, &[]).map_err(|unfit| client_id::unfit(&unfit))?;

    let mut depends_on = vec![format!("key:{}", key.id)];
    depends_on.extend(owner.app.map(|app| format!("app:{app}")));
    depends_on.extend(consumer.map(|consumer| format!("consumer:{consumer}")));
    let state = client_id
        .and_then(|client_id| state::write(STATE, &[consumer.unwrap_or_default(), client_id, &offer.secret]))
        .unwrap_or_default();
    let identity = Identity {
        scheme: SCHEME.into(),
        subject: key.id.clone(),
        tenant: owner.app.map(str::to_owned),
        acting_for: consumer.map(str::to_owned),
        roles: vec![],
        attributes: vec![("key-kind".into(), key.kind.clone()), ("key-owner".into(), key.owner.clone())],
    };
    Ok(Grant {
        expires_at: key.expires_at,
        limits: config.limits.clone(),
        depends_on,
        state,
        ..answer::grant(identity, rules)
    })
}

/// The consumer that the key is used for.
fn consumer<'a>(
    config: &Config,
    key: &Key,
    owner: &Owner<'a>,
    named: Option<&'a str>,
) -> Result<Option<&'a str>, Denial> {
    match (owner.consumer, named) {
        (Some(own), Some(named)) if own != named => {
            let detail = format!("the key {} is a consumer's own and may not be used for another", key.id);
            Err(deny(DenyReason::NotAuthorized, detail))
        }
        (_, Some(named)) if named.len() > NAME_LIMIT || named.chars().any(char::is_control) => {
            Err(deny(DenyReason::Malformed, "the consumer's name is longer than 512 octets or has control characters"))
        }
        (None, None) if config.require_consumer => Err(Denial {
            message: Some("Name the consumer: as the MQTT user name, or in X-On-Behalf-Of.".into()),
            ..deny(DenyReason::Malformed, format!("the key {} was used without naming a consumer", key.id))
        }),
        (own, named) => Ok(own.or(named)),
    }
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
