//! Listening: take the addresses, admit or refuse, shake hands, hand over.

pub(crate) mod admission;
mod bind;
mod endpoint;
mod handshake;
mod occupant;
mod rate;
mod refuse;
mod serve;
mod socket;
mod spec;
mod unix;

pub use admission::ListenerStats;
pub use bind::{BindError, Bound};
pub use endpoint::Endpoint;
pub use rate::Rate;
pub use serve::Listening;
pub use spec::{ListenerSpec, Live};
pub use unix::MAX_SOCKET_PATH;
