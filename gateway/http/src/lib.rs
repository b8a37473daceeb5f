//! HTTP: the schemes' endpoints, health, the admin interface, metrics.
//!
//! An [`HttpHandler`] serves what a listener of `portcullis-net` hands over. It bounds what strangers send, and asks a
//! [`Site`] for the answers: [`PublicSite`] on `http` listeners (health, version, JWKS, messages, mounted policies),
//! [`AdminSite`] on the admin listener.
//!
//! This room knows neither WebAssembly nor the store: what it shows and changes, it is given as traits.

// A test that meets what it does not expect should panic.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]
// Where a request is refused, the error is the response itself, which is sent at once.
#![allow(clippy::result_large_err)]

pub mod admin;
pub mod answer;
pub mod content;
pub mod inbound;
pub mod messages;
pub mod mounts;
pub mod public;
mod query;
pub mod server;

pub use admin::{
    AdminError, AdminResult, AdminSettings, AdminSite, AdminToken, AdminWitness, Administration, DecisionQuery,
    DirectoryAdmin, Kind, Page, ShadowTerms, WeakToken, caller,
};
pub use answer::Answer;
pub use content::Content;
pub use inbound::Inbound;
pub use messages::{Bounds, Exchange, MessageSettings, Messages, RetainedMessage, SessionMark, Witness};
pub use mounts::{Mount, MountError, MountTable, Mounts};
pub use public::{PublicFacts, PublicSite};
pub use server::{HttpHandler, HttpSettings, Site};
