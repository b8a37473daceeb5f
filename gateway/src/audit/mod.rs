//! Who was let in or refused, and why; and who changed what: `portcullis why`, and the audit stream.
//!
//! The broker tells what happens to clients, the admin interface what administrators do, the directory what changes in
//! it. The latest is kept in memory ([`book`]); all of it goes to where the configuration says ([`stream`]).

mod book;
mod decision;
mod file;
pub(crate) mod pending;
mod stream;
mod words;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portcullis_grant::{Account, ConnectionFacts, FilterRefusal, Grant, Peer, Refusal};
use portcullis_http::{AdminWitness, Witness};
use portcullis_identity::{Change, ChangeKind};
use portcullis_policy::QuarantineWitness;
use portcullis_session::{Broker, End, Observer};
use tokio::sync::watch;

use self::book::Book;
pub(crate) use self::decision::Decision;
use self::decision::bounded;
pub(crate) use self::file::Turnover;
pub(crate) use self::stream::AllCounts;
use self::stream::Stream;
use crate::config;

/// How long somebody who follows decisions waits for the next.
const FOLLOW: Duration = Duration::from_secs(25);

/// The audit. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    inner: Arc<Inner>,
    /// Of decisions about HTTP requests that MQTT has no part in; it counts its own.
    pub(crate) counts: Arc<HttpDecisions>,
    /// Of entries of the stream.
    pub(crate) stream_counts: AllCounts,
}

#[derive(Debug, Default)]
struct Inner {
    book: Mutex<Book>,
    stream: ArcSwap<Stream>,
    /// The number of the latest, for those who follow.
    latest: watch::Sender<u64>,
}

/// Decisions about HTTP requests: guarded mounts, what is retained, `/verify`.
#[derive(Debug, Default)]
pub(crate) struct HttpDecisions {
    /// Let in.
    pub(crate) admitted: AtomicU64,
    /// Refused.
    pub(crate) refused: AtomicU64,
    /// Let in, and not permitted what they were about.
    pub(crate) actions_refused: AtomicU64,
}

impl Audit {
    /// Begins to write where the configuration says, in place of where it was written before.
    ///
    /// # Errors
    /// The file cannot be opened; nothing has changed then.
    pub(crate) fn write_to(&self, settings: &config::Audit, broker: &Arc<Broker>) -> io::Result<()> {
        let stream = Stream::open(settings, &self.stream_counts, broker)?;
        self.inner.stream.store(Arc::new(stream));
        Ok(())
    }

    /// Takes the file up again under its name.
    pub(crate) fn reopen(&self) {
        self.inner.stream.load().reopen();
    }

    /// Writes what waits, bounded in time. Blocks.
    pub(crate) fn close(&self) {
        self.inner.stream.swap(Arc::default()).close();
    }

    /// The decisions about a client after this number, the latest first. `client` is a client identifier, a user name, or
    /// the subject of an identity. None: those about everybody.
    pub(crate) fn about(&self, client: Option<&str>, after: u64) -> Vec<Arc<Decision>> {
        let client = client.map(bounded);
        let book = self.inner.book.lock();
        book.find(after, |decision| client.as_deref().is_none_or(|client| decision.concerns(client)))
    }

    /// As [`Self::about`], and waits for a while if there is nothing yet.
    pub(crate) async fn follow(&self, client: Option<&str>, after: u64) -> Vec<Arc<Decision>> {
        let mut latest = self.inner.latest.subscribe();
        let found = async {
            loop {
                latest.mark_unchanged();
                let found = self.about(client, after);
                if !found.is_empty() || latest.changed().await.is_err() {
                    return found;
                }
            }
        };
        tokio::time::timeout(FOLLOW, found).await.unwrap_or_default()
    }

    /// The number of the latest decision.
    pub(crate) fn last(&self) -> u64 {
        self.inner.book.lock().last()
    }

    /// Adds a decision, or something that was done to the gateway.
    pub(crate) fn record(&self, decision: Decision) {
        let (told, last) = {
            let mut book = self.inner.book.lock();
            let told = book.add(decision);
            (told, book.last())
        };
        let stream = self.inner.stream.load();
        told.iter().flatten().for_each(|entry| stream.tell(entry));
        // Whoever begins to follow after this look finds it in the book.
        if self.inner.latest.receiver_count() > 0 {
            self.inner.latest.send_replace(last);
        }
    }

    /// A change in the directory, by whoever makes it on this thread.
    pub(crate) fn changed(&self, change: &Change) {
        let by = portcullis_identity::actor();
        if let Some(decision) = Self::of_change(change) {
            self.record(decision.done_by(by.as_deref().unwrap_or("the gateway")));
        }
    }

    /// A change in the directory, without whose it is. None: it has no name.
    fn of_change(change: &Change) -> Option<Decision> {
        let verdict = match change.kind {
            ChangeKind::Created => "created",
            ChangeKind::Updated => "updated",
            ChangeKind::Disabled => "disabled",
            ChangeKind::Deleted => "deleted",
        };
        Some(Decision::of_gateway("directory", verdict).on(change.dependencies.first()?))
    }

    /// Told of quarantines by the policy host.
    pub(crate) fn quarantines(&self) -> QuarantineWitness {
        let audit = self.clone();
        QuarantineWitness::new(move |stamp, entered, why| {
            let verdict = if entered { "entered" } else { "left" };
            let mut decision = Decision::of_gateway("quarantine", verdict).on(&stamp.name).because(why);
            decision.digest = Some((&stamp.digest).into());
            audit.record(decision);
        })
    }

    fn login(&self, connection: &ConnectionFacts, client_id: &str, username: Option<&str>, refusal: &Refusal) {
        let mut decision = about("login", "refused", connection, client_id)
            .by_policy(refusal.policy.as_ref(), refusal.account)
            .because(&refusal.denial.detail);
        decision.username = username.map(bounded);
        decision.reason = Some(refusal.denial.reason.as_str().into());
        self.record(decision);
    }
}

fn about(what: &'static str, verdict: &'static str, connection: &ConnectionFacts, client_id: &str) -> Decision {
    let client_id = if is_nameless(connection, client_id) { "" } else { client_id };
    Decision::about(what, verdict, connection, client_id)
}

/// Whether a client identifier is one that was made up for HTTP requests: there may be one a request, and to remember
/// each would be to forget everybody else.
fn is_nameless(connection: &ConnectionFacts, client_id: &str) -> bool {
    connection.protocol == "http" && client_id.starts_with("auto-")
}

impl AdminWitness for Audit {
    fn acted(&self, by: Peer, method: &str, path: &str, status: u16) {
        let verdict = if (200..300).contains(&status) { "done" } else { "failed" };
        let decision = Decision::of_gateway("admin", verdict).on(&format!("{method} {path}"));
        self.record(decision.because(&format!("answered {status}")).done_by(&administrator(by)));
    }
}

/// How audit calls whoever came with the admin token.
pub(crate) fn administrator(at: Peer) -> String {
    format!("administrator at {at}")
}

impl Witness for Audit {
    fn admitted(&self, connection: &ConnectionFacts, grant: &Grant, account: Account) {
        self.counts.admitted.fetch_add(1, Ordering::Relaxed);
        Observer::admitted(self, connection, "", grant, account);
    }

    fn refused(&self, connection: &ConnectionFacts, refusal: &Refusal) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        self.login(connection, "", None, refusal);
    }

    fn action_refused(&self, connection: &ConnectionFacts, grant: &Grant, what: &'static str, topic: &str) {
        self.counts.actions_refused.fetch_add(1, Ordering::Relaxed);
        Observer::action_refused(self, connection, "", grant, what, topic);
    }
}

impl Observer for Audit {
    fn admitted(&self, connection: &ConnectionFacts, client_id: &str, grant: &Grant, account: Account) {
        let decision = about("login", "allowed", connection, client_id).under(grant);
        self.record(decision.by_policy(Some(&grant.policy), account));
    }

    fn refused(&self, connection: &ConnectionFacts, client_id: &str, username: Option<&str>, refusal: &Refusal) {
        self.login(connection, client_id, username, refusal);
    }

    fn action_refused(
        &self,
        connection: &ConnectionFacts,
        client_id: &str,
        grant: &Grant,
        what: &'static str,
        topic: &str,
    ) {
        let mut decision = about(what, "refused", connection, client_id).under(grant).on(topic);
        decision.reason = Some("not-authorized".into());
        match grant.refusal_of(unshared(topic)) {
            Some(why) => {
                decision = decision.by_policy(Some(&grant.policy), why.account).because(&why.detail);
                decision.reason = Some(why.reason.as_str().into());
            }
            // A rule of the grant: nobody was asked, and it took no time.
            None => decision = decision.stamped(Some(&grant.policy)),
        }
        self.record(decision);
    }

    fn message_refused(
        &self,
        connection: &ConnectionFacts,
        client_id: &str,
        grant: &Grant,
        what: &'static str,
        topic: &str,
        refusal: &FilterRefusal,
    ) {
        let decision = about(what, "refused", connection, client_id).under(grant).on(topic).because(&refusal.detail);
        let mut decision = decision.stamped(refusal.policy.as_ref());
        decision.reason = Some(if refusal.failed { "unavailable" } else { refusal.reason.name() }.into());
        self.record(decision);
    }

    fn ended(&self, connection: &ConnectionFacts, client_id: &str, end: &End) {
        if is_nameless(connection, client_id) && end.by_client {
            // An HTTP connection was closed: that tells nobody anything.
            return;
        }
        self.record(about("end", "ended", connection, client_id).because(&end.detail));
    }
}

/// The filter within a shared subscription (MQTT 5 §4.8.2).
fn unshared(filter: &str) -> &str {
    let inner = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    inner.map_or(filter, |(_, filter)| filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_follows_is_woken_by_the_next_of_their_client() {
        let audit = Audit::default();
        let named = |id: &str| Decision { client_id: Some(id.to_owned()), ..Decision::of_gateway("login", "allowed") };
        audit.record(named("pump"));
        let after = audit.last();
        let following = tokio::spawn({
            let audit = audit.clone();
            async move { audit.follow(Some("pump"), after).await }
        });
        tokio::task::yield_now().await;
        audit.record(named("other"));
        audit.record(named("pump"));
        let found = following.await.unwrap();
        assert_eq!(found.iter().map(|decision| decision.seq).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_long_name_is_found_by_its_whole() {
        let audit = Audit::default();
        let name = "é".repeat(500);
        audit.record(Decision { client_id: Some(bounded(&name)), ..Decision::of_gateway("login", "refused") });
        assert_eq!(audit.about(Some(&name), 0).len(), 1);
    }

    #[test]
    fn the_filter_of_a_shared_subscription_is_what_was_asked_about() {
        assert_eq!(unshared("$share/group/a/b"), "a/b");
        assert_eq!(unshared("a/b"), "a/b");
    }
}
