//! End-to-end tests: the real binary, started with a configuration of its own for each test, and clients on loopback.
//!
//! Each module is one promise of the gateway. Waits are for events and bounded; nothing sleeps.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops with the reason")]

mod attacks;
mod audit;
mod certificates;
mod check;
mod contract;
mod dependencies;
mod desk;
mod directory;
mod edge;
mod expiry;
mod filters;
mod garbage;
mod grants;
mod hostile;
mod hostile_exports;
mod http;
mod http_messages;
mod http_streams;
mod http_verify;
mod key_sets;
mod key_value;
mod keystone;
mod layer;
mod limits;
mod live_state;
mod many_swaps;
mod matrix;
mod messages;
mod oisp;
mod operators;
mod overload;
mod policy_limits;
mod probation;
mod properties;
mod proxy;
mod recordings;
mod refusals;
mod reload;
mod schemes;
mod sessions;
mod shadow;
mod shadow_effects;
mod signatures;
mod startup;
mod storage;
mod swap;
mod unix_sockets;
mod versions;

use portcullis_tests::{Config, Gateway, Transport, Version};

/// Every way in, with every version.
fn ways() -> impl Iterator<Item = (Transport, Version)> {
    Transport::ALL.into_iter().flat_map(|transport| Version::ALL.into_iter().map(move |version| (transport, version)))
}

/// A name for a client or a topic that no other way of the same test has.
fn named(what: &str, transport: Transport, version: Version) -> String {
    format!("{what}-{}-{version:?}", transport.name())
}

/// A gateway that lets everyone in, on all transports.
async fn open_gateway() -> Gateway {
    Gateway::start(&Config::everywhere(&["anonymous"])).await
}
