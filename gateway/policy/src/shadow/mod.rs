//! A candidate that decides beside the live policy, and whose answers count for nothing.
//!
//! The live policy has answered before the candidate is asked. What the question was is put into a short queue; when that
//! is full it is dropped and counted, so that nobody ever waits for a shadow. The candidate runs in instances of its own, one
//! call at a time, on one thread of its own that yields to all others of this machine: a gateway that has enough to do
//! leaves it what is left over. What it would change is described in `capability::effects`.

mod given;
mod report;
mod worker;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portcullis_grant::gatekeeper::{Action, Reply};
use portcullis_grant::{ConnectionFacts, Grant, Login};
use tokio::sync::{mpsc, watch};

use crate::generation::Generation;

pub use given::Comparison;
pub(crate) use given::Given;
pub use report::{Difference, ShadowReport};

/// Questions that wait for the candidate.
const QUEUE: usize = 64;
/// Shares are in ten-thousandths.
const WHOLE: u32 = 10_000;

/// How many of the clients a candidate is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// Everybody.
    pub const ALL: Self = Self(WHOLE);

    /// Reads `10%`, `0.5%` or `100%`. None: it is not a share, or nobody's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let percent: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
        let parts = (percent * 100.0).round();
        (1.0..=f64::from(WHOLE)).contains(&parts).then_some(Self(parts as u32))
    }

    /// As it is read.
    #[must_use]
    pub fn words(self) -> String {
        format!("{}%", f64::from(self.0) / 100.0)
    }

    /// Whether a client is among them. The same client always is or never is, and stays so when the share grows. The hash
    /// is not seeded, so that this outlives a restart; whoever chooses an identifier to be in or out gains nothing by it.
    fn takes(self, client: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        client.hash(&mut hasher);
        hasher.finish() % u64::from(WHOLE) < u64::from(self.0)
    }
}

/// What was asked.
pub(crate) enum Matter {
    Login(Login),
    Reply(Box<Reply>),
    Authorize(Arc<Grant>, Action),
    Renew(ConnectionFacts, Arc<Grant>),
}

/// A question that the live policy has answered.
pub(crate) struct Asked {
    pub(crate) matter: Matter,
    pub(crate) live: Given,
    pub(crate) took: Duration,
}

/// A running comparison. Dropping it ends it.
#[derive(Debug)]
pub struct Shadow {
    share: Share,
    questions: mpsc::Sender<Asked>,
    dropped: AtomicU64,
    work: Arc<worker::Work>,
    /// Its end tells the thread to stop, in the middle of a call if need be.
    _alive: watch::Sender<()>,
}

impl Shadow {
    /// Begins to ask a candidate that [`crate::Host::load_shadow`] made.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn begin(candidate: Arc<Generation>, share: Share) -> io::Result<Arc<Self>> {
        let (questions, inbox) = mpsc::channel(QUEUE);
        let (alive, until) = watch::channel(());
        let work = Arc::new(worker::Work::new(candidate));
        worker::start(Arc::clone(&work), inbox, until)?;
        Ok(Arc::new(Self { share, questions, dropped: AtomicU64::new(0), work, _alive: alive }))
    }

    /// The candidate.
    #[must_use]
    pub fn candidate(&self) -> Arc<Generation> {
        self.work.slot.current()
    }

    /// Whom it is asked about.
    #[must_use]
    pub fn share(&self) -> Share {
        self.share
    }

    /// Whether it may send requests.
    #[must_use]
    pub fn http(&self) -> bool {
        self.work.effects().is_some_and(|effects| effects.http)
    }

    /// What came of it so far.
    #[must_use]
    pub fn report(&self) -> ShadowReport {
        self.work.report(self.dropped.load(Ordering::Relaxed))
    }

    /// Whether it is asked about this login.
    pub(crate) fn takes(&self, connection: &ConnectionFacts, client_id: &str, username: Option<&str>) -> bool {
        if self.share == Share::ALL {
            return true;
        }
        match (client_id, username) {
            ("", Some(name)) => self.share.takes(name),
            ("", None) => self.share.takes(&connection.peer.address()),
            (id, _) => self.share.takes(id),
        }
    }

    /// Whether it is asked about this grant.
    pub(crate) fn takes_grant(&self, grant: &Grant) -> bool {
        self.share == Share::ALL || self.share.takes(grant.identity.subject())
    }

    /// Hands over a question. Never waits.
    pub(crate) fn offer(&self, asked: Asked) {
        if self.questions.try_send(asked).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_people_write_them() {
        for (text, parts) in [("10%", 1000), ("0.5%", 50), ("100%", 10_000), ("0.01 %", 1)] {
            assert_eq!(Share::parse(text), Some(Share(parts)), "{text}");
        }
        for wrong in ["", "10", "0%", "101%", "-1%", "x%", "NaN%", "inf%"] {
            assert_eq!(Share::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_client_is_in_or_out_and_stays_in_when_the_share_grows() {
        let (small, large) = (Share(1000), Share(3000));
        let clients: Vec<_> = (0..10_000).map(|number| format!("device-{number}")).collect();
        let count = |share: Share| clients.iter().filter(|client| share.takes(client)).count();
        assert!((800..1200).contains(&count(small)) && (2700..3300).contains(&count(large)));
        assert!(clients.iter().all(|client| !small.takes(client) || large.takes(client)));
        assert_eq!(count(small), count(small));
    }
}
