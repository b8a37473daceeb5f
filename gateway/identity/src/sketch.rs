//! The shape of the room, before its insides.
#![allow(missing_docs, unused_variables, clippy::missing_errors_doc)]

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};
use portcullis_store::{Clock, Store};

use crate::error::{DirectoryError, KeyError, PasswordError};
use crate::model::*;

/// Settings of the directory.
#[derive(Clone, Debug, Default)]
pub struct DirectoryOptions {
    pub clock: Clock,
}

/// Cheap to clone, safe to share. What reads is quick and never blocks on the disk; what changes blocks until the change
/// is on disk (call it where blocking is allowed); passwords take tens of milliseconds.
#[derive(Clone, Debug)]
pub struct Directory(());

/// What changed: look again at what depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub what: ChangeKind,
    /// `user:<id>`, `key:<id>`, … the entry itself first, then what stands or falls with it.
    pub dependencies: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Created,
    Updated,
    Disabled,
    Deleted,
}

/// Unregisters when dropped.
#[derive(Debug)]
pub struct Subscription(());

impl Directory {
    pub fn open(store: Store, options: DirectoryOptions) -> Result<Self, DirectoryError> {
        Ok(Self(()))
    }
    // ---- look up (contract: directory)
    pub fn find_user(&self, user: UserSelector<'_>) -> Option<Arc<User>> {
        None
    }
    /// Blocks for tens of milliseconds.
    pub fn verify_password(
        &self,
        user: UserSelector<'_>,
        password: &[u8],
        from: Option<IpAddr>,
    ) -> Result<Arc<User>, PasswordError> {
        Err(PasswordError::Wrong)
    }
    pub fn find_domain(&self, domain: DomainSelector<'_>) -> Option<Arc<Domain>> {
        None
    }
    pub fn find_project(&self, project: ProjectSelector<'_>) -> Option<Arc<Project>> {
        None
    }
    pub fn list_roles(&self, user_id: &str) -> Vec<RoleAssignment> {
        Vec::new()
    }
    pub fn find_app(&self, id: &str) -> Option<Arc<App>> {
        None
    }
    /// None: no such app, or it is disabled.
    pub fn app_keys(&self, id: &str) -> Option<Arc<[VerificationKey]>> {
        None
    }
    pub fn find_device(&self, device: DeviceSelector<'_>) -> Option<Arc<Device>> {
        None
    }
    /// At most 256, ordered by identifier.
    pub fn list_devices(&self, owner_id: &str, after: Option<&str>) -> Vec<Arc<Device>> {
        Vec::new()
    }
    /// `last_used_at` is when it was used before. Counts as use.
    pub fn find_key(&self, secret: &str) -> Option<Key> {
        None
    }
    pub fn is_revoked(&self, token_id: &str) -> bool {
        false
    }
    // ---- change (contract: directory-admin)
    pub fn create_user(&self, user: NewUser) -> Result<Arc<User>, DirectoryError> {
        Err(DirectoryError::NotFound)
    }
    pub fn update_user(&self, id: &str, changes: &[(String, String)]) -> Result<Arc<User>, DirectoryError> {
        Err(DirectoryError::NotFound)
    }
    pub fn set_password(&self, user_id: &str, password: &[u8]) -> Result<(), DirectoryError> {
        Err(DirectoryError::NotFound)
    }
    pub fn create_key(&self, key: NewKey) -> Result<IssuedKey, DirectoryError> {
        Err(DirectoryError::NotFound)
    }
    pub fn revoke_key(&self, id: &str) -> Result<bool, DirectoryError> {
        Ok(false)
    }
    pub fn revoke_token(&self, token_id: &str, expires_at: u64) -> Result<(), DirectoryError> {
        Ok(())
    }
    pub fn create_device(&self, device: NewDevice) -> Result<Arc<Device>, DirectoryError> {
        Err(DirectoryError::NotFound)
    }
    pub fn delete_device(&self, id: &str) -> Result<(), DirectoryError> {
        Err(DirectoryError::NotFound)
    }
    // ---- change (operator)
    pub fn create_app(&self, app: NewApp) -> Result<Arc<App>, DirectoryError> {
        Err(DirectoryError::NotFound)
    }
    /// Registers the keys in `text` (PEM blocks, a JWK or a JWK Set).
    pub fn add_app_key(&self, app_id: &str, text: &str) -> Result<Arc<App>, DirectoryError> {
        Err(DirectoryError::NotFound)
    }
    pub fn remove_app_key(&self, app_id: &str, kid: &str) -> Result<Arc<App>, DirectoryError> {
        Err(DirectoryError::NotFound)
    }
    pub fn set_app_enabled(&self, id: &str, enabled: bool) -> Result<Arc<App>, DirectoryError> {
        Err(DirectoryError::NotFound)
    }
    pub fn delete_app(&self, id: &str) -> Result<(), DirectoryError> {
        Err(DirectoryError::NotFound)
    }
    pub fn set_device_enabled(&self, id: &str, enabled: bool) -> Result<Arc<Device>, DirectoryError> {
        Err(DirectoryError::NotFound)
    }
    /// Called with each change, in the thread that made it: be quick, call nothing of the directory that changes it.
    pub fn subscribe(&self, listener: impl Fn(&Change) + Send + Sync + 'static) -> Subscription {
        Subscription(())
    }
}

/// The only algorithms that a key of this kind verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RS256/384/512, PS256/384/512
    Rsa,
    /// ES256
    P256,
    /// ES384
    P384,
    /// EdDSA
    Ed25519,
    /// HS256/384/512
    Secret,
}

/// A key that checks signatures, and what it may check.
#[derive(Clone, Debug)]
pub struct VerificationKey {
    pub kid: Option<String>,
    pub kind: KeyKind,
    /// If the JWK says `alg`: only that one.
    pub only: Option<Algorithm>,
    pub key: DecodingKey,
}

impl VerificationKey {
    /// Whether this key may check a token of this algorithm. Ask before every use.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        false
    }
}

/// One or more PEM blocks: SubjectPublicKeyInfo, certificate or PKCS#1 public key.
pub fn keys_from_pem(text: &str) -> Result<Vec<VerificationKey>, KeyError> {
    Ok(Vec::new())
}

/// A JWK or a JWK Set. Members of a set that are not for us (encryption, unknown kinds, secrets) are left out.
pub fn keys_from_jwks(json: &str) -> Result<Vec<VerificationKey>, KeyError> {
    Ok(Vec::new())
}

/// A key of the configuration.
#[derive(Clone, Debug)]
pub struct NamedKey {
    pub name: String,
    pub source: KeySource,
}

/// Where a configured key is.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file of PEM: private keys sign and verify, public ones verify.
    Pem(PathBuf),
    /// A file whose octets, a trailing newline left out, are an HMAC secret of at least 32.
    Secret(PathBuf),
}

/// The keys that the gateway signs with and checks by name. Cheap to clone.
///
/// `gateway-rs256` and `gateway-es256` are the gateway's own, made when first used.
#[derive(Clone, Debug)]
pub struct Keyring(());

impl Keyring {
    pub fn open(store: Store, clock: Clock, configured: &[NamedKey]) -> Result<Self, KeyError> {
        Ok(Self(()))
    }
    /// `header`: empty for `{"alg","typ":"JWT","kid"}`, else a JSON object whose members are taken as they are, `alg`
    /// added. `claims`: a JSON object, signed byte for byte.
    pub fn sign(&self, name: &str, header: &str, claims: &str) -> Result<String, KeyError> {
        Err(KeyError::Unknown(name.to_owned()))
    }
    /// The public halves of a named key as a JWK Set.
    pub fn public_jwks(&self, name: &str) -> Result<String, KeyError> {
        Err(KeyError::Unknown(name.to_owned()))
    }
    /// The public halves of the gateway's own keys as a JWK Set.
    pub fn gateway_jwks(&self) -> Result<String, KeyError> {
        Ok(String::new())
    }
    pub fn verification_keys(&self, name: &str) -> Result<Arc<[VerificationKey]>, KeyError> {
        Err(KeyError::Unknown(name.to_owned()))
    }
    /// A new key signs from now on; the old one verifies for another `overlap` seconds.
    pub fn rotate(&self, name: &str, overlap: u32) -> Result<(), KeyError> {
        Err(KeyError::Unknown(name.to_owned()))
    }
}
