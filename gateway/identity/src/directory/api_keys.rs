//! API keys and other opaque secrets, and the tokens that were revoked by name.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Directory;
use super::changes::ChangeKind;
use super::check::{Problems, invalid};
use super::draft::{Account, Draft, Edit, HashedKey};
use super::find::owner_enabled;
use super::random;
use super::tables::{Revocation, Tables, second_of};
use super::users;
use crate::error::DirectoryError;
use crate::model::{Alphabet, IssuedKey, Key, NewKey, User};

/// Octets of a token's identifier.
const MAX_TOKEN_ID: usize = 256;
/// Tokens of one user that are remembered as revoked.
const MAX_REVOKED: usize = 256;

impl Directory {
    /// Makes a key. The secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`]: the owner does not exist or is disabled, or a field is out of its bounds.
    pub fn create_key(&self, new: NewKey) -> Result<IssuedKey, DirectoryError> {
        self.make_key(new, |_, length, alphabet| random::text(length, alphabet))
    }

    /// The key of this kind, owner and shape whose secret is always the same: made when there is none, given again until
    /// it is revoked or expires. The secret follows from the key's identifier and a secret of the directory's own.
    ///
    /// # Errors
    /// As [`Directory::create_key`].
    pub fn stable_key(&self, new: NewKey) -> Result<IssuedKey, DirectoryError> {
        let pepper = self.pepper()?;
        let secret = |id: &str, length, alphabet| Ok(pepper.text(id, length, alphabet));
        check_shape(&new, self.now())?;
        let known = {
            let tables = self.0.tables.read();
            let mut ids = tables.keys_owned_by(&new.owner).filter_map(|id| tables.keys.get(id));
            ids.find_map(|entry| {
                let key = &entry.stored.key;
                let text = pepper.text(&key.id, usize::from(new.length) - new.prefix.len(), new.alphabet);
                let secret = format!("{}{text}", new.prefix);
                let same = key.kind == new.kind && entry.stored.hash == <[u8; 32]>::from(Sha256::digest(&secret));
                let good = key.expires_at.is_none_or(|at| at > self.now()) && owner_enabled(&tables, &key.owner);
                (same && good).then(|| IssuedKey { key: Key::clone(key), secret })
            })
        };
        known.map_or_else(|| self.make_key(new, secret), Ok)
    }

    fn make_key(
        &self,
        new: NewKey,
        secret: impl Fn(&str, usize, Alphabet) -> Result<String, DirectoryError>,
    ) -> Result<IssuedKey, DirectoryError> {
        let now = self.now();
        check_shape(&new, now)?;
        let key = Key {
            id: random::id()?,
            kind: new.kind,
            owner: new.owner,
            created_at: now,
            expires_at: new.expires_at,
            last_used_at: None,
            attributes: new.attributes,
        };
        let length = usize::from(new.length) - new.prefix.len();
        let secret = format!("{}{}", new.prefix, secret(&key.id, length, new.alphabet)?);
        let stored = HashedKey { key: Arc::new(key.clone()), hash: Sha256::digest(&secret).into() };
        self.change(|tables, draft| {
            check(&key)?;
            if !owner_enabled(tables, &key.owner) {
                return Err(invalid("owner", "is not in the directory, or is disabled"));
            }
            draft.tell(ChangeKind::Created, vec![format!("key:{}", key.id)]);
            draft.edit(Edit::Key(stored))
        })?;
        Ok(IssuedKey { key, secret })
    }

    /// Revokes a key. True if it was valid until now.
    ///
    /// # Errors
    /// The change could not be stored.
    pub fn revoke_key(&self, id: &str) -> Result<bool, DirectoryError> {
        let now = self.now();
        self.change(|tables, draft| {
            let Some(entry) = tables.keys.get(id) else { return Ok(false) };
            draft.tell(ChangeKind::Deleted, vec![format!("key:{id}")]);
            draft.edit(Edit::DropKey(id.to_owned()))?;
            let key = &entry.stored.key;
            Ok(key.expires_at.is_none_or(|at| at > now) && owner_enabled(tables, &key.owner))
        })
    }

    /// Remembers a token's identifier as revoked until the token would have expired. One that has expired already need
    /// not be remembered.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`]: the identifier is empty or longer than 256 octets.
    pub fn revoke_token(&self, token_id: &str, expires_at: u64) -> Result<(), DirectoryError> {
        check_token(token_id)?;
        if expires_at <= self.now() {
            return Ok(());
        }
        self.change(|tables, draft| revoke(tables, draft, token_id, Revocation { until: expires_at, owner: None }))
    }

    /// As [`Directory::revoke_token`], for tokens that belong to a user and are void when
    /// [`Directory::revoke_tokens`] was called for them: of those no more than 256 are remembered. One more makes void all
    /// that the user has, and the list begins anew. So whoever holds a token that can be renewed and revoked for ever fills
    /// nothing.
    ///
    /// # Errors
    /// As [`Directory::revoke_token`]; [`DirectoryError::NotFound`] without such a user.
    pub fn revoke_token_of(&self, user_id: &str, token_id: &str, expires_at: u64) -> Result<(), DirectoryError> {
        check_token(token_id)?;
        let now = self.now();
        if expires_at <= now {
            return Ok(());
        }
        let all = self.change(|tables, draft| {
            let account = tables.users.get(user_id).ok_or(DirectoryError::NotFound)?;
            let listed: Vec<_> = second_of(&tables.revoked_of, user_id, "").cloned().collect();
            if listed.len() < MAX_REVOKED || tables.revoked.contains_key(token_id) {
                let owner = Some(user_id.to_owned());
                revoke(tables, draft, token_id, Revocation { until: expires_at, owner })?;
                return Ok(false);
            }
            let user = Arc::new(User { tokens_valid_from: Some(now + 1), ..User::clone(&account.user) });
            let told = std::iter::once(format!("token:{token_id}")).chain(users::dependents(tables, user_id));
            draft.tell(ChangeKind::Updated, told.collect());
            draft.edit(Edit::User(Account { user, password: account.password.clone() }))?;
            listed.into_iter().try_for_each(|token| draft.edit(Edit::DropRevoked(token)))?;
            Ok(true)
        })?;
        if all {
            self.until_tokens_count();
        }
        Ok(())
    }
}

pub(super) fn check_token(id: &str) -> Result<(), DirectoryError> {
    let mut problems = Problems::default();
    problems.text("token-id", id, MAX_TOKEN_ID);
    problems.result()
}

fn revoke(tables: &Tables, draft: &mut Draft, token: &str, new: Revocation) -> Result<(), DirectoryError> {
    // Revoked twice, the longer life counts.
    if tables.revoked.get(token).is_some_and(|known| known.until >= new.until) {
        return Ok(());
    }
    draft.tell(ChangeKind::Deleted, vec![format!("token:{token}")]);
    draft.edit(Edit::Revoked(token.to_owned(), new))
}

/// Whether a secret can look like this.
fn check_shape(new: &NewKey, now: u64) -> Result<(), DirectoryError> {
    let mut problems = Problems::default();
    let prefix = new.prefix.as_str();
    problems.expect(
        prefix.len() <= 8 && prefix.bytes().all(|b| b.is_ascii_graphic()),
        "prefix",
        "must be at most 8 printable ASCII characters",
    );
    problems.expect((32..=128).contains(&new.length), "length", "must be 32 to 128");
    problems.expect(new.expires_at.is_none_or(|at| at > now), "expires-at", "must lie in the future");
    problems.result()
}

pub(super) fn check(key: &Key) -> Result<(), DirectoryError> {
    let mut problems = Problems::default();
    problems.text("kind", &key.kind, 64);
    let owner = key.owner.split_once(':');
    let known = owner.is_some_and(|(kind, id)| ["user", "consumer", "device", "app"].contains(&kind) && !id.is_empty());
    problems.expect(known, "owner", "must be user:, consumer:, device: or app: and an identifier");
    problems.text("owner", &key.owner, 300);
    problems.attributes(&key.attributes);
    problems.result()
}
