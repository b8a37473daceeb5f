//! Shadows as metrics. They count from the beginning of each shadow.

use std::fmt;
use std::sync::Arc;

use portcullis_policy::{CallOutcome, Comparison, Figures, LATENCY_BOUNDS_US, ShadowReport};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::assemble::Gateway;

/// Writes the figures of all shadows.
pub(crate) fn encode(gateway: &Gateway, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let policies = gateway.policies.load().all();
    let shadows: Vec<(Arc<str>, ShadowReport)> =
        policies.iter().filter_map(|policy| Some((Arc::clone(policy.name()), policy.shadow()?.report()))).collect();
    let mut metric = encoder.encode_descriptor(
        "policy_shadow_comparisons",
        "Questions put to a candidate in shadow, by how its answer compares with that of the live policy",
        None,
        MetricType::Counter,
    )?;
    for (name, report) in &shadows {
        for comparison in Comparison::ALL {
            let labels = [("policy", &**name), ("result", comparison.as_str())];
            ConstCounter::new(report.count(comparison)).encode(metric.encode_family(&labels)?)?;
        }
    }
    let mut metric = encoder.encode_descriptor(
        "policy_shadow_failures",
        "Calls of a candidate in shadow that failed",
        None,
        MetricType::Counter,
    )?;
    for (name, report) in &shadows {
        for outcome in [CallOutcome::Trap, CallOutcome::Deadline, CallOutcome::Void, CallOutcome::Refused] {
            let labels = [("policy", &**name), ("outcome", outcome.as_str())];
            ConstCounter::new(report.candidate.outcome(outcome)).encode(metric.encode_family(&labels)?)?;
        }
    }
    let mut metric = encoder.encode_descriptor(
        "policy_shadow_dropped",
        "Questions that a candidate in shadow was not asked, since too many waited",
        None,
        MetricType::Counter,
    )?;
    for (name, report) in &shadows {
        ConstCounter::new(report.dropped).encode(metric.encode_family(&[("policy", &**name)])?)?;
    }
    let mut metric = encoder.encode_descriptor(
        "policy_shadow_call_microseconds",
        "Wall-clock time of the same calls of a live policy and of its candidate in shadow",
        None,
        MetricType::Histogram,
    )?;
    for (name, report) in &shadows {
        for (version, figures) in [("live", &report.live), ("candidate", &report.candidate)] {
            let (sum, count, buckets) = histogram(figures);
            let labels = [("policy", &**name), ("version", version)];
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
    }
    Ok(())
}

fn histogram(figures: &Figures) -> (f64, u64, Vec<(f64, u64)>) {
    let bounds = LATENCY_BOUNDS_US.iter().map(|bound| *bound as f64).chain([f64::INFINITY]);
    let buckets = bounds.zip(figures.latency).collect();
    (figures.total_us as f64, figures.latency.iter().sum(), buckets)
}
