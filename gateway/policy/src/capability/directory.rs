//! `directory`: people, apps, devices and keys, to read.
//!
//! Looking up never leaves memory. Checking a password takes tens of milliseconds of a core: it runs on a blocking
//! thread, and only so many run at one time in the whole gateway.

use std::sync::Arc;

use portcullis_identity as identity;
use portcullis_identity::Directory;

use crate::bindings::portcullis::policy::directory::{
    App, Device, DeviceSelector, Domain, DomainSelector, Error, Host, Key, PasswordError, Project, ProjectSelector,
    RoleAssignment, Scope, User, UserSelector,
};
use crate::state::State;

impl State {
    pub(super) fn directory(&self) -> Result<Directory, String> {
        self.barred()?;
        // Linked only where it was granted, and granted only where there is one.
        self.with.shared.directory.clone().ok_or_else(|| "there is no directory".to_owned())
    }
}

pub(super) fn user(of: &identity::User) -> User {
    User {
        id: of.id.clone(),
        name: of.name.clone(),
        domain_id: of.domain_id.clone(),
        email: of.email.clone(),
        verified: of.verified,
        enabled: of.enabled,
        created_at: of.created_at,
        updated_at: of.updated_at,
        password_expires_at: of.password_expires_at,
        attributes: of.attributes.clone(),
    }
}

/// The contract's record has no field for the subject of a device's certificate: it is an attribute of this name.
const CERTIFICATE_SUBJECT: &str = "certificate-subject";

pub(super) fn device(of: &identity::Device) -> Device {
    let mut attributes = of.attributes.clone();
    if let Some(subject) = &of.certificate_subject {
        // The directory's own word, not what somebody wrote beside it.
        attributes.retain(|(name, _)| name != CERTIFICATE_SUBJECT);
        attributes.push((CERTIFICATE_SUBJECT.to_owned(), subject.clone()));
    }
    Device {
        id: of.id.clone(),
        app_id: of.app_id.clone(),
        owner_id: of.owner_id.clone(),
        client_id: of.client_id.clone(),
        namespace: of.namespace.clone(),
        credential: of.credential.as_str().to_owned(),
        enabled: of.enabled,
        attributes,
    }
}

pub(super) fn key(of: &identity::Key) -> Key {
    Key {
        id: of.id.clone(),
        kind: of.kind.clone(),
        owner: of.owner.clone(),
        created_at: of.created_at,
        expires_at: of.expires_at,
        last_used_at: of.last_used_at,
        attributes: of.attributes.clone(),
    }
}

fn select_user(by: &UserSelector) -> identity::UserSelector<'_> {
    match by {
        UserSelector::Id(id) => identity::UserSelector::Id(id),
        UserSelector::Email(email) => identity::UserSelector::Email(email),
        UserSelector::Name(scoped) => identity::UserSelector::Name { name: &scoped.name, domain_id: &scoped.domain_id },
    }
}

fn password_error(why: identity::PasswordError) -> PasswordError {
    match why {
        identity::PasswordError::Wrong => PasswordError::Wrong,
        identity::PasswordError::Disabled => PasswordError::Disabled,
        identity::PasswordError::Expired(at) => PasswordError::Expired(at),
        identity::PasswordError::Locked(until) => PasswordError::Locked(until),
        identity::PasswordError::RateLimited(seconds) => PasswordError::RateLimited(seconds),
        identity::PasswordError::Other(why) => PasswordError::Other(why),
    }
}

impl Host for State {
    async fn verify_password(&mut self, by: UserSelector, password: Vec<u8>) -> Result<User, PasswordError> {
        let directory = self.directory().map_err(PasswordError::Other)?;
        if self.with.effects.is_some() {
            // On the shadow's own thread, which yields to others, and without a trace.
            return directory
                .try_password(select_user(&by), &password)
                .map(|found| user(&found))
                .map_err(password_error);
        }
        let from = self.call.address;
        let slots = Arc::clone(&self.with.shared.passwords);
        let notes = Arc::clone(&self.notes);
        let own = Arc::clone(&self.with.passwords);
        let Ok(turn) = notes.waits("directory.verify-password", own.acquire_owned()).await else {
            return Err(PasswordError::Other("the gateway is stopping".to_owned()));
        };
        let Ok(slot) = notes.waits("directory.verify-password", slots.acquire_owned()).await else {
            return Err(PasswordError::Other("the gateway is stopping".to_owned()));
        };
        let check = move || {
            // Held until the check is over, also when the call that wanted it has long been given up.
            let _held = (slot, turn);
            directory.verify_password(select_user(&by), &password, from)
        };
        match notes.waits("directory.verify-password", tokio::task::spawn_blocking(check)).await {
            Ok(Ok(found)) => Ok(user(&found)),
            Ok(Err(why)) => Err(password_error(why)),
            Err(_) => Err(PasswordError::Other("the check stopped".to_owned())),
        }
    }

    async fn find_user(&mut self, by: UserSelector) -> Result<Option<User>, Error> {
        Ok(self.directory().map_err(Error::Other)?.find_user(select_user(&by)).map(|found| user(&found)))
    }

    async fn find_domain(&mut self, by: DomainSelector) -> Result<Option<Domain>, Error> {
        let selector = match &by {
            DomainSelector::Id(id) => identity::DomainSelector::Id(id),
            DomainSelector::Name(name) => identity::DomainSelector::Name(name),
        };
        Ok(self.directory().map_err(Error::Other)?.find_domain(selector).map(|of| Domain {
            id: of.id.clone(),
            name: of.name.clone(),
            enabled: of.enabled,
            attributes: of.attributes.clone(),
        }))
    }

    async fn find_project(&mut self, by: ProjectSelector) -> Result<Option<Project>, Error> {
        let selector = match &by {
            ProjectSelector::Id(id) => identity::ProjectSelector::Id(id),
            ProjectSelector::Name(scoped) => {
                identity::ProjectSelector::Name { name: &scoped.name, domain_id: &scoped.domain_id }
            }
        };
        Ok(self.directory().map_err(Error::Other)?.find_project(selector).map(|of| Project {
            id: of.id.clone(),
            name: of.name.clone(),
            domain_id: of.domain_id.clone(),
            parent_id: of.parent_id.clone(),
            enabled: of.enabled,
            attributes: of.attributes.clone(),
        }))
    }

    async fn list_roles(&mut self, user_id: String) -> Result<Vec<RoleAssignment>, Error> {
        let roles = self.directory().map_err(Error::Other)?.list_roles(&user_id);
        let scope = |of| match of {
            identity::Scope::System => Scope::System,
            identity::Scope::Domain(id) => Scope::Domain(id),
            identity::Scope::Project(id) => Scope::Project(id),
        };
        Ok(roles.into_iter().map(|of| RoleAssignment { role: of.role, scope: scope(of.scope) }).collect())
    }

    async fn find_app(&mut self, id: String) -> Result<Option<App>, Error> {
        Ok(self.directory().map_err(Error::Other)?.find_app(&id).map(|of| App {
            id: of.id.clone(),
            name: of.name.clone(),
            owner_id: of.owner_id.clone(),
            enabled: of.enabled,
            attributes: of.attributes.clone(),
        }))
    }

    async fn find_device(&mut self, by: DeviceSelector) -> Result<Option<Device>, Error> {
        let selector = match &by {
            DeviceSelector::Id(id) => identity::DeviceSelector::Id(id),
            DeviceSelector::ClientId(id) => identity::DeviceSelector::ClientId(id),
            DeviceSelector::Username(name) => identity::DeviceSelector::Username(name),
            DeviceSelector::Fingerprint(digits) => identity::DeviceSelector::Fingerprint(digits),
        };
        Ok(self.directory().map_err(Error::Other)?.find_device(selector).map(|found| device(&found)))
    }

    async fn list_devices(&mut self, owner_id: String, after: Option<String>) -> Result<Vec<Device>, Error> {
        let found = self.directory().map_err(Error::Other)?.list_devices(&owner_id, after.as_deref());
        Ok(found.iter().map(|of| device(of)).collect())
    }

    async fn find_key(&mut self, secret: String) -> Result<Option<Key>, Error> {
        let directory = self.directory().map_err(Error::Other)?;
        let found = if self.with.effects.is_some() { directory.peek_key(&secret) } else { directory.find_key(&secret) };
        Ok(found.map(|found| key(&found)))
    }

    async fn find_key_by_id(&mut self, id: String) -> Result<Option<Key>, Error> {
        Ok(self.directory().map_err(Error::Other)?.find_key_by_id(&id).map(|found| key(&found)))
    }

    async fn is_revoked(&mut self, token_id: String) -> Result<bool, Error> {
        Ok(self.directory().map_err(Error::Other)?.is_revoked(&token_id))
    }

    async fn tokens_valid_from(&mut self, user_id: String) -> Result<Option<u64>, Error> {
        let found = self.directory().map_err(Error::Other)?.find_user(identity::UserSelector::Id(&user_id));
        Ok(found.and_then(|user| user.tokens_valid_from))
    }
}
