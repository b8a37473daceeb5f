//! The directory: apps, consumers, users, devices, keys, roles, signing keys.
//!
//! Signatures first; the insides follow in the next commits.

mod error;
mod model;
mod sketch;

pub use error::{DirectoryError, KeyError, PasswordError};
pub use model::*;
pub use sketch::*;
