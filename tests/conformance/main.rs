//! MQTT 3.1, 3.1.1 and 5, statement by statement, against the real binary.
//!
//! `statements/*.toml` lists every normative statement of the two OASIS standards, in our words, with the tests that
//! prove it. [`table`] holds the list, the tests and the README together.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops with the reason")]

mod auth;
mod challenge;
mod connack;
mod connect;
mod delivery;
mod disconnect;
mod exactly_once;
mod expiry;
mod flow;
mod frames;
mod limits;
mod properties;
mod publish;
mod resume;
mod retained;
mod sessions;
mod shared;
mod strings;
mod subscribe;
mod table;
mod topics;
mod unsubscribe;
mod websocket;
mod will;
mod wire;
mod world;

pub(crate) use portcullis_tests::Version;
pub(crate) use portcullis_tests::Version::{V5, V31, V311};
pub(crate) use portcullis_tests::in_time;
pub(crate) use wire::{
    Hello, Peer, Properties, Publish, Will, acknowledge, acknowledge_with, blob, kind, packet, property, text,
};
pub(crate) use world::{World, name};

/// The versions that differ in what they say of sessions and returns only.
pub(crate) const OLD: [Version; 2] = [V31, V311];
