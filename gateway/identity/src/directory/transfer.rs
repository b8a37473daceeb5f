//! Export and import: all entries as one JSON document, to move a directory or to keep a copy of it.
//!
//! Without secrets, passwords and keys must be set anew after an import. With them (hashes, never the secrets themselves)
//! the copy is as good as the original, and as worth guarding.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Directory;
use super::changes::ChangeKind;
use super::check::invalid;
use super::draft::{Account, Draft, Edit, HashedKey};
use super::passwords::Passwords;
use super::tables::Tables;
use super::{api_keys, apps, devices, tenancy, users};
use crate::error::DirectoryError;
use crate::model::{App, Device, Domain, Key, Project, RoleAssignment, Scope};

/// The version of the document.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    version: u32,
    #[serde(default)]
    domains: Vec<Domain>,
    #[serde(default)]
    projects: Vec<Project>,
    #[serde(default)]
    users: Vec<Account>,
    #[serde(default)]
    roles: Vec<Roles>,
    #[serde(default)]
    apps: Vec<App>,
    #[serde(default)]
    devices: Vec<Device>,
    /// Only with their hashes: a key without one could never be found.
    #[serde(default)]
    keys: Vec<HashedKey>,
    #[serde(default)]
    revoked_tokens: Vec<(String, u64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Roles {
    user: String,
    roles: Vec<RoleAssignment>,
}

/// How many entries an import brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Domains and projects.
    pub tenants: usize,
    /// Users.
    pub users: usize,
    /// Of them, those without a password, who cannot log in until one is set.
    pub without_password: usize,
    /// Apps.
    pub apps: usize,
    /// Devices.
    pub devices: usize,
    /// Keys.
    pub keys: usize,
}

impl Directory {
    /// All entries as JSON. `secrets`: with the hashes of passwords and keys. The gateway's signing keys are never in it.
    ///
    /// # Errors
    /// The document could not be written.
    pub fn export(&self, secrets: bool) -> Result<String, DirectoryError> {
        let document = {
            let tables = self.0.tables.read();
            let user = |account: &Account| Account {
                user: Arc::clone(&account.user),
                password: account.password.clone().filter(|_| secrets),
            };
            let key = |entry: &super::tables::KeyEntry| HashedKey {
                key: Arc::new(Key { last_used_at: entry.last_used(), ..Key::clone(&entry.stored.key) }),
                hash: entry.stored.hash,
            };
            let mut roles: Vec<Roles> =
                tables.roles.iter().map(|(user, roles)| Roles { user: user.clone(), roles: roles.clone() }).collect();
            roles.sort_by(|a, b| a.user.cmp(&b.user));
            let mut revoked_tokens: Vec<_> = tables.revoked.iter().map(|(id, until)| (id.clone(), *until)).collect();
            revoked_tokens.sort();
            Document {
                version: VERSION,
                domains: tables.domains.values().map(|domain| Domain::clone(domain)).collect(),
                projects: tables.projects.values().map(|project| Project::clone(project)).collect(),
                users: tables.users.values().map(user).collect(),
                roles,
                apps: tables.apps.values().map(|entry| App::clone(&entry.app)).collect(),
                devices: tables.devices.values().map(|device| Device::clone(device)).collect(),
                keys: tables.keys.values().filter(|_| secrets).map(key).collect(),
                revoked_tokens,
            }
        };
        serde_json::to_string_pretty(&document).map_err(|error| invalid("document", &error.to_string()))
    }

    /// Brings in what [`Directory::export`] wrote. Entries with identifiers that are here already are replaced (a user
    /// without a password in the document keeps the one here); others stay. All or nothing.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] with the entry that is wrong; [`DirectoryError::Conflict`] with the field that an entry
    /// shares with another.
    pub fn import(&self, json: &str) -> Result<Imported, DirectoryError> {
        let document: Document =
            serde_json::from_str(json).map_err(|error| invalid("document", &format!("is not an export: {error}")))?;
        if document.version != VERSION {
            return Err(invalid("version", &format!("is {}; this gateway reads {VERSION}", document.version)));
        }
        self.change(|tables, draft| bring_in(tables.clone(), draft, document))
    }
}

/// Tries the document entry by entry on a copy of the directory: each must fit beside those before it.
fn bring_in(mut tables: Tables, draft: &mut Draft, document: Document) -> Result<Imported, DirectoryError> {
    let mut imported = Imported { keys: document.keys.len(), ..Imported::default() };
    let mut touched = Vec::new();
    let take = |tables: &mut Tables, draft: &mut Draft, edit: Edit| {
        draft.edit(edit.clone())?;
        tables.apply(edit);
        Ok::<_, DirectoryError>(())
    };
    for domain in document.domains {
        tenancy::check_domain(&tables, &domain).map_err(within("domain", &domain.id))?;
        touched.push(format!("domain:{}", domain.id));
        take(&mut tables, draft, Edit::Domain(Arc::new(domain)))?;
        imported.tenants += 1;
    }
    for project in document.projects {
        let scope = Scope::Project(project.id.clone());
        let holders = tables.roles.iter().filter(|(_, roles)| roles.iter().any(|role| role.scope == scope));
        touched.extend(holders.map(|(user, _)| format!("user:{user}")));
        touched.push(format!("project:{}", project.id));
        // A parent may stand behind its child in the document, so that is checked with all of them there.
        take(&mut tables, draft, Edit::Project(Arc::new(project)))?;
        imported.tenants += 1;
    }
    for Account { mut user, password } in document.users {
        // What was made void here stays void, however old the document is.
        if let Some(here) = tables.users.get(&user.id).and_then(|here| here.user.tokens_valid_from) {
            let user = Arc::make_mut(&mut user);
            user.tokens_valid_from = Some(user.tokens_valid_from.map_or(here, |theirs| theirs.max(here)));
        }
        users::check(&tables, &user).map_err(within("user", &user.id))?;
        if password.as_deref().is_some_and(|hash| !Passwords::is_hash(hash)) {
            return Err(invalid(&format!("user {}", user.id), "has a password that is not an argon2id hash"));
        }
        let password = password.or_else(|| tables.users.get(&user.id).and_then(|here| here.password.clone()));
        imported.without_password += usize::from(password.is_none());
        imported.users += 1;
        touched.extend(users::dependents(&tables, &user.id));
        take(&mut tables, draft, Edit::User(Account { user, password }))?;
    }
    for Roles { user, mut roles } in document.roles {
        for role in &roles {
            tenancy::check_role(&tables, role).map_err(within("roles of user", &user))?;
        }
        if !tables.users.contains_key(&user) {
            return Err(invalid(&format!("roles of user {user}"), "are of nobody"));
        }
        roles.sort();
        roles.dedup();
        touched.extend(users::dependents(&tables, &user));
        take(&mut tables, draft, Edit::Roles(user, roles))?;
    }
    for app in document.apps {
        apps::check(&tables, &app).map_err(within("app", &app.id))?;
        touched.push(format!("app:{}", app.id));
        take(&mut tables, draft, Edit::App(Arc::new(app)))?;
        imported.apps += 1;
    }
    for device in document.devices {
        devices::check(&tables, &device).map_err(within("device", &device.id))?;
        touched.extend(devices::dependents(&tables, &device.id));
        take(&mut tables, draft, Edit::Device(Arc::new(device)))?;
        imported.devices += 1;
    }
    for key in document.keys {
        api_keys::check(&key.key).map_err(within("key", &key.key.id))?;
        if tables.key_hashes.get(&key.hash).is_some_and(|id| *id != key.key.id) {
            return Err(DirectoryError::Conflict("hash"));
        }
        touched.push(format!("key:{}", key.key.id));
        take(&mut tables, draft, Edit::Key(key))?;
    }
    for (token, until) in document.revoked_tokens {
        touched.push(format!("token:{token}"));
        take(&mut tables, draft, Edit::Revoked(token, until))?;
    }
    for project in tables.projects.values() {
        tenancy::check_project(&tables, project).map_err(within("project", &project.id))?;
    }
    if !touched.is_empty() {
        draft.tell(ChangeKind::Updated, touched);
    }
    Ok(imported)
}

/// Says of which entry a field is.
fn within(kind: &'static str, id: &str) -> impl FnOnce(DirectoryError) -> DirectoryError {
    let of = format!("{kind} {id}: ");
    move |error| match error {
        DirectoryError::Invalid(fields) => {
            DirectoryError::Invalid(fields.into_iter().map(|(field, why)| (format!("{of}{field}"), why)).collect())
        }
        other => other,
    }
}
