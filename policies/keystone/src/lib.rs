//! The `keystone` policy: speaks OpenStack Identity v3 and FIWARE. `README.md` beside this crate is for the operator.

mod component;
pub mod config;
pub mod decision;
pub mod fiware;
pub mod grant;
pub mod http;
pub mod kept;
pub mod local;
pub mod offer;
pub mod refusal;
pub mod token;
pub mod upstream;
