//! What a token of the gateway's own says, how it is made, and whether it is good now.

use policy_support::wit::directory::{
    Device, DeviceSelector, DomainSelector, Project, ProjectSelector, RoleAssignment, Scope, User, UserSelector,
};
use policy_support::wit::jose::VerifiedToken;
use policy_support::wit::types::{Denial, DenyReason};
use policy_support::{SchemeGateway, answer, deny};
use serde_json::{Map, Value, json};

use super::config::{KEY, Oisp};
use crate::decision::{NAME_LIMIT, bad, refused};

/// The most accounts that a token speaks of: with more it would be too long to be a password.
const ACCOUNTS: usize = 128;

/// The attribute of a device that names the account (a project of the directory) which it belongs to.
pub(super) const ACCOUNT: &str = "account";

/// The attribute of a device with the `jti` of its token. Each activation writes another one, and so makes the older
/// token void.
pub(super) const DEVICE_TOKEN: &str = "device-token-id";

/// Membership of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Identifier of the project.
    pub(crate) id: String,
    /// `admin`, `user` or `device`.
    pub(crate) role: String,
    /// What it is called now.
    pub(crate) name: String,
    /// The domain that it lies in.
    pub(crate) domain: String,
}

impl Account {
    /// What of the directory it stands or falls with.
    pub(crate) fn depends_on(&self) -> [String; 2] {
        [format!("project:{}", self.id), format!("domain:{}", self.domain)]
    }
}

/// What a good token says.
#[derive(Clone, Debug)]
pub(crate) struct Bearer {
    /// The token, verified.
    pub(crate) token: VerifiedToken,
    /// `user`, `sysadmin` or `device`.
    pub(crate) role: String,
    /// The accounts as they were when it was issued, without those that are not there any more. What else has changed since
    /// shows in the next token.
    pub(crate) accounts: Vec<Account>,
    /// Its `jti`.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) whose: Whose,
}

/// Whose a token is, as the directory has them now.
#[derive(Clone, Debug)]
pub(crate) enum Whose {
    /// A person's.
    Person(User),
    /// A device's.
    Device(Device),
}

/// Why no token was made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotMade(pub(super) String);

/// A new token of a person, with the accounts and roles of now.
pub(super) fn for_person(gateway: &impl SchemeGateway, oisp: &Oisp, user: &User) -> Result<String, NotMade> {
    let roles = gateway.list_roles(&user.id).map_err(|error| NotMade(answer::directory_failed(error).detail))?;
    let mut accounts = Map::new();
    for (id, role) in memberships(&roles) {
        if accounts.len() == ACCOUNTS {
            break;
        }
        if project(gateway, id).map_err(|denial| NotMade(denial.detail))?.is_some() {
            accounts.insert(id.to_owned(), role.into());
        }
    }
    let system = |name: &str| roles.iter().any(|held| matches!(held.scope, Scope::System) && held.role == name);
    let role = if system("sysadmin") || system("admin") { "sysadmin" } else { "user" };
    let now = gateway.now();
    let claims = json!({
        "jti": gateway.uuid(), "iss": oisp.issuer, "sub": user.id, "iat": now, "exp": now + u64::from(oisp.life),
        "role": role, "accounts": accounts,
    });
    sign(gateway, &claims)
}

/// The accounts that roles are held in, the higher role of each. Roles of other names are another scheme's.
fn memberships(roles: &[RoleAssignment]) -> std::collections::BTreeMap<&str, &'static str> {
    let mut found = std::collections::BTreeMap::new();
    for held in roles {
        let Scope::Project(id) = &held.scope else { continue };
        match held.role.as_str() {
            "admin" => {
                found.insert(id.as_str(), "admin");
            }
            "user" | "member" => {
                found.entry(id.as_str()).or_insert("user");
            }
            _ => {}
        }
    }
    found
}

/// A new token of a device, and its `jti`.
pub(super) fn for_device(
    gateway: &impl SchemeGateway,
    oisp: &Oisp,
    device: &Device,
) -> Result<(String, String), NotMade> {
    let accounts: Vec<Value> =
        attribute(device, ACCOUNT).map(|id| json!({ "id": id, "role": "device" })).into_iter().collect();
    let (id, now) = (gateway.uuid(), gateway.now());
    let claims = json!({
        "jti": id, "iss": oisp.issuer, "sub": device.id, "iat": now, "exp": now + u64::from(oisp.device_life),
        "role": "device", "accounts": accounts,
    });
    Ok((sign(gateway, &claims)?, id))
}

fn sign(gateway: &impl SchemeGateway, claims: &Value) -> Result<String, NotMade> {
    gateway.sign(KEY, "", &claims.to_string()).map_err(|error| NotMade(format!("signing failed: {error:?}")))
}

/// An attribute of a device.
pub(super) fn attribute<'d>(device: &'d Device, name: &str) -> Option<&'d str> {
    device.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Checks a token that says that it is of the gateway's own issuer.
///
/// # Errors
/// It is not good: never was, or not any more.
pub(crate) fn check(gateway: &impl SchemeGateway, oisp: &Oisp, token: &str) -> Result<Bearer, Denial> {
    let token = gateway.verify(token, &oisp.requirements).map_err(refused)?;
    let wrong = |name: &str| bad(format!("the claim {name} is missing or not what it must be"));
    let claims: Value = serde_json::from_str(&token.claims).map_err(|_| wrong("accounts"))?;
    let role = claims["role"].as_str().filter(|role| matches!(*role, "user" | "sysadmin" | "device"));
    let role = role.ok_or_else(|| wrong("role"))?.to_owned();
    let named = accounts(&claims["accounts"]).ok_or_else(|| wrong("accounts"))?;
    let id = token.id.clone().filter(|id| !id.is_empty() && id.len() <= NAME_LIMIT).ok_or_else(|| wrong("jti"))?;
    let subject = token.subject.clone().ok_or_else(|| wrong("sub"))?;
    if gateway.is_revoked(&id)? {
        return Err(bad(format!("the token {id:?} was revoked")));
    }
    let whose = match role.as_str() {
        "device" => Whose::Device(device(gateway, &subject, &id)?),
        _ => Whose::Person(person(gateway, &subject, token.issued_at)?),
    };
    let mut accounts = Vec::new();
    for (id, role) in named {
        accounts.extend(account(gateway, &whose, id, role)?);
    }
    Ok(Bearer { token, role, accounts, id, whose })
}

/// An account of a token, if it is still there. A device has it if the directory says so now as well.
fn account(gateway: &impl SchemeGateway, whose: &Whose, id: String, role: String) -> Result<Option<Account>, Denial> {
    if let Whose::Device(device) = whose
        && attribute(device, ACCOUNT) != Some(&id)
    {
        return Ok(None);
    }
    let project = project(gateway, &id)?;
    Ok(project.map(|project| Account { id, role, name: project.name, domain: project.domain_id }))
}

/// A project that is enabled, in a domain that is.
fn project(gateway: &impl SchemeGateway, id: &str) -> Result<Option<Project>, Denial> {
    let found = gateway.find_project(&ProjectSelector::Id(id.to_owned())).map_err(answer::directory_failed)?;
    let Some(project) = found.filter(|project| project.enabled) else { return Ok(None) };
    let by = DomainSelector::Id(project.domain_id.clone());
    let domain = gateway.find_domain(&by).map_err(answer::directory_failed)?;
    Ok(Some(project).filter(|_| domain.is_some_and(|domain| domain.enabled)))
}

/// Both forms: people's are an object, devices' a list.
fn accounts(claim: &Value) -> Option<Vec<(String, String)>> {
    let account = |id: &str, role: &Value| Some((id.to_owned(), role.as_str()?.to_owned()));
    match claim {
        Value::Object(map) => map.iter().map(|(id, role)| account(id, role)).collect(),
        Value::Array(list) => list.iter().map(|item| account(item["id"].as_str()?, &item["role"])).collect(),
        _ => None,
    }
}

fn person(gateway: &impl SchemeGateway, id: &str, issued_at: Option<u64>) -> Result<User, Denial> {
    let found = gateway.find_user(&UserSelector::Id(id.to_owned())).map_err(answer::directory_failed)?;
    let user = found.ok_or_else(|| bad(format!("the user {id:?} of the token does not exist")))?;
    if !user.enabled {
        return Err(deny(DenyReason::NotAuthorized, format!("the user {id} is disabled")));
    }
    let from = gateway.tokens_valid_from(id).map_err(answer::directory_failed)?;
    match (from, issued_at) {
        (Some(from), Some(at)) if at < from => {
            Err(bad(format!("the token was issued at {at}, and those from before {from} are void: log in again")))
        }
        (Some(_), None) => Err(bad("the claim iat is missing")),
        _ => Ok(user),
    }
}

fn device(gateway: &impl SchemeGateway, id: &str, token: &str) -> Result<Device, Denial> {
    let found = gateway.find_device(&DeviceSelector::Id(id.to_owned()))?;
    let device = found.ok_or_else(|| bad(format!("the device {id:?} of the token does not exist")))?;
    if !device.enabled {
        return Err(deny(DenyReason::NotAuthorized, format!("the device {id} is disabled")));
    }
    if device.credential != "token" {
        return Err(bad(format!("the device {id} logs in by {}, not by a token", device.credential)));
    }
    if attribute(&device, DEVICE_TOKEN) != Some(token) {
        return Err(bad(format!("the device {id} was activated anew, or its token withdrawn")));
    }
    Ok(device)
}
