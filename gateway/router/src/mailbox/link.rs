//! What a mailbox knows of its connection, and what the owner of the connection knows of the mailbox.

use std::io;
use std::sync::Arc;

use crate::encode::Wire;

/// A socket that may be written from any thread.
pub trait DirectWriter: Send + Sync {
    /// Writes what the socket takes now.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; anything else ends the connection.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// The owner of a connection.
pub trait Wake: Send + Sync {
    /// There is something to do: output, or the end.
    fn wake(&self);
    /// A mailbox that this publisher waited for has room again.
    fn resume(&self);
}

/// A live connection, as its mailbox sees it.
pub struct Link {
    /// Its owner.
    pub owner: Arc<dyn Wake>,
    /// Plain TCP; none where the owner has to write.
    pub writer: Option<Arc<dyn DirectWriter>>,
    /// The form of PUBLISH that it gets.
    pub wire: Wire,
    /// Octets of the largest packet that the client takes (MQTT 5 §3.1.2.11.4); `u32::MAX`: any.
    pub max_packet: u32,
    /// The client's receive maximum (MQTT 5 §3.1.2.11.3), already lowered to our own bound.
    pub window: u16,
}

/// What became of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Everything is written, or another writer is at it.
    Done,
    /// The socket takes no more; its owner waits for it.
    Blocked,
    /// The owner was woken to write.
    Owner,
    /// The connection is broken; its owner was woken.
    Dead,
}

/// How much waits for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Octets not yet written, and of queued messages.
    pub bytes: usize,
    /// Messages queued behind the window.
    pub queued: usize,
    /// Messages in flight.
    pub in_flight: usize,
}
