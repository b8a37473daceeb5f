//! The entries of the directory, as the rest of the gateway reads them. They hold no secret: what proves a password or a
//! key is kept beside them and never handed out.
//!
//! Every identifier is the gateway's own: stable, opaque, unique in its kind. Every time is in seconds since
//! 1970-01-01T00:00:00Z.

use serde::{Deserialize, Serialize};

/// Names and values that the schemes add to an entry: at most 64, names of at most 64 octets, values of at most 4 KiB,
/// no name twice.
pub type Attributes = Vec<(String, String)>;

/// The identifier of the domain that exists from the start (Keystone's own convention).
pub const DEFAULT_DOMAIN: &str = "default";

/// A person with a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Unique within the domain; case counts. 1 to 255 octets. Never another user's identifier or e-mail address.
    pub name: String,
    /// The domain it belongs to.
    pub domain_id: String,
    /// Unique in the directory without regard to ASCII case, among names as well.
    pub email: Option<String>,
    /// Whether the e-mail address was confirmed.
    pub verified: bool,
    /// A disabled user cannot log in, and their keys do not count.
    pub enabled: bool,
    /// When it was made.
    pub created_at: u64,
    /// When it was changed last.
    pub updated_at: u64,
    /// When the password stops being good.
    pub password_expires_at: Option<u64>,
    /// Tokens that were issued before then are void: the password was changed, or everything was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_valid_from: Option<u64>,
    /// `first-name`, `last-name`, `default-project-id`, and what policies add.
    pub attributes: Attributes,
}

/// How a user is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserSelector<'a> {
    /// By identifier.
    Id(&'a str),
    /// By e-mail address, without regard to ASCII case.
    Email(&'a str),
    /// By name within a domain.
    Name {
        /// The name.
        name: &'a str,
        /// The domain's identifier.
        domain_id: &'a str,
    },
}

/// A user to be made.
#[derive(Clone, Debug, Default)]
pub struct NewUser {
    /// See [`User::name`].
    pub name: String,
    /// Must exist; [`DEFAULT_DOMAIN`] always does.
    pub domain_id: String,
    /// Contains one `@`; at most 254 octets.
    pub email: Option<String>,
    /// UTF-8 or not; 8 to 1,024 octets unless [`crate::DirectoryOptions`] says otherwise.
    pub password: Vec<u8>,
    /// See [`Attributes`].
    pub attributes: Attributes,
}

/// A domain (Keystone), which is also a FIWARE service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// 32 hexadecimal digits, or what its maker chose.
    pub id: String,
    /// Unique.
    pub name: String,
    /// Whether it may be used.
    pub enabled: bool,
    /// See [`Attributes`].
    pub attributes: Attributes,
}

/// How a domain is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainSelector<'a> {
    /// By identifier.
    Id(&'a str),
    /// By name.
    Name(&'a str),
}

/// A project (Keystone), account (Open IoT) or service path (FIWARE) within a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Unique within the domain.
    pub name: String,
    /// The domain it belongs to.
    pub domain_id: String,
    /// The project above it, in the same domain.
    pub parent_id: Option<String>,
    /// Whether it may be used.
    pub enabled: bool,
    /// See [`Attributes`].
    pub attributes: Attributes,
}

/// How a project is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectSelector<'a> {
    /// By identifier.
    Id(&'a str),
    /// By name within a domain.
    Name {
        /// The name.
        name: &'a str,
        /// The domain's identifier.
        domain_id: &'a str,
    },
}

/// Where a role counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// In the whole gateway.
    System,
    /// In the domain with this identifier.
    Domain(String),
    /// In the project with this identifier.
    Project(String),
}

/// A role that a user has somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RoleAssignment {
    /// The role's name, such as `admin`.
    pub role: String,
    /// Where it counts.
    pub scope: Scope,
}

/// A product's backend; the owner of public keys that sign its consumers' tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// 32 hexadecimal digits, or what its maker chose.
    pub id: String,
    /// For people.
    pub name: String,
    /// The user who owns it.
    pub owner_id: Option<String>,
    /// A disabled app verifies nobody: it has no keys then.
    pub enabled: bool,
    /// When it was made.
    pub created_at: u64,
    /// See [`Attributes`].
    pub attributes: Attributes,
    /// Its public keys, at most 16.
    pub keys: Vec<AppKey>,
    /// Where its owner publishes further keys as a JWK Set (RFC 7517): https, or http on the loopback interface; at most
    /// 2 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
}

/// A public key of an app, as it was registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppKey {
    /// The `kid` that it was registered with, else its RFC 7638 thumbprint: unique within the app.
    pub kid: String,
    /// The public key as a JWK.
    pub jwk: String,
    /// Whether `kid` was given by the owner. A key that was registered without one is tried for tokens with any `kid`.
    pub named: bool,
    /// When it was registered.
    pub added_at: u64,
}

/// An app to be made.
#[derive(Clone, Debug, Default)]
pub struct NewApp {
    /// None: one is made up. Else 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub id: Option<String>,
    /// For people; 1 to 255 octets.
    pub name: String,
    /// The user who owns it; must exist.
    pub owner_id: Option<String>,
    /// PEM blocks, JWKs or JWK Sets, at most 16 keys in all.
    pub keys: Vec<String>,
    /// See [`App::jwks_url`].
    pub jwks_url: Option<String>,
    /// See [`Attributes`].
    pub attributes: Attributes,
}

/// How a device proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceCredential {
    /// By knowing its user name, with an empty password.
    Username,
    /// By a client certificate, known by fingerprint or subject.
    X509,
    /// By a token.
    Token,
}

impl DeviceCredential {
    /// The contract's word: `username`, `x509` or `token`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Username => "username",
            Self::X509 => "x509",
            Self::Token => "token",
        }
    }

    /// Reads the contract's word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Username, Self::X509, Self::Token].into_iter().find(|c| c.as_str() == word)
    }
}

/// A thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// 32 hexadecimal digits.
    pub id: String,
    /// The app whose product it is.
    pub app_id: Option<String>,
    /// The consumer or user who owns it.
    pub owner_id: Option<String>,
    /// Its MQTT client identifier and user name.
    pub client_id: String,
    /// The topic prefix that is its own; the same as `client_id`.
    pub namespace: String,
    /// How it proves itself.
    pub credential: DeviceCredential,
    /// SHA-256 of its certificate (DER), 64 lower-case hexadecimal digits. Unique.
    pub fingerprint: Option<String>,
    /// The subject of its certificate (RFC 4514). Unique.
    pub certificate_subject: Option<String>,
    /// Whether it may connect.
    pub enabled: bool,
    /// When it was made.
    pub created_at: u64,
    /// See [`Attributes`].
    pub attributes: Attributes,
}

/// How a device is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceSelector<'a> {
    /// By identifier.
    Id(&'a str),
    /// By MQTT client identifier.
    ClientId(&'a str),
    /// By MQTT user name.
    Username(&'a str),
    /// By SHA-256 of the certificate, hexadecimal digits of either case.
    Fingerprint(&'a str),
    /// By the certificate's subject (RFC 4514), exactly as registered.
    CertificateSubject(&'a str),
}

/// A device to be made.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// The app whose product it is; must exist.
    pub app_id: Option<String>,
    /// The consumer (any `sub`) or user who owns it; 1 to 255 octets.
    pub owner_id: Option<String>,
    /// The owner's own name for it, 1 to 64 of `A-Z a-z 0-9 . _ : -`. The directory adds `_` and six random characters
    /// to make client identifier and namespace.
    pub external_id: String,
    /// How it proves itself.
    pub credential: DeviceCredential,
    /// Of an `x509` device this or `certificate_subject` is needed; others have neither.
    pub fingerprint: Option<String>,
    /// See [`Device::certificate_subject`].
    pub certificate_subject: Option<String>,
    /// See [`Attributes`].
    pub attributes: Attributes,
}

/// An API key or another opaque bearer secret. The secret itself is not kept, only its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// 32 hexadecimal digits.
    pub id: String,
    /// `secret`, `reset`, `token`, `session`, `application-credential`, `activation`, or a policy's own word.
    pub kind: String,
    /// `user:<id>`, `consumer:<id>`, `device:<id>` or `app:<id>`.
    pub owner: String,
    /// When it was made.
    pub created_at: u64,
    /// When it stops being good.
    pub expires_at: Option<u64>,
    /// When it was used last. Kept in memory and written once an hour at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<u64>,
    /// See [`Attributes`].
    pub attributes: Attributes,
}

/// The characters of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// `0-9a-f`: 4 bits each.
    Hex,
    /// `0-9A-Za-z`: 5.95 bits each.
    Base62,
}

impl Alphabet {
    /// Reads the contract's word: `hex` or `base62`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "hex" => Some(Self::Hex),
            "base62" => Some(Self::Base62),
            _ => None,
        }
    }
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// See [`Key::kind`]; 1 to 64 octets.
    pub kind: String,
    /// See [`Key::owner`]; of a user, device or app it must exist.
    pub owner: String,
    /// What the secret begins with, such as `sk_`; at most 8 printable ASCII characters.
    pub prefix: String,
    /// Characters of the secret, prefix included: 32 to 128.
    pub length: u8,
    /// What the rest consists of.
    pub alphabet: Alphabet,
    /// When it stops being good; must lie in the future.
    pub expires_at: Option<u64>,
    /// See [`Attributes`].
    pub attributes: Attributes,
}

impl NewKey {
    /// A secret API key as people know it: `sk_` and 45 more characters, for the owner.
    #[must_use]
    pub fn secret(owner: impl Into<String>) -> Self {
        Self {
            kind: "secret".to_owned(),
            owner: owner.into(),
            prefix: "sk_".to_owned(),
            length: 48,
            alphabet: Alphabet::Base62,
            expires_at: None,
            attributes: Vec::new(),
        }
    }

    /// A reset key: as [`NewKey::secret`], but `rk_`.
    #[must_use]
    pub fn reset(owner: impl Into<String>) -> Self {
        Self { kind: "reset".to_owned(), prefix: "rk_".to_owned(), ..Self::secret(owner) }
    }
}

/// A key that was just made.
#[derive(Clone, Debug)]
pub struct IssuedKey {
    /// Its entry.
    pub key: Key,
    /// The secret, shown this once: nobody can read it back.
    pub secret: String,
}
