//! `portcullis why CLIENT`: who decided what about a client, and for which reason.

use hyper::Method;
use serde_json::Value;

use super::place::Place;
use super::remote::{Remote, encoded};
use super::{Exit, Failure, out};
use crate::audit::Decision;

/// Shows the latest decisions, the newest first; or, following, the oldest first and then what comes.
pub(super) fn run(client: &str, json: bool, follow: bool, place: &Place) -> Result<Exit, Failure> {
    let remote = Remote::require(&place.data())?;
    let path = format!("/api/v1/decisions?client={}", encoded(client));
    let mut answer = remote.must(Method::GET, &path, None)?;
    let items = answer["items"].take();
    if follow {
        return go_on(&remote, &path, json, items, answer["latest"].as_u64().unwrap_or_default());
    }
    if items.as_array().is_none_or(Vec::is_empty) {
        let words = format!(
            "nothing is known about {client:?}: no client identifier, user name or subject like it was seen lately"
        );
        return Err(Failure::new(words, Exit::NotFound));
    }
    if json {
        out::line(items);
    } else {
        decisions(items)?.iter().for_each(show);
    }
    Ok(Exit::Success)
}

/// What there is, and what comes, until the gateway stops or somebody interrupts.
fn go_on(remote: &Remote, path: &str, json: bool, mut items: Value, mut after: u64) -> Result<Exit, Failure> {
    loop {
        for item in items.as_array().into_iter().flatten().rev() {
            if json {
                out::line(item);
            }
        }
        let known = decisions(items)?;
        if !json {
            known.iter().rev().for_each(show);
        }
        // What came between the two questions is not lost: the next one asks for what is later than this.
        after = known.iter().map(|decision| decision.seq).max().unwrap_or(after);
        let mut answer = remote.must(Method::GET, &format!("{path}&after={after}"), None)?;
        items = answer["items"].take();
    }
}

fn decisions(items: Value) -> Result<Vec<Decision>, Failure> {
    serde_json::from_value(items)
        .map_err(|error| Failure::new(format!("the answer makes no sense: {error}"), Exit::Failure))
}

fn show(decision: &Decision) {
    let target = decision.target.as_deref().map_or_else(String::new, |target| format!(" of {target}"));
    let what = if decision.what == "end" { "the connection".to_owned() } else { format!("{}{target}", decision.what) };
    let reason = decision.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
    let times = decision.times.map_or_else(String::new, |times| format!(" ({times} times)"));
    out::line(format_args!("{}  {what} {}{reason}{times}", decision.at, decision.verdict));
    let more = |name: &str, text: Option<&str>| {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            out::line(format_args!("    {name:<9} {text}"));
        }
    };
    more("because", decision.detail.as_deref());
    let digest = decision.digest.as_deref().and_then(|digest| digest.get(..12)).unwrap_or_default();
    let policy = decision.policy.as_ref().map(|policy| {
        let took = decision.micros.map_or_else(String::new, |micros| format!(", {micros} µs"));
        let known = decision.freshness.as_deref().map_or_else(String::new, |word| format!(", {word}"));
        format!("{policy} ({digest}){known}{took}")
    });
    more("policy", policy.as_deref());
    more("identity", decision.identity().as_deref());
    more("tenant", decision.tenant.as_deref());
    more("for", decision.acting_for.as_deref());
    more("user name", decision.username.as_deref());
    if let (Some(peer), Some(listener)) = (&decision.peer, &decision.listener) {
        more("from", Some(&format!("{peer} on listener {listener}")));
    }
    more("by", decision.by.as_deref());
}
