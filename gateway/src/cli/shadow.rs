//! `portcullis policy shadow|promote`: a candidate beside the live policy.

use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};

use super::place::Place;
use super::remote::{Remote, encoded};
use super::versions::short;
use super::{Exit, Failure, out, table};
use crate::supply;

/// About whom a candidate is asked, and what it may do.
pub(super) struct Terms {
    /// `10%`.
    pub(super) share: String,
    /// Whether it may send requests.
    pub(super) http: bool,
}

/// Begins.
pub(super) fn begin(place: &Place, name: &str, file: &Path, terms: &Terms, as_json: bool) -> Result<Exit, Failure> {
    let component = crate::files::read_bounded(file).map_err(|error| {
        Failure::new(format!("{} cannot be read: {}", file.display(), crate::plain(&error)), Exit::Failure)
    })?;
    let signature = std::fs::read_to_string(supply::beside(file)).ok();
    let signature = signature.map_or_else(String::new, |text| format!("&signature={}", encoded(&text)));
    let path = format!("{}?share={}&http={}{signature}", path(name), encoded(&terms.share), terms.http);
    let report = Remote::require(&place.data())?.upload(&path, component)?;
    if as_json {
        out::line(&report);
    } else {
        out::line(format_args!(
            "policy `{name}`: {} decides in shadow, about {} of the clients; `portcullis policy shadow {name}` reports",
            short(&report["digest"]),
            terms.share
        ));
    }
    Ok(Exit::Success)
}

/// Reports.
pub(super) fn show(place: &Place, name: &str, as_json: bool) -> Result<Exit, Failure> {
    let report = Remote::require(&place.data())?.must(Method::GET, &path(name), None)?;
    print(&report, as_json);
    Ok(Exit::Success)
}

/// Ends it, and reports.
pub(super) fn end(place: &Place, name: &str, as_json: bool) -> Result<Exit, Failure> {
    let report = Remote::require(&place.data())?.must(Method::DELETE, &path(name), None)?;
    print(&report, as_json);
    if !as_json {
        out::line("The shadow has ended.");
    }
    Ok(Exit::Success)
}

/// Puts it in place.
pub(super) fn promote(place: &Place, name: &str, digest: Option<&str>) -> Result<Exit, Failure> {
    let path = format!("/api/v1/policies/{}/promote", encoded(name));
    let body = digest.map_or_else(|| json!({}), |digest| json!({ "digest": digest }));
    let answer = Remote::require(&place.data())?.must(Method::POST, &path, Some(&body))?;
    out::line(answer["message"].as_str().unwrap_or("done"));
    Ok(Exit::Success)
}

fn path(name: &str) -> String {
    format!("/api/v1/policies/{}/shadow", encoded(name))
}

fn print(report: &Value, as_json: bool) {
    if as_json {
        out::line(report);
        return;
    }
    let number = |value: &Value| value.as_u64().unwrap_or_default().to_string();
    let latency = |version: &str| {
        let of = &report["latency"][version];
        let bound = |key: &str| of[key].as_u64().map_or_else(|| "more".to_owned(), |us| format!("{us} µs"));
        match of["mean_us"].as_u64() {
            Some(mean) => format!("mean {mean} µs, half within {}, 99% within {}", bound("p50_us"), bound("p99_us")),
            None => "-".to_owned(),
        }
    };
    let listed = |of: &Value, words: &[(&str, &str)]| {
        let some: Vec<_> = words
            .iter()
            .filter(|(key, _)| of[*key].as_u64().unwrap_or_default() > 0)
            .map(|(key, word)| format!("{} {word}", of[*key]))
            .collect();
        if some.is_empty() { String::new() } else { format!(" ({})", some.join(", ")) }
    };
    let failures =
        [("trap", "trapped"), ("deadline", "late"), ("void", "void"), ("refused", "not asked, in quarantine")];
    let parts = report["grant_parts"].as_object().into_iter().flatten();
    let parts: Vec<_> = parts.map(|(part, count)| format!("{count} {part}")).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    let hindered = [
        ("store", "changes of its storage, kept in a scratch"),
        ("directory", "changes of the directory, refused"),
        ("http", "requests, refused"),
    ];
    let rows = [
        ("candidate", format!("{} since {}", short(&report["digest"]), table::time(&report["since"]))),
        ("live", short(&report["live"])),
        ("share", report["share"].as_str().unwrap_or_default().to_owned()),
        ("asked", number(&report["asked"])),
        ("same", number(&report["same"])),
        ("allow to deny", number(&report["allow_to_deny"])),
        ("deny to allow", number(&report["deny_to_allow"])),
        ("pass or not", number(&report["pass"])),
        ("other grant", number(&report["grant"]) + &parts),
        ("other reason", number(&report["reason"])),
        ("other challenge", number(&report["challenge"])),
        ("failed", number(&report["candidate_failed"]) + &listed(&report["failures"], &failures)),
        ("live failed", number(&report["live_failed"])),
        ("dropped", number(&report["dropped"])),
        ("not followed", number(&report["not_followed"])),
        ("without effect", listed(&report["hindered"], &hindered).trim().to_owned()),
        ("latency, live", latency("live")),
        ("latency, it", latency("candidate")),
        ("last error", report["last_error"].as_str().unwrap_or("-").to_owned()),
    ];
    table::print(&rows.map(|(name, value)| [name.to_owned(), value]));
    for difference in report["differences"].as_array().into_iter().flatten() {
        let text = |key: &str| difference[key].as_str().unwrap_or_default().to_owned();
        let parts: Vec<_> = difference["parts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let parts = if parts.is_empty() { String::new() } else { format!(" in {}", parts.join(", ")) };
        out::line(format_args!(
            "\n{}  {} of {:?}{}: {}{parts}{}",
            table::time(&difference["at"]),
            text("what"),
            text("client"),
            difference["username"].as_str().map_or_else(String::new, |name| format!(" ({name})")),
            text("result"),
            if difference["hindered"] == true { ", hindered by being a shadow" } else { "" },
        ));
        out::line(format_args!("    live       {}\n    candidate  {}", text("live"), text("candidate")));
    }
}
