//! Export and import: all entries as one JSON document, to move a directory or to keep a copy of it.
//!
//! Without secrets, passwords and keys must be set anew after an import. With them (hashes, never the secrets themselves)
//! the copy is as good as the original, and as worth guarding.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Directory;
use super::changes::ChangeKind;
use super::check::{Problems, invalid};
use super::draft::{Account, Draft, Edit, HashedKey};
use super::passwords::Passwords;
use super::tables::{Revocation, Tables};
use super::{api_keys, apps, devices, tenancy, users};
use crate::error::DirectoryError;
use crate::model::{App, Device, Domain, Key, Project, RoleAssignment};

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
    revoked_tokens: Vec<Revoked>,
}

/// A token, when it would have expired, and the user whose it was if that is known.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Revoked {
    OfUser(String, u64, String),
    OfNobody(String, u64),
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
            let mut revoked: Vec<_> = tables.revoked.iter().collect();
            revoked.sort_by_key(|(id, _)| *id);
            let revoked_tokens = revoked.into_iter().map(|(id, Revocation { until, owner })| match owner {
                Some(owner) => Revoked::OfUser(id.clone(), *until, owner.clone()),
                None => Revoked::OfNobody(id.clone(), *until),
            });
            Document {
                version: VERSION,
                domains: tables.domains.values().map(|domain| Domain::clone(domain)).collect(),
                projects: tables.projects.values().map(|project| Project::clone(project)).collect(),
                users: tables.users.values().map(user).collect(),
                roles,
                apps: tables.apps.values().map(|entry| App::clone(&entry.app)).collect(),
                devices: tables.devices.values().map(|device| Device::clone(device)).collect(),
                keys: tables.keys.values().filter(|_| secrets).map(key).collect(),
                revoked_tokens: revoked_tokens.collect(),
            }
        };
        serde_json::to_string_pretty(&document).map_err(|error| invalid("document", &error.to_string()))
    }

    /// Brings in what [`Directory::export`] wrote. Entries with identifiers that are here already are replaced (a user
    /// without a password in the document keeps the one here); others stay. All or nothing.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] with everything that is wrong with the document, by entry, up to a hundred problems.
    pub fn import(&self, json: &str) -> Result<Imported, DirectoryError> {
        let document: Document =
            serde_json::from_str(json).map_err(|error| invalid("document", &format!("is not an export: {error}")))?;
        if document.version != VERSION {
            return Err(invalid("version", &format!("is {}; this gateway reads {VERSION}", document.version)));
        }
        let now = self.now();
        self.change(|tables, draft| bring_in(tables.clone(), draft, document, now))
    }
}

/// Problems that one report names.
const REPORTED: usize = 100;

/// A document that is being tried: on a copy of the directory, entry by entry, so that each must fit beside those before
/// it. One that does not fit is noted and taken all the same: what refers to it is not wrong for that reason.
struct Trial<'d> {
    tables: Tables,
    draft: &'d mut Draft,
    /// Entries so far, to find those that are in the document twice.
    seen: HashSet<(&'static str, String)>,
    /// Whom to tell.
    touched: Vec<String>,
    problems: Vec<(String, String)>,
    more: usize,
}

impl Trial<'_> {
    /// Notes what is wrong with an entry.
    fn judge(
        &mut self,
        kind: &'static str,
        id: &str,
        verdict: Result<(), DirectoryError>,
    ) -> Result<(), DirectoryError> {
        let found = match verdict {
            Ok(()) => return Ok(()),
            Err(DirectoryError::Invalid(fields)) => fields,
            Err(DirectoryError::Conflict(field)) => vec![(field.to_owned(), "is another entry's already".to_owned())],
            Err(failed) => return Err(failed),
        };
        for (field, why) in found {
            if self.problems.len() < REPORTED {
                // What is wrong may be the identifier itself, and of any length.
                let id: String = id.chars().take(64).flat_map(char::escape_debug).collect();
                self.problems.push((format!("{kind} {id}: {field}"), why));
            } else {
                self.more += 1;
            }
        }
        Ok(())
    }

    /// Looks at what every entry has: an identifier of its own.
    fn identifier(&mut self, kind: &'static str, id: &str, form: Form) -> Result<(), DirectoryError> {
        let mut problems = Problems::default();
        match form {
            Form::Made => problems.expect(
                id.len() == 32 && id.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f')),
                "id",
                "must be 32 hexadecimal digits in lower case",
            ),
            Form::Checked => {}
        }
        problems.expect(self.seen.insert((kind, id.to_owned())), "id", "is in the document twice");
        self.judge(kind, id, problems.result())
    }

    fn take(&mut self, edit: Edit) -> Result<(), DirectoryError> {
        self.draft.edit(edit.clone())?;
        self.tables.apply(edit);
        Ok(())
    }
}

/// What an identifier looks like.
enum Form {
    /// The gateway made it.
    Made,
    /// Something else: what checks the entry looks at it.
    Checked,
}

fn bring_in(tables: Tables, draft: &mut Draft, document: Document, now: u64) -> Result<Imported, DirectoryError> {
    let mut imported = Imported { keys: document.keys.len(), ..Imported::default() };
    let mut trial = Trial { tables, draft, seen: HashSet::new(), touched: Vec::new(), problems: Vec::new(), more: 0 };
    for domain in document.domains {
        trial.identifier("domain", &domain.id, Form::Checked)?;
        let verdict = tenancy::check_domain(&trial.tables, &domain);
        trial.judge("domain", &domain.id, verdict)?;
        trial.touched.extend(tenancy::within_domain(&trial.tables, &domain.id));
        trial.take(Edit::Domain(Arc::new(domain)))?;
        imported.tenants += 1;
    }
    let mut projects = Vec::new();
    for project in document.projects {
        trial.identifier("project", &project.id, Form::Made)?;
        trial.touched.extend(tenancy::within_project(&trial.tables, &project.id));
        // A parent may stand behind its child in the document, so the rest is checked with all of them there. A name that
        // another has must be found before the index forgets whose it was.
        let verdict = tenancy::check_project_name(&trial.tables, &project);
        trial.judge("project", &project.id, verdict)?;
        projects.push(project.id.clone());
        trial.take(Edit::Project(Arc::new(project)))?;
        imported.tenants += 1;
    }
    for id in &projects {
        let Some(project) = trial.tables.projects.get(id).cloned() else { continue };
        let verdict = tenancy::check_project(&trial.tables, &project);
        trial.judge("project", id, verdict)?;
    }
    for account in document.users {
        trial.identifier("user", &account.user.id, Form::Made)?;
        user(&mut trial, account, &mut imported)?;
    }
    for Roles { user, mut roles } in document.roles {
        trial.identifier("roles of user", &user, Form::Checked)?;
        let mut problems = Problems::default();
        problems.expect(trial.tables.users.contains_key(&user), "user", "is not in the directory");
        roles.sort();
        roles.dedup();
        problems.expect(roles.len() <= tenancy::MAX_ROLES, "roles", "must not be more than 1024");
        trial.judge("roles of user", &user, problems.result())?;
        for role in &roles {
            let verdict = tenancy::check_role(&trial.tables, role);
            trial.judge("roles of user", &user, verdict)?;
        }
        trial.touched.extend(users::dependents(&trial.tables, &user));
        trial.take(Edit::Roles(user, roles))?;
    }
    for app in document.apps {
        trial.identifier("app", &app.id, Form::Checked)?;
        let verdict = apps::check(&trial.tables, &app);
        trial.judge("app", &app.id, verdict)?;
        trial.touched.extend(apps::dependents(&trial.tables, &app.id));
        trial.take(Edit::App(Arc::new(app)))?;
        imported.apps += 1;
    }
    for device in document.devices {
        trial.identifier("device", &device.id, Form::Made)?;
        let verdict = devices::check(&trial.tables, &device);
        trial.judge("device", &device.id, verdict)?;
        for field in devices::conflicts(&trial.tables, &device).into_iter().skip(1) {
            trial.judge("device", &device.id, Err(DirectoryError::Conflict(field)))?;
        }
        trial.touched.extend(devices::dependents(&trial.tables, &device.id));
        trial.touched.extend(devices::owners(&device));
        trial.take(Edit::Device(Arc::new(device)))?;
        imported.devices += 1;
    }
    for key in document.keys {
        trial.identifier("key", &key.key.id, Form::Made)?;
        let verdict = api_keys::check(&key.key);
        trial.judge("key", &key.key.id, verdict)?;
        let mut problems = Problems::default();
        problems.expect(owner_exists(&trial.tables, &key.key.owner), "owner", "is not in the directory");
        let other = trial.tables.key_hashes.get(&key.hash).is_some_and(|id| *id != key.key.id);
        problems.expect(!other, "hash", "is another key's");
        trial.judge("key", &key.key.id, problems.result())?;
        trial.touched.push(format!("key:{}", key.key.id));
        trial.take(Edit::Key(key))?;
    }
    for token in document.revoked_tokens {
        let (token, until, owner) = match token {
            Revoked::OfUser(token, until, owner) => (token, until, Some(owner)),
            Revoked::OfNobody(token, until) => (token, until, None),
        };
        trial.identifier("revoked token", &token, Form::Checked)?;
        let verdict = api_keys::check_token(&token);
        trial.judge("revoked token", &token, verdict)?;
        // What is over, or what was revoked here for longer, need not be said.
        let known = trial.tables.revoked.get(&token).map_or(now, |known| known.until);
        if until > known {
            trial.touched.push(format!("token:{token}"));
            trial.take(Edit::Revoked(token, Revocation { until, owner }))?;
        }
    }
    let Trial { draft, mut touched, mut problems, more, .. } = trial;
    if more > 0 {
        problems.push(("document".to_owned(), format!("has {more} more problems")));
    }
    if !problems.is_empty() {
        return Err(DirectoryError::Invalid(problems));
    }
    touched.sort_unstable();
    touched.dedup();
    if !touched.is_empty() {
        draft.tell(ChangeKind::Updated, touched);
    }
    Ok(imported)
}

fn user(trial: &mut Trial<'_>, account: Account, imported: &mut Imported) -> Result<(), DirectoryError> {
    let Account { mut user, password } = account;
    let here = trial.tables.users.get(&user.id);
    // What was made void here stays void, however old the document is.
    if let Some(here) = here.and_then(|here| here.user.tokens_valid_from) {
        let user = Arc::make_mut(&mut user);
        user.tokens_valid_from = Some(user.tokens_valid_from.map_or(here, |theirs| theirs.max(here)));
    }
    let kept = here.and_then(|here| here.password.clone());
    let mut problems = Problems::default();
    let good = password.as_deref().is_none_or(Passwords::is_hash);
    problems.expect(good, "password", "is not an argon2id hash that the gateway can afford");
    trial.judge("user", &user.id, problems.result())?;
    let verdict = users::check(&trial.tables, &user);
    trial.judge("user", &user.id, verdict)?;
    for field in users::conflicts(&trial.tables, &user).into_iter().skip(1) {
        trial.judge("user", &user.id, Err(DirectoryError::Conflict(field)))?;
    }
    let password = password.or(kept);
    imported.without_password += usize::from(password.is_none());
    imported.users += 1;
    trial.touched.extend(users::dependents(&trial.tables, &user.id));
    trial.take(Edit::User(Account { user, password }))
}

/// Whether the owner of a key is there, enabled or not. Consumers are known to their app only.
fn owner_exists(tables: &Tables, owner: &str) -> bool {
    match owner.split_once(':') {
        Some(("user", id)) => tables.users.contains_key(id),
        Some(("device", id)) => tables.devices.contains_key(id),
        Some(("app", id)) => tables.apps.contains_key(id),
        // Of other kinds the form is wrong already.
        _ => true,
    }
}
