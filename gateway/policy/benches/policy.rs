//! What deciding costs: `cargo bench -p portcullis-policy`.
//!
//! The guest is the bundled `anonymous`, with five rules of which each holds the client's name. Every line is the median
//! and the 99th percentile of calls timed one by one (of batches, where one is shorter than a clock can tell). Without
//! `--bench`, as when tests are run, each is done once to show that it works.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a program that shows figures")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use portcullis_grant::{
    Action, Actions, Authorization, ConnectionFacts, Credentials, Effect, Gatekeeper, Grant, GrantDraft, Identity,
    Login, Outcome, Permission, PolicyStamp, Publication, Rule,
};
use portcullis_mqtt::QoS;
use portcullis_policy::{Chain, EngineOptions, Host, HostOptions, Policy, PolicySpec};

const GUEST: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/prebuilt/anonymous.wasm"));

fn main() {
    let budget = if std::env::args().any(|arg| arg == "--bench") { Duration::from_secs(2) } else { Duration::ZERO };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let host = Host::new(HostOptions::default()).expect("a host");
    let engine = EngineOptions { interpret: true, ..EngineOptions::default() };
    let interpreter = Host::new(HostOptions { engine, ..HostOptions::default() }).expect("a host");
    let chain = |host: &Host, reuse| {
        let mut spec = PolicySpec::new("anonymous", GUEST, "bench");
        let rule = |actions: &str, filter: &str| serde_json::json!({ "actions": actions, "filter": filter });
        spec.config = serde_json::json!({ "credentials": "pass", "rules": [
            rule("publish", "{client-id}/stream"),
            rule("publish", "$reset/{client-id}"),
            rule("subscribe", "{client-id}/control"),
            rule("will", "{client-id}/status"),
            { "effect": "deny", "actions": "publish", "filter": "{client-id}/secret/#" },
        ]});
        spec.limits.reuse = reuse;
        Chain::new(vec![Policy::new(runtime.block_on(host.load(spec)).expect("the guest loads"))])
    };
    let (reused, fresh, interpreted) = (chain(&host, true), chain(&host, false), chain(&interpreter, true));
    let (mine, not_mine) = (login(None), login(Some("somebody")));
    println!("instances are {}", if host.pools_instances() { "pooled" } else { "allocated on demand" });
    calls("authenticate, fresh instance, grant of five rules", budget, &mine, |login| {
        assert!(matches!(runtime.block_on(fresh.authenticate(login)), Outcome::Allow(..)));
    });
    calls("authenticate, reused instance, grant of five rules", budget, &mine, |login| {
        assert!(matches!(runtime.block_on(reused.authenticate(login)), Outcome::Allow(..)));
    });
    calls("authenticate, reused instance, grant of five rules, interpreted", budget, &mine, |login| {
        assert!(matches!(runtime.block_on(interpreted.authenticate(login)), Outcome::Allow(..)));
    });
    calls("authenticate, reused instance, pass", budget, &not_mine, |login| {
        assert!(matches!(runtime.block_on(reused.authenticate(login)), Outcome::Deny(_)));
    });
    // What each policy adds that passes before another decides; the difference to the line above is what one costs in a
    // chain, without the login around it.
    let long = Chain::new(reused.policies().iter().cycle().take(11).cloned().collect());
    calls("authenticate, reused instances, eleven that pass", budget, &not_mine, |login| {
        assert!(matches!(runtime.block_on(long.authenticate(login)), Outcome::Deny(_)));
    });
    let grant = twenty_rules();
    for (what, topic, allowed) in [
        ("topic check, 20 rules, exact", "dev-7/stream", Permission::Allow),
        ("topic check, 20 rules, wildcard", "tenant/9/a/room/7/temperature", Permission::Allow),
        ("topic check, 20 rules, no match", "elsewhere/9/a/room/7/temperature", Permission::Deny),
        ("topic check, 20 rules, remembered answer of `authorize`", "ask/7/door", Permission::Allow),
    ] {
        batches(what, budget, || {
            assert_eq!(black_box(&grant).publish(black_box(topic), QoS::AtLeastOnce, false), allowed);
        });
    }
}

fn login(username: Option<&str>) -> Login {
    let connection = ConnectionFacts {
        id: "c-000001".into(),
        listener: "mqtts".into(),
        protocol: "mqtt",
        protocol_version: 5,
        transport: "tls",
        peer: std::net::SocketAddr::from(([192, 0, 2, 17], 50_123)).into(),
        details: None,
        identity: None,
    };
    let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let credentials = Credentials {
        client_id: "dev-7_a1b2c3".to_owned(),
        username: username.map(str::to_owned),
        user_properties: vec![property("sdk", "toy/1.0"), property("region", "eu")],
        ..Credentials::default()
    };
    Login { connection, credentials }
}

/// Ten exact rules, nine with wildcards, one that asks.
fn twenty_rules() -> Grant {
    let rule = |effect, filter: String| Rule { effect, actions: Actions::PUBLISH, filter, max_qos: QoS::AtLeastOnce };
    let exact = ["stream", "state", "log", "alarm", "events", "metrics", "config", "health", "inventory", "firmware"];
    let mut rules: Vec<Rule> = exact.iter().map(|name| rule(Effect::Allow, format!("dev-7/{name}"))).collect();
    rules.extend((0..4).map(|n| rule(Effect::Allow, format!("tenant/{}/+/room/+/temperature", 6 + n))));
    rules.extend((0..4).map(|n| rule(Effect::Deny, format!("tenant/{}/secret/#", 6 + n))));
    rules.push(rule(Effect::Deny, "+/admin/#".to_owned()));
    rules.push(rule(Effect::Ask, "ask/+/door".to_owned()));
    assert_eq!(rules.len(), 20);
    let identity = Identity { scheme: "bench".to_owned(), subject: "dev-7".to_owned(), ..Identity::default() };
    let stamp = PolicyStamp { name: "bench".into(), digest: "0".into(), serial: 0 };
    let grant = Grant::compile(GrantDraft { identity, rules, ..GrantDraft::default() }, stamp).expect("a grant");
    let action = Action::Publish(Publication {
        topic: "ask/7/door".to_owned(),
        qos: QoS::AtLeastOnce,
        retain: false,
        will: false,
        size: 0,
    });
    grant.remember(&action, &Authorization { denied: None, valid_for: 3600 });
    grant
}

/// Copying the login is what a connection does not do, and not timed.
fn calls(what: &str, budget: Duration, login: &Login, call: impl FnMut(Login)) {
    timed(what, budget, 1, || login.clone(), call);
}

fn batches(what: &str, budget: Duration, mut call: impl FnMut()) {
    let batch = 100;
    timed(what, budget / 2, batch, || (), |()| (0..batch).for_each(|_| call()));
}

/// Times `call`, which does its work `batch` times.
fn timed<T>(what: &str, budget: Duration, batch: u32, mut make: impl FnMut() -> T, mut call: impl FnMut(T)) {
    let warm = Instant::now();
    while warm.elapsed() < budget / 10 {
        call(make());
    }
    let (begun, mut took) = (Instant::now(), Vec::new());
    loop {
        let input = make();
        let one = Instant::now();
        call(input);
        took.push(one.elapsed().as_nanos() as f64 / f64::from(batch) / 1000.0);
        if begun.elapsed() >= budget {
            break;
        }
    }
    took.sort_by(f64::total_cmp);
    let at = |per_mille: usize| took[(took.len() - 1) * per_mille / 1000];
    println!("{what:58} n={:7}  median {:8.3} µs  p99 {:8.3} µs", took.len() * batch as usize, at(500), at(990));
}
