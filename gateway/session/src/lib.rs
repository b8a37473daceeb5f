//! The MQTT state machine, without I/O: bytes and events in, replies into a mailbox and requests out.
//!
//! [`Machine`] is one connection. The connection loop feeds it what it read and does what the returned [`Step`] asks:
//! have a gatekeeper decide, wait, or end. [`Broker`] is what all connections share: the router, the sessions by client
//! identifier, what happens later (wills, expiry), the totals.
//!
//! This room knows no socket, no task system and no WebAssembly; grants reach it compiled.

mod broker;
mod deferred;
mod durable;
mod handle;
mod identifiers;
mod machine;
mod peer;
mod registry;
mod rules;
mod scratch;
mod state;
mod stats;
mod subscription;
mod sys;

pub use broker::{Broker, BrokerOptions, ConnectionSummary, Observer, SessionMark, Silent};
pub use durable::RecoveryError;
pub use handle::{Control, Handle};
pub use machine::{End, Machine, Origin, Step};
pub use rules::{ListenerRules, RefusedPublish};
pub use scratch::Scratch;
pub use stats::{Stats, Totals};

/// Seconds since 1970-01-01T00:00:00Z.
#[must_use]
pub fn unix_now() -> u64 {
    portcullis_router::unix_ms() / 1000
}
