//! Changes to entries that are there, in JSON. Each is whole or not at all for the members that one call of the directory
//! takes together; members that are no member of the kind are refused before anything is changed.

use portcullis_http::{AdminError, AdminResult, Kind};
use portcullis_identity::{DeviceSelector, Directory, DirectoryError};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::directory::{absent, failed, find_user, get, read};

/// Attributes to set; null removes one.
type Attributes = std::collections::BTreeMap<String, Option<String>>;

/// What can be changed of a user.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserChange {
    name: Option<String>,
    /// Null: none.
    #[serde(default, deserialize_with = "given")]
    email: Option<Option<String>>,
    enabled: Option<bool>,
    verified: Option<bool>,
    password: Option<String>,
    /// Null: never.
    #[serde(default, deserialize_with = "given")]
    password_expires_at: Option<Option<u64>>,
    /// False: opens the lock that wrong passwords closed.
    locked: Option<bool>,
    /// True: makes void all tokens that were issued before now.
    #[serde(default)]
    revoke_tokens: bool,
    #[serde(default)]
    attributes: Attributes,
}

/// What can be changed of a device.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceChange {
    enabled: Option<bool>,
    /// Null: none.
    #[serde(default, deserialize_with = "given")]
    owner_id: Option<Option<String>>,
    #[serde(default)]
    attributes: Attributes,
}

/// What can be changed of an app.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppChange {
    enabled: Option<bool>,
    /// PEM, JWK or JWK Set.
    #[serde(default)]
    add_keys: Vec<String>,
    /// By `kid`.
    #[serde(default)]
    remove_keys: Vec<String>,
    /// Null: none.
    #[serde(default, deserialize_with = "given")]
    jwks_url: Option<Option<String>>,
    #[serde(default)]
    attributes: Attributes,
}

/// What can be changed of a domain or project.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    enabled: bool,
}

/// A member that is there, even as null, differs from one that is not.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Changes the named members of an entry, and answers it as it is then.
pub(crate) fn change(directory: &Directory, kind: Kind, id: &str, members: Map<String, Value>) -> AdminResult {
    let mut found = id.to_owned();
    let changed = match kind {
        Kind::Users => {
            let user = find_user(directory, id).ok_or_else(|| absent(kind, id))?;
            found.clone_from(&user.id);
            change_user(directory, &user.id, read(members)?)
        }
        Kind::Devices => {
            if let Some(device) = directory.find_device(DeviceSelector::ClientId(id)) {
                found.clone_from(&device.id);
            }
            let change: DeviceChange = read(members)?;
            let mut fields = texts(change.attributes);
            fields.extend(change.enabled.map(|enabled| ("enabled".to_owned(), enabled.to_string())));
            fields.extend(change.owner_id.map(|owner| ("owner-id".to_owned(), owner.unwrap_or_default())));
            directory.update_device(&found, &fields).map(|_| ())
        }
        Kind::Apps => change_app(directory, id, read(members)?),
        Kind::Domains => {
            let Switch { enabled } = read(members)?;
            directory.set_domain_enabled(id, enabled).map(|_| ())
        }
        Kind::Projects => {
            let Switch { enabled } = read(members)?;
            directory.set_project_enabled(id, enabled).map(|_| ())
        }
        Kind::Keys | Kind::Roles => {
            return Err(AdminError::Invalid("it cannot be changed: remove it, and add another".to_owned()));
        }
    };
    match changed {
        Ok(()) => get(directory, kind, &found),
        Err(DirectoryError::NotFound) => Err(absent(kind, id)),
        Err(error) => Err(failed(kind, error)),
    }
}

fn texts(attributes: Attributes) -> Vec<(String, String)> {
    attributes.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect()
}

fn change_user(directory: &Directory, id: &str, change: UserChange) -> Result<(), DirectoryError> {
    // What may be refused comes first, and the password before all: it is the member that most often is.
    if let Some(password) = change.password {
        directory.set_password(id, password.as_bytes())?;
    }
    let mut fields = texts(change.attributes);
    fields.extend(change.name.map(|name| ("name".to_owned(), name)));
    fields.extend(change.email.map(|email| ("email".to_owned(), email.unwrap_or_default())));
    fields.extend(change.enabled.map(|enabled| ("enabled".to_owned(), enabled.to_string())));
    if !fields.is_empty() {
        directory.update_user(id, &fields)?;
    }
    if let Some(verified) = change.verified {
        directory.set_user_verified(id, verified)?;
    }
    if let Some(at) = change.password_expires_at {
        directory.set_password_expiry(id, at)?;
    }
    if change.revoke_tokens {
        directory.revoke_tokens(id)?;
    }
    if change.locked == Some(false) {
        directory.unlock_user(id);
    }
    Ok(())
}

fn change_app(directory: &Directory, id: &str, change: AppChange) -> Result<(), DirectoryError> {
    for key in &change.add_keys {
        directory.add_app_key(id, key)?;
    }
    for kid in &change.remove_keys {
        directory.remove_app_key(id, kid)?;
    }
    for (name, value) in texts(change.attributes) {
        directory.set_app_attribute(id, &name, &value)?;
    }
    if let Some(url) = change.jwks_url {
        directory.set_app_jwks_url(id, url)?;
    }
    if let Some(enabled) = change.enabled {
        directory.set_app_enabled(id, enabled)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use portcullis_identity::DirectoryOptions;
    use portcullis_store::{Options, Store};
    use serde_json::json;

    use super::super::directory::{add, export, import, list, remove};
    use super::*;
    use portcullis_http::Page;

    fn directory() -> Directory {
        Directory::open(Store::in_memory(Options::default()).unwrap(), DirectoryOptions::default()).unwrap()
    }

    fn members(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_user_is_changed_by_the_name_that_people_know() {
        let directory = directory();
        let made = json!({ "name": "ada", "email": "ada@example.com", "password": "correct horse" });
        let user = add(&directory, Kind::Users, members(made)).unwrap();
        let change = |by: &str, value: Value| change(&directory, Kind::Users, by, members(value));
        let changed = change("ada@example.com", json!({ "verified": true, "attributes": { "first-name": "Ada" } }));
        let changed = changed.unwrap();
        assert_eq!((&changed["verified"], &changed["attributes"]), (&json!(true), &json!([["first-name", "Ada"]])));
        let changed = change("ada", json!({ "attributes": { "first-name": null }, "revoke_tokens": true })).unwrap();
        assert_eq!((&changed["attributes"], &changed["id"]), (&json!([]), &user["id"]));
        assert!(changed["tokens_valid_from"].is_u64());
        assert_eq!(change("ada", json!({ "email": null })).unwrap()["email"], Value::Null);
        for wrong in [json!({ "id": "x" }), json!({ "password": "short" }), json!({ "enabled": "yes" })] {
            assert!(matches!(change("ada", wrong.clone()), Err(AdminError::Invalid(_))), "{wrong}");
        }
        assert!(matches!(change("eve", json!({})), Err(AdminError::NotFound(_))));
    }

    #[test]
    fn tenants_and_roles_come_and_go() {
        let directory = directory();
        add(&directory, Kind::Users, members(json!({ "name": "ada", "password": "correct horse" }))).unwrap();
        let domain = json!({ "id": "plant", "name": "Plant" });
        add(&directory, Kind::Domains, members(domain)).unwrap();
        let project = json!({ "name": "line-1", "domain_id": "plant" });
        let project = add(&directory, Kind::Projects, members(project)).unwrap();
        let role = json!({ "user_id": "ada", "role": "operator", "project_id": project["id"] });
        let role = add(&directory, Kind::Roles, members(role)).unwrap();
        let page = Page { limit: 10, after: None };
        assert_eq!(list(&directory, Kind::Roles, &page).unwrap()["items"], json!([role]));
        assert_eq!(get(&directory, Kind::Roles, role["id"].as_str().unwrap()).unwrap(), role);
        assert!(matches!(remove(&directory, Kind::Domains, "plant"), Err(AdminError::Invalid(_))), "it has a project");
        let off =
            change(&directory, Kind::Projects, project["id"].as_str().unwrap(), members(json!({ "enabled": false })));
        assert_eq!(off.unwrap()["enabled"], false);
        remove(&directory, Kind::Projects, project["id"].as_str().unwrap()).unwrap();
        assert_eq!(list(&directory, Kind::Roles, &page).unwrap()["items"], json!([]), "roles go with their project");
        remove(&directory, Kind::Domains, "plant").unwrap();
        assert!(matches!(remove(&directory, Kind::Domains, "default"), Err(AdminError::Invalid(_))));
        for wrong in [
            json!({ "user_id": "ada", "role": "x" }),
            json!({ "user_id": "ada", "role": "x", "domain_id": "nowhere" }),
            json!({ "user_id": "ada", "role": "x", "project_id": "p", "domain_id": "default" }),
            json!({ "user_id": "ada", "role": "x", "colour": "red" }),
        ] {
            assert!(matches!(add(&directory, Kind::Roles, members(wrong)), Err(AdminError::Invalid(_))));
        }
    }

    #[test]
    fn what_was_exported_is_taken_in_elsewhere() {
        let (here, there) = (directory(), directory());
        add(&here, Kind::Users, members(json!({ "name": "ada", "password": "correct horse" }))).unwrap();
        let plain = export(&here, false).unwrap();
        assert!(!plain.to_string().contains("argon2"), "no hash unless it is asked for");
        let whole = export(&here, true).unwrap();
        let imported = import(&there, members(whole)).unwrap();
        assert_eq!((&imported["users"], &imported["users_without_password"]), (&json!(1), &json!(0)));
        assert!(find_user(&there, "ada").is_some());
        assert!(matches!(import(&there, members(json!({ "version": 99 }))), Err(AdminError::Invalid(_))));
    }
}
