//! What one worker thread lends to the connection that it is working for.

use portcullis_router::{Batch, FrameMark};

/// Buffers that keep their capacity from one read to the next. One a thread; nothing in it outlives a call.
#[derive(Default)]
pub struct Scratch {
    /// Deliveries of this batch.
    pub batch: Batch,
    /// What else is to be stored: sessions, subscriptions, retained messages.
    pub(crate) journal: portcullis_store::Batch,
    /// Replies to the client that is being worked for.
    pub(crate) replies: Vec<u8>,
    /// The packets of the current run.
    pub(crate) frames: Vec<FrameMark>,
    /// Its forwarded properties, re-encoded.
    pub(crate) forward: Vec<u8>,
    /// Identifiers of a run of PUBACKs.
    pub(crate) ids: Vec<u16>,
}
