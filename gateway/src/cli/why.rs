//! `portcullis why CLIENT`: who decided what about a client, and for which reason.

use hyper::Method;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::place::Place;
use super::remote::{Remote, encoded};
use super::{Exit, Failure, out};
use crate::audit::Decision;

/// Shows the latest decisions, the newest first.
pub(super) fn run(client: &str, json: bool, place: &Place) -> Result<Exit, Failure> {
    let path = format!("/api/v1/decisions?client={}", encoded(client));
    let mut answer = Remote::require(&place.data())?.must(Method::GET, &path, None)?;
    let items = answer["items"].take();
    if items.as_array().is_none_or(Vec::is_empty) {
        let words = format!(
            "nothing is known about {client:?}: no client identifier, user name or subject like it was seen lately"
        );
        return Err(Failure::new(words, Exit::NotFound));
    }
    if json {
        out::line(items);
        return Ok(Exit::Success);
    }
    let decisions: Vec<Decision> = serde_json::from_value(items)
        .map_err(|error| Failure::new(format!("the answer makes no sense: {error}"), Exit::Failure))?;
    for decision in &decisions {
        show(decision);
    }
    Ok(Exit::Success)
}

fn show(decision: &Decision) {
    let at = i64::try_from(decision.at).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    let at = at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| decision.at.to_string());
    let target = decision.target.as_deref().map_or_else(String::new, |target| format!(" of {target}"));
    let what = if decision.what == "end" { "the connection".to_owned() } else { format!("{}{target}", decision.what) };
    let reason = decision.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
    out::line(format_args!("{at}  {what} {}{reason}", decision.verdict));
    let more = |name: &str, text: Option<&str>| {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            out::line(format_args!("    {name:<9} {text}"));
        }
    };
    more("because", decision.detail.as_deref());
    let digest = decision.digest.as_deref().and_then(|digest| digest.get(..12)).unwrap_or_default();
    more("policy", decision.policy.as_ref().map(|policy| format!("{policy} ({digest})")).as_deref());
    more("identity", decision.identity.as_deref());
    more("user name", decision.username.as_deref());
    more("from", Some(&format!("{} on listener {}", decision.peer, decision.listener)));
}
