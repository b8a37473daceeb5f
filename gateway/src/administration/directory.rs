//! The directory in JSON: the same for the admin API and for commands that work on a data directory whose gateway does
//! not run.
//!
//! Everything here blocks until a change is on disk.

use portcullis_http::{AdminError, AdminResult, Kind, Page};
use portcullis_identity::{
    DEFAULT_DOMAIN, DeviceCredential, DeviceSelector, Directory, DirectoryError, DomainSelector, NewApp, NewDevice,
    NewKey, NewUser, ProjectSelector, UserSelector,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::tenancy;

pub(super) type Attributes = std::collections::BTreeMap<String, String>;

/// An app to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppEntry {
    id: Option<String>,
    name: String,
    owner_id: Option<String>,
    #[serde(default)]
    keys: Vec<String>,
    jwks_url: Option<String>,
    #[serde(default)]
    attributes: Attributes,
}

/// A device to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceEntry {
    external_id: String,
    app_id: Option<String>,
    owner_id: Option<String>,
    credential: Option<DeviceCredential>,
    fingerprint: Option<String>,
    certificate_subject: Option<String>,
    /// Whether a code is made that it gets its token with: `activation_code` in the answer.
    #[serde(default)]
    activation: bool,
    #[serde(default)]
    attributes: Attributes,
}

/// A user to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserEntry {
    name: String,
    domain_id: Option<String>,
    email: Option<String>,
    password: String,
    #[serde(default)]
    attributes: Attributes,
}

/// A key to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    owner: String,
    /// `secret` unless said; `secret` and `reset` begin with `sk_` and `rk_`, others with nothing.
    kind: Option<String>,
    expires_at: Option<u64>,
    #[serde(default)]
    attributes: Attributes,
}

/// A page of entries: `{"items": […], "next": identifier or null}`.
pub(crate) fn list(directory: &Directory, kind: Kind, page: &Page) -> AdminResult {
    let (after, limit) = (page.after.as_deref(), page.limit);
    match kind {
        Kind::Apps => paged(&directory.list_apps(after, limit), limit),
        Kind::Devices => paged(&directory.list_all_devices(after, limit), limit),
        Kind::Users => paged(&directory.list_users(after, limit), limit),
        Kind::Keys => paged(&directory.list_keys(None, after, limit), limit),
        Kind::Domains => paged(&directory.list_domains(after, limit), limit),
        Kind::Projects => paged(&directory.list_projects(after, limit), limit),
        Kind::Roles => tenancy::list_roles(directory, after, limit),
    }
}

/// One entry.
pub(crate) fn get(directory: &Directory, kind: Kind, id: &str) -> AdminResult {
    let found = match kind {
        Kind::Apps => directory.find_app(id).map(|app| shown(&*app)),
        Kind::Devices => {
            let device = directory.find_device(DeviceSelector::Id(id));
            device.or_else(|| directory.find_device(DeviceSelector::ClientId(id))).map(|device| shown(&*device))
        }
        Kind::Users => find_user(directory, id).map(|user| shown(&*user)),
        Kind::Keys => {
            let keys = directory.list_keys(None, None, usize::MAX);
            keys.into_iter().find(|key| key.id == id).map(|key| shown(&key))
        }
        Kind::Domains => directory.find_domain(DomainSelector::Id(id)).map(|domain| shown(&*domain)),
        Kind::Projects => directory.find_project(ProjectSelector::Id(id)).map(|project| shown(&*project)),
        Kind::Roles => tenancy::get_role(directory, id).map(Ok),
    };
    found.unwrap_or_else(|| Err(absent(kind, id)))
}

/// Adds an entry. A secret that was made is in the answer, and nowhere else.
pub(crate) fn add(directory: &Directory, kind: Kind, entry: Map<String, Value>) -> AdminResult {
    match kind {
        Kind::Apps => {
            let AppEntry { id, name, owner_id, keys, jwks_url, attributes } = read(entry)?;
            let new = NewApp { id, name, owner_id, keys, jwks_url, attributes: pairs(attributes) };
            shown(&*directory.create_app(new).map_err(|error| failed(kind, error))?)
        }
        Kind::Devices => {
            let entry: DeviceEntry = read(entry)?;
            let certified = entry.fingerprint.is_some() || entry.certificate_subject.is_some();
            let default = match (certified, entry.activation) {
                (true, _) => DeviceCredential::X509,
                (false, true) => DeviceCredential::Token,
                (false, false) => DeviceCredential::Username,
            };
            if entry.activation && entry.credential.unwrap_or(default) != DeviceCredential::Token {
                let words = "only a device that proves itself by a token is activated with a code";
                return Err(AdminError::Invalid(words.to_owned()));
            }
            let new = NewDevice {
                app_id: entry.app_id,
                owner_id: entry.owner_id,
                external_id: entry.external_id,
                credential: entry.credential.unwrap_or(default),
                fingerprint: entry.fingerprint,
                certificate_subject: entry.certificate_subject,
                attributes: pairs(entry.attributes),
            };
            let device = directory.create_device(new).map_err(|error| failed(kind, error))?;
            let mut value = shown(&*device)?;
            if entry.activation {
                let owner = format!("device:{}", device.id);
                let code = NewKey { kind: "activation".to_owned(), prefix: String::new(), ..NewKey::secret(owner) };
                let issued = directory.create_key(code).or_else(|error| {
                    // A device that nobody can activate is of no use.
                    directory.delete_device(&device.id).and(Err(error))
                });
                value["activation_code"] = issued.map_err(|error| failed(kind, error))?.secret.into();
            }
            Ok(value)
        }
        Kind::Users => {
            let UserEntry { name, domain_id, email, password, attributes } = read(entry)?;
            let domain_id = domain_id.unwrap_or_else(|| DEFAULT_DOMAIN.to_owned());
            let new =
                NewUser { name, domain_id, email, password: password.into_bytes(), attributes: pairs(attributes) };
            shown(&*directory.create_user(new).map_err(|error| failed(kind, error))?)
        }
        Kind::Keys => {
            let KeyEntry { owner, kind: word, expires_at, attributes } = read(entry)?;
            let mut new = match word.as_deref() {
                Some("reset") => NewKey::reset(owner),
                Some("secret") | None => NewKey::secret(owner),
                Some("application-credential") => tenancy::application_credential(owner),
                Some(word) => NewKey { kind: word.to_owned(), prefix: String::new(), ..NewKey::secret(owner) },
            };
            new.expires_at = expires_at;
            new.attributes = pairs(attributes);
            let issued = directory.create_key(new).map_err(|error| failed(kind, error))?;
            let mut value = shown(&issued.key)?;
            value["secret"] = issued.secret.into();
            Ok(value)
        }
        Kind::Domains => tenancy::add_domain(directory, entry),
        Kind::Projects => tenancy::add_project(directory, entry),
        Kind::Roles => tenancy::add_role(directory, entry),
    }
}

/// The whole directory as one document.
pub(crate) fn export(directory: &Directory, secrets: bool) -> AdminResult {
    let text = directory.export(secrets).map_err(|error| AdminError::Failed(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| AdminError::Failed(error.to_string()))
}

/// Takes in what was exported: whole, or not at all.
pub(crate) fn import(directory: &Directory, document: Map<String, Value>) -> AdminResult {
    let imported = directory.import(&Value::Object(document).to_string()).map_err(|error| match error {
        DirectoryError::Store(_) | DirectoryError::Unreadable { .. } | DirectoryError::NoRandomness => {
            AdminError::Failed(error.to_string())
        }
        other => AdminError::Invalid(format!("nothing was imported: {other}")),
    })?;
    Ok(json!({
        "tenants": imported.tenants,
        "users": imported.users,
        "users_without_password": imported.without_password,
        "apps": imported.apps,
        "devices": imported.devices,
        "keys": imported.keys,
    }))
}

/// People know users by their e-mail address or, in the default domain, by name. Whoever is meant by two of these is known
/// by identifier only: of an old directory it may be that one's name is another's address, and a slip would delete the
/// wrong one.
pub(super) fn find_user(directory: &Directory, id: &str) -> Option<std::sync::Arc<portcullis_identity::User>> {
    if let Some(user) = directory.find_user(UserSelector::Id(id)) {
        return Some(user);
    }
    let address = directory.find_user(UserSelector::Email(id));
    let name = directory.find_user(UserSelector::Name { name: id, domain_id: DEFAULT_DOMAIN });
    match (address, name) {
        (Some(address), Some(name)) => (address.id == name.id).then_some(address),
        (one, other) => one.or(other),
    }
}

/// Removes an entry. What it let in is looked at again at once.
pub(crate) fn remove(directory: &Directory, kind: Kind, id: &str) -> AdminResult {
    let removed = match kind {
        Kind::Apps => directory.delete_app(id),
        Kind::Devices => {
            // People know devices by their client identifiers.
            let known = directory.find_device(DeviceSelector::ClientId(id)).map(|device| device.id.clone());
            directory.delete_device(known.as_deref().unwrap_or(id))
        }
        Kind::Users => {
            let known = find_user(directory, id).map(|user| user.id.clone());
            directory.delete_user(known.as_deref().unwrap_or(id))
        }
        Kind::Keys => directory.revoke_key(id).and_then(|was| if was { Ok(()) } else { Err(DirectoryError::NotFound) }),
        Kind::Domains => directory.delete_domain(id),
        Kind::Projects => directory.delete_project(id),
        Kind::Roles => tenancy::remove_role(directory, id),
    };
    match removed {
        Ok(()) => Ok(json!({ "removed": id })),
        Err(DirectoryError::NotFound) => Err(absent(kind, id)),
        Err(error) => Err(failed(kind, error)),
    }
}

pub(super) fn read<T: DeserializeOwned>(entry: Map<String, Value>) -> Result<T, AdminError> {
    serde_json::from_value(Value::Object(entry)).map_err(|error| AdminError::Invalid(error.to_string()))
}

pub(super) fn shown(entry: &impl Serialize) -> AdminResult {
    serde_json::to_value(entry).map_err(|error| AdminError::Failed(error.to_string()))
}

fn paged<T: AsRefEntry>(entries: &[T], limit: usize) -> AdminResult {
    let items = entries.iter().map(AsRefEntry::shown).collect::<Result<Vec<_>, _>>()?;
    let next =
        if items.len() < limit { Value::Null } else { items.last().map_or(Value::Null, |last| last["id"].clone()) };
    Ok(json!({ "items": items, "next": next }))
}

/// Entries come shared or owned.
trait AsRefEntry {
    fn shown(&self) -> AdminResult;
}

impl<T: Serialize> AsRefEntry for std::sync::Arc<T> {
    fn shown(&self) -> AdminResult {
        shown(&**self)
    }
}

impl AsRefEntry for portcullis_identity::Key {
    fn shown(&self) -> AdminResult {
        shown(self)
    }
}

pub(super) fn pairs(attributes: Attributes) -> Vec<(String, String)> {
    attributes.into_iter().collect()
}

pub(super) fn absent(kind: Kind, id: &str) -> AdminError {
    AdminError::NotFound(format!("there is no {} {id:?} in the directory", one(kind)))
}

fn one(kind: Kind) -> &'static str {
    kind.as_str().trim_end_matches('s')
}

pub(super) fn failed(kind: Kind, error: DirectoryError) -> AdminError {
    let words = format!("the {} was not changed: {error}", one(kind));
    match error {
        // What the new entry refers to is not there: the entry is wrong, not the path.
        DirectoryError::NotFound => {
            AdminError::Invalid(format!("the {} refers to an entry that is not there", one(kind)))
        }
        DirectoryError::Conflict(_) => AdminError::Conflict(words),
        DirectoryError::Invalid(_) => AdminError::Invalid(words),
        DirectoryError::RateLimited(_) => AdminError::Unavailable(words),
        DirectoryError::Store(_) | DirectoryError::Unreadable { .. } | DirectoryError::NoRandomness => {
            AdminError::Failed(words)
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_identity::DirectoryOptions;
    use portcullis_store::{Options, Store};

    use super::*;

    fn directory() -> Directory {
        Directory::open(Store::in_memory(Options::default()).unwrap(), DirectoryOptions::default()).unwrap()
    }

    fn entry(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn an_app_a_device_and_a_key_come_and_go() {
        let directory = directory();
        let app = add(&directory, Kind::Apps, entry(json!({ "id": "shop", "name": "Shop" }))).unwrap();
        assert_eq!(app["id"], "shop");
        let device = json!({ "external_id": "pump", "app_id": "shop", "owner_id": "alice" });
        let device = add(&directory, Kind::Devices, entry(device)).unwrap();
        let client = device["client_id"].as_str().unwrap();
        assert_eq!(get(&directory, Kind::Devices, client).unwrap(), device);
        let key = add(&directory, Kind::Keys, entry(json!({ "owner": "app:shop" }))).unwrap();
        assert!(directory.find_key(key["secret"].as_str().unwrap()).is_some());
        let page = Page { limit: 10, after: None };
        let listed = list(&directory, Kind::Keys, &page).unwrap();
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
        assert!(listed["items"][0].get("secret").is_none(), "a secret is shown once");

        remove(&directory, Kind::Devices, client).unwrap();
        remove(&directory, Kind::Keys, key["id"].as_str().unwrap()).unwrap();
        assert!(directory.find_key(key["secret"].as_str().unwrap()).is_none());
        assert!(matches!(remove(&directory, Kind::Devices, client), Err(AdminError::NotFound(_))));
    }

    #[test]
    fn an_activation_code_is_shown_once_and_is_its_devices() {
        let directory = directory();
        let pump = json!({ "external_id": "pump", "activation": true, "attributes": { "account": "plant" } });
        let pump = add(&directory, Kind::Devices, entry(pump)).unwrap();
        assert_eq!(pump["credential"], "token");
        let code = directory.find_key(pump["activation_code"].as_str().unwrap()).unwrap();
        assert_eq!(
            (code.kind.as_str(), code.owner),
            ("activation", format!("device:{}", pump["id"].as_str().unwrap()))
        );
        let shown = get(&directory, Kind::Devices, pump["client_id"].as_str().unwrap()).unwrap();
        assert!(shown.get("activation_code").is_none());
        let certified = json!({ "external_id": "x", "activation": true, "credential": "username" });
        let refused = add(&directory, Kind::Devices, entry(certified));
        assert!(matches!(refused, Err(AdminError::Invalid(_))), "{refused:?}");
    }

    #[test]
    fn keys_come_over_a_road_that_nobody_can_change() {
        let directory = directory();
        for (url, good) in [
            ("https://keys.example/set", true),
            ("http://127.0.0.1:8000/set", true),
            ("http://[::1]/set", true),
            ("http://localhost", true),
            ("http://keys.example/set", false),
            ("http://127.0.0.1.attacker.example/set", false),
            ("http://localhost@attacker.example/", false),
            ("http://localhost:80@attacker.example/", false),
            ("file:///etc/passwd", false),
        ] {
            let made = add(&directory, Kind::Apps, entry(json!({ "name": "Shop", "jwks_url": url })));
            assert_eq!(made.is_ok(), good, "{url}: {made:?}");
        }
    }

    #[test]
    fn pages_follow_one_another() {
        let directory = directory();
        for name in ["a", "b", "c"] {
            add(&directory, Kind::Apps, entry(json!({ "id": name, "name": name }))).unwrap();
        }
        let mut page = Page { limit: 2, after: None };
        let first = list(&directory, Kind::Apps, &page).unwrap();
        page.after = first["next"].as_str().map(str::to_owned);
        let second = list(&directory, Kind::Apps, &page).unwrap();
        assert_eq!((first["items"].as_array().unwrap().len(), second["items"].as_array().unwrap().len()), (2, 1));
        assert!(second["next"].is_null());
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let directory = directory();
        let wrong = [
            (Kind::Apps, json!({})),
            (Kind::Apps, json!({ "name": "x", "colour": "red" })),
            (Kind::Users, json!({ "name": "x", "password": "short" })),
            (Kind::Keys, json!({ "owner": "app:nobody" })),
            (Kind::Keys, json!({ "owner": "nobody" })),
            (Kind::Devices, json!({ "external_id": "x/#" })),
        ];
        for (kind, value) in wrong {
            let answer = add(&directory, kind, entry(value.clone()));
            assert!(matches!(answer, Err(AdminError::Invalid(_))), "{value}: {answer:?}");
        }
        add(&directory, Kind::Apps, entry(json!({ "id": "x", "name": "x" }))).unwrap();
        let twice = add(&directory, Kind::Apps, entry(json!({ "id": "x", "name": "y" })));
        assert!(matches!(twice, Err(AdminError::Conflict(_))), "{twice:?}");
    }
}
