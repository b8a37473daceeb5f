//! `portcullis policy versions|rollback`: what was live, and going back to it.

use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};

use super::place::Place;
use super::remote::{Remote, encoded};
use super::{Exit, Failure, out, table};
use crate::supply::{self, PublicKey};

/// Lists the versions of a policy.
pub(super) fn list(place: &Place, name: &str, as_json: bool) -> Result<Exit, Failure> {
    let path = format!("/api/v1/policies/{}/versions", encoded(name));
    let answer = Remote::require(&place.data())?.must(Method::GET, &path, None)?;
    if as_json {
        out::line(&answer);
        return Ok(Exit::Success);
    }
    let mut rows = vec![["VERSION", "LIVE SINCE", "HOW", "OCTETS", "ORIGIN", ""].map(str::to_owned)];
    for version in answer["items"].as_array().into_iter().flatten() {
        let text = |key: &str| version[key].as_str().unwrap_or("-").to_owned();
        let mut marks = Vec::new();
        if version["live"] == true {
            marks.push("live".to_owned());
        }
        if version["digest"] == answer["source_digest"] {
            marks.push("what the source has".to_owned());
        }
        if let Some(why) = version["taken_back"]["why"].as_str() {
            marks.push(format!("taken back at {}: {why}", table::time(&version["taken_back"]["at"])));
        }
        rows.push([
            short(&version["digest"]),
            table::time(&version["since"]),
            how(&version["how"]).to_owned(),
            version["octets"].to_string(),
            text("origin"),
            marks.join("; "),
        ]);
    }
    table::print(&rows);
    Ok(Exit::Success)
}

/// Goes back.
pub(super) fn roll_back(place: &Place, name: &str, digest: Option<&str>) -> Result<Exit, Failure> {
    let path = format!("/api/v1/policies/{}/rollback", encoded(name));
    let body = digest.map_or_else(|| json!({}), |digest| json!({ "digest": digest }));
    let answer = Remote::require(&place.data())?.must(Method::POST, &path, Some(&body))?;
    out::line(answer["message"].as_str().unwrap_or("done"));
    out::line("It has the configuration and `allow` of its entry as they are now.");
    Ok(Exit::Success)
}

/// What `policy list` says of a policy beside its source.
pub(super) fn state(policy: &Value) -> String {
    let mut words = Vec::new();
    if policy["quarantined_for_http_alone"] == true {
        words.push("its HTTP interface is quarantined: it keeps failing".to_owned());
    } else if policy["quarantined"] == true {
        words.push("quarantined: it keeps failing".to_owned());
    }
    if policy["stands_in_for"].is_string() {
        words.push(format!("{}, in the place of {}", how(&policy["how"]), short(&policy["stands_in_for"])));
    }
    if policy["shadow"].is_string() {
        words.push(format!("{} in shadow", short(&policy["shadow"])));
    }
    if let Some(why) = policy["taken_back"]["why"].as_str() {
        let (digest, at) = (short(&policy["taken_back"]["digest"]), table::time(&policy["taken_back"]["at"]));
        words.push(format!("{digest} was taken back at {at}: {why}"));
    }
    if words.is_empty() { String::new() } else { format!(" ({})", words.join("; ")) }
}

/// What there is to say of the signature beside a component. With a key it must be good.
pub(super) fn signature(file: &Path, component: &[u8], key: Option<&str>) -> Result<String, Failure> {
    let wrong = |why: String| Failure::new(format!("{}: {why}", file.display()), Exit::Failure);
    let text = std::fs::read_to_string(supply::beside(file)).ok();
    match (key, text) {
        (Some(key), text) => {
            let key = PublicKey::parse(key)
                .ok_or_else(|| Failure::new(format!("{key:?} is not a public key of minisign"), Exit::Usage))?;
            let signed = supply::verify(&[key], component, text.as_deref()).map_err(|why| wrong(why.to_string()))?;
            Ok(format!("good, by the key {} ({})", signed.key, signed.comment))
        }
        (None, Some(text)) => Ok(match supply::signer(&text) {
            Some(id) => format!("says to be by the key {id}; --key verifies it"),
            None => "not one of minisign".to_owned(),
        }),
        (None, None) => Ok("none".to_owned()),
    }
}

/// The beginning of a digest.
pub(super) fn short(digest: &Value) -> String {
    digest.as_str().unwrap_or("-").chars().take(12).collect()
}

fn how(word: &Value) -> &'static str {
    match word.as_str() {
        Some("promoted") => "promoted",
        Some("rolled-back") => "rolled back to",
        Some("rolled-back-automatically") => "rolled back to automatically",
        _ => "source",
    }
}
