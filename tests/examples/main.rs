//! The same policy in many languages (`examples/`), built by the compilers of these languages, in the real gateway, beside a
//! real HTTP service, driven by MQTT clients.
//!
//! Compiled with the feature `examples`, which `tests/run` switches on after it has installed the compilers: then a compiler that
//! is missing is a failure. A component is built once for its sources, and compiled once for the gateway: `target/examples` keeps both.
#![cfg(feature = "examples")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops with the reason")]

mod cases;
mod compiled;
mod filter;
mod language;
mod memory;
mod plant;
mod projects;
mod rules;
mod service;
mod swap;
mod text;
