//! What somebody is granted.

use policy_support::answer::directory_failed;
use policy_support::rules;
use policy_support::template::{Unfit, Value, Values};
use policy_support::wit::directory::Scope;
use policy_support::wit::types::{Denial, DenyReason, Grant, Identity};
use policy_support::{SchemeGateway, answer, client_id, deny, owned};

use crate::config::Config;
use crate::identity_token;
use crate::person::{APP, Bearer, Person};

/// The word in `identity.scheme`.
pub const SCHEME: &str = "layer";

/// What the placeholders of the rules stand for.
struct Fillings<'a> {
    person: &'a Person,
    client_id: Option<&'a str>,
    devices: Vec<String>,
}

impl Values for Fillings<'_> {
    fn value(&self, name: &str) -> Result<Value<'_>, Unfit> {
        Ok(match (name, self.person) {
            ("user", Person::Local(user)) => Value::one(&user.id),
            ("provider", Person::Foreign { provider, .. }) => Value::one(provider),
            ("principal", Person::Foreign { principal, .. }) => Value::one(principal),
            ("client-id", _) => Value::maybe(self.client_id),
            ("device", _) => Value::Many(self.devices.iter().map(|namespace| namespace.as_str().into()).collect()),
            _ => Value::Missing,
        })
    }
}

/// The grant, without its state and without an end. `client_id`: none where it is not on MQTT.
///
/// # Errors
/// The client identifier is a device's, something cannot be written into a rule, or the directory does not answer.
pub fn grant(
    gateway: &impl SchemeGateway,
    config: &Config,
    bearer: &Bearer,
    client_id: Option<&str>,
) -> Result<Grant, Denial> {
    if let Some(client_id) = client_id {
        client_id::not_a_devices(gateway, client_id)?;
    }
    let fillings = Fillings { person: &bearer.person, client_id, devices: devices(gateway, config, &bearer.person)? };
    let roles = roles(gateway, &bearer.person)?;
    let rules = rules::expand(&config.rules, &fillings, &roles).map_err(|unfit| refuse(&unfit))?;
    let mut depends_on = Vec::new();
    let mut attributes = Vec::new();
    let (subject, tenant) = match &bearer.person {
        Person::Local(user) => {
            depends_on.push(format!("user:{}", user.id));
            attributes.extend(user.email.iter().map(|email| ("email".to_owned(), email.clone())));
            (user.id.clone(), None)
        }
        Person::Foreign { provider, principal, app } => {
            // A change of the devices that the principal owns is told under the owner's name.
            depends_on.extend(app.iter().map(|app| format!("app:{app}")));
            depends_on.extend(app.iter().map(|_| format!("consumer:{principal}")));
            (principal.clone(), Some(identity_token::issuer(provider)))
        }
    };
    depends_on.extend(bearer.key.iter().map(|key| format!("key:{}", key.id)));
    attributes.extend(bearer.attribute(APP).map(|app| (APP.to_owned(), app.to_owned())));
    let identity = Identity { scheme: SCHEME.into(), subject, tenant, acting_for: None, roles, attributes };
    let expires_at = bearer.key.as_ref().and_then(|key| key.expires_at);
    Ok(Grant { expires_at, limits: config.limits.clone(), depends_on, ..answer::grant(identity, rules) })
}

/// The namespaces of the devices that somebody owns. Of a foreign principal only within its provider's app: its name may
/// be that of somebody here.
fn devices(gateway: &impl SchemeGateway, config: &Config, person: &Person) -> Result<Vec<String>, Denial> {
    let (owner, app) = match person {
        _ if !config.needs_devices => return Ok(vec![]),
        Person::Local(user) => (&user.id, config.device_app.as_deref()),
        Person::Foreign { app: None, .. } => return Ok(vec![]),
        Person::Foreign { principal, app, .. } => (principal, app.as_deref()),
    };
    Ok(owned::devices(gateway, owner, app)?.into_iter().map(|device| device.namespace).collect())
}

/// The roles that a user has in the whole system: those of a project or domain say nothing here.
fn roles(gateway: &impl SchemeGateway, person: &Person) -> Result<Vec<String>, Denial> {
    let Person::Local(user) = person else { return Ok(vec![]) };
    let assigned = gateway.list_roles(&user.id).map_err(directory_failed)?;
    Ok(assigned.into_iter().filter(|assigned| assigned.scope == Scope::System).map(|assigned| assigned.role).collect())
}

/// The refusal for a placeholder's value. What another provider says is its fault.
fn refuse(unfit: &Unfit) -> Denial {
    match unfit.placeholder.as_str() {
        "principal" => deny(DenyReason::BadCredentials, unfit.to_string()),
        _ => client_id::unfit(unfit),
    }
}
