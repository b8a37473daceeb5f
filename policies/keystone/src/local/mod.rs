//! The gateway as the Keystone: tokens of its own, made from the directory and checked against it.

pub mod check;
pub mod issue;
pub mod request;
pub mod show;

#[cfg(test)]
pub(crate) mod tests;
