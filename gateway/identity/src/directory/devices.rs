//! Things, and how they prove themselves.

use std::sync::Arc;

use super::Directory;
use super::changes::ChangeKind;
use super::check::{Problems, invalid};
use super::draft::Edit;
use super::find::shown_device;
use super::random;
use super::tables::Tables;
use crate::error::DirectoryError;
use crate::model::{Alphabet, Attributes, Device, DeviceCredential, NewDevice};

/// Random characters at the end of a client identifier: with a `username` credential they are all that a stranger does
/// not know, and the scheme fixes their number.
const SUFFIX: usize = 6;

impl Directory {
    /// Makes a device, enabled. Its client identifier, user name and topic namespace are `<external-id>_` and six random
    /// characters.
    ///
    /// # Errors
    /// [`DirectoryError::Conflict`] with `fingerprint` or `certificate-subject`; [`DirectoryError::Invalid`].
    pub fn create_device(&self, new: NewDevice) -> Result<Arc<Device>, DirectoryError> {
        let mut problems = Problems::default();
        problems.word("external-id", &new.external_id, "._:-");
        problems.result()?;
        let client_id = format!("{}_{}", new.external_id, random::text(SUFFIX, Alphabet::Base62)?);
        let device = Arc::new(Device {
            id: random::id()?,
            app_id: new.app_id,
            owner_id: new.owner_id,
            namespace: client_id.clone(),
            client_id,
            credential: new.credential,
            // As people copy it from openssl: `AB:CD:…`.
            fingerprint: new.fingerprint.map(|digits| digits.replace(':', "").to_ascii_lowercase()),
            certificate_subject: new.certificate_subject,
            enabled: true,
            created_at: self.now(),
            attributes: new.attributes,
        });
        self.change(|tables, draft| {
            check(tables, &device)?;
            let mut names = vec![format!("device:{}", device.id)];
            names.extend(owners(&device));
            draft.tell(ChangeKind::Created, names);
            draft.edit(Edit::Device(Arc::clone(&device)))
        })?;
        Ok(device)
    }

    /// Enables or disables a device.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`].
    pub fn set_device_enabled(&self, id: &str, enabled: bool) -> Result<Arc<Device>, DirectoryError> {
        let kind = if enabled { ChangeKind::Updated } else { ChangeKind::Disabled };
        self.edit_device(id, kind, |device| device.enabled = enabled)
    }

    /// Gives a device another owner, or none. Both owners are looked at again.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Invalid`].
    pub fn set_device_owner(&self, id: &str, owner_id: Option<String>) -> Result<Arc<Device>, DirectoryError> {
        self.edit_device(id, ChangeKind::Updated, |device| device.owner_id = owner_id)
    }

    /// Sets an attribute of a device; an empty value removes it.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Invalid`].
    pub fn set_device_attribute(&self, id: &str, name: &str, value: &str) -> Result<Arc<Device>, DirectoryError> {
        self.edit_device(id, ChangeKind::Updated, |device| set_attribute(&mut device.attributes, name, value))
    }

    /// Sets the named fields: `enabled` (`true` or `false`), `owner-id`, or else an attribute; an empty value removes an
    /// owner or an attribute.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Invalid`].
    pub fn update_device(&self, id: &str, changes: &[(String, String)]) -> Result<Arc<Device>, DirectoryError> {
        let mut enabled = None;
        for (name, value) in changes {
            match name.as_str() {
                "enabled" => {
                    enabled = Some(value.parse().map_err(|_| invalid("enabled", "must be true or false"))?);
                }
                // What only the directory may say must not look as if it had been said.
                "id"
                | "app-id"
                | "client-id"
                | "namespace"
                | "credential"
                | "fingerprint"
                | "certificate-subject"
                | "created-at" => return Err(invalid(name, "cannot be changed like this")),
                _ => {}
            }
        }
        let kind = if enabled == Some(false) { ChangeKind::Disabled } else { ChangeKind::Updated };
        self.edit_device(id, kind, |device| {
            for (name, value) in changes {
                match name.as_str() {
                    "enabled" => device.enabled = enabled.unwrap_or(device.enabled),
                    "owner-id" => device.owner_id = Some(value.clone()).filter(|owner| !owner.is_empty()),
                    attribute => set_attribute(&mut device.attributes, attribute, value),
                }
            }
        })
    }

    /// Deletes a device with its keys.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`].
    pub fn delete_device(&self, id: &str) -> Result<(), DirectoryError> {
        self.change(|tables, draft| {
            if !tables.devices.contains_key(id) {
                return Err(DirectoryError::NotFound);
            }
            draft.tell(ChangeKind::Deleted, dependents(tables, id));
            draft.edit(Edit::DropDevice(id.to_owned()))?;
            for key in tables.keys_owned_by(&format!("device:{id}")) {
                draft.edit(Edit::DropKey(key.clone()))?;
            }
            Ok(())
        })
    }

    fn edit_device(
        &self,
        id: &str,
        kind: ChangeKind,
        edit: impl FnOnce(&mut Device),
    ) -> Result<Arc<Device>, DirectoryError> {
        self.change(|tables, draft| {
            let old = tables.devices.get(id).ok_or(DirectoryError::NotFound)?;
            let mut device = Device::clone(old);
            edit(&mut device);
            check(tables, &device)?;
            let mut names = dependents(tables, id);
            names.extend(owners(&device).filter(|owner| !owners(old).any(|before| before == *owner)));
            let device = Arc::new(device);
            draft.tell(kind, names);
            draft.edit(Edit::Device(Arc::clone(&device)))?;
            Ok(shown_device(tables, &device))
        })
    }
}

fn set_attribute(attributes: &mut Attributes, name: &str, value: &str) {
    attributes.retain(|(other, _)| other != name);
    if !value.is_empty() {
        attributes.push((name.to_owned(), value.to_owned()));
    }
}

/// A device, and what stands or falls with it.
pub(super) fn dependents(tables: &Tables, id: &str) -> Vec<String> {
    let own = format!("device:{id}");
    let keys = tables.keys_owned_by(&own).map(|key| format!("key:{key}"));
    let owners = tables.devices.get(id).into_iter().flat_map(|device| owners(device));
    std::iter::once(own.clone()).chain(keys).chain(owners).collect()
}

/// The owner under both names: whether it is a consumer or a user is known to whoever depends on it.
pub(super) fn owners(device: &Device) -> impl Iterator<Item = String> {
    device.owner_id.iter().flat_map(|owner| [format!("consumer:{owner}"), format!("user:{owner}")])
}

pub(super) fn check(tables: &Tables, device: &Device) -> Result<(), DirectoryError> {
    let mut problems = Problems::default();
    if let Some(app) = &device.app_id {
        problems.expect(tables.apps.contains_key(app), "app-id", "is not an app of the directory");
    }
    if let Some(owner) = &device.owner_id {
        problems.text("owner-id", owner, 255);
    }
    // It becomes a level of topics: nothing that MQTT reads as structure.
    let name = |text: &str| {
        (1..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c))
    };
    problems.expect(name(&device.client_id), "client-id", "must be 1 to 128 letters, digits or ._:-");
    problems.expect(name(&device.namespace), "namespace", "must be 1 to 128 letters, digits or ._:-");
    if let Some(fingerprint) = &device.fingerprint {
        let good =
            fingerprint.len() == 64 && fingerprint.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        problems.expect(good, "fingerprint", "must be 64 hexadecimal digits, the SHA-256 of the certificate");
    }
    if let Some(subject) = &device.certificate_subject {
        problems.text("certificate-subject", subject, 1024);
    }
    let certified = device.fingerprint.is_some() || device.certificate_subject.is_some();
    match device.credential {
        DeviceCredential::X509 => {
            problems.expect(certified, "fingerprint", "or a certificate subject is needed for x509")
        }
        other => {
            problems.expect(!certified, "fingerprint", &format!("has no place with the credential {}", other.as_str()))
        }
    }
    problems.attributes(&device.attributes);
    problems.result()?;
    conflicts(tables, device).first().map_or(Ok(()), |field| Err(DirectoryError::Conflict(field)))
}

/// The fields in which a device is like another and must not be.
pub(super) fn conflicts(tables: &Tables, device: &Device) -> Vec<&'static str> {
    let taken = |by: Option<&String>| by.is_some_and(|id| *id != device.id);
    let by_fingerprint = device.fingerprint.as_ref().and_then(|value| tables.fingerprints.get(value));
    let by_subject = device.certificate_subject.as_ref().and_then(|value| tables.subjects.get(value));
    let found = [
        (tables.client_ids.get(&device.client_id), "client-id"),
        (by_fingerprint, "fingerprint"),
        (by_subject, "certificate-subject"),
    ];
    found.into_iter().filter_map(|(by, field)| taken(by).then_some(field)).collect()
}
