//! A model of MQTT sessions, and a driver that plays the same events to it and to machines on one broker.
//!
//! Events are read from octets, so that a property test and a fuzz target share all of it ([`play`]). What the model
//! holds the gateway to: each message at QoS 1 and 2 reaches every session that has to get it, as often as its quality
//! of service says and with the right flags and identifiers; nothing else arrives; order, receive maximum, packet size
//! and packet identifiers are kept; what a client is owed in answers comes, in order; a connection ends if and only if
//! there is a reason; and at the end nothing is left over. With a store ([`play_stored`]) all of that holds across
//! restarts of the gateway as well.

mod acts;
mod client;
mod events;
mod finish;
mod groups;
mod hear;
mod lifetimes;
mod topics;
mod world;

pub(crate) use events::{play, play_stored};
