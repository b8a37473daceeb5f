//! The directory: apps, consumers, users, devices, keys, roles; password hashing; signing keys.
//!
//! [`Directory`] answers who there is, and lets operators and permitted policies change it. All entries are in memory,
//! with indexes; a change is checked, written through to the store, and acknowledged when it is on disk. Whoever holds
//! live connections subscribes to the changes. [`Keyring`] signs, and names what checks. Secrets go in and never come
//! out: of passwords an argon2id hash is kept, of API keys SHA-256, and private keys stay in the cryptographic library.
//!
//! This room does not know policies, MQTT, or what a scheme makes of an entry.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod directory;
mod error;
mod keyring;
mod keys;
mod model;

pub use directory::{
    Change, ChangeKind, Directory, DirectoryOptions, Imported, LockOut, PasswordCost, Subscription, acting, actor,
};
pub use error::{DirectoryError, KeyError, PasswordError};
pub use keyring::{GATEWAY_ES256, GATEWAY_RS256, KeySource, Keyring, NamedKey};
pub use keys::{KeyKind, MAX_KEYS_TEXT, VerificationKey, keys_from_jwks, keys_from_pem};
pub use model::{
    Alphabet, App, AppKey, Attributes, DEFAULT_DOMAIN, Device, DeviceCredential, DeviceSelector, Domain,
    DomainSelector, IssuedKey, Key, NewApp, NewDevice, NewKey, NewUser, Project, ProjectSelector, RoleAssignment,
    Scope, User, UserSelector,
};
