//! What the store holds becomes sessions again.
//!
//! Time and memory grow with what is stored: each session, subscription and message is read once and kept once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use portcullis_router::{Holder, Queued, Retained, RetainedLimits};
use portcullis_store::{Durability, SessionRow, Store, StoreError};

use super::WITHDRAWN;
use super::record::{Broken, QueueRow, SessionRecord, WillRecord, decode_queued, decode_retained, decode_subscription};

use crate::state::Held;

/// A session as it was found.
pub(crate) struct Found {
    pub client_id: String,
    pub record: SessionRecord,
    pub subscriptions: Vec<(String, Held)>,
    pub unreleased: Vec<u16>,
    pub queued: Vec<Queued>,
    /// Sequence numbers.
    pub released: Vec<u64>,
    /// The last sequence number of a message that the client may have and that is not there any more.
    pub withdrawn: u64,
    pub will: Option<WillRecord>,
}

/// Why the sessions cannot be had back.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The file could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row is not what this gateway writes.
    #[error("the store has a {kind} that cannot be understood ({why}): {key}")]
    Broken {
        /// What it should be.
        kind: &'static str,
        /// Its key.
        key: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// Reads everything. Retained messages go straight into `retained`.
pub(crate) fn recover(store: &Store, retained: &Retained) -> Result<Vec<Found>, RecoveryError> {
    let mut found: HashMap<u64, Found> = HashMap::new();
    let mut orphans = BTreeSet::new();
    let mut failed = None;
    store.visit_sessions(|row| {
        if failed.is_none() {
            failed = take(row, &mut found, &mut orphans, retained).err();
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    // A message may have been on its way to a session that ended at that moment: nobody is left to have it.
    let mut batch = portcullis_store::Batch::new();
    for session in orphans {
        batch.clear_session(session);
    }
    if !batch.is_empty() {
        store.submit_with(batch, Durability::Ack).wait()?;
    }
    Ok(found.into_values().collect())
}

fn of<'f>(session: u64, found: &'f mut HashMap<u64, Found>, orphans: &mut BTreeSet<u64>) -> Option<&'f mut Found> {
    let owner = found.get_mut(&session);
    if owner.is_none() {
        orphans.insert(session);
    }
    owner
}

fn take(
    row: SessionRow<'_>,
    found: &mut HashMap<u64, Found>,
    orphans: &mut BTreeSet<u64>,
    retained: &Retained,
) -> Result<(), RecoveryError> {
    let broken = |kind, key: String| move |why: Broken| RecoveryError::Broken { kind, key, why };
    match row {
        SessionRow::Session { client_id, bytes } => {
            let record = SessionRecord::decode(bytes).map_err(broken("session", client_id.to_owned()))?;
            found.insert(
                record.number,
                Found {
                    client_id: client_id.to_owned(),
                    record,
                    subscriptions: Vec::new(),
                    unreleased: Vec::new(),
                    queued: Vec::new(),
                    released: Vec::new(),
                    withdrawn: 0,
                    will: None,
                },
            );
        }
        SessionRow::Subscription { session, filter, bytes } => {
            let held = decode_subscription(bytes).map_err(broken("subscription", filter.to_owned()))?;
            if let Some(s) = of(session, found, orphans) {
                s.subscriptions.push((filter.to_owned(), held));
            }
        }
        SessionRow::Unreleased { session, id } => {
            if let Some(s) = of(session, found, orphans) {
                s.unreleased.push(id);
            }
        }
        SessionRow::Queued { session, sequence, bytes } => {
            let row = decode_queued(bytes, sequence).map_err(broken("message", format!("{session}/{sequence}")))?;
            if let Some(s) = of(session, found, orphans) {
                match row {
                    QueueRow::Message(queued) => s.queued.push(queued),
                    QueueRow::Released => s.released.push(sequence),
                    QueueRow::Withdrawn => s.withdrawn = sequence & !WITHDRAWN,
                }
            }
        }
        SessionRow::Will { session, bytes } => {
            let will = WillRecord::decode(bytes).map_err(broken("will", session.to_string()))?;
            if let Some(s) = of(session, found, orphans) {
                s.will = Some(will);
            }
        }
        SessionRow::Retained { topic, bytes } => {
            let (message, holder) = decode_retained(bytes).map_err(broken("retained message", topic.to_owned()))?;
            // It was within its holder's bounds when it was taken; those of today are their grant's to say.
            let holder = holder.map(|name| Holder { name: name.into(), limits: RetainedLimits::NONE });
            if retained.set(Arc::new(message), holder.as_ref()).is_err() {
                tracing::warn!(topic, "a retained message of the store is beyond the configured bound and is left out");
            }
        }
    }
    Ok(())
}
