//! Recordings of policies, as administrators make them.

use std::time::Duration;

use portcullis_http::{AdminError, AdminResult};
use portcullis_policy::{Policy, Recorder, RecordingOptions};
use serde_json::{Map, Value, json};

/// The longest recording.
const LONGEST: u64 = 24 * 3600;
/// Decisions of one answer.
const PAGE: usize = 200;

/// Begins one.
pub(super) fn begin(policy: &Policy, mut wanted: Map<String, Value>) -> AdminResult {
    let invalid = |words: &str| AdminError::Invalid(words.to_owned());
    let seconds = match wanted.remove("seconds").map(|value| value.as_u64()) {
        Some(Some(seconds @ 1..=LONGEST)) => seconds,
        _ => return Err(invalid("`seconds` is a number from 1 to 86400")),
    };
    let share = match wanted.remove("share").map_or(Some(1.0), |value| value.as_f64()) {
        Some(share) if share > 0.0 && share <= 1.0 => share,
        _ => return Err(invalid("`share` is a number above 0, and 1 at most")),
    };
    let with_secrets = match wanted.remove("with_secrets").map_or(Some(false), |value| value.as_bool()) {
        Some(with) => with,
        None => return Err(invalid("`with_secrets` is true or false")),
    };
    if let Some(name) = wanted.keys().next() {
        return Err(AdminError::Invalid(format!("`{name}` is unknown here")));
    }
    let options = RecordingOptions { time: Duration::from_secs(seconds), share, with_secrets };
    let recorder = Recorder::new(options).map_err(AdminError::Failed)?;
    if !policy.record(recorder) {
        return Err(AdminError::Conflict(format!("policy `{}` is being recorded already", policy.name())));
    }
    tracing::warn!(policy = &**policy.name(), seconds, share, with_secrets, "logins are being recorded");
    Ok(json!({ "policy": &**policy.name(), "digest": &*policy.current().stamp().digest }))
}

/// What has come since the last time.
pub(super) fn fetch(policy: &Policy) -> AdminResult {
    let recorder = policy.recorder().ok_or_else(|| not_recorded(policy))?;
    let fetched = recorder.fetch(PAGE);
    if fetched.ended {
        policy.end_recording();
    }
    Ok(json!({
        "items": fetched.decisions,
        "recorded": fetched.recorded,
        "dropped": fetched.dropped,
        "ended": fetched.ended,
    }))
}

/// Ends it.
pub(super) fn end(policy: &Policy) -> AdminResult {
    let recorder = policy.recorder().ok_or_else(|| not_recorded(policy))?;
    recorder.end();
    Ok(json!({ "message": "ended" }))
}

fn not_recorded(policy: &Policy) -> AdminError {
    AdminError::NotFound(format!("policy `{}` is not being recorded", policy.name()))
}
