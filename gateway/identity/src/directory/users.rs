//! People: making, changing, checking passwords.

use std::net::IpAddr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Directory;
use super::attempts::Asked;
use super::changes::ChangeKind;
use super::check::{Problems, invalid};
use super::draft::{Account, Draft, Edit};
use super::find::{shown_user, user_id};
use super::random;
use super::tables::{Tables, like_an_address, second_of};
use crate::error::{DirectoryError, PasswordError};
use crate::model::{NewUser, User, UserSelector};

impl Directory {
    /// Checks a password with argon2id. Takes tens of milliseconds of a processor, and blocks while others are checked.
    ///
    /// Wrong attempts are counted by what was asked for, by the user whom that found, and by the address `from` that they come
    /// from; a user who does not exist is answered and locked like one who does, so that nothing tells which they are.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub fn verify_password(
        &self,
        user: UserSelector<'_>,
        password: &[u8],
        from: Option<IpAddr>,
    ) -> Result<Arc<User>, PasswordError> {
        let slow = || -> Result<(), PasswordError> {
            self.0.attempts.wait_for(from, self.now()).map_or(Ok(()), |wait| Err(PasswordError::RateLimited(wait)))
        };
        slow()?;
        let target = asked(user);
        let account = {
            let tables = self.0.tables.read();
            user_id(&tables, user).and_then(|id| tables.users.get(id)).cloned()
        };
        let locked = || -> Result<(), PasswordError> {
            self.0.attempts.locked(&target, self.now()).map_or(Ok(()), |until| Err(PasswordError::Locked(until)))
        };
        locked()?;
        let turn = self.0.passwords.turn().ok_or(PasswordError::RateLimited(1))?;
        // Again: while this one waited, others may have been wrong.
        slow()?;
        locked()?;
        let counted = account.as_ref().map(|account| account_of(&account.user.id));
        let spent = counted.is_some_and(|account| self.0.attempts.locked(&account, self.now()).is_some());
        let hash = account.as_ref().and_then(|account| account.password.as_deref());
        let right = self.0.passwords.check(&turn, password, hash);
        let now = self.now();
        let Some(account) = account.filter(|_| right && !spent) else {
            self.0.attempts.wrong(target, counted, from, now);
            return Err(PasswordError::Wrong);
        };
        drop(turn);
        let user = {
            let tables = self.0.tables.read();
            self.0.attempts.forget(&all_asked(&tables, &account.user));
            shown_user(&tables, &account.user)
        };
        if !user.enabled {
            return Err(PasswordError::Disabled);
        }
        match user.password_expires_at {
            Some(at) if at <= now => Err(PasswordError::Expired(at)),
            _ => Ok(user),
        }
    }

    /// Checks a password as [`Directory::verify_password`] does and leaves no trace: nothing is counted or forgotten, and it
    /// waits for nobody. For judging a policy that only looks on.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub fn try_password(&self, user: UserSelector<'_>, password: &[u8]) -> Result<Arc<User>, PasswordError> {
        let account = {
            let tables = self.0.tables.read();
            user_id(&tables, user).and_then(|id| tables.users.get(id)).cloned()
        };
        let now = self.now();
        if let Some(until) = self.0.attempts.locked(&asked(user), now) {
            return Err(PasswordError::Locked(until));
        }
        let hash = account.as_ref().and_then(|account| account.password.as_deref());
        let right = self.0.passwords.check_aside(password, hash);
        let spent = |id: &str| self.0.attempts.locked(&account_of(id), now).is_some();
        let account = account.filter(|account| right && !spent(&account.user.id)).ok_or(PasswordError::Wrong)?;
        let user = shown_user(&self.0.tables.read(), &account.user);
        match user.password_expires_at {
            _ if !user.enabled => Err(PasswordError::Disabled),
            Some(at) if at <= now => Err(PasswordError::Expired(at)),
            _ => Ok(user),
        }
    }

    /// Password hashes that were computed for checks since the start: each took a few tens of milliseconds of a
    /// processor. For metrics.
    #[must_use]
    pub fn password_checks(&self) -> u64 {
        self.0.passwords.checked()
    }

    /// Passwords that are checked at one time; others wait.
    #[must_use]
    pub fn passwords_at_once(&self) -> usize {
        self.0.passwords.at_once()
    }

    /// Makes a user: enabled, the e-mail address not verified. Hashes the password, see [`Directory::verify_password`].
    ///
    /// # Errors
    /// [`DirectoryError::Conflict`] with `name` or `email`; [`DirectoryError::Invalid`]; [`DirectoryError::RateLimited`]
    /// when too many passwords are being hashed.
    pub fn create_user(&self, new: NewUser) -> Result<Arc<User>, DirectoryError> {
        let now = self.now();
        let user = User {
            id: random::id()?,
            name: new.name,
            domain_id: new.domain_id,
            email: new.email,
            verified: false,
            enabled: true,
            created_at: now,
            updated_at: now,
            password_expires_at: None,
            tokens_valid_from: None,
            attributes: new.attributes,
        };
        // Before the dear part: what is refused anyway needs no hash.
        check(&self.0.tables.read(), &user)?;
        let password = Some(self.0.passwords.hash(&new.password)?);
        self.change(|tables, draft| {
            check(tables, &user)?;
            let user = Arc::new(user);
            put(tables, draft, Account { user: Arc::clone(&user), password }, ChangeKind::Created)?;
            Ok(user)
        })
    }

    /// Sets the named fields: `name`, `email` (empty: none; another address is not verified yet), `enabled` (`true` or
    /// `false`), or else an attribute; an empty value removes an attribute.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Conflict`], [`DirectoryError::Invalid`].
    pub fn update_user(&self, id: &str, changes: &[(String, String)]) -> Result<Arc<User>, DirectoryError> {
        self.edit_user(id, |user| {
            for (name, value) in changes {
                set(user, name, value)?;
            }
            Ok(())
        })
    }

    /// Enables or disables a user. A disabled user's connections and keys end.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`].
    pub fn set_user_enabled(&self, id: &str, enabled: bool) -> Result<Arc<User>, DirectoryError> {
        self.edit_user(id, |user| {
            user.enabled = enabled;
            Ok(())
        })
    }

    /// Says whether a user's e-mail address was confirmed.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`].
    pub fn set_user_verified(&self, id: &str, verified: bool) -> Result<Arc<User>, DirectoryError> {
        self.edit_user(id, |user| {
            user.verified = verified;
            Ok(())
        })
    }

    /// Sets a password, forgets wrong attempts, and makes void what was issued before. Hashes, see [`Directory::verify_password`].
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Invalid`], [`DirectoryError::RateLimited`].
    pub fn set_password(&self, user_id: &str, password: &[u8]) -> Result<(), DirectoryError> {
        if self.find_user(UserSelector::Id(user_id)).is_none() {
            return Err(DirectoryError::NotFound);
        }
        let password = Some(self.0.passwords.hash(password)?);
        self.change(|tables, draft| {
            let account = tables.users.get(user_id).ok_or(DirectoryError::NotFound)?;
            let now = self.now();
            let user = Arc::new(User {
                updated_at: now,
                password_expires_at: None,
                tokens_valid_from: Some(now + 1),
                ..User::clone(&account.user)
            });
            put(tables, draft, Account { user, password }, ChangeKind::Updated)
        })?;
        self.unlock_user(user_id);
        self.until_tokens_count();
        Ok(())
    }

    /// Sets when a user's password stops being good; none: never. A new password clears it.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`].
    pub fn set_password_expiry(&self, user_id: &str, at: Option<u64>) -> Result<Arc<User>, DirectoryError> {
        self.edit_user(user_id, |user| {
            user.password_expires_at = at;
            Ok(())
        })
    }

    /// Makes void all tokens of a user that were issued before now. Keys stay.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`].
    pub fn revoke_tokens(&self, id: &str) -> Result<Arc<User>, DirectoryError> {
        let now = self.now();
        let user = self.edit_user(id, |user| {
            user.tokens_valid_from = Some(now + 1);
            Ok(())
        })?;
        self.until_tokens_count();
        Ok(user)
    }

    /// Tokens tell the second in which they were issued and no more. What is of the second of the change is void, or a
    /// thief who renews all the time would always hold one; so the change is over when that second is, and whoever logs
    /// in after it has a token that counts.
    pub(super) fn until_tokens_count(&self) {
        let (changed, begun) = (self.now(), std::time::Instant::now());
        while self.now() == changed && begun.elapsed() < std::time::Duration::from_secs(1) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Opens the lock that wrong passwords closed, if there is one.
    pub fn unlock_user(&self, id: &str) {
        let tables = self.0.tables.read();
        if let Some(account) = tables.users.get(id) {
            self.0.attempts.forget(&all_asked(&tables, &account.user));
        }
    }

    /// Deletes a user with their roles and keys. Devices and apps stay, and keep the owner's name.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`].
    pub fn delete_user(&self, id: &str) -> Result<(), DirectoryError> {
        let names = self.change(|tables, draft| {
            let names = all_asked(tables, &tables.users.get(id).ok_or(DirectoryError::NotFound)?.user);
            draft.tell(ChangeKind::Deleted, dependents(tables, id));
            draft.edit(Edit::DropUser(id.to_owned()))?;
            draft.edit(Edit::Roles(id.to_owned(), Vec::new()))?;
            for key in tables.keys_owned_by(&format!("user:{id}")) {
                draft.edit(Edit::DropKey(key.clone()))?;
            }
            // Tokens of nobody are void without being named.
            second_of(&tables.revoked_of, id, "").try_for_each(|token| draft.edit(Edit::DropRevoked(token.clone())))?;
            Ok(names)
        })?;
        self.0.attempts.forget(&names);
        Ok(())
    }

    fn edit_user(
        &self,
        id: &str,
        edit: impl FnOnce(&mut User) -> Result<(), DirectoryError>,
    ) -> Result<Arc<User>, DirectoryError> {
        self.change(|tables, draft| {
            let account = tables.users.get(id).ok_or(DirectoryError::NotFound)?;
            let mut user = User::clone(&account.user);
            edit(&mut user)?;
            check(tables, &user)?;
            user.updated_at = self.now();
            // Names that are not theirs any more are nobody's, and need not be remembered.
            let names = all_asked(tables, &user);
            let left: Vec<_> =
                all_asked(tables, &account.user).into_iter().filter(|name| !names.contains(name)).collect();
            self.0.attempts.forget(&left);
            let kind = if account.user.enabled && !user.enabled { ChangeKind::Disabled } else { ChangeKind::Updated };
            let user = Arc::new(user);
            put(tables, draft, Account { user: Arc::clone(&user), password: account.password.clone() }, kind)?;
            Ok(shown_user(tables, &user))
        })
    }
}

fn put(tables: &Tables, draft: &mut Draft, account: Account, kind: ChangeKind) -> Result<(), DirectoryError> {
    draft.tell(kind, dependents(tables, &account.user.id));
    draft.edit(Edit::User(account))
}

/// A user, and what stands or falls with them.
pub(super) fn dependents(tables: &Tables, id: &str) -> Vec<String> {
    let own = format!("user:{id}");
    let keys = tables.keys_owned_by(&own).map(|key| format!("key:{key}"));
    std::iter::once(own.clone()).chain(keys).collect()
}

fn set(user: &mut User, name: &str, value: &str) -> Result<(), DirectoryError> {
    match name {
        "name" => value.clone_into(&mut user.name),
        "email" => {
            let email = Some(value.to_owned()).filter(|email| !email.is_empty());
            if user.email != email {
                user.verified = false;
                user.email = email;
            }
        }
        "enabled" => user.enabled = value.parse().map_err(|_| invalid("enabled", "must be true or false"))?,
        // What only the directory may say must not look as if it had been said.
        "id"
        | "domain-id"
        | "verified"
        | "password"
        | "created-at"
        | "updated-at"
        | "password-expires-at"
        | "tokens-valid-from" => {
            return Err(invalid(name, "cannot be changed like this"));
        }
        attribute => {
            user.attributes.retain(|(name, _)| name != attribute);
            if !value.is_empty() {
                user.attributes.push((attribute.to_owned(), value.to_owned()));
            }
        }
    }
    Ok(())
}

/// Whether a user may be as they are, beside the others.
pub(super) fn check(tables: &Tables, user: &User) -> Result<(), DirectoryError> {
    let mut problems = Problems::default();
    problems.text("name", &user.name, 255);
    if let Some(email) = &user.email {
        problems.email(email);
    }
    problems.expect(tables.domains.contains_key(&user.domain_id), "domain-id", "is not a domain of the directory");
    problems.attributes(&user.attributes);
    problems.result()?;
    conflicts(tables, user).first().map_or(Ok(()), |field| Err(DirectoryError::Conflict(field)))
}

/// The fields in which a user is like another and must not be.
pub(super) fn conflicts(tables: &Tables, user: &User) -> Vec<&'static str> {
    let taken = |by: Option<&String>| by.is_some_and(|id| *id != user.id);
    // What one has as a name and another as an address would name either, according to who asks. Identifiers likewise.
    let named = |email: &String| second_of(&tables.address_names, email, "").any(|id| *id != user.id);
    let email = user.email.as_ref().map(|email| email.to_ascii_lowercase());
    let email = email.is_some_and(|email| taken(tables.emails.get(&email)) || named(&email));
    let name = taken(tables.user_names.get(&(user.domain_id.clone(), user.name.clone())))
        || like_an_address(&user.name).is_some_and(|name| taken(tables.emails.get(&name)))
        || (user.name != user.id && tables.users.contains_key(&user.name));
    [(email, "email"), (name, "name")].into_iter().filter_map(|(taken, field)| taken.then_some(field)).collect()
}

/// What was asked for, in one size, whatever a stranger sends. What could be an e-mail address is the same as address and
/// as name in whatever domain, since the schemes differ in what they look for first, and it would tell what they found.
fn asked(user: UserSelector<'_>) -> Asked {
    let address = match user {
        UserSelector::Id(_) => None,
        UserSelector::Email(email) => Some(email.to_ascii_lowercase()),
        UserSelector::Name { name, .. } => like_an_address(name),
    };
    match (address, user) {
        (Some(address), _) => digest(&["address", &address]),
        (None, UserSelector::Id(id) | UserSelector::Email(id)) => digest(&["id", id]),
        (None, UserSelector::Name { name, domain_id }) => digest(&["name", domain_id, name]),
    }
}

/// The account itself, by whatever name it was found.
fn account_of(id: &str) -> Asked {
    digest(&["account", id])
}

fn digest(parts: &[&str]) -> Asked {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// All that wrong passwords are counted by which are a user's and nobody else's. A name that could be an address may be had in
/// several domains: what one of them knows must not open the lock of another.
fn all_asked(tables: &Tables, user: &User) -> Vec<Asked> {
    let name = UserSelector::Name { name: &user.name, domain_id: &user.domain_id };
    let shared = |name: &String| second_of(&tables.address_names, name, "").any(|id| *id != user.id);
    let name = Some(name).filter(|_| !like_an_address(&user.name).as_ref().is_some_and(shared));
    let email = user.email.as_deref().map(UserSelector::Email);
    let names = std::iter::once(UserSelector::Id(&user.id)).chain(name).chain(email).map(asked);
    names.chain([account_of(&user.id)]).collect()
}
