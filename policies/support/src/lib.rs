//! What the bundled policies share: rule templates, strict configuration, refusals, and the gateway behind a trait.
//!
//! A bundled policy is a pure function from its configuration, the connection and the credentials to a verdict; what it
//! needs of the gateway it asks through [`Gateway`], so that the whole decision runs in an ordinary unit test. Nothing
//! here may know a scheme.

pub mod answer;
pub mod bearer;
pub mod client_id;
pub mod config;
pub mod digest;
#[cfg(not(target_family = "wasm"))]
pub mod documented;
#[cfg(not(target_family = "wasm"))]
pub mod fake;
pub mod filter;
pub mod gateway;
pub mod http;
pub mod limits;
#[cfg(any(test, target_family = "wasm"))]
mod memory;
pub mod owned;
pub mod rules;
pub mod state;
pub mod template;
pub mod time;
pub mod wit;

pub use answer::{Outcome, deny, verdict};
pub use config::{ConfigError, Table};
pub use gateway::{Gateway, Live, SchemeGateway, may_change_the_directory};
