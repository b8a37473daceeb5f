//! What came of a shadow, as the admin API tells it.

use portcullis_policy::{CallOutcome, Comparison, Figures, LATENCY_BOUNDS_US, Policy, Shadow};
use serde_json::{Map, Value, json};

/// The whole report.
pub(super) fn document(policy: &Policy, shadow: &Shadow) -> Value {
    let report = shadow.report();
    let candidate = shadow.candidate();
    let count = |comparison| report.count(comparison);
    let parts: Map<String, Value> =
        report.parts.iter().map(|(part, count)| ((*part).to_owned(), (*count).into())).collect();
    let differences: Vec<_> = report
        .differences
        .iter()
        .map(|difference| {
            json!({
                "at": difference.at,
                "what": difference.what,
                "client": difference.client,
                "username": difference.username,
                "listener": difference.listener,
                "result": difference.comparison.as_str(),
                "parts": difference.parts,
                "live": difference.live,
                "candidate": difference.candidate,
                "hindered": difference.hindered,
            })
        })
        .collect();
    let failed = |outcome| report.candidate.outcome(outcome);
    json!({
        "name": &**policy.name(),
        "digest": &*candidate.stamp().digest,
        "live": &*policy.current().stamp().digest,
        "share": shadow.share().words(),
        "http": shadow.http(),
        "since": report.since,
        "asked": report.asked(),
        "dropped": report.dropped,
        "not_followed": report.not_followed,
        "same": count(Comparison::Same),
        "allow_to_deny": count(Comparison::AllowToDeny),
        "deny_to_allow": count(Comparison::DenyToAllow),
        "pass": count(Comparison::Pass),
        "grant": count(Comparison::Grant),
        "grant_parts": parts,
        "reason": count(Comparison::Reason),
        "challenge": count(Comparison::Challenge),
        "candidate_failed": count(Comparison::CandidateFailed),
        "live_failed": count(Comparison::LiveFailed),
        "failures": {
            "trap": failed(CallOutcome::Trap),
            "deadline": failed(CallOutcome::Deadline),
            "void": failed(CallOutcome::Void),
            "refused": failed(CallOutcome::Refused),
        },
        "quarantined": report.quarantined,
        "last_error": report.candidate.last_error.as_ref().map(|error| error.what.as_str()),
        "hindered": { "store": report.stored, "directory": report.directory, "http": report.http },
        "latency": { "live": latency(&report.live), "candidate": latency(&report.candidate) },
        "differences": differences,
    })
}

/// Microseconds: a bound below which so many of all calls lie, and the histogram.
fn latency(figures: &Figures) -> Value {
    let count: u64 = figures.latency.iter().sum();
    let quantile = |share: f64| {
        let mut left = (share * count as f64).ceil() as u64;
        let bucket = figures.latency.iter().position(|calls| {
            left = left.saturating_sub(*calls);
            left == 0
        });
        bucket.and_then(|bucket| LATENCY_BOUNDS_US.get(bucket)).filter(|_| count > 0)
    };
    let buckets: Vec<_> = figures
        .latency
        .iter()
        .enumerate()
        .filter(|(_, calls)| **calls > 0)
        .map(|(bucket, calls)| json!({ "up_to_us": LATENCY_BOUNDS_US.get(bucket), "calls": calls }))
        .collect();
    json!({
        "calls": count,
        "mean_us": figures.total_us.checked_div(count),
        "p50_us": quantile(0.5),
        "p99_us": quantile(0.99),
        "histogram": buckets,
    })
}
