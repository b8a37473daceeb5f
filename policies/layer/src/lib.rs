//! Speaks km-api and Layer: registration, tokens, nonces, identity tokens, sessions.
//!
//! Two interfaces of one scheme. km-api knows people by password and gives each a stable token; Layer knows nobody, but
//! believes identity tokens that answer a nonce of its own, and gives sessions for them. `km` and `layer` are the two HTTP
//! interfaces behind `route`, `decision` is the way in for MQTT and for requests to others; all of them ask `person` who
//! somebody is.

mod component;
pub mod config;
pub mod decision;
pub mod fields;
pub mod grant;
pub mod identity_token;
pub mod km;
pub mod layer;
pub mod nonce;
pub mod offer;
pub mod passwords;
pub mod person;
pub mod rate;
pub mod register;
pub mod route;
pub mod uuid;

#[cfg(test)]
mod stage;
