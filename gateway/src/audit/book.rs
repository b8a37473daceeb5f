//! What is remembered of clients for `portcullis why`: bounded in clients, and in what is kept of each.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::decision::Decision;

/// Clients that are remembered; the one that was seen first goes first.
const CLIENTS: usize = 1024;
/// Decisions that are remembered of each.
const DECISIONS: usize = 16;
/// The same refusal of the same connection within so long is counted rather than written again: whoever sends a thousand
/// messages a second that they may not send fills no disk.
const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Book {
    clients: HashMap<String, Client>,
    /// Keys of `clients` in the order in which they came.
    order: VecDeque<String>,
    seq: u64,
}

#[derive(Debug, Default)]
struct Client {
    decisions: VecDeque<Arc<Decision>>,
    /// When the last of them was written, and how often the same came since.
    written: Option<Instant>,
    repeated: u64,
}

impl Book {
    /// Numbers a decision. Gives those that are to be told to others: none if it repeats the one before, two if repetitions
    /// end with it.
    pub(super) fn add(&mut self, mut decision: Decision) -> [Option<Arc<Decision>>; 2] {
        let now = Instant::now();
        let Some(key) = key(&decision) else { return [None, Some(numbered(&mut self.seq, decision))] };
        if !self.clients.contains_key(&*key) {
            if self.order.len() == CLIENTS
                && let Some(oldest) = self.order.pop_front()
            {
                self.clients.remove(&oldest);
            }
            self.order.push_back((*key).to_owned());
            self.clients.insert((*key).to_owned(), Client::default());
        }
        let Some(client) = self.clients.get_mut(&*key) else { return [None, None] };
        drop(key);
        let action = !matches!(&*decision.what, "login" | "end");
        let last = client.decisions.back().filter(|last| action && decision.repeats(last));
        if let Some(last) = last {
            let recent = client.written.is_some_and(|written| now.duration_since(written) < QUIET);
            client.repeated += 1;
            decision.times = Some(last.times.unwrap_or(1) + 1);
            let counted = numbered(&mut self.seq, decision);
            client.decisions.pop_back();
            client.decisions.push_back(Arc::clone(&counted));
            if recent {
                return [None, None];
            }
            (client.written, client.repeated) = (Some(now), 0);
            return [None, Some(counted)];
        }
        let repeated = client.decisions.back().filter(|_| client.repeated > 0).cloned();
        if client.decisions.len() == DECISIONS {
            client.decisions.pop_front();
        }
        let numbered = numbered(&mut self.seq, decision);
        client.decisions.push_back(Arc::clone(&numbered));
        (client.written, client.repeated) = (Some(now), 0);
        [repeated, Some(numbered)]
    }

    /// The number that was given last.
    pub(super) fn last(&self) -> u64 {
        self.seq
    }

    /// Decisions later than a number, the latest first.
    pub(super) fn find(&self, after: u64, wanted: impl Fn(&Decision) -> bool) -> Vec<Arc<Decision>> {
        let all = self.clients.values().flat_map(|client| &client.decisions);
        let mut found: Vec<_> = all.filter(|decision| decision.seq > after && wanted(decision)).cloned().collect();
        found.sort_by_key(|decision| std::cmp::Reverse(decision.seq));
        found
    }
}

fn numbered(seq: &mut u64, mut decision: Decision) -> Arc<Decision> {
    *seq += 1;
    decision.seq = *seq;
    Arc::new(decision)
}

/// Under which name a client is remembered. Who gives no client identifier is known by user name or identity, or shares a
/// place. None: it is not about a client.
fn key(decision: &Decision) -> Option<Cow<'_, str>> {
    let client_id = decision.client_id.as_ref()?;
    if !client_id.is_empty() {
        return Some(client_id.into());
    }
    let username = decision.username.as_deref().map(Cow::Borrowed);
    username.or_else(|| decision.identity().map(Cow::Owned)).or_else(|| decision.listener.as_deref().map(Cow::Borrowed))
}

#[cfg(test)]
mod tests {
    use super::super::decision::bounded;
    use super::*;

    fn decision(what: &'static str, client_id: &str) -> Decision {
        Decision { client_id: Some(bounded(client_id)), ..Decision::of_gateway(what, "refused") }
    }

    #[test]
    fn the_latest_is_first_and_each_client_has_its_share() {
        let mut book = Book::default();
        for _ in 0..100 {
            book.add(decision("login", "busy"));
        }
        book.add(decision("login", "quiet"));
        let busy: Vec<_> = book.find(0, |d| d.concerns("busy")).iter().map(|d| d.seq).collect();
        assert_eq!(busy, (101 - DECISIONS as u64..101).rev().collect::<Vec<_>>());
        assert_eq!(book.find(0, |d| d.concerns("quiet")).len(), 1);
        assert!(book.find(101, |_| true).is_empty(), "nothing is later than the last");
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let mut book = Book::default();
        for number in 0..CLIENTS + 10 {
            book.add(decision("login", &format!("{number}{}", "x".repeat(60_000))));
        }
        assert_eq!(book.clients.len(), CLIENTS);
        assert_eq!(book.order.len(), CLIENTS);
        assert!(
            book.find(0, |_| true).iter().all(|decision| decision.client_id.as_ref().is_some_and(|id| id.len() <= 128))
        );
    }

    #[test]
    fn repetitions_are_counted_and_the_count_is_told() {
        let mut book = Book::default();
        let told = |book: &mut Book, of| -> Vec<_> { book.add(of).into_iter().flatten().collect() };
        let count: usize = (0..1000).map(|_| told(&mut book, decision("publish", "loud").on("a/b")).len()).sum();
        assert!(count < 500, "{count} of 1000 were told");
        let end = told(&mut book, decision("end", "loud"));
        assert_eq!(
            end.iter().map(|d| (&*d.what, d.times)).collect::<Vec<_>>(),
            [("publish", Some(1000)), ("end", None)]
        );
        assert_eq!(told(&mut book, decision("publish", "loud").on("a/b")).len(), 1);
        assert_eq!(told(&mut book, decision("publish", "loud").on("a/c")).len(), 1, "another topic is another refusal");
    }
}
