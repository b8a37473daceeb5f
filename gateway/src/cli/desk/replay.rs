//! `portcullis policy replay FILE RECORDING`: recorded logins put to a candidate, and what it decides otherwise.
//!
//! The candidate asks the host, and the recording answers. What it asks beyond the recording nobody knows: such a login
//! counts as one that cannot be told, and never as one that stayed the same.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

use portcullis_policy::{Allow, DirectoryAccess, PolicySpec};
use serde_json::{Map, Value, json};

use super::compare::shown;
use super::subject::Subject;
use crate::cli::{Exit, Failure, out};
use crate::config::Config;
use crate::policies;

/// Changes of one kind that are told one by one.
const EXAMPLES: usize = 5;

/// What the command line says.
pub(in crate::cli) struct Options<'o> {
    /// `builtin:NAME` or a file.
    pub(in crate::cli) policy: &'o str,
    /// The recording.
    pub(in crate::cli) recording: &'o Path,
    /// The gateway's configuration, for the entry of the policy.
    pub(in crate::cli) config: Option<&'o Path>,
    /// The name of that entry, if it is not the recorded policy's.
    pub(in crate::cli) entry: Option<&'o str>,
    /// Write JSON.
    pub(in crate::cli) json: bool,
}

/// What came of a replay.
#[derive(Default)]
struct Report {
    same: u64,
    /// By what has changed.
    changed: BTreeMap<String, Group>,
    /// By the function that the recording has no answer to.
    unknown: BTreeMap<String, u64>,
    unknown_logins: u64,
}

#[derive(Default)]
struct Group {
    count: u64,
    examples: Vec<Value>,
}

/// Replays.
pub(in crate::cli) fn run(options: &Options<'_>) -> Result<Exit, Failure> {
    let subject = Subject::read(options.policy)?;
    let file = std::fs::File::open(options.recording).map_err(|error| {
        Failure::new(format!("{} cannot be read: {}", options.recording.display(), crate::plain(&error)), Exit::Failure)
    })?;
    let mut lines = std::io::BufReader::new(file).lines();
    let head: Value = match lines.next().transpose()?.and_then(|line| serde_json::from_str::<Value>(&line).ok()) {
        Some(head) if head["portcullis-recording"] == 1 => head,
        _ => {
            let words = format!("{} is not a recording of `portcullis policy record`", options.recording.display());
            return Err(Failure::new(words, Exit::Failure));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let spec = spec(&subject, options, &head)?;
    let host = super::host_with(None, Some(subject.compiler.clone()))?;
    let generation =
        runtime.block_on(host.load(spec)).map_err(|error| Failure::new(error.to_string(), Exit::Failure))?;
    let mut report = Report::default();
    for (number, line) in lines.enumerate() {
        let line = line?;
        let wrong =
            |why: String| Failure::new(format!("{}:{}: {why}", options.recording.display(), number + 2), Exit::Failure);
        let decision: Value = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        let replayed = runtime.block_on(generation.replay(&decision)).map_err(wrong)?;
        report.add(&decision, replayed.verdict, &replayed.missing);
    }
    if options.json {
        out::line(report.document());
    } else {
        report.show();
    }
    Ok(if report.changed.is_empty() { Exit::Success } else { Exit::Failure })
}

/// The entry of the policy, or all that can be granted and no configuration.
fn spec(subject: &Subject, options: &Options<'_>, head: &Value) -> Result<PolicySpec, Failure> {
    let mut spec = PolicySpec::new("replayed", subject.component.clone(), subject.origin.clone());
    // Nothing is really asked: the interfaces need only be there.
    spec.allow = Allow {
        http: Some(Vec::new()),
        keyvalue: true,
        keys: Some(subject.allow.keys.iter().flatten().map(|name| name.value.clone()).collect()),
        directory: DirectoryAccess::Write,
    };
    spec.limits.deadline = Some(std::time::Duration::from_secs(10));
    let Some(file) = options.config else { return Ok(spec) };
    let config = Config::load(file).map_err(|report| Failure { words: report.to_string(), exit: Exit::Config })?;
    let name = options.entry.or_else(|| head["policy"].as_str()).unwrap_or_default();
    let entry = policies::entry(&config, name).ok_or_else(|| {
        Failure::new(format!("{} has no policy named `{name}`; --policy names another", file.display()), Exit::NotFound)
    })?;
    spec.config = Value::Object(entry.config.clone());
    let deadline = spec.limits.deadline;
    spec.limits = policies::limits(&entry.limits);
    spec.limits.deadline = deadline;
    if let Some(allow) = &entry.allow {
        spec.allow = policies::allow(allow);
        spec.optional = subject.optional();
    }
    Ok(spec)
}

impl Report {
    fn add(&mut self, decision: &Value, verdict: Result<Value, String>, missing: &[String]) {
        if !missing.is_empty() {
            self.unknown_logins += 1;
            for function in missing {
                *self.unknown.entry(function.clone()).or_default() += 1;
            }
            return;
        }
        let before = match decision.get("failed").and_then(Value::as_str) {
            Some(why) => Err(why.to_owned()),
            None => Ok(decision["verdict"].clone()),
        };
        let (was, is) = (kind(&before), kind(&verdict));
        let (what, parts) = if was == is {
            (was.to_owned(), parts(&before, &verdict))
        } else {
            (format!("{was} → {is}"), Vec::new())
        };
        if was == is && parts.is_empty() {
            self.same += 1;
            return;
        }
        let what = if parts.is_empty() { what } else { format!("{what}, but {}", names(&parts)) };
        let group = self.changed.entry(what).or_default();
        group.count += 1;
        if group.examples.len() < EXAMPLES {
            let credentials = &decision["credentials"];
            let differences: Map<String, Value> =
                parts.into_iter().map(|(name, was, is)| (name, json!({ "was": was, "is": is }))).collect();
            group.examples.push(json!({
                "at": decision["at"],
                "client_id": credentials["client_id"],
                "username": credentials["username"],
                "peer": decision["connection"]["peer_address"],
                "was": words(&before),
                "is": words(&verdict),
                "differences": differences,
            }));
        }
    }

    fn document(&self) -> Value {
        let changed: Vec<Value> = self
            .changed
            .iter()
            .map(|(what, group)| json!({ "what": what, "count": group.count, "examples": group.examples }))
            .collect();
        json!({ "same": self.same, "changed": changed, "cannot_be_told": self.unknown_logins, "not_recorded": self.unknown })
    }

    fn show(&self) {
        for (what, group) in &self.changed {
            out::line(format_args!("{what}: {}", group.count));
            for example in &group.examples {
                let who = |name: &str| example[name].as_str().unwrap_or("-").to_owned();
                out::line(format_args!(
                    "    client {} user {} from {}",
                    who("client_id"),
                    who("username"),
                    who("peer")
                ));
                if example["was"] != example["is"] {
                    out::line(format_args!("        was  {}", shown(&example["was"])));
                    out::line(format_args!("        is   {}", shown(&example["is"])));
                }
                for (name, difference) in example["differences"].as_object().into_iter().flatten() {
                    out::line(format_args!(
                        "        {name}: {} → {}",
                        shown(&difference["was"]),
                        shown(&difference["is"])
                    ));
                }
            }
        }
        for (function, count) in &self.unknown {
            out::line(format_args!("cannot be told: {count} asked `{function}`, which the recording has no answer to"));
        }
        let changed: u64 = self.changed.values().map(|group| group.count).sum();
        out::line(format_args!(
            "{} logins: {} the same, {changed} changed, {} cannot be told",
            self.same + changed + self.unknown_logins,
            self.same,
            self.unknown_logins
        ));
    }
}

/// What an answer is.
fn kind(of: &Result<Value, String>) -> &str {
    match of {
        Err(_) => "failed",
        Ok(Value::String(_)) => "pass",
        Ok(verdict) => match verdict.as_object().and_then(|of| of.keys().next()).map(String::as_str) {
            Some("Allow") => "allow",
            Some("Deny") => "deny",
            Some("Challenge") => "challenge",
            _ => "nothing",
        },
    }
}

/// Why, in short.
fn words(of: &Result<Value, String>) -> Value {
    match of {
        Err(why) => why.as_str().into(),
        Ok(verdict) => {
            let denied = &verdict["Deny"];
            if denied.is_object() {
                return format!(
                    "deny: {} ({})",
                    denied["detail"].as_str().unwrap_or_default(),
                    shown(&denied["reason"])
                )
                .into();
            }
            kind(of).into()
        }
    }
}

/// The members in which two answers of one kind differ. Words for people and what a policy keeps for itself do not count.
fn parts(before: &Result<Value, String>, after: &Result<Value, String>) -> Vec<(String, Value, Value)> {
    let (Ok(before), Ok(after)) = (before, after) else { return Vec::new() };
    let inner = |verdict: &Value| verdict.as_object().and_then(|of| of.values().next()).cloned().unwrap_or_default();
    let (before, after) = (inner(before), inner(after));
    let mut found = Vec::new();
    for (name, was) in before.as_object().into_iter().flatten() {
        let is = after.get(name).cloned().unwrap_or_default();
        if !["detail", "message", "state", "data"].contains(&name.as_str()) && sorted(was) != sorted(&is) {
            found.push((name.replace('_', "-"), was.clone(), is));
        }
    }
    found
}

/// A list in an order of its own: that of rules and roles means nothing.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<String> = items.iter().map(Value::to_string).collect();
            items.sort();
            items.into()
        }
        other => other.clone(),
    }
}

fn names(parts: &[(String, Value, Value)]) -> String {
    let names: Vec<&str> = parts.iter().map(|(name, ..)| name.as_str()).collect();
    format!("{} differ{}", names.join(" and "), if names.len() == 1 { "s" } else { "" })
}
