//! What can go wrong in this room, in words that an operator or a policy can act on.

use portcullis_store::StoreError;

/// Why a change to the directory was not made. Nothing was changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// There is no such entry.
    #[error("there is no such entry in the directory")]
    NotFound,
    /// Another entry has this value already. The text is the field's name in the contract's spelling (`email`,
    /// `client-id`).
    #[error("another entry has the same {0}")]
    Conflict(&'static str),
    /// Fields, and what is wrong with each.
    #[error("{}", words(.0))]
    Invalid(Vec<(String, String)>),
    /// Too much at a time; try again after so many seconds.
    #[error("too many attempts; try again in {0} seconds")]
    RateLimited(u32),
    /// The store did not take it.
    #[error("the directory could not be written: {0}")]
    Store(#[from] StoreError),
    /// An entry in the store is not what this version writes.
    #[error("the {kind} {id:?} in the store cannot be read: {why}")]
    Unreadable {
        /// Kind of the entry.
        kind: &'static str,
        /// Its identifier.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// The operating system has no randomness to give.
    #[error("the operating system gave no random numbers")]
    NoRandomness,
}

fn words(fields: &[(String, String)]) -> String {
    fields.iter().map(|(name, why)| format!("{name} {why}")).collect::<Vec<_>>().join("; ")
}

/// Why a password was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// No such user or not this password: it is not said which, and both take the same time.
    #[error("wrong user or password")]
    Wrong,
    /// The password is right, the user is disabled.
    #[error("the user is disabled")]
    Disabled,
    /// The password is right, and expired at this time.
    #[error("the password expired at {0}")]
    Expired(u64),
    /// Too many wrong attempts; until this time the password is not looked at.
    #[error("locked until {0} after too many wrong passwords")]
    Locked(u64),
    /// Too many wrong attempts from this address, or too many at once; try again after so many seconds. The password was
    /// not looked at.
    #[error("too many attempts; try again in {0} seconds")]
    RateLimited(u32),
    /// The check itself failed.
    #[error("the password could not be checked: {0}")]
    Other(String),
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no key of this name.
    #[error("there is no key named {0:?}")]
    Unknown(String),
    /// Not the text of a key that we know: PEM or JWK expected.
    #[error("not a usable key: {0}")]
    Malformed(String),
    /// Too weak to be trusted.
    #[error("{0}")]
    Weak(String),
    /// A key of a kind or curve that has no place here.
    #[error("{0}")]
    Unsupported(String),
    /// The named key has only a public half: it verifies and cannot sign.
    #[error("the key {0:?} has no private half and cannot sign")]
    CannotSign(String),
    /// The header or the claims to sign are not what they should be.
    #[error("cannot sign: {0}")]
    BadToken(String),
    /// The key's file cannot be read.
    #[error("cannot read the key file {path}: {why}")]
    File {
        /// The file.
        path: String,
        /// What the operating system says.
        why: String,
    },
    /// The cryptographic library failed.
    #[error("the cryptographic library failed: {0}")]
    Crypto(&'static str),
    /// The store did not take it or cannot give it.
    #[error("the signing keys could not be stored: {0}")]
    Store(#[from] StoreError),
}
