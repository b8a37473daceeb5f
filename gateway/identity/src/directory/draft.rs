//! A change in the making: what goes to the store, what is applied to the entries in memory, whom to tell.

use std::sync::Arc;

use portcullis_store::{Batch, StoreError};
use serde::{Deserialize, Serialize};

use super::changes::{Change, ChangeKind};
use super::tables::Revocation;
use crate::error::DirectoryError;
use crate::model::{App, Device, Domain, Key, Project, RoleAssignment, User};

/// The names under which the store keeps the entries.
pub(super) mod kind {
    pub(crate) const USER: &str = "user";
    pub(crate) const DOMAIN: &str = "domain";
    pub(crate) const PROJECT: &str = "project";
    pub(crate) const ROLES: &str = "roles";
    pub(crate) const APP: &str = "app";
    pub(crate) const DEVICE: &str = "device";
    pub(crate) const KEY: &str = "key";
    /// Apart from the key, so that noting a use never brings back a key that was just revoked.
    pub(crate) const KEY_USED: &str = "key-used";
    pub(crate) const REVOKED: &str = "revoked-token";
}

/// A user with what proves their password.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Account {
    #[serde(flatten, with = "shared")]
    pub(super) user: Arc<User>,
    /// In the PHC string format; none: nobody can log in with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<String>,
}

/// A key with the hash of its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HashedKey {
    #[serde(flatten, with = "shared")]
    pub(super) key: Arc<Key>,
    /// SHA-256 of the secret, in hexadecimal digits.
    #[serde(with = "hex")]
    pub(super) hash: [u8; 32],
}

/// One step of a change.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    User(Account),
    DropUser(String),
    Domain(Arc<Domain>),
    DropDomain(String),
    Project(Arc<Project>),
    DropProject(String),
    /// All roles of a user.
    Roles(String, Vec<RoleAssignment>),
    App(Arc<App>),
    DropApp(String),
    Device(Arc<Device>),
    DropDevice(String),
    Key(HashedKey),
    DropKey(String),
    /// A token by its identifier.
    Revoked(String, Revocation),
    DropRevoked(String),
}

/// A change in the making.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) batch: Batch,
    pub(super) edits: Vec<Edit>,
    pub(super) changes: Vec<Change>,
}

impl Draft {
    pub(super) fn new() -> Self {
        Self { batch: Batch::new(), edits: Vec::new(), changes: Vec::new() }
    }

    /// Adds a step, to the store and to memory alike.
    pub(super) fn edit(&mut self, edit: Edit) -> Result<(), DirectoryError> {
        let batch = &mut self.batch;
        match &edit {
            Edit::User(account) => batch.put_entry(kind::USER, &account.user.id, json(account)?),
            Edit::DropUser(id) => batch.delete_entry(kind::USER, id),
            Edit::Domain(domain) => batch.put_entry(kind::DOMAIN, &domain.id, json(domain.as_ref())?),
            Edit::Project(project) => batch.put_entry(kind::PROJECT, &project.id, json(project.as_ref())?),
            Edit::DropDomain(id) => batch.delete_entry(kind::DOMAIN, id),
            Edit::DropProject(id) => batch.delete_entry(kind::PROJECT, id),
            Edit::Roles(user, roles) if roles.is_empty() => batch.delete_entry(kind::ROLES, user),
            Edit::Roles(user, roles) => batch.put_entry(kind::ROLES, user, json(roles)?),
            Edit::App(app) => batch.put_entry(kind::APP, &app.id, json(app.as_ref())?),
            Edit::DropApp(id) => batch.delete_entry(kind::APP, id),
            Edit::Device(device) => batch.put_entry(kind::DEVICE, &device.id, json(device.as_ref())?),
            Edit::DropDevice(id) => batch.delete_entry(kind::DEVICE, id),
            Edit::Key(key) => batch.put_entry(kind::KEY, &key.key.id, json(key)?),
            Edit::DropKey(id) => batch.delete_entry(kind::KEY, id).delete_entry(kind::KEY_USED, id),
            Edit::Revoked(id, revocation) => batch.put_entry(kind::REVOKED, id, revocation.to_bytes()),
            Edit::DropRevoked(id) => batch.delete_entry(kind::REVOKED, id),
        };
        self.edits.push(edit);
        Ok(())
    }

    /// Adds whom to tell.
    pub(super) fn tell(&mut self, kind: ChangeKind, dependencies: Vec<String>) {
        self.changes.push(Change { kind, dependencies });
    }
}

fn json(entry: &impl Serialize) -> Result<Vec<u8>, DirectoryError> {
    serde_json::to_vec(entry).map_err(|error| StoreError::Failed(error.to_string().into()).into())
}

/// An entry behind an `Arc`, as if it were not.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(entry: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
        entry.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}

/// 32 octets as 64 lower-case hexadecimal digits.
pub(super) mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(octets: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(octets))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        decode(&text).ok_or_else(|| D::Error::custom("not 64 hexadecimal digits"))
    }

    pub(crate) fn encode(octets: &[u8]) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        octets
            .iter()
            .flat_map(|octet| [octet >> 4, octet & 15])
            .map(|digit| char::from(DIGITS[usize::from(digit)]))
            .collect()
    }

    fn decode(text: &str) -> Option<[u8; 32]> {
        let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
        let octets: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        if digits.len() == 64 { octets.try_into().ok() } else { None }
    }
}
