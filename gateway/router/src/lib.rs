//! Where messages go: subscriptions, shared groups, retained messages, mailboxes and the fan-out between them.
//!
//! The hot path of the gateway is here. A publisher's task hands over a [`Run`] (consecutive PUBLISH packets to one
//! topic, still as the bytes that arrived); [`Router::publish`] looks its [`Route`] up once and appends the encoded bytes
//! to each subscriber's [`Mailbox`], which *is* that connection's output buffer. Nothing is queued twice, and what need
//! not be re-encoded is copied once.
//!
//! This room knows no socket (a mailbox is given a [`DirectWriter`] or wakes its owner), no task system and no policy
//! (a subscription is given a predicate that says which topics may not be delivered).

mod alias;
mod batch;
mod buffers;
mod encode;
mod inflight;
mod large;
mod levels;
mod limits;
mod mailbox;
mod message;
mod retained;
mod route;
mod router;
mod run;
mod trie;
mod waiting;

pub use batch::{Batch, Change, Counts};
pub use buffers::Buffer;
pub use encode::Wire;
pub use inflight::AckError;
pub use limits::MailboxLimits;
pub use mailbox::{Backlog, DirectWriter, Flush, Full, Link, Mailbox, Queued, Wake};
pub use message::Message;
pub use retained::{Holder, Retained, RetainedError, RetainedLimits};
pub use route::{Route, RouteVersion, Target};
pub use router::{Published, Router, RouterLimits};
pub use run::{FrameMark, Run};
pub use trie::{DeliveryCheck, Subscription};

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds of a monotonic clock that begins with the process. Message expiry in memory is counted in it.
#[must_use]
pub fn now_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let now = START.get_or_init(Instant::now).elapsed().as_millis() as u64;
    #[cfg(feature = "test-clock")]
    let now = now + test_clock::ahead();
    now
}

/// Milliseconds since 1970, by the clock of the system.
#[must_use]
pub fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    #[cfg(feature = "test-clock")]
    let now = now + test_clock::ahead();
    now
}

/// For tests of what takes time: hours pass in no time, on the calling thread alone. Not compiled into the gateway.
#[cfg(feature = "test-clock")]
pub mod test_clock {
    use std::cell::Cell;

    thread_local! {
        static AHEAD: Cell<u64> = const { Cell::new(0) };
    }

    /// Moves the calling thread's [`crate::now_ms`] and [`crate::unix_ms`] forward by so many milliseconds.
    pub fn advance(ms: u64) {
        AHEAD.set(AHEAD.get() + ms);
    }

    pub(crate) fn ahead() -> u64 {
        AHEAD.get()
    }
}
