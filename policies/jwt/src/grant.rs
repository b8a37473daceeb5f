//! What the bearer of a verified token is granted.

use policy_support::config::{ConfigError, Table};
use policy_support::filter;
use policy_support::rules::{self, CONFIGURED_LIMIT, LIMIT};
use policy_support::template::{Unfit, Value as Filling, Values};
use policy_support::wit::jose::VerifiedToken;
use policy_support::wit::types::{Denial, DenyReason, Effect, Grant, Identity, Rule};
use policy_support::{answer, client_id, deny};
use serde_json::Value;

use crate::claims;
use crate::config::Config;

/// The word in `identity.scheme`.
pub const SCHEME: &str = "jwt";

/// The attribute of an identity with the issuer of its token.
pub(crate) const ISSUER: &str = "issuer";

/// The most roles that a token may name.
const ROLES: usize = 256;

/// Somebody whose token was good.
#[derive(Debug)]
pub struct Bearer<'a> {
    /// The token.
    pub token: &'a VerifiedToken,
    /// Its `sub`.
    pub subject: &'a str,
    /// The app whose consumer this is.
    pub app: Option<&'a str>,
    /// The MQTT client identifier, empty if there is none.
    pub client_id: &'a str,
    /// The namespaces of the devices that the consumer owns, if a rule asks for them.
    pub devices: Vec<String>,
}

/// What the placeholders of the rules stand for.
struct Fillings<'a> {
    bearer: &'a Bearer<'a>,
    claims: &'a Value,
}

impl Values for Fillings<'_> {
    fn value(&self, name: &str) -> Result<Filling<'_>, Unfit> {
        let bearer = self.bearer;
        Ok(match name {
            "sub" => Filling::one(bearer.subject),
            "app" => Filling::maybe(bearer.app),
            "client-id" => Filling::maybe(Some(bearer.client_id)),
            "device" => Filling::Many(bearer.devices.iter().map(|namespace| namespace.as_str().into()).collect()),
            _ => {
                let found = claims::find(self.claims, name.strip_prefix("claim.").unwrap_or(name));
                claims::texts(found).map_err(|why| Unfit { placeholder: name.to_owned(), why })?
            }
        })
    }
}

/// The grant, without its state.
///
/// # Errors
/// A claim is not what the configuration needs it to be.
pub fn grant(config: &Config, bearer: &Bearer<'_>, now: u64) -> Result<Grant, Denial> {
    let token = bearer.token;
    let claims = match config.needs_claims {
        true => serde_json::from_str(&token.claims)
            .map_err(|error| deny(DenyReason::BadCredentials, format!("the claims cannot be read: {error}")))?,
        false => Value::Null,
    };
    let roles = roles(config, &claims)?;
    let fillings = Fillings { bearer, claims: &claims };
    let mut rules = rules::expand(&config.rules, &fillings, &roles).map_err(refuse)?;
    if let Some(name) = &config.rules_claim {
        claimed(config, name, &fillings, &mut rules)?;
    }

    let mut depends_on = vec![format!("consumer:{}", bearer.subject)];
    depends_on.extend(bearer.app.map(|app| format!("app:{app}")));
    depends_on.extend(token.id.as_ref().map(|id| format!("token:{id}")));
    let identity = Identity {
        scheme: SCHEME.into(),
        subject: bearer.subject.to_owned(),
        // Subjects are unique within an app; those of an issuer without one, within the issuer.
        tenant: bearer.app.map(str::to_owned).or_else(|| token.issuer.clone()),
        acting_for: None,
        roles,
        attributes: token.issuer.iter().map(|issuer| (ISSUER.to_owned(), issuer.clone())).collect(),
    };
    Ok(Grant {
        expires_at: token.expires_at.map(|at| end(at, now, config.requirements.leeway)),
        limits: config.limits.clone(),
        depends_on,
        ..answer::grant(identity, rules)
    })
}

/// The refusal for a placeholder's value. What the token says is the token's fault.
fn refuse(unfit: Unfit) -> Denial {
    match unfit.placeholder.as_str() {
        name if name == "sub" || name.starts_with("claim.") => deny(DenyReason::BadCredentials, unfit.to_string()),
        _ => client_id::unfit(&unfit),
    }
}

/// When a session with a token ends: when the token does. One that was let in by the tolerance for clocks that differ
/// ends with that tolerance.
pub(crate) fn end(expires_at: u64, now: u64, leeway: u32) -> u64 {
    if expires_at > now { expires_at } else { expires_at.saturating_add(u64::from(leeway)) }
}

fn roles(config: &Config, claims: &Value) -> Result<Vec<String>, Denial> {
    let Some(path) = &config.roles_claim else { return Ok(vec![]) };
    let texts = claims::texts(claims::find(claims, path));
    let bad = |why| deny(DenyReason::BadCredentials, format!("the claim {path} cannot name roles: it {why}"));
    match texts.map_err(bad)? {
        Filling::Missing => Ok(vec![]),
        Filling::One(role) => Ok(vec![role.into_owned()]),
        Filling::Many(roles) if roles.len() > ROLES => Err(bad("has more than 256 elements")),
        Filling::Many(roles) => Ok(roles.into_iter().map(|role| role.into_owned()).collect()),
    }
}

/// Adds the rules that the token itself asks for. A permission must lie within what the operator set out for such
/// rules; a prohibition may be about anything.
fn claimed(config: &Config, name: &str, fillings: &Fillings<'_>, rules: &mut Vec<Rule>) -> Result<(), Denial> {
    let wrong = |error: ConfigError| deny(DenyReason::BadCredentials, format!("the token's rules are wrong: {error}"));
    let items = match claims::find(fillings.claims, name) {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(items)) if items.len() <= CONFIGURED_LIMIT => items,
        Some(Value::Array(_)) => return Err(wrong(ConfigError::new(name, "there are more than 256"))),
        Some(_) => return Err(wrong(ConfigError::new(name, "expected an array of objects"))),
    };
    let mut bounds = Vec::new();
    for template in &config.rules_within {
        bounds.extend(template.expand(fillings, LIMIT).map_err(refuse)?);
    }
    for (index, item) in items.iter().enumerate() {
        let path = format!("{name}.{index}");
        let Value::Object(map) = item else { return Err(wrong(ConfigError::new(&path, "expected an object"))) };
        let rule = claimed_rule(&Table::new(path, map), &bounds).map_err(wrong)?;
        if rules.len() == LIMIT {
            return Err(deny(DenyReason::NotAuthorized, "there would be more than 1,024 rules"));
        }
        rules.push(rule);
    }
    Ok(())
}

fn claimed_rule(table: &Table<'_>, bounds: &[String]) -> Result<Rule, ConfigError> {
    let (effect, actions, max_qos) = rules::terms(table)?;
    let filter = table.needed_text("filter")?;
    filter::check(filter).map_err(|why| table.error("filter", format!("it {why}")))?;
    table.finish()?;
    if effect == Effect::Allow && !bounds.iter().any(|bound| filter::covers(bound, filter)) {
        return Err(table.error("filter", format!("{filter:?} lies outside of what `rules-within` permits")));
    }
    Ok(Rule { effect, actions, filter: filter.to_owned(), max_qos })
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
