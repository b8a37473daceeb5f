//! Keys: reading them from PEM and JWK, checking with them, signing with them.
//!
//! The rule of this folder: a key knows its kind, and its kind alone decides for which algorithms it may be used. What a
//! token says about itself never turns an RSA key into an HMAC secret.

mod jwk;
mod jws;
mod pem;
mod public;
mod signing;
mod verification;

pub(crate) use jwk::{set as jwk_set, write as jwk};
pub(crate) use jws::compact;
pub(crate) use public::PublicKey;
pub(crate) use signing::SigningKey;
pub use verification::{KeyKind, MAX_KEYS_TEXT, VerificationKey, keys_from_jwks, keys_from_pem};
pub(crate) use verification::{PublicEntry, entries_from_text, verification_key};
