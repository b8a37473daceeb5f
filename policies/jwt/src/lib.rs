//! The `jwt` policy: admits consumers by JSON Web Tokens, and signs some of its own. `README.md` beside this crate is for the operator.

mod claims;
mod component;
pub mod config;
pub mod decision;
pub mod grant;
pub mod offer;
pub mod oisp;
mod remembered;
mod words;
