//! The `device` policy: admits devices by user name or certificate. `README.md` beside this crate is for the operator.

mod component;
pub mod config;
pub mod decision;
pub mod grant;
pub mod naming;
