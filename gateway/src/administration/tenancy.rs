//! Domains, projects and roles in JSON, and the keys that Keystone calls application credentials.
//!
//! A role that somebody has has no identifier of its own in the directory: here it is `USER:SCOPE:ROLE`, where the scope
//! is `system:`, `domain:ID` or `project:ID`.

use portcullis_http::{AdminError, AdminResult, Kind};
use portcullis_identity::{
    Alphabet, DEFAULT_DOMAIN, Directory, DirectoryError, NewKey, RoleAssignment, Scope, UserSelector,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::directory::{Attributes, absent, failed, find_user, pairs, read, shown};

/// Users of whom roles are looked at in one go.
const USERS: usize = 1_000;

/// A domain to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DomainEntry {
    id: Option<String>,
    name: String,
    #[serde(default)]
    attributes: Attributes,
}

/// A project to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectEntry {
    name: String,
    domain_id: Option<String>,
    parent_id: Option<String>,
    #[serde(default)]
    attributes: Attributes,
}

/// A role to be given: in a project, in a domain, or in the whole gateway. What is forgotten must not be the widest of
/// them, so that one is said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleEntry {
    user_id: String,
    role: String,
    domain_id: Option<String>,
    project_id: Option<String>,
    #[serde(default)]
    system: bool,
}

pub(super) fn add_domain(directory: &Directory, entry: Map<String, Value>) -> AdminResult {
    let DomainEntry { id, name, attributes } = read(entry)?;
    let made = directory.create_domain(id, &name, pairs(attributes));
    shown(&*made.map_err(|error| failed(Kind::Domains, error))?)
}

pub(super) fn add_project(directory: &Directory, entry: Map<String, Value>) -> AdminResult {
    let ProjectEntry { name, domain_id, parent_id, attributes } = read(entry)?;
    let domain_id = domain_id.as_deref().unwrap_or(DEFAULT_DOMAIN);
    let made = directory.create_project(domain_id, &name, parent_id, pairs(attributes));
    shown(&*made.map_err(|error| failed(Kind::Projects, error))?)
}

pub(super) fn add_role(directory: &Directory, entry: Map<String, Value>) -> AdminResult {
    let RoleEntry { user_id, role, domain_id, project_id, system } = read(entry)?;
    let scope = match (domain_id, project_id, system) {
        (None, None, true) => Scope::System,
        (Some(id), None, false) => Scope::Domain(id),
        (None, Some(id), false) => Scope::Project(id),
        _ => {
            let words = "say where the role counts: one of `domain_id`, `project_id` and `system = true`";
            return Err(AdminError::Invalid(words.to_owned()));
        }
    };
    let user = find_user(directory, &user_id).ok_or_else(|| absent(Kind::Users, &user_id))?;
    let role = RoleAssignment { role, scope };
    directory.assign_role(&user.id, role.clone()).map_err(|error| failed(Kind::Roles, error))?;
    Ok(show(&user.id, &role))
}

/// Takes a role from a user.
pub(super) fn remove_role(directory: &Directory, id: &str) -> Result<(), DirectoryError> {
    let (user, role) = parse(id).ok_or(DirectoryError::NotFound)?;
    if directory.remove_role(user, &role)? { Ok(()) } else { Err(DirectoryError::NotFound) }
}

/// The role with this name, if its user has it.
pub(super) fn get_role(directory: &Directory, id: &str) -> Option<Value> {
    let (user, role) = parse(id)?;
    directory.list_roles(user).contains(&role).then(|| show(user, &role))
}

/// A page of the roles of all users.
pub(super) fn list_roles(directory: &Directory, after: Option<&str>, limit: usize) -> AdminResult {
    let mut items = Vec::new();
    // The page before may have ended among the roles of a user.
    let mut last = after.and_then(|id| id.split(':').next()).map(str::to_owned);
    let rest = last.as_deref().and_then(|user| directory.find_user(UserSelector::Id(user)));
    let mut users: Vec<_> = rest.into_iter().collect();
    loop {
        for user in &users {
            let mut roles: Vec<_> = directory.list_roles(&user.id).iter().map(|role| show(&user.id, role)).collect();
            roles.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
            items.extend(roles.into_iter().filter(|role| after.is_none_or(|after| role["id"].as_str() > Some(after))));
        }
        if items.len() >= limit {
            items.truncate(limit);
            let next = items.last().map_or(Value::Null, |item| item["id"].clone());
            return Ok(json!({ "items": items, "next": next }));
        }
        users = directory.list_users(last.as_deref(), USERS);
        match users.last() {
            Some(user) => last = Some(user.id.clone()),
            None => return Ok(json!({ "items": items, "next": Value::Null })),
        }
    }
}

fn show(user: &str, role: &RoleAssignment) -> Value {
    let (scope, member) = match &role.scope {
        Scope::System => ("system:".to_owned(), None),
        Scope::Domain(id) => (format!("domain:{id}"), Some(("domain_id", id))),
        Scope::Project(id) => (format!("project:{id}"), Some(("project_id", id))),
    };
    let id = format!("{user}:{scope}:{}", role.role);
    let mut shown = json!({ "id": id, "user_id": user, "role": role.role, "scope": scope.trim_end_matches(':') });
    if let Some((name, id)) = member {
        shown[name] = id.as_str().into();
    }
    shown
}

fn parse(id: &str) -> Option<(&str, RoleAssignment)> {
    let mut parts = id.splitn(4, ':');
    let (user, kind, scope, role) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let scope = match kind {
        "system" if scope.is_empty() => Scope::System,
        "domain" => Scope::Domain(scope.to_owned()),
        "project" => Scope::Project(scope.to_owned()),
        _ => return None,
    };
    Some((user, RoleAssignment { role: role.to_owned(), scope }))
}

/// A key as Keystone's clients know it: an identifier, and a secret without a prefix.
pub(super) fn application_credential(owner: String) -> NewKey {
    NewKey {
        kind: "application-credential".to_owned(),
        prefix: String::new(),
        length: 86,
        alphabet: Alphabet::Base62,
        ..NewKey::secret(owner)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_http::Page;
    use portcullis_identity::DirectoryOptions;
    use portcullis_store::{Options, Store};

    use super::super::directory::{add, get, list, remove};
    use super::*;

    fn made(directory: &Directory, kind: Kind, entry: Value) -> Value {
        add(directory, kind, entry.as_object().unwrap().clone()).unwrap()
    }

    #[test]
    fn roles_come_and_go_with_what_they_are_given_in() {
        let directory =
            Directory::open(Store::in_memory(Options::default()).unwrap(), DirectoryOptions::default()).unwrap();
        let domain = made(&directory, Kind::Domains, json!({ "name": "smart" }));
        let project = made(&directory, Kind::Projects, json!({ "name": "gardens", "domain_id": domain["id"] }));
        let mut users = Vec::new();
        for name in ["ann", "bob"] {
            let user = json!({ "name": name, "domain_id": domain["id"], "password": "correct horse" });
            let user = made(&directory, Kind::Users, user)["id"].clone();
            for role in ["reader", "member"] {
                let role = json!({ "user_id": user, "role": role, "project_id": project["id"] });
                let shown = made(&directory, Kind::Roles, role);
                assert_eq!(get(&directory, Kind::Roles, shown["id"].as_str().unwrap()).unwrap(), shown);
            }
            made(&directory, Kind::Roles, json!({ "user_id": user, "role": "a:b", "system": true }));
            users.push(user);
        }
        let mut page = Page { limit: 4, after: None };
        let mut ids = Vec::new();
        loop {
            let answer = list(&directory, Kind::Roles, &page).unwrap();
            ids.extend(answer["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            match answer["next"].as_str() {
                Some(next) => page.after = Some(next.to_owned()),
                None => break,
            }
        }
        let mut once = ids.clone();
        once.sort();
        once.dedup();
        assert_eq!((ids.len(), once.len()), (6, 6), "each role is listed once: {ids:?}");

        let odd = ids.iter().find(|id| id.ends_with(":a:b")).unwrap();
        remove(&directory, Kind::Roles, odd).unwrap();
        assert!(matches!(remove(&directory, Kind::Roles, odd), Err(AdminError::NotFound(_))));
        let domain = domain["id"].as_str().unwrap();
        assert!(matches!(remove(&directory, Kind::Domains, domain), Err(AdminError::Invalid(_))), "it is not empty");
        remove(&directory, Kind::Projects, project["id"].as_str().unwrap()).unwrap();
        assert_eq!(
            directory.list_roles(users[0].as_str().unwrap()).len(),
            usize::from(!odd.starts_with(users[0].as_str().unwrap()))
        );
        for user in &users {
            remove(&directory, Kind::Users, user.as_str().unwrap()).unwrap();
        }
        remove(&directory, Kind::Domains, domain).unwrap();
        assert!(matches!(get(&directory, Kind::Domains, domain), Err(AdminError::NotFound(_))));
        assert!(matches!(remove(&directory, Kind::Domains, "default"), Err(AdminError::Invalid(_))));
    }
}
