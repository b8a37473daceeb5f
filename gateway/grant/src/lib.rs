//! The words of the core: *connections, credentials, identities, grants*.
//!
//! Every room that admits, refuses or checks speaks in these types; none of them knows a scheme. The policy host fills
//! them from what a WebAssembly policy answered; the session asks a [`Grant`] before it publishes or subscribes.
//!
//! This room knows nothing of WebAssembly, of sockets, or of where an answer came from.

pub mod account;
pub mod connection;
pub mod denial;
pub mod draft;
pub mod filtering;
pub mod gatekeeper;
pub mod grant;
pub mod identity;
pub mod limits;
mod names;
pub mod peer;
pub mod principal;
pub mod rules;
pub mod shared;

pub use account::{Account, Freshness, Sources};
pub use connection::{Certificate, ConnectionFacts, Credentials, HttpHead, PeerDetails, TlsSession};
pub use denial::{Denial, DenyReason, HttpAnswer};
pub use draft::{GrantDraft, GrantError};
pub use filtering::{FilterRefusal, Filtered, Passage, Replacement};
pub use gatekeeper::{
    Action, Authorization, BoxFuture, Challenge, Gatekeeper, HttpCall, HttpEndpoint, Login, Outcome, PolicyStamp,
    Publication, Refusal, Renewal, Reply, SubscriptionRequest,
};
pub use grant::{Dependency, Grant, Terms};
pub use identity::Identity;
pub use limits::Limits;
pub use peer::Peer;
pub use principal::{HTTP_SESSION, Principal};
pub use rules::{ActionRefusal, Actions, Effect, Permission, Rule, RuleSet, SubscribePermission};
pub use shared::Grants;
