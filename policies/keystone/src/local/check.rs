//! Whether a token of this gateway is good now: signature and expiry, then everything that may have changed since.
//!
//! The token says who, what for and until when. Names and roles are the directory's at the moment of asking, as with any
//! Keystone: a role that was taken away is gone from the tokens that are out.

use policy_support::SchemeGateway;
use policy_support::wit::directory::{DomainSelector, Key, ProjectSelector, Scope as Held, User, UserSelector};
use policy_support::wit::jose;
use serde_json::{Map, Value, json};

use crate::config::Local;
use crate::refusal::{Refusal, unavailable, wrong};
use crate::token::{Credential, Named, Scope, Token};

/// The kind of key that Keystone calls an application credential.
pub const CREDENTIAL: &str = "application-credential";

/// What a token is for, by identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeId {
    /// Nothing.
    Unscoped,
    /// The whole installation.
    System,
    /// A domain.
    Domain(String),
    /// A project.
    Project(String),
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Whose.
    pub user_id: String,
    /// How they proved it.
    pub methods: Vec<String>,
    /// The token's own, and that of the first of its chain if that is another one.
    pub audit_ids: Vec<String>,
    /// In microseconds since 1970; in a token only the second is kept.
    pub issued_at: u64,
    /// In seconds since 1970.
    pub expires_at: u64,
    /// What for.
    pub scope: ScopeId,
    /// The application credential that it was had for.
    pub credential: Option<String>,
}

impl Claims {
    /// As Keystone's JWS tokens say it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut claims = json!({
            "sub": self.user_id,
            "iat": self.issued_at / 1_000_000,
            "exp": self.expires_at,
            "openstack_methods": self.methods,
            "openstack_audit_ids": self.audit_ids,
        });
        let (name, value) = match &self.scope {
            ScopeId::Unscoped => ("", ""),
            ScopeId::System => ("openstack_system", "all"),
            ScopeId::Domain(id) => ("openstack_domain_id", id.as_str()),
            ScopeId::Project(id) => ("openstack_project_id", id.as_str()),
        };
        if !name.is_empty() {
            claims[name] = value.into();
        }
        if let Some(id) = &self.credential {
            claims["openstack_app_cred_id"] = id.as_str().into();
        }
        claims.to_string()
    }

    /// Reads the same. None: it is something else, or for something that is not served here (a trust, a federation).
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        let Value::Object(claims) = serde_json::from_str(text).ok()? else { return None };
        let unknown = |name: &&String| name.starts_with("openstack_") && !KNOWN.contains(&name.as_str());
        if claims.keys().any(|name| unknown(&name)) {
            return None;
        }
        let one = |name: &str| claims.get(name).map(|value| value.as_str().map(str::to_owned));
        let scope = match (one("openstack_project_id"), one("openstack_domain_id"), one("openstack_system")) {
            (Some(id), None, None) => ScopeId::Project(id?),
            (None, Some(id), None) => ScopeId::Domain(id?),
            (None, None, Some(all)) => all.map(|_| ScopeId::System)?,
            (None, None, None) => ScopeId::Unscoped,
            _ => return None,
        };
        let credential = match one("openstack_app_cred_id") {
            None => None,
            Some(id) => Some(id?),
        };
        let audit_ids = texts(&claims, "openstack_audit_ids")?;
        (1..=2).contains(&audit_ids.len()).then_some(())?;
        Some(Self {
            user_id: claims.get("sub")?.as_str()?.to_owned(),
            methods: texts(&claims, "openstack_methods")?,
            audit_ids,
            issued_at: claims.get("iat")?.as_u64()?.checked_mul(1_000_000)?,
            expires_at: claims.get("exp")?.as_u64()?,
            scope,
            credential,
        })
    }

    fn chain(&self) -> String {
        chain(self.audit_ids.last().map_or("", String::as_str))
    }
}

const KNOWN: [&str; 6] = [
    "openstack_methods",
    "openstack_audit_ids",
    "openstack_project_id",
    "openstack_domain_id",
    "openstack_system",
    "openstack_app_cred_id",
];

fn texts(claims: &Map<String, Value>, name: &str) -> Option<Vec<String>> {
    let items = claims.get(name)?.as_array()?;
    items.iter().take(16).map(|item| item.as_str().map(str::to_owned)).collect()
}

/// The name under which a whole chain of tokens is revoked: that of its first with this before it.
#[must_use]
pub fn chain(audit_id: &str) -> String {
    format!("chain:{audit_id}")
}

/// What a token is revoked by, besides its own identifier.
#[must_use]
pub fn chain_of(token: &Token) -> String {
    chain(token.audit_ids.last().map_or("", String::as_str))
}

/// Whether a token is good now.
///
/// # Errors
/// Why not.
pub fn open(gateway: &impl SchemeGateway, local: &Local, token: &str) -> Result<Token, Refusal> {
    let verified = gateway.verify(token, &local.requirements).map_err(not_verified)?;
    let claims =
        Claims::from_json(&verified.claims).ok_or_else(|| wrong("the token has claims that are not Keystone's"))?;
    for id in [claims.audit_ids[0].clone(), claims.chain()] {
        if gateway.is_revoked(&id)? {
            return Err(wrong(format!("the token {id:?} was revoked")));
        }
    }
    complete(gateway, claims)
}

/// What the gateway found wrong with a JWS.
#[must_use]
pub fn not_verified(error: jose::Error) -> Refusal {
    use jose::Error;
    wrong(match error {
        Error::KeysUnavailable(why) | Error::NotAllowed(why) | Error::Other(why) => return unavailable(why),
        Error::Malformed(why) => format!("the token is not well-formed: {why}"),
        Error::AlgorithmNotAllowed(name) => format!("the token is signed with {name:?}, not with ES256"),
        Error::UnknownKey(why) => format!("there is no key to check the token with: {why}"),
        Error::BadSignature => "the token's signature is wrong".to_owned(),
        Error::Expired(at) => format!("the token expired at {at}"),
        Error::NotYetValid(at) => format!("the token is not valid before {at}"),
        Error::BadClaim(name) => format!("the claim {name} is missing or not what it must be"),
    })
}

/// Adds to what a token says what the directory knows now.
///
/// # Errors
/// The user, the scope or the roles in it are gone or disabled; or the directory does not answer.
pub fn complete(gateway: &impl SchemeGateway, claims: Claims) -> Result<Token, Refusal> {
    let user = gateway.find_user(&UserSelector::Id(claims.user_id.clone()))?;
    let user = user.filter(|user| user.enabled);
    let user = user.ok_or_else(|| wrong(format!("the user {:?} is gone or disabled", claims.user_id)))?;
    let from = gateway.tokens_valid_from(&user.id)?;
    if from.is_some_and(|from| claims.issued_at / 1_000_000 < from) {
        return Err(wrong(format!("tokens of the user {} from before {} are void", user.id, from.unwrap_or(0))));
    }
    let user_domain = domain(gateway, &user.domain_id)?;
    let (scope, held) = resolve(gateway, &claims.scope, &user_domain)?;
    let key = match &claims.credential {
        None => None,
        Some(id) => {
            let key = gateway.find_key_by_id(id)?.filter(|key| is_credential(key, &user.id, &claims.scope));
            Some(key.ok_or_else(|| wrong(format!("the application credential {id:?} is gone")))?)
        }
    };
    let mut roles: Vec<String> = match &held {
        None => vec![],
        Some(held) => {
            let all = gateway.list_roles(&user.id)?;
            all.into_iter().filter(|role| role.scope == *held).map(|role| role.role).collect()
        }
    };
    if let Some(named) = key.as_ref().and_then(|key| attribute(&key.attributes, "roles")) {
        roles.retain(|role| named.split(',').any(|name| name.trim() == role));
    }
    if held.is_some() && roles.is_empty() {
        return Err(wrong(format!("the user {} has no role in the scope of the token", user.id)));
    }
    Ok(Token {
        password_expires_at: user.password_expires_at,
        user: Named { id: user.id, name: user.name },
        user_domain,
        methods: claims.methods,
        audit_ids: claims.audit_ids,
        issued_at: claims.issued_at,
        expires_at: claims.expires_at,
        scope,
        roles,
        credential: key.as_ref().map(shown),
    })
}

/// What is known of a scope, and how a role in it is written.
fn resolve(
    gateway: &impl SchemeGateway,
    scope: &ScopeId,
    user_domain: &Named,
) -> Result<(Scope, Option<Held>), Refusal> {
    let known = |id: &str| if id == user_domain.id { Ok(user_domain.clone()) } else { domain(gateway, id) };
    Ok(match scope {
        ScopeId::Unscoped => (Scope::Unscoped, None),
        ScopeId::System => (Scope::System, Some(Held::System)),
        ScopeId::Domain(id) => (Scope::Domain(known(id)?), Some(Held::Domain(id.clone()))),
        ScopeId::Project(id) => {
            let found = gateway.find_project(&ProjectSelector::Id(id.clone()))?.filter(|project| project.enabled);
            let project = found.ok_or_else(|| wrong(format!("the project {id:?} is gone or disabled")))?;
            let domain = known(&project.domain_id)?;
            let project = Named { id: project.id, name: project.name };
            (Scope::Project { project, domain }, Some(Held::Project(id.clone())))
        }
    })
}

fn domain(gateway: &impl SchemeGateway, id: &str) -> Result<Named, Refusal> {
    let found = gateway.find_domain(&DomainSelector::Id(id.to_owned()))?.filter(|domain| domain.enabled);
    let found = found.ok_or_else(|| wrong(format!("the domain {id:?} is gone or disabled")))?;
    Ok(Named { id: found.id, name: found.name })
}

/// Whether a key is an application credential of this user for this project.
#[must_use]
pub fn is_credential(key: &Key, user_id: &str, scope: &ScopeId) -> bool {
    key.kind == CREDENTIAL
        && key.owner.strip_prefix("user:") == Some(user_id)
        && matches!(scope, ScopeId::Project(id) if attribute(&key.attributes, "project-id") == Some(id))
}

fn shown(key: &Key) -> Credential {
    let name = attribute(&key.attributes, "name").unwrap_or(&key.id).to_owned();
    let restricted = attribute(&key.attributes, "unrestricted") != Some("true");
    Credential { named: Named { id: key.id.clone(), name }, restricted }
}

/// The value of an attribute.
#[must_use]
pub fn attribute<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The project that a user's tokens are for if nothing else is said: the default one, if it is there and the user has a
/// role in it.
///
/// # Errors
/// The directory does not answer.
pub fn default_scope(gateway: &impl SchemeGateway, user: &User) -> Result<ScopeId, Refusal> {
    let Some(id) = attribute(&user.attributes, "default-project-id") else { return Ok(ScopeId::Unscoped) };
    let found = gateway.find_project(&ProjectSelector::Id(id.to_owned()))?.filter(|project| project.enabled);
    let Some(project) = found else { return Ok(ScopeId::Unscoped) };
    let domain = gateway.find_domain(&DomainSelector::Id(project.domain_id))?;
    let held = Held::Project(id.to_owned());
    let usable = domain.is_some_and(|domain| domain.enabled)
        && gateway.list_roles(&user.id)?.iter().any(|role| role.scope == held);
    Ok(if usable { ScopeId::Project(id.to_owned()) } else { ScopeId::Unscoped })
}
