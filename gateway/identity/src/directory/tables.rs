//! The entries in memory and their indexes. Keys that strangers may choose are in maps with a random seed or in trees.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_store::{Batch, Durability, Store};
use serde::de::DeserializeOwned;

use super::draft::{Account, Draft, Edit, HashedKey, kind};
use crate::error::DirectoryError;
use crate::keys::{VerificationKey, entries_from_text, verification_key};
use crate::model::{App, Device, Domain, Project, RoleAssignment};

/// How long an expired key is still listed: operators look for what stopped working yesterday.
const LISTED_AFTER_EXPIRY: u64 = 7 * 24 * 3600;
/// Expired entries that one change takes along.
const FORGET_AT_ONCE: usize = 64;

/// Entries, by identifier, and what finds them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) users: BTreeMap<String, Account>,
    pub(super) emails: HashMap<String, String>,
    pub(super) user_names: HashMap<(String, String), String>,
    /// (a name that could be an e-mail address, in lower case; user), in all domains.
    pub(super) address_names: BTreeSet<(String, String)>,
    pub(super) domains: BTreeMap<String, Arc<Domain>>,
    pub(super) domain_names: HashMap<String, String>,
    pub(super) projects: BTreeMap<String, Arc<Project>>,
    pub(super) project_names: HashMap<(String, String), String>,
    pub(super) roles: HashMap<String, Vec<RoleAssignment>>,
    pub(super) apps: BTreeMap<String, AppEntry>,
    pub(super) devices: BTreeMap<String, Arc<Device>>,
    pub(super) client_ids: HashMap<String, String>,
    pub(super) fingerprints: HashMap<String, String>,
    pub(super) subjects: HashMap<String, String>,
    /// (owner, device) and (app, device).
    pub(super) devices_of: BTreeSet<(String, String)>,
    pub(super) devices_of_app: BTreeSet<(String, String)>,
    pub(super) keys: BTreeMap<String, KeyEntry>,
    pub(super) key_hashes: HashMap<[u8; 32], String>,
    /// (owner, key).
    pub(super) keys_of: BTreeSet<(String, String)>,
    pub(super) revoked: HashMap<String, Revocation>,
    /// (user, token).
    pub(super) revoked_of: BTreeSet<(String, String)>,
    /// When to forget what.
    forget: BTreeSet<(u64, Forget)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Forget {
    Key(String),
    Revoked(String),
}

/// A token that was revoked by its identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Revocation {
    /// When the token would have expired.
    pub(super) until: u64,
    /// The user whose token it was, if it was said.
    pub(super) owner: Option<String>,
}

impl Revocation {
    /// The time, and behind it the owner: what was written before owners were known has none.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [&self.until.to_le_bytes()[..], self.owner.as_deref().unwrap_or_default().as_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (until, owner) = bytes.split_at_checked(8)?;
        let owner = Some(std::str::from_utf8(owner).ok()?.to_owned()).filter(|owner| !owner.is_empty());
        Some(Self { until: number(until)?, owner })
    }
}

/// An app with its keys ready for use.
#[derive(Clone, Debug)]
pub(super) struct AppEntry {
    pub(super) app: Arc<App>,
    pub(super) keys: Arc<[VerificationKey]>,
}

/// A key with its use.
#[derive(Clone, Debug)]
pub(super) struct KeyEntry {
    pub(super) stored: HashedKey,
    pub(super) usage: Arc<Usage>,
}

/// Seconds since 1970 of the last use, and of the use that the store knows of; 0: never.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub(super) last: AtomicU64,
    pub(super) stored: AtomicU64,
}

impl KeyEntry {
    pub(super) fn last_used(&self) -> Option<u64> {
        Some(self.usage.last.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }
}

impl Tables {
    /// Reads everything from the store.
    pub(super) fn load(store: &Store) -> Result<Self, DirectoryError> {
        let mut tables = Self::default();
        tables.read(store, kind::DOMAIN, |_, domain| Edit::Domain(Arc::new(domain)))?;
        tables.read(store, kind::PROJECT, |_, project| Edit::Project(Arc::new(project)))?;
        tables.read(store, kind::USER, |_, account| Edit::User(account))?;
        tables.read(store, kind::ROLES, |user, roles| Edit::Roles(user.to_owned(), roles))?;
        tables.read(store, kind::APP, |_, app| Edit::App(Arc::new(app)))?;
        tables.read(store, kind::DEVICE, |_, device| Edit::Device(Arc::new(device)))?;
        tables.read(store, kind::KEY, |_, key| Edit::Key(key))?;
        let mut broken = None;
        store.visit_entries(kind::REVOKED, |id, bytes| match Revocation::from_bytes(bytes) {
            Some(revocation) => tables.apply(Edit::Revoked(id.to_owned(), revocation)),
            None => broken = Some(id.to_owned()),
        })?;
        if let Some(id) = broken {
            return Err(DirectoryError::Unreadable {
                kind: kind::REVOKED,
                id,
                why: "not a time and an owner".to_owned(),
            });
        }
        let mut orphans = Batch::new();
        store.visit_entries(kind::KEY_USED, |id, bytes| match (tables.keys.get(id), number(bytes)) {
            (Some(entry), Some(at)) => {
                entry.usage.last.store(at, Ordering::Relaxed);
                entry.usage.stored.store(at, Ordering::Relaxed);
            }
            // The use of a key that was revoked at the same moment.
            _ => {
                orphans.delete_entry(kind::KEY_USED, id);
            }
        })?;
        if !orphans.is_empty() {
            store.submit_with(orphans, Durability::None).wait()?;
        }
        Ok(tables)
    }

    fn read<T: DeserializeOwned>(
        &mut self,
        store: &Store,
        kind: &'static str,
        edit: impl Fn(&str, T) -> Edit,
    ) -> Result<(), DirectoryError> {
        let mut broken = None;
        store.visit_entries(kind, |id, bytes| match serde_json::from_slice(bytes) {
            Ok(entry) => self.apply(edit(id, entry)),
            Err(why) => broken = Some(DirectoryError::Unreadable { kind, id: id.to_owned(), why: why.to_string() }),
        })?;
        broken.map_or(Ok(()), Err)
    }

    /// Applies one step. What it replaces leaves the indexes first.
    pub(super) fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::User(account) => {
                self.drop_user(&account.user.id);
                let user = &account.user;
                if let Some(email) = &user.email {
                    self.emails.insert(email.to_ascii_lowercase(), user.id.clone());
                }
                self.user_names.insert((user.domain_id.clone(), user.name.clone()), user.id.clone());
                if let Some(name) = like_an_address(&user.name) {
                    self.address_names.insert((name, user.id.clone()));
                }
                self.users.insert(user.id.clone(), account);
            }
            Edit::DropUser(id) => self.drop_user(&id),
            Edit::Domain(domain) => {
                if let Some(old) = self.domains.get(&domain.id) {
                    self.domain_names.remove(&old.name);
                }
                self.domain_names.insert(domain.name.clone(), domain.id.clone());
                self.domains.insert(domain.id.clone(), domain);
            }
            Edit::Project(project) => {
                if let Some(old) = self.projects.get(&project.id) {
                    self.project_names.remove(&(old.domain_id.clone(), old.name.clone()));
                }
                self.project_names.insert((project.domain_id.clone(), project.name.clone()), project.id.clone());
                self.projects.insert(project.id.clone(), project);
            }
            Edit::DropDomain(id) => {
                if let Some(old) = self.domains.remove(&id) {
                    self.domain_names.remove(&old.name);
                }
            }
            Edit::DropProject(id) => {
                if let Some(old) = self.projects.remove(&id) {
                    self.project_names.remove(&(old.domain_id.clone(), old.name.clone()));
                }
            }
            Edit::Roles(user, roles) if roles.is_empty() => {
                self.roles.remove(&user);
            }
            Edit::Roles(user, roles) => {
                self.roles.insert(user, roles);
            }
            Edit::App(app) => {
                self.apps.insert(app.id.clone(), AppEntry { keys: compiled(&app), app });
            }
            Edit::DropApp(id) => {
                self.apps.remove(&id);
            }
            Edit::Device(device) => {
                self.drop_device(&device.id);
                self.index_device(&device);
                self.devices.insert(device.id.clone(), device);
            }
            Edit::DropDevice(id) => self.drop_device(&id),
            Edit::Key(stored) => {
                let usage = self.keys.get(&stored.key.id).map(|old| Arc::clone(&old.usage)).unwrap_or_default();
                self.drop_key(&stored.key.id);
                let key = &stored.key;
                self.key_hashes.insert(stored.hash, key.id.clone());
                self.keys_of.insert((key.owner.clone(), key.id.clone()));
                if let Some(at) = key.expires_at {
                    self.forget.insert((at.saturating_add(LISTED_AFTER_EXPIRY), Forget::Key(key.id.clone())));
                }
                self.keys.insert(key.id.clone(), KeyEntry { stored, usage });
            }
            Edit::DropKey(id) => self.drop_key(&id),
            Edit::Revoked(id, revocation) => {
                self.drop_revoked(&id);
                self.forget.insert((revocation.until, Forget::Revoked(id.clone())));
                if let Some(owner) = &revocation.owner {
                    self.revoked_of.insert((owner.clone(), id.clone()));
                }
                self.revoked.insert(id, revocation);
            }
            Edit::DropRevoked(id) => self.drop_revoked(&id),
        }
    }

    fn drop_user(&mut self, id: &str) {
        if let Some(Account { user, .. }) = self.users.remove(id) {
            if let Some(email) = &user.email {
                self.emails.remove(&email.to_ascii_lowercase());
            }
            self.user_names.remove(&(user.domain_id.clone(), user.name.clone()));
            if let Some(name) = like_an_address(&user.name) {
                self.address_names.remove(&(name, id.to_owned()));
            }
        }
    }

    fn drop_revoked(&mut self, id: &str) {
        let Some(Revocation { until, owner }) = self.revoked.remove(id) else { return };
        self.forget.remove(&(until, Forget::Revoked(id.to_owned())));
        owner.map(|owner| self.revoked_of.remove(&(owner, id.to_owned())));
    }

    fn index_device(&mut self, device: &Device) {
        let id = &device.id;
        self.client_ids.insert(device.client_id.clone(), id.clone());
        if let Some(fingerprint) = &device.fingerprint {
            self.fingerprints.insert(fingerprint.clone(), id.clone());
        }
        if let Some(subject) = &device.certificate_subject {
            self.subjects.insert(subject.clone(), id.clone());
        }
        if let Some(owner) = &device.owner_id {
            self.devices_of.insert((owner.clone(), id.clone()));
        }
        if let Some(app) = &device.app_id {
            self.devices_of_app.insert((app.clone(), id.clone()));
        }
    }

    fn drop_device(&mut self, id: &str) {
        let Some(device) = self.devices.remove(id) else { return };
        self.client_ids.remove(&device.client_id);
        device.fingerprint.as_ref().map(|fingerprint| self.fingerprints.remove(fingerprint));
        device.certificate_subject.as_ref().map(|subject| self.subjects.remove(subject));
        device.owner_id.as_ref().map(|owner| self.devices_of.remove(&(owner.clone(), id.to_owned())));
        device.app_id.as_ref().map(|app| self.devices_of_app.remove(&(app.clone(), id.to_owned())));
    }

    fn drop_key(&mut self, id: &str) {
        let Some(KeyEntry { stored, .. }) = self.keys.remove(id) else { return };
        self.key_hashes.remove(&stored.hash);
        self.keys_of.remove(&(stored.key.owner.clone(), id.to_owned()));
        if let Some(at) = stored.key.expires_at {
            self.forget.remove(&(at.saturating_add(LISTED_AFTER_EXPIRY), Forget::Key(id.to_owned())));
        }
    }

    /// Adds to a change what may be forgotten by now, a little at a time. An idle directory does not grow.
    pub(super) fn forget_expired(&self, now: u64, draft: &mut Draft) -> Result<(), DirectoryError> {
        for (_, what) in self.forget.iter().take_while(|(at, _)| *at <= now).take(FORGET_AT_ONCE) {
            // The change itself may just have given it a new life; the next one will look again.
            let touched = draft.edits.iter().any(|edit| match (edit, what) {
                (Edit::Key(key), Forget::Key(id)) => key.key.id == *id,
                (Edit::Revoked(token, _) | Edit::DropRevoked(token), Forget::Revoked(id)) => token == id,
                _ => false,
            });
            if !touched {
                draft.edit(match what {
                    Forget::Key(id) => Edit::DropKey(id.clone()),
                    Forget::Revoked(id) => Edit::DropRevoked(id.clone()),
                })?;
            }
        }
        Ok(())
    }

    /// Identifiers of an owner's keys.
    pub(super) fn keys_owned_by(&self, owner: &str) -> impl Iterator<Item = &String> {
        second_of(&self.keys_of, owner, "")
    }
}

/// A name as it could be meant as somebody's e-mail address, if it could.
pub(super) fn like_an_address(name: &str) -> Option<String> {
    name.contains('@').then(|| name.to_ascii_lowercase())
}

/// The second halves of the pairs with this first half, from `from` on.
pub(super) fn second_of<'a>(
    pairs: &'a BTreeSet<(String, String)>,
    first: &str,
    from: &str,
) -> impl Iterator<Item = &'a String> {
    let first = first.to_owned();
    pairs.range((first.clone(), from.to_owned())..).take_while(move |(of, _)| *of == first).map(|(_, second)| second)
}

/// Keys were checked when they were registered. One that a later version of the library refuses is left out: it then
/// verifies nothing, and the others still do.
fn compiled(app: &App) -> Arc<[VerificationKey]> {
    let keys = app.keys.iter().filter_map(|key| match entries_from_text(&key.jwk) {
        Ok(entries) => entries.into_iter().next().map(|mut entry| {
            if !key.named {
                entry.kid = None;
            }
            verification_key(&entry)
        }),
        Err(why) => {
            tracing::warn!(app = %app.id, kid = %key.kid, %why, "a key of the app cannot be used");
            None
        }
    });
    keys.collect()
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}
