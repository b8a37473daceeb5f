//! Looking up: memory only, never blocked by the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use portcullis_store::{Batch, Durability};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Directory;
use super::draft::kind;
use super::tables::{KeyEntry, Tables, second_of};
use crate::keys::VerificationKey;
use crate::model::{
    App, Device, DeviceSelector, Domain, DomainSelector, Key, Project, ProjectSelector, RoleAssignment, User,
    UserSelector,
};

/// Entries of one page of a list, at most.
const PAGE: usize = 1_000;
/// Devices of one page for policies (contract: `list-devices`).
const DEVICES: usize = 256;
/// Octets of a secret that is looked up; longer ones were not made here.
const LONGEST_SECRET: usize = 256;
/// Seconds between two notes of a key's use in the store: a note an hour wears no flash.
const NOTE_USE_EVERY: u64 = 3600;

impl Directory {
    /// A user. Of a disabled domain the user is shown as disabled.
    #[must_use]
    pub fn find_user(&self, user: UserSelector<'_>) -> Option<Arc<User>> {
        let tables = self.0.tables.read();
        let id = user_id(&tables, user)?;
        Some(shown_user(&tables, &tables.users.get(id)?.user))
    }

    /// A domain.
    #[must_use]
    pub fn find_domain(&self, domain: DomainSelector<'_>) -> Option<Arc<Domain>> {
        let tables = self.0.tables.read();
        let id = match domain {
            DomainSelector::Id(id) => id,
            DomainSelector::Name(name) => tables.domain_names.get(name)?,
        };
        tables.domains.get(id).cloned()
    }

    /// A project.
    #[must_use]
    pub fn find_project(&self, project: ProjectSelector<'_>) -> Option<Arc<Project>> {
        let tables = self.0.tables.read();
        let id = match project {
            ProjectSelector::Id(id) => id,
            ProjectSelector::Name { name, domain_id } => {
                tables.project_names.get(&(domain_id.to_owned(), name.to_owned()))?
            }
        };
        tables.projects.get(id).cloned()
    }

    /// The roles of a user, everywhere, in order. Empty also if there is no such user.
    #[must_use]
    pub fn list_roles(&self, user_id: &str) -> Vec<RoleAssignment> {
        self.0.tables.read().roles.get(user_id).cloned().unwrap_or_default()
    }

    /// An app, enabled or not.
    #[must_use]
    pub fn find_app(&self, id: &str) -> Option<Arc<App>> {
        self.0.tables.read().apps.get(id).map(|entry| Arc::clone(&entry.app))
    }

    /// The public keys of an app, ready for use. None: there is no such app, or it is disabled.
    #[must_use]
    pub fn app_keys(&self, id: &str) -> Option<Arc<[VerificationKey]>> {
        let tables = self.0.tables.read();
        tables.apps.get(id).filter(|entry| entry.app.enabled).map(|entry| Arc::clone(&entry.keys))
    }

    /// A device. Of a disabled app the device is shown as disabled.
    #[must_use]
    pub fn find_device(&self, device: DeviceSelector<'_>) -> Option<Arc<Device>> {
        let tables = self.0.tables.read();
        let id = match device {
            DeviceSelector::Id(id) => id,
            DeviceSelector::ClientId(name) | DeviceSelector::Username(name) => tables.client_ids.get(name)?,
            DeviceSelector::Fingerprint(digits) => tables.fingerprints.get(&digits.to_ascii_lowercase())?,
            DeviceSelector::CertificateSubject(subject) => tables.subjects.get(subject)?,
        };
        tables.devices.get(id).map(|device| shown_device(&tables, device))
    }

    /// The devices that a consumer or user owns, at most 256, ordered by identifier, after the one with the identifier
    /// `after`.
    #[must_use]
    pub fn list_devices(&self, owner_id: &str, after: Option<&str>) -> Vec<Arc<Device>> {
        let tables = self.0.tables.read();
        let ids = second_of(&tables.devices_of, owner_id, after.unwrap_or_default());
        let devices = ids.filter(|id| Some(id.as_str()) != after).filter_map(|id| tables.devices.get(id));
        devices.take(DEVICES).map(|device| shown_device(&tables, device)).collect()
    }

    /// The key with this secret, if it is neither expired nor revoked nor of a disabled owner. Only the hash is compared.
    /// Counts as use; `last_used_at` is the use before.
    #[must_use]
    pub fn find_key(&self, secret: &str) -> Option<Key> {
        self.key_with(secret, true)
    }

    /// The same, without counting as use.
    #[must_use]
    pub fn peek_key(&self, secret: &str) -> Option<Key> {
        self.key_with(secret, false)
    }

    fn key_with(&self, secret: &str, counts: bool) -> Option<Key> {
        if secret.len() > LONGEST_SECRET {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let now = self.now();
        let tables = self.0.tables.read();
        let entry = tables.keys.get(tables.key_hashes.get(&hash)?)?;
        // The map compares in its own time, which tells at most something of a hash that nobody can choose.
        if !bool::from(entry.stored.hash.ct_eq(&hash)) || !usable(&tables, &entry.stored.key, now) {
            return None;
        }
        let key = shown_key(entry);
        if !counts {
            return Some(key);
        }
        let last_stored = entry.usage.stored.load(Ordering::Relaxed);
        entry.usage.last.store(now, Ordering::Relaxed);
        if now.saturating_sub(last_stored) >= NOTE_USE_EVERY {
            let usage = Arc::clone(&entry.usage);
            let moved = usage.stored.compare_exchange(last_stored, now, Ordering::Relaxed, Ordering::Relaxed);
            drop(tables);
            if moved.is_ok() {
                let mut batch = Batch::new();
                batch.put_entry(kind::KEY_USED, &key.id, now.to_le_bytes().to_vec());
                // If there is no room, the next hour's use is noted.
                drop(self.0.store.try_submit(batch, Durability::None));
            }
        }
        Some(key)
    }

    /// The key with this identifier, if it is neither expired nor revoked nor of a disabled owner. Does not count as use.
    #[must_use]
    pub fn find_key_by_id(&self, id: &str) -> Option<Key> {
        let tables = self.0.tables.read();
        let entry = tables.keys.get(id)?;
        usable(&tables, &entry.stored.key, self.now()).then(|| shown_key(entry))
    }

    /// Whether a token was revoked by its identifier (`jti`, or a Keystone audit id).
    #[must_use]
    pub fn is_revoked(&self, token_id: &str) -> bool {
        self.0.tables.read().revoked.contains_key(token_id)
    }

    /// Users ordered by identifier, after this one; at most `limit` and at most 1,000.
    #[must_use]
    pub fn list_users(&self, after: Option<&str>, limit: usize) -> Vec<Arc<User>> {
        let tables = self.0.tables.read();
        page(&tables.users, after, limit).map(|account| shown_user(&tables, &account.user)).collect()
    }

    /// Domains, as [`Directory::list_users`].
    #[must_use]
    pub fn list_domains(&self, after: Option<&str>, limit: usize) -> Vec<Arc<Domain>> {
        page(&self.0.tables.read().domains, after, limit).cloned().collect()
    }

    /// Projects, as [`Directory::list_users`].
    #[must_use]
    pub fn list_projects(&self, after: Option<&str>, limit: usize) -> Vec<Arc<Project>> {
        page(&self.0.tables.read().projects, after, limit).cloned().collect()
    }

    /// Apps, as [`Directory::list_users`].
    #[must_use]
    pub fn list_apps(&self, after: Option<&str>, limit: usize) -> Vec<Arc<App>> {
        page(&self.0.tables.read().apps, after, limit).map(|entry| Arc::clone(&entry.app)).collect()
    }

    /// All devices, as [`Directory::list_users`].
    #[must_use]
    pub fn list_all_devices(&self, after: Option<&str>, limit: usize) -> Vec<Arc<Device>> {
        let tables = self.0.tables.read();
        page(&tables.devices, after, limit).map(|device| shown_device(&tables, device)).collect()
    }

    /// Keys, of all owners or of one (`user:<id>`), as [`Directory::list_users`]. Keys that expired are listed for
    /// another week.
    #[must_use]
    pub fn list_keys(&self, owner: Option<&str>, after: Option<&str>, limit: usize) -> Vec<Key> {
        let tables = self.0.tables.read();
        match owner {
            None => page(&tables.keys, after, limit).map(shown_key).collect(),
            Some(owner) => second_of(&tables.keys_of, owner, after.unwrap_or_default())
                .filter(|id| Some(id.as_str()) != after)
                .filter_map(|id| tables.keys.get(id))
                .take(limit.min(PAGE))
                .map(shown_key)
                .collect(),
        }
    }
}

/// The identifier of a user that may or may not be there.
pub(super) fn user_id<'t>(tables: &'t Tables, user: UserSelector<'t>) -> Option<&'t str> {
    match user {
        UserSelector::Id(id) => Some(id),
        UserSelector::Email(email) => tables.emails.get(&email.to_ascii_lowercase()).map(String::as_str),
        UserSelector::Name { name, domain_id } => {
            tables.user_names.get(&(domain_id.to_owned(), name.to_owned())).map(String::as_str)
        }
    }
}

/// A user as others see them: a disabled domain disables all who are in it.
pub(super) fn shown_user(tables: &Tables, user: &Arc<User>) -> Arc<User> {
    if user.enabled && !tables.domains.get(&user.domain_id).is_some_and(|domain| domain.enabled) {
        return Arc::new(User { enabled: false, ..User::clone(user) });
    }
    Arc::clone(user)
}

/// A device as others see it: a disabled app disables all that belong to it.
pub(super) fn shown_device(tables: &Tables, device: &Arc<Device>) -> Arc<Device> {
    let app_enabled = |id: &String| tables.apps.get(id).is_some_and(|entry| entry.app.enabled);
    if device.enabled && !device.app_id.as_ref().is_none_or(app_enabled) {
        return Arc::new(Device { enabled: false, ..Device::clone(device) });
    }
    Arc::clone(device)
}

fn shown_key(entry: &KeyEntry) -> Key {
    Key { last_used_at: entry.last_used(), ..Key::clone(&entry.stored.key) }
}

fn usable(tables: &Tables, key: &Key, now: u64) -> bool {
    key.expires_at.is_none_or(|at| at > now) && owner_enabled(tables, &key.owner)
}

/// Whether the owner of a key exists and is enabled. Consumers are known to their app only, so any is.
pub(super) fn owner_enabled(tables: &Tables, owner: &str) -> bool {
    match owner.split_once(':') {
        Some(("user", id)) => tables.users.get(id).is_some_and(|account| shown_user(tables, &account.user).enabled),
        Some(("device", id)) => tables.devices.get(id).is_some_and(|device| shown_device(tables, device).enabled),
        Some(("app", id)) => tables.apps.get(id).is_some_and(|entry| entry.app.enabled),
        Some(("consumer", id)) => !id.is_empty(),
        _ => false,
    }
}

fn page<'t, T>(
    entries: &'t std::collections::BTreeMap<String, T>,
    after: Option<&str>,
    limit: usize,
) -> impl Iterator<Item = &'t T> {
    use std::ops::Bound::{Excluded, Unbounded};
    let from = after.map_or(Unbounded, |after| Excluded(after.to_owned()));
    entries.range((from, Unbounded)).map(|(_, entry)| entry).take(limit.min(PAGE))
}
