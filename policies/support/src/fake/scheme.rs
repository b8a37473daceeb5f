//! The part of the fake that keeps what a scheme's HTTP interface changes: users, keys, stored values.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::Fake;
use crate::SchemeGateway;
use crate::wit::directory::{
    self, Device, Domain, DomainSelector, Key, PasswordError, Project, ProjectSelector, RoleAssignment, User,
    UserSelector,
};
use crate::wit::directory_admin::{self, IssuedKey, NewKey, NewUser};
use crate::wit::types::HttpResponse;
use crate::wit::{http_client, jose, store};

/// How a fake answers `send`.
pub type Sender = Box<dyn Fn(&http_client::Request) -> Result<HttpResponse, http_client::Error>>;

/// Names and the values that were given to them.
pub type Changes = Vec<(String, String)>;

/// A value and when it ends.
pub type Kept = (Vec<u8>, Option<u64>);

/// What a scheme's interface finds and changes.
#[derive(Default)]
pub struct World {
    /// The query of the request.
    pub query: Option<String>,
    /// Users with their passwords.
    pub users: RefCell<Vec<(User, Vec<u8>)>>,
    /// Domains.
    pub domains: Vec<Domain>,
    /// Projects.
    pub projects: Vec<Project>,
    /// Roles by user.
    pub roles: Vec<(String, RoleAssignment)>,
    /// From when on a user's tokens count.
    pub valid_from: RefCell<BTreeMap<String, u64>>,
    /// Keys that were made, by secret.
    pub keys: RefCell<Vec<(String, Key)>>,
    /// Tokens that were revoked.
    pub revoked: RefCell<Vec<String>>,
    /// Changes of devices, in order.
    pub device_changes: RefCell<Vec<(String, Changes)>>,
    /// Values with the time at which they end.
    pub values: RefCell<BTreeMap<String, Kept>>,
    /// If some, each password check fails with it.
    pub password_error: Option<PasswordError>,
    /// The answer to `send`; none: nothing can be reached.
    pub sender: Option<Sender>,
    counter: Cell<u64>,
}

impl World {
    pub(super) fn key(&self, secret: &str, now: u64) -> Option<Key> {
        let keys = self.keys.borrow();
        let found = keys.iter().find(|(known, key)| known == secret && key.expires_at.is_none_or(|at| at > now));
        found.map(|(_, key)| key.clone())
    }

    pub(super) fn is_revoked(&self, token: &str) -> bool {
        self.revoked.borrow().iter().any(|known| known == token)
    }

    /// A different number each time.
    fn next(&self) -> u64 {
        self.counter.set(self.counter.get() + 1);
        self.counter.get()
    }

    fn find(&self, by: &UserSelector) -> Option<usize> {
        self.users.borrow().iter().position(|(user, _)| match by {
            UserSelector::Id(id) => user.id == *id,
            UserSelector::Email(email) => user.email.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(email)),
            UserSelector::Name(scoped) => user.name == scoped.name && user.domain_id == scoped.domain_id,
        })
    }
}

/// A token that [`SchemeGateway::sign`] of the fake made, as whoever reads it finds it.
pub(super) fn signed(token: &str) -> Option<jose::UnverifiedToken> {
    let mut parts = token.splitn(3, '|').skip(1);
    let (header, claims) = (parts.next()?, parts.next()?);
    let text = |json: &str, member: &str| {
        let value: serde_json::Value = serde_json::from_str(json).ok()?;
        value.get(member)?.as_str().map(str::to_owned)
    };
    Some(jose::UnverifiedToken {
        header: header.into(),
        claims: claims.into(),
        algorithm: "RS256".into(),
        key_id: text(header, "kid"),
        issuer: text(claims, "iss"),
    })
}

/// An enabled user of the default domain with a confirmed e-mail address, which is the name too.
#[must_use]
pub fn user(id: &str, email: &str) -> User {
    User {
        id: id.into(),
        name: email.into(),
        domain_id: "default".into(),
        email: Some(email.into()),
        verified: true,
        enabled: true,
        created_at: 1_000,
        updated_at: 1_000,
        password_expires_at: None,
        attributes: vec![],
    }
}

impl SchemeGateway for Fake {
    fn query(&self) -> Option<String> {
        self.scheme.query.clone()
    }

    fn now_us(&self) -> u64 {
        self.now * 1_000_000
    }

    fn remaining_ms(&self) -> u32 {
        1_000
    }

    fn warn(&self, _: &str) {}

    fn random(&self, octets: u32) -> Vec<u8> {
        let seed = self.scheme.next();
        (0..octets).map(|at| (seed.wrapping_mul(2_654_435_761).wrapping_add(u64::from(at)) >> 8) as u8).collect()
    }

    fn uuid(&self) -> String {
        format!("00000000-0000-4000-8000-{:012x}", self.scheme.next())
    }

    /// Not a signature: header and claims in clear, so that tests can read them.
    fn sign(&self, key: &str, header: &str, claims: &str) -> Result<String, jose::Error> {
        Ok(format!("{key}|{header}|{claims}"))
    }

    fn public_keys(&self, key: &str) -> Result<String, jose::Error> {
        Ok(format!(r#"{{"keys":[{{"kty":"oct","kid":"{key}"}}]}}"#))
    }

    fn verify_password(&self, by: &UserSelector, password: &[u8]) -> Result<User, PasswordError> {
        if let Some(error) = &self.scheme.password_error {
            return Err(error.clone());
        }
        let at = self.scheme.find(by).ok_or(PasswordError::Wrong)?;
        let users = self.scheme.users.borrow();
        let (user, right) = users.get(at).ok_or(PasswordError::Wrong)?;
        match (right == password, user.enabled) {
            (false, _) => Err(PasswordError::Wrong),
            (true, false) => Err(PasswordError::Disabled),
            (true, true) => Ok(user.clone()),
        }
    }

    fn find_user(&self, by: &UserSelector) -> Result<Option<User>, directory::Error> {
        Ok(self.scheme.find(by).and_then(|at| self.scheme.users.borrow().get(at).map(|(user, _)| user.clone())))
    }

    fn find_domain(&self, by: &DomainSelector) -> Result<Option<Domain>, directory::Error> {
        let wanted = |domain: &&Domain| match by {
            DomainSelector::Id(id) => domain.id == *id,
            DomainSelector::Name(name) => domain.name == *name,
        };
        Ok(self.scheme.domains.iter().find(wanted).cloned())
    }

    fn find_project(&self, by: &ProjectSelector) -> Result<Option<Project>, directory::Error> {
        let wanted = |project: &&Project| match by {
            ProjectSelector::Id(id) => project.id == *id,
            ProjectSelector::Name(scoped) => project.name == scoped.name && project.domain_id == scoped.domain_id,
        };
        Ok(self.scheme.projects.iter().find(wanted).cloned())
    }

    fn list_roles(&self, user_id: &str) -> Result<Vec<RoleAssignment>, directory::Error> {
        Ok(self.scheme.roles.iter().filter(|(user, _)| user == user_id).map(|(_, role)| role.clone()).collect())
    }

    fn tokens_valid_from(&self, user_id: &str) -> Result<Option<u64>, directory::Error> {
        Ok(self.scheme.valid_from.borrow().get(user_id).copied())
    }

    fn find_key_by_id(&self, id: &str) -> Result<Option<Key>, directory::Error> {
        let keys = self.scheme.keys.borrow();
        let found = keys.iter().find(|(_, key)| key.id == id && key.expires_at.is_none_or(|at| at > self.now));
        Ok(found.map(|(_, key)| key.clone()))
    }

    fn create_user(&self, new: &NewUser) -> Result<User, directory_admin::Error> {
        let email = new.email.clone().unwrap_or_default();
        if self.scheme.find(&UserSelector::Email(email)).is_some() {
            return Err(directory_admin::Error::Conflict("email".into()));
        }
        let made = User {
            id: format!("u{}", self.scheme.next()),
            name: new.name.clone(),
            domain_id: new.domain_id.clone(),
            email: new.email.clone(),
            verified: false,
            enabled: true,
            created_at: self.now,
            updated_at: self.now,
            password_expires_at: None,
            attributes: new.attributes.clone(),
        };
        self.scheme.users.borrow_mut().push((made.clone(), new.password.clone()));
        Ok(made)
    }

    fn update_user(&self, id: &str, changes: &[(String, String)]) -> Result<User, directory_admin::Error> {
        let mut users = self.scheme.users.borrow_mut();
        let found = users.iter_mut().find(|(user, _)| user.id == id);
        let (user, _) = found.ok_or(directory_admin::Error::NotFound)?;
        for (name, value) in changes {
            match name.as_str() {
                "name" => user.name.clone_from(value),
                "email" => user.email = Some(value.clone()),
                "enabled" => user.enabled = value == "true",
                _ => {
                    user.attributes.retain(|(known, _)| known != name);
                    user.attributes.push((name.clone(), value.clone()));
                }
            }
        }
        Ok(user.clone())
    }

    fn set_password(&self, user_id: &str, password: &[u8]) -> Result<(), directory_admin::Error> {
        let mut users = self.scheme.users.borrow_mut();
        let found = users.iter_mut().find(|(user, _)| user.id == user_id);
        found.ok_or(directory_admin::Error::NotFound)?.1 = password.to_vec();
        Ok(())
    }

    fn create_key(&self, new: &NewKey) -> Result<IssuedKey, directory_admin::Error> {
        let number = self.scheme.next();
        let secret = format!("{}{number:0>width$}", new.prefix, width = usize::from(new.length) - new.prefix.len());
        let key = Key {
            id: format!("k{number}"),
            kind: new.kind.clone(),
            owner: new.owner.clone(),
            created_at: self.now,
            expires_at: new.expires_at,
            last_used_at: None,
            attributes: new.attributes.clone(),
        };
        self.scheme.keys.borrow_mut().push((secret.clone(), key.clone()));
        Ok(IssuedKey { key, secret })
    }

    fn stable_key(&self, new: &NewKey) -> Result<IssuedKey, directory_admin::Error> {
        let known =
            self.scheme.keys.borrow().iter().find(|(_, key)| key.kind == new.kind && key.owner == new.owner).cloned();
        match known {
            Some((secret, key)) => Ok(IssuedKey { key, secret }),
            None => self.create_key(new),
        }
    }

    fn revoke_key(&self, id: &str) -> Result<bool, directory_admin::Error> {
        let mut keys = self.scheme.keys.borrow_mut();
        let before = keys.len();
        keys.retain(|(_, key)| key.id != id);
        Ok(keys.len() < before)
    }

    fn revoke_user_token(&self, _: &str, token_id: &str, _: u64) -> Result<(), directory_admin::Error> {
        self.scheme.revoked.borrow_mut().push(token_id.to_owned());
        Ok(())
    }

    fn revoke_tokens(&self, user_id: &str) -> Result<(), directory_admin::Error> {
        self.scheme.valid_from.borrow_mut().insert(user_id.to_owned(), self.now);
        Ok(())
    }

    fn update_device(&self, id: &str, changes: &[(String, String)]) -> Result<Device, directory_admin::Error> {
        let found = self.devices.iter().find(|(device, _)| device.id == id);
        let (device, _) = found.ok_or(directory_admin::Error::NotFound)?;
        self.scheme.device_changes.borrow_mut().push((id.to_owned(), changes.to_vec()));
        Ok(device.clone())
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, store::Error> {
        let values = self.scheme.values.borrow();
        let good = values.get(key).filter(|(_, end)| end.is_none_or(|end| end > self.now));
        Ok(good.map(|(value, _)| value.clone()))
    }

    fn set(&self, key: &str, value: &[u8], ttl: Option<u32>) -> Result<(), store::Error> {
        let end = ttl.map(|ttl| self.now + u64::from(ttl));
        self.scheme.values.borrow_mut().insert(key.to_owned(), (value.to_vec(), end));
        Ok(())
    }

    fn set_if_absent(&self, key: &str, value: &[u8], ttl: Option<u32>) -> Result<bool, store::Error> {
        let absent = self.get(key)?.is_none();
        if absent {
            self.set(key, value, ttl)?;
        }
        Ok(absent)
    }

    fn take(&self, key: &str) -> Result<Option<Vec<u8>>, store::Error> {
        let value = self.get(key)?;
        self.scheme.values.borrow_mut().remove(key);
        Ok(value)
    }

    fn delete(&self, key: &str) -> Result<bool, store::Error> {
        Ok(self.take(key)?.is_some())
    }

    fn increment(&self, key: &str, delta: i64, ttl: Option<u32>) -> Result<i64, store::Error> {
        let old = self.get(key)?.and_then(|value| String::from_utf8(value).ok()?.parse::<i64>().ok());
        let sum = old.unwrap_or(0) + delta;
        let end = ttl.map(|ttl| self.now + u64::from(ttl));
        let mut values = self.scheme.values.borrow_mut();
        let end = values.get(key).filter(|_| old.is_some()).map_or(end, |(_, end)| *end);
        values.insert(key.to_owned(), (sum.to_string().into_bytes(), end));
        Ok(sum)
    }

    fn send(&self, request: &http_client::Request) -> Result<HttpResponse, http_client::Error> {
        match &self.scheme.sender {
            Some(sender) => sender(request),
            None => Err(http_client::Error::Unreachable("nobody is there".into())),
        }
    }
}
