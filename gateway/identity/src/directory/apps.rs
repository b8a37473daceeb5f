//! Apps, and the public keys of their owners.

use std::sync::Arc;

use super::Directory;
use super::changes::ChangeKind;
use super::check::{Problems, invalid};
use super::draft::Edit;
use super::random;
use super::tables::{Tables, second_of};
use crate::error::DirectoryError;
use crate::keys::{PublicEntry, entries_from_text, jwk};
use crate::model::{App, AppKey, NewApp};

/// Keys of one app.
const MAX_KEYS: usize = 16;
/// Hosts that are reached without leaving the machine.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

impl Directory {
    /// Makes an app, enabled.
    ///
    /// # Errors
    /// [`DirectoryError::Conflict`] with `id`, or `key` for a key given twice; [`DirectoryError::Invalid`].
    pub fn create_app(&self, new: NewApp) -> Result<Arc<App>, DirectoryError> {
        let now = self.now();
        let mut app = App {
            id: new.id.map_or_else(random::id, Ok)?,
            name: new.name,
            owner_id: new.owner_id,
            enabled: true,
            created_at: now,
            attributes: new.attributes,
            keys: Vec::new(),
            jwks_url: new.jwks_url,
        };
        for text in &new.keys {
            add_keys(&mut app, text, now)?;
        }
        let app = Arc::new(app);
        self.change(|tables, draft| {
            if tables.apps.contains_key(&app.id) {
                return Err(DirectoryError::Conflict("id"));
            }
            check(tables, &app)?;
            draft.tell(ChangeKind::Created, vec![format!("app:{}", app.id)]);
            draft.edit(Edit::App(Arc::clone(&app)))
        })?;
        Ok(app)
    }

    /// Registers the public keys in a text: PEM blocks (SubjectPublicKeyInfo, certificate, PKCS#1), a JWK or a JWK Set.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`]; [`DirectoryError::Conflict`] with `key` if a key or its `kid` is there already;
    /// [`DirectoryError::Invalid`] with what is wrong with a key.
    pub fn add_app_key(&self, app_id: &str, text: &str) -> Result<Arc<App>, DirectoryError> {
        self.edit_app(app_id, ChangeKind::Updated, false, |app| add_keys(app, text, self.now()))
    }

    /// Removes a key by its `kid`. Consumers whose tokens it signed are looked at again.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`] without such an app or key.
    pub fn remove_app_key(&self, app_id: &str, kid: &str) -> Result<Arc<App>, DirectoryError> {
        self.edit_app(app_id, ChangeKind::Updated, false, |app| {
            let before = app.keys.len();
            app.keys.retain(|key| key.kid != kid);
            if app.keys.len() == before { Err(DirectoryError::NotFound) } else { Ok(()) }
        })
    }

    /// Enables or disables an app. With it go its consumers, devices and keys.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`].
    pub fn set_app_enabled(&self, id: &str, enabled: bool) -> Result<Arc<App>, DirectoryError> {
        let kind = if enabled { ChangeKind::Updated } else { ChangeKind::Disabled };
        self.edit_app(id, kind, true, |app| {
            app.enabled = enabled;
            Ok(())
        })
    }

    /// Says where an app's owner publishes further keys, or that it does so nowhere. Consumers whose tokens they signed are
    /// looked at again.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Invalid`].
    pub fn set_app_jwks_url(&self, id: &str, url: Option<String>) -> Result<Arc<App>, DirectoryError> {
        self.edit_app(id, ChangeKind::Updated, false, |app| {
            app.jwks_url = url;
            Ok(())
        })
    }

    /// Sets an attribute of an app; an empty value removes it.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Invalid`].
    pub fn set_app_attribute(&self, id: &str, name: &str, value: &str) -> Result<Arc<App>, DirectoryError> {
        self.edit_app(id, ChangeKind::Updated, false, |app| {
            app.attributes.retain(|(other, _)| other != name);
            if !value.is_empty() {
                app.attributes.push((name.to_owned(), value.to_owned()));
            }
            Ok(())
        })
    }

    /// Deletes an app with its keys. Its devices must be gone: a slip must not delete a fleet; to stop one at once,
    /// disable the app.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`]; [`DirectoryError::Invalid`] while it has devices.
    pub fn delete_app(&self, id: &str) -> Result<(), DirectoryError> {
        self.change(|tables, draft| {
            if !tables.apps.contains_key(id) {
                return Err(DirectoryError::NotFound);
            }
            if second_of(&tables.devices_of_app, id, "").next().is_some() {
                return Err(invalid("devices", "of the app must be deleted first"));
            }
            draft.tell(ChangeKind::Deleted, dependents(tables, id));
            draft.edit(Edit::DropApp(id.to_owned()))?;
            for key in tables.keys_owned_by(&format!("app:{id}")) {
                draft.edit(Edit::DropKey(key.clone()))?;
            }
            Ok(())
        })
    }

    fn edit_app(
        &self,
        id: &str,
        kind: ChangeKind,
        with_all: bool,
        edit: impl FnOnce(&mut App) -> Result<(), DirectoryError>,
    ) -> Result<Arc<App>, DirectoryError> {
        self.change(|tables, draft| {
            let entry = tables.apps.get(id).ok_or(DirectoryError::NotFound)?;
            let mut app = App::clone(&entry.app);
            edit(&mut app)?;
            check(tables, &app)?;
            let app = Arc::new(app);
            draft.tell(kind, if with_all { dependents(tables, id) } else { vec![format!("app:{id}")] });
            draft.edit(Edit::App(Arc::clone(&app)))?;
            Ok(app)
        })
    }
}

/// An app, and what stands or falls with it.
pub(super) fn dependents(tables: &Tables, id: &str) -> Vec<String> {
    let own = format!("app:{id}");
    let keys = tables.keys_owned_by(&own).map(|key| format!("key:{key}"));
    let devices = second_of(&tables.devices_of_app, id, "");
    let devices = devices.flat_map(|device| super::devices::dependents(tables, device));
    std::iter::once(own.clone()).chain(keys).chain(devices).collect()
}

fn add_keys(app: &mut App, text: &str, now: u64) -> Result<(), DirectoryError> {
    let entries = entries_from_text(text).map_err(|why| invalid("key", &why.to_string()))?;
    for entry in &entries {
        let key = app_key(entry, now);
        if app.keys.iter().any(|other| other.kid == key.kid) {
            return Err(DirectoryError::Conflict("key"));
        }
        app.keys.push(key);
    }
    if app.keys.len() > MAX_KEYS {
        Err(invalid("key", "would be the seventeenth; an app has at most 16"))
    } else {
        Ok(())
    }
}

fn app_key(entry: &PublicEntry, now: u64) -> AppKey {
    let kid = entry.kid.clone().unwrap_or_else(|| entry.thumbprint());
    let algorithm = entry.only.map(|algorithm| format!("{algorithm:?}"));
    AppKey { jwk: jwk(&kid, algorithm.as_deref(), &entry.key), kid, named: entry.kid.is_some(), added_at: now }
}

/// Whether an http URL is of this host.
fn is_at(url: &str, host: &str) -> bool {
    let rest = url.strip_prefix("http://").and_then(|rest| rest.strip_prefix(host));
    // A name and password before the host would make it another one.
    rest.is_some_and(|rest| (rest.is_empty() || rest.starts_with([':', '/', '?'])) && !rest.contains('@'))
}

pub(super) fn check(tables: &Tables, app: &App) -> Result<(), DirectoryError> {
    let mut problems = Problems::default();
    problems.word("id", &app.id, "._-");
    problems.text("name", &app.name, 255);
    if let Some(owner) = &app.owner_id {
        problems.expect(tables.users.contains_key(owner), "owner-id", "is not a user of the directory");
    }
    problems.expect(app.keys.len() <= MAX_KEYS, "keys", "must not be more than 16");
    for (at, key) in app.keys.iter().enumerate() {
        problems.text("keys", &key.kid, 256);
        problems.expect(app.keys[..at].iter().all(|other| other.kid != key.kid), "keys", "must not be given twice");
        if let Err(why) = entries_from_text(&key.jwk) {
            problems.note("keys", format!("{}: {why}", key.kid));
        }
    }
    if let Some(url) = &app.jwks_url {
        problems.text("jwks-url", url, 2048);
        // Whoever can change the answer on its way signs as the app's owner.
        let safe = url.starts_with("https://") || LOOPBACK.iter().any(|host| is_at(url, host));
        problems.expect(safe, "jwks-url", "must begin with https:// (http:// on the loopback interface only)");
    }
    problems.attributes(&app.attributes);
    problems.result()
}
