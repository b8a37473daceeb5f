//! Listening: take the addresses, admit or refuse, shake hands, hand over.

pub(crate) mod admission;
mod bind;
mod handshake;
mod occupant;
mod rate;
mod refuse;
mod serve;
mod spec;

pub use admission::ListenerStats;
pub use bind::{BindError, Bound};
pub use rate::Rate;
pub use serve::Listening;
pub use spec::{ListenerSpec, Live};
