//! The gateway's figures as metrics, read when somebody asks: nothing is counted twice.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use portcullis_policy::{CallOutcome, Generation, LATENCY_BOUNDS_US, UseFigures};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::assemble::Gateway;

/// Reads the figures of a gateway.
pub(crate) struct Figures(Weak<Gateway>);

impl Figures {
    /// Of this gateway, which is held weakly: it holds the door that shows them.
    pub(crate) fn of(gateway: &Arc<Gateway>) -> Self {
        Self(Arc::downgrade(gateway))
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(gateway) = self.0.upgrade() else { return Ok(()) };
        totals(&gateway, &mut encoder)?;
        store(&gateway, &mut encoder)?;
        listeners(&gateway, &mut encoder)?;
        policies(&gateway, &mut encoder)?;
        crate::shadows::encode(&gateway, &mut encoder)?;
        crate::probation::encode(&gateway, &mut encoder)
    }
}

fn totals(gateway: &Gateway, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let totals = gateway.broker.totals();
    let (retained, retained_bytes) = gateway.broker.retained();
    let counters = [
        ("messages_received", "PUBLISH packets taken from clients", totals.received),
        ("messages_received_bytes", "Octets of them", totals.received_bytes),
        ("messages_delivered", "PUBLISH packets handed to clients or their queues", totals.delivered),
        ("messages_dropped", "QoS 0 messages not delivered because their receiver was too slow", totals.dropped),
        (
            "messages_refused",
            "Messages refused because their receiver's queue was full, or because no more can be retained",
            totals.refused,
        ),
        ("messages_oversized", "Messages larger than their receiver takes", totals.oversized),
        ("messages_unauthorized", "Publications that the grant did not permit", totals.unauthorized),
        ("logins_admitted", "MQTT logins that succeeded", totals.connected),
        ("logins_refused", "MQTT logins that were refused", totals.logins_refused),
        ("password_checks", "Hashes computed to check passwords", gateway.ground.directory.password_checks()),
        ("connections_malformed", "Connections ended for a malformed or forbidden packet", totals.malformed),
    ];
    for (name, help, value) in counters {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)?;
    }
    let http = &gateway.audit.counts;
    let mut metric = encoder.encode_descriptor(
        "http_decisions",
        "Decisions about HTTP requests: guarded mounts, what is retained, verify. Publishing and subscribing count as MQTT",
        None,
        MetricType::Counter,
    )?;
    let outcomes = [("allowed", &http.admitted), ("refused", &http.refused), ("action-refused", &http.actions_refused)];
    for (outcome, value) in outcomes {
        ConstCounter::new(value.load(Ordering::Relaxed)).encode(metric.encode_family(&[("outcome", outcome)])?)?;
    }
    let mut metric = encoder.encode_descriptor(
        "audit_entries",
        "Entries of the audit stream by where they go, and by whether they got there",
        None,
        MetricType::Counter,
    )?;
    let counts = &gateway.audit.stream_counts;
    for (place, counts) in [("file", &counts.file), ("stdout", &counts.stdout), ("topic", &counts.topic)] {
        for (outcome, value) in [("written", &counts.written), ("lost", &counts.lost)] {
            let labels = [("place", place), ("outcome", outcome)];
            ConstCounter::new(value.load(Ordering::Relaxed)).encode(metric.encode_family(&labels)?)?;
        }
    }
    let gauges = [
        ("connections", "MQTT sessions with a connection", totals.connections),
        ("sessions", "MQTT sessions, connected or not", gateway.broker.sessions() as u64),
        ("subscriptions", "Subscriptions of all sessions", gateway.broker.subscriptions() as u64),
        ("retained_messages", "Retained messages", retained as u64),
        ("retained_bytes", "Octets of retained messages", retained_bytes as u64),
        (
            "waiting_bytes",
            "Octets that wait for clients, or to be acknowledged by them, where it is more than a little",
            gateway.broker.waiting_bytes() as u64,
        ),
        ("uptime_seconds", "Seconds since the gateway was started", gateway.uptime().as_secs()),
    ];
    for (name, help, value) in gauges {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
    }
    Ok(())
}

fn store(gateway: &Gateway, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let store = &gateway.ground.store;
    let done = store.statistics();
    let counters = [
        ("store_commits", "Transactions of the store", done.transactions),
        ("store_syncs", "Those of them that were synced to disk", done.syncs),
        ("store_batches", "Batches of changes in them: many share a transaction", done.batches),
        ("store_failures", "Times that the store failed: disk full or broken", done.failures),
    ];
    for (name, help, value) in counters {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)?;
    }
    let gauges = [
        ("store_waiting_bytes", "Octets of changes that wait to be written", done.waiting),
        ("store_file_bytes", "Octets of the store's file", done.file),
        ("store_failing", "1 while nothing can be stored", u64::from(store.stopped().is_some())),
    ];
    for (name, help, value) in gauges {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
    }
    Ok(())
}

fn listeners(gateway: &Gateway, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let doors: Vec<_> =
        gateway.doors.lock().iter().map(|(name, door)| (name.clone(), door.listening().stats())).collect();
    let mut metric = encoder.encode_descriptor(
        "listener_connections",
        "Connections of a listener, those in their handshake included",
        None,
        MetricType::Gauge,
    )?;
    for (name, stats) in &doors {
        ConstGauge::new(stats.open as i64).encode(metric.encode_family(&[("listener", name.as_str())])?)?;
    }
    let mut metric = encoder.encode_descriptor(
        "listener_accepts",
        "Connections by listener and by what became of them at the door",
        None,
        MetricType::Counter,
    )?;
    for (name, stats) in &doors {
        let outcomes = [
            ("admitted", stats.accepted),
            ("full", stats.refused_full),
            ("rate", stats.refused_rate),
            ("peer", stats.refused_peer),
            ("handshake-failed", stats.handshakes_failed),
        ];
        for (outcome, value) in outcomes {
            let labels = [("listener", name.as_str()), ("outcome", outcome)];
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
    }
    let mut metric = encoder.encode_descriptor(
        "listener_refusals_told",
        "Connections over a limit whose client was told so in its protocol",
        None,
        MetricType::Counter,
    )?;
    for (name, stats) in &doors {
        let labels = [("listener", name.as_str())];
        ConstCounter::new(stats.refusals_told).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn policies(gateway: &Gateway, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let policies: Vec<_> = gateway
        .policies
        .load()
        .all()
        .iter()
        .map(|policy| (policy.name().to_string(), policy.stats().figures()))
        .collect();
    let mut metric = encoder.encode_descriptor(
        "policy_calls",
        "Calls of a policy by what came of them",
        None,
        MetricType::Counter,
    )?;
    for (name, figures) in &policies {
        for (outcome, value) in CallOutcome::ALL.iter().zip(figures.outcomes) {
            let labels = [("policy", name.as_str()), ("outcome", outcome.as_str())];
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
    }
    let mut metric = encoder.encode_descriptor(
        "policy_swaps",
        "Times that another version of a policy was put in place",
        None,
        MetricType::Counter,
    )?;
    for (name, figures) in &policies {
        ConstCounter::new(figures.swaps).encode(metric.encode_family(&[("policy", name.as_str())])?)?;
    }
    policy_uses(gateway, encoder)?;
    let mut metric = encoder.encode_descriptor(
        "policy_call_microseconds",
        "Wall-clock time of a call of a policy, guest and host together",
        None,
        MetricType::Histogram,
    )?;
    for (name, figures) in &policies {
        let bounds = LATENCY_BOUNDS_US.iter().map(|bound| *bound as f64).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(figures.latency).collect();
        let count = figures.latency.iter().sum();
        metric.encode_family(&[("policy", name.as_str())])?.encode_histogram::<NoLabelSet>(
            figures.total_us as f64,
            count,
            &buckets,
            None,
        )?;
    }
    Ok(())
}

/// A family of counters or gauges of policies: its name, what it says, and the name of its second label.
type Family<'f> = (&'f str, &'f str, &'f str, MetricType);
/// The values of such a family by their second label.
type Values = fn(&UseFigures) -> &[(&'static str, u64)];
/// A counter of policies: its name, what it says, its value.
type Count<'f> = (&'f str, &'f str, fn(&UseFigures) -> u64);
/// A gauge of policies. No value: it does not concern this policy.
type Gauge<'f> = (&'f str, &'f str, fn(&UseFigures, &Generation) -> Option<u64>);

/// What policies use up. Labels are names of the configuration and words of the gateway: nothing that a client or a policy
/// can make more of.
fn policy_uses(gateway: &Gateway, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let policies: Vec<_> = gateway
        .policies
        .load()
        .all()
        .iter()
        .map(|policy| {
            let live = policy.current();
            (policy.name().to_string(), live.uses().figures(), live)
        })
        .collect();
    let families: [(Family<'_>, Values); 7] = [
        (
            ("policy_limits_reached", "Times that a policy ran into one of its limits", "limit", MetricType::Counter),
            |f| &f.limits,
        ),
        (("policy_traps", "Traps of a policy by kind", "kind", MetricType::Counter), |f| &f.traps),
        (("policy_denials", "Logins that a policy refused, by its reason", "reason", MetricType::Counter), |f| {
            &f.denials
        }),
        (
            (
                "policy_instances",
                "Instances of a policy that were made, and thrown away for failing",
                "event",
                MetricType::Counter,
            ),
            |f| &f.instances,
        ),
        (
            (
                "policy_http_requests",
                "Requests of a policy to other servers by what came of them",
                "outcome",
                MetricType::Counter,
            ),
            |f| &f.http,
        ),
        (
            (
                "policy_http_bytes",
                "Octets of the bodies of those requests and responses",
                "direction",
                MetricType::Counter,
            ),
            |f| &f.http_bytes,
        ),
        (
            (
                "policy_key_lookups",
                "Look-ups of keys that others publish, by how new they were",
                "freshness",
                MetricType::Counter,
            ),
            |f| &f.keys,
        ),
    ];
    for ((name, help, label, kind), read) in families {
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        for (policy, figures, _) in &policies {
            for (word, value) in read(figures) {
                ConstCounter::new(*value)
                    .encode(metric.encode_family(&[("policy", policy.as_str()), (label, *word)])?)?;
            }
        }
    }
    let counters: [Count<'_>; 2] = [
        ("policy_quarantines", "Times that a policy was put into quarantine", |figures| figures.quarantines),
        ("policy_log_lines_dropped", "Lines of a policy's log that were over its rate", |figures| figures.log_dropped),
    ];
    for (name, help, read) in counters {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (policy, figures, _) in &policies {
            ConstCounter::new(read(figures)).encode(metric.encode_family(&[("policy", policy.as_str())])?)?;
        }
    }
    let gauges: [Gauge<'_>; 7] = [
        ("policy_memory_peak_bytes", "The most linear memory that an instance of a policy had", |f, _| {
            Some(f.memory_peak)
        }),
        ("policy_instances_running", "Instances that serve a call", |_, live| Some(live.running() as u64)),
        ("policy_instances_idle", "Instances that wait for a call", |_, live| Some(live.idle_instances() as u64)),
        ("policy_queue", "Calls that wait for an instance", |_, live| Some(live.waiting().into())),
        ("policy_quarantined", "1 while a policy is left alone because it keeps failing", |_, live| {
            Some(live.is_quarantined().into())
        }),
        ("policy_storage_bytes", "Octets of a policy's storage", |_, live| live.stored().map(|(octets, _)| octets)),
        ("policy_storage_keys", "Keys in a policy's storage", |_, live| live.stored().map(|(_, keys)| keys)),
    ];
    for (name, help, read) in gauges {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (policy, figures, live) in &policies {
            let Some(value) = read(figures, live) else { continue };
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            ConstGauge::new(value).encode(metric.encode_family(&[("policy", policy.as_str())])?)?;
        }
    }
    Ok(())
}
