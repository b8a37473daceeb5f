//! The harness of the end-to-end tests: it builds and starts the real binary and talks to it as strangers would.
//!
//! Nothing of the gateway is linked in. The MQTT client stands on mqttbytes, a codec of other hands, so that a mistake
//! in the gateway's own codec is not repeated by its tests. Every wait is a wait for an event, bounded by [`PATIENCE`];
//! nothing sleeps.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops with the reason")]

use std::time::Duration;

pub mod address;
pub mod admin;
pub mod binary;
pub mod certificates;
pub mod client;
pub mod config;
pub mod directory;
pub mod document;
pub mod gateway;
pub mod http;
pub mod keystone;
pub mod link;
pub mod packets;
pub mod people;
pub mod policies;
pub mod processor;
pub mod race;
pub mod relay;
pub mod script;
pub mod tokens;

pub use admin::{Admin, Answer};
pub use client::{Client, Dial, Hello, Refused};
pub use config::Config;
pub use gateway::Gateway;
pub use http::{Event, Events, Http};
pub use link::{Link, Transport};
pub use packets::{Incoming, Message, Version};
pub use race::in_time;

/// How long anything may take before a test says that it does not happen. Generous: two cores run many tests at a time.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for a future, and panics with `what` when [`PATIENCE`] runs out.
///
/// # Panics
/// When the time is up.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} in vain for: {what}"),
    }
}
