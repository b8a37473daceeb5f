//! The `anonymous` policy: admits everyone. `README.md` beside this crate is for the operator.

mod component;
pub mod config;
pub mod decision;
