//! A login with a token of the gateway's own, on MQTT or HTTP, and what it is granted.

use policy_support::template::{Unfit, Value, Values};
use policy_support::wit::directory::{Device, User};
use policy_support::wit::types::{Denial, DenyReason, Grant, Identity, Rule};
use policy_support::{SchemeGateway, answer, client_id, deny, owned, rules};

use super::config::Oisp;
use super::token::{self, Account, Bearer, Whose};
use crate::config::Config;
use crate::decision::{Login, bad, check_client_id};
use crate::grant::{SCHEME, end};
use crate::remembered::Remembered;

/// Decides about a login whose token names the gateway as its issuer.
///
/// # Errors
/// It is not admitted.
pub(crate) fn admit(
    gateway: &impl SchemeGateway,
    config: &Config,
    oisp: &Oisp,
    login: &Login<'_>,
) -> Result<Grant, Denial> {
    let bearer = token::check(gateway, oisp, login.token)?;
    let subject = match &bearer.whose {
        Whose::Person(user) => &user.id,
        Whose::Device(device) => &device.id,
    };
    if login.subject.is_some_and(|earlier| earlier != subject) {
        return Err(bad("the token is another subject's than that of this connection"));
    }
    let (renamed, used, mut grant) = match &bearer.whose {
        Whose::Person(user) => of_person(gateway, config, oisp, login, &bearer, user)?,
        Whose::Device(device) => of_device(config, oisp, login, &bearer, device)?,
    };
    grant.expires_at = bearer.token.expires_at.map(|at| end(at, gateway.now(), config.requirements.leeway));
    grant.limits.clone_from(&config.limits);
    if login.client_id.is_some() {
        let remembered = Remembered { app: None, client_id: &used, token: login.token.into() };
        grant.state = remembered.write(&grant.identity).unwrap_or_default();
    }
    grant.client_id = renamed;
    Ok(grant)
}

/// Another client identifier if the client is given one, the identifier in use, and the grant.
type Terms = (Option<String>, String, Grant);

fn of_person(
    gateway: &impl SchemeGateway,
    config: &Config,
    oisp: &Oisp,
    login: &Login<'_>,
    bearer: &Bearer,
    user: &User,
) -> Result<Terms, Denial> {
    let is = |name: &str| {
        name == user.id
            || name == user.name
            || user.email.as_ref().is_some_and(|email| email.eq_ignore_ascii_case(name))
    };
    if !config.any_username && login.username.is_some_and(|name| !is(name)) {
        return Err(bad("the user name is not that of the person whose token it is"));
    }
    let renamed = match login.client_id {
        Some(client_id) => check_client_id(gateway, config.client_id, client_id, &user.id)?,
        None => None,
    };
    let used = renamed.as_deref().or(login.client_id).unwrap_or_default().to_owned();
    let devices = match oisp.needs_devices {
        true => owned::devices(gateway, &user.id, None)?.into_iter().map(|device| device.namespace).collect(),
        false => vec![],
    };
    let roles = vec![bearer.role.clone()];
    let values = Person { user, bearer, client_id: &used, devices };
    let rules = rules::expand(&oisp.rules, &values, &roles).map_err(|unfit| client_id::unfit(&unfit))?;
    let identity = Identity {
        scheme: SCHEME.into(),
        subject: user.id.clone(),
        // Users are unique in the directory, and a person who joins another account stays the same person.
        tenant: None,
        acting_for: None,
        roles,
        attributes: user.email.iter().map(|email| ("email".to_owned(), email.clone())).collect(),
    };
    let grant = derived(identity, rules, vec![format!("user:{}", user.id)], bearer);
    Ok((renamed, used, grant))
}

fn of_device(
    config: &Config,
    oisp: &Oisp,
    login: &Login<'_>,
    bearer: &Bearer,
    device: &Device,
) -> Result<Terms, Denial> {
    let own = |name: &str| name == device.id || name == device.client_id;
    if !config.any_username && login.username.is_some_and(|name| !own(name)) {
        return Err(bad(format!("the user name is not that of the device {}, whose token it is", device.id)));
    }
    let renamed = match login.client_id {
        None => None,
        Some(client_id) if client_id == device.client_id => None,
        // Clients of this platform call themselves by the device's identifier, or leave it to the server.
        Some(client_id) if client_id.is_empty() || client_id == device.id => Some(device.client_id.clone()),
        Some(_) => {
            let detail = format!("the device {} must use its own client id {:?}", device.id, device.client_id);
            return Err(deny(DenyReason::ClientIdNotValid, detail));
        }
    };
    let rules =
        rules::expand(&oisp.device_rules, &Thing { device, bearer }, &[]).map_err(|unfit| client_id::unfit(&unfit))?;
    let mut attributes = vec![("namespace".to_owned(), device.namespace.clone())];
    attributes.extend(device.owner_id.iter().map(|owner| ("owner".to_owned(), owner.clone())));
    let identity = Identity {
        scheme: SCHEME.into(),
        subject: device.id.clone(),
        tenant: device.app_id.clone(),
        acting_for: None,
        roles: vec![bearer.role.clone()],
        attributes,
    };
    let mut depends_on = vec![format!("device:{}", device.id)];
    depends_on.extend(device.app_id.iter().map(|app| format!("app:{app}")));
    Ok((renamed, device.client_id.clone(), derived(identity, rules, depends_on, bearer)))
}

fn derived(identity: Identity, rules: Vec<Rule>, mut depends_on: Vec<String>, bearer: &Bearer) -> Grant {
    depends_on.push(format!("token:{}", bearer.id));
    // An account that goes, or is disabled, is lost at once.
    let mut accounts: Vec<String> = bearer.accounts.iter().flat_map(Account::depends_on).collect();
    accounts.sort_unstable();
    accounts.dedup();
    depends_on.extend(accounts);
    Grant { depends_on, ..answer::grant(identity, rules) }
}

/// What the placeholders of a person's rules stand for.
struct Person<'a> {
    user: &'a User,
    bearer: &'a Bearer,
    client_id: &'a str,
    devices: Vec<String>,
}

impl Values for Person<'_> {
    fn value(&self, name: &str) -> Result<Value<'_>, Unfit> {
        let accounts = |role: Option<&str>| {
            let held = self.bearer.accounts.iter().filter(|account| role.is_none_or(|role| account.role == role));
            Value::Many(held.map(|account| account.id.as_str().into()).collect())
        };
        Ok(match name {
            "sub" => Value::one(&self.user.id),
            "client-id" => Value::maybe(Some(self.client_id)),
            "device" => Value::Many(self.devices.iter().map(|namespace| namespace.as_str().into()).collect()),
            "account" => accounts(None),
            _ => accounts(name.strip_prefix("account.")),
        })
    }
}

/// What the placeholders of a device's rules stand for.
struct Thing<'a> {
    device: &'a Device,
    bearer: &'a Bearer,
}

impl Values for Thing<'_> {
    fn value(&self, name: &str) -> Result<Value<'_>, Unfit> {
        let Self { device, bearer } = self;
        Ok(Value::maybe(match name {
            "device" => Some(&device.namespace),
            "device-id" => Some(&device.id),
            "client-id" => Some(&device.client_id),
            "app" => device.app_id.as_deref(),
            "owner" => device.owner_id.as_deref(),
            _ => bearer.accounts.first().map(|account| account.id.as_str()),
        }))
    }
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
