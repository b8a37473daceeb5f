//! The `api-key` policy: admits the holders of secret and reset keys. `README.md` beside this crate is for the operator.

mod component;
pub mod config;
pub mod decision;
pub mod offer;
