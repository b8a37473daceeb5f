//! What the bearer of a good token is granted.

use policy_support::rules;
use policy_support::template::{Unfit, Value, Values};
use policy_support::wit::types::{Denial, DenyReason, Effect, Grant, Identity};
use policy_support::{answer, client_id, deny};

use crate::config::{Config, Mode};
use crate::fiware::{Path, Service, project_name};
use crate::http::revoked_by;
use crate::token::{Scope, Token};

/// The word in `identity.scheme`.
pub const SCHEME: &str = "keystone";

/// Somebody whose token was good.
#[derive(Debug)]
pub struct Bearer<'a> {
    /// The token.
    pub token: &'a Token,
    /// The service that the client named.
    pub service: Option<&'a Service>,
    /// The MQTT client identifier, empty if there is none.
    pub client_id: &'a str,
    /// The namespaces of the devices that the user owns, if a rule asks for them.
    pub devices: Vec<String>,
    /// Whether there is a token that can be revoked, and not only a password.
    pub revocable: bool,
}

impl Values for Bearer<'_> {
    fn value(&self, name: &str) -> Result<Value<'_>, Unfit> {
        let (token, domain, project) = (self.token, self.token.domain(), self.token.project());
        Ok(match name {
            "user" => Value::one(&token.user.name),
            "user-id" => Value::one(&token.user.id),
            "user-domain" => Value::one(&token.user_domain.name),
            "project" => Value::maybe(project.map(|project| project_name(&project.name))),
            "project-id" => Value::maybe(project.map(|project| project.id.as_str())),
            "domain" | "service" => Value::maybe(domain.map(|domain| domain.name.as_str())),
            "domain-id" => Value::maybe(domain.map(|domain| domain.id.as_str())),
            "subservice" => match (project, self.service.map(|service| &service.path)) {
                (Some(project), _) => Value::one(project_name(&project.name)),
                // Only with a token for the whole domain: see `Service::is_of`.
                (None, Some(Path::Project(name))) => Value::one(name),
                (None, _) => Value::Missing,
            },
            "client-id" => Value::maybe(Some(self.client_id)),
            _ => Value::Many(self.devices.iter().map(|namespace| namespace.as_str().into()).collect()),
        })
    }
}

/// The grant, without its state and what it lasts.
///
/// # Errors
/// A name cannot be written into a rule; or the roles permit nothing.
pub fn grant(config: &Config, bearer: &Bearer<'_>) -> Result<Grant, Denial> {
    let token = bearer.token;
    let rules = rules::expand(&config.rules, bearer, &token.roles).map_err(|unfit| client_id::unfit(&unfit))?;
    if !rules.iter().any(|rule| rule.effect == Effect::Allow) {
        let roles = token.roles.join(", ");
        return Err(deny(
            DenyReason::NotAuthorized,
            format!("the roles [{roles}] of {} permit nothing", token.user.id),
        ));
    }
    let tenant = match &token.scope {
        Scope::Project { project, .. } => Some(project.id.clone()),
        Scope::Domain(domain) => Some(domain.id.clone()),
        Scope::Unscoped | Scope::System => None,
    };
    let shown = [
        ("user", Some(&token.user.name)),
        ("user-domain", Some(&token.user_domain.name)),
        ("project", token.project().map(|project| &project.name)),
        ("domain", token.domain().map(|domain| &domain.name)),
        ("application-credential", token.credential.as_ref().map(|credential| &credential.named.id)),
    ];
    let identity = Identity {
        scheme: SCHEME.into(),
        subject: token.user.id.clone(),
        tenant,
        acting_for: None,
        roles: token.roles.clone(),
        attributes: shown.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.clone()))).collect(),
    };
    Ok(Grant {
        limits: config.limits.clone(),
        depends_on: dependencies(config, bearer),
        ..answer::grant(identity, rules)
    })
}

/// What of the gateway's directory the grant follows from. Another Keystone's users are not in it.
fn dependencies(config: &Config, bearer: &Bearer<'_>) -> Vec<String> {
    let token = bearer.token;
    let mut all = match config.mode {
        Mode::Upstream(_) => return vec![],
        Mode::Local(_) => vec![format!("user:{}", token.user.id)],
    };
    if bearer.revocable {
        all.extend(revoked_by(token).map(|name| format!("token:{name}")));
    }
    all.extend(token.credential.as_ref().map(|credential| format!("key:{}", credential.named.id)));
    all
}
