//! A candidate that decides beside the live policy: it is compared, it is reported, and no client ever meets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::Method;
use portcullis_tests::{Gateway, Message, Version, config, policies, within};
use serde_json::Value;

use crate::versions::{closed, doorman_with, is_open, open, replace, versions};

/// A candidate in a file beside the configuration.
fn candidate(gateway: &Gateway, component: &[u8]) {
    config::replace(&gateway.directory().join("candidate.wasm"), component);
}

fn begin(gateway: &Gateway, component: &[u8], more: &[&str]) {
    candidate(gateway, component);
    let mut command = vec!["policy", "shadow", "doorman", "candidate.wasm"];
    command.extend(more);
    let said = gateway.ask(&command);
    assert!(said.contains("decides in shadow"), "{said}");
}

fn report(gateway: &Gateway) -> Value {
    serde_json::from_str(&gateway.ask(&["policy", "shadow", "doorman", "--json"])).unwrap()
}

/// Waits until the report is as wanted: the candidate is asked after the client has its answer.
async fn until(gateway: &Gateway, is: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    within("the right report of the shadow", async {
        loop {
            let answer = gateway.admin().get("/api/v1/policies/doorman/shadow").await;
            last = answer.json();
            if is(&last) {
                return last.clone();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn login(gateway: &Gateway, client: &str) -> bool {
    gateway.tcp(Version::V5, client).login("somebody", "a-secret-that-is-nowhere").attempt().await.is_ok()
}

#[tokio::test]
async fn differences_are_counted_by_direction_and_no_client_notices() {
    let gateway = Gateway::start(&doorman_with(open(), "")).await;
    begin(&gateway, &closed(), &[]);
    for number in 0..5 {
        assert!(login(&gateway, &format!("pump-{number}")).await);
    }
    let report = until(&gateway, |report| report["asked"] == 5).await;
    assert_eq!(report["pass"], 5, "{report}");
    assert_eq!(report["latency"]["candidate"]["calls"], 5, "{report}");
    assert_eq!(report["latency"]["live"]["calls"], 5, "{report}");
    let last = &report["differences"][0];
    assert_eq!((last["client"].as_str(), last["candidate"].as_str()), (Some("pump-4"), Some("pass")), "{last}");
    assert!(last["live"].as_str().unwrap().starts_with("allow "), "{last}");
    assert!(!report.to_string().contains("a-secret-that-is-nowhere"));

    let metrics = gateway.admin().get("/metrics").await.body;
    assert!(
        metrics.contains("portcullis_policy_shadow_comparisons_total{policy=\"doorman\",result=\"pass\"} 5"),
        "{metrics}"
    );
    let said = gateway.ask(&["policy", "shadow", "doorman"]);
    assert!(said.contains("pass or not") && said.contains("pump-4"), "{said}");
    let list = gateway.ask(&["policy", "list"]);
    assert!(list.contains("in shadow"), "{list}");

    let said = gateway.ask(&["policy", "shadow", "doorman", "--stop"]);
    assert!(said.contains("has ended"), "{said}");
    assert_eq!(gateway.command(&["policy", "shadow", "doorman"]).status.code(), Some(4));
    assert!(login(&gateway, "pump-9").await);
}

#[tokio::test]
async fn what_would_be_refused_or_let_in_otherwise_is_told_apart() {
    let gateway = Gateway::start(&doorman_with(open(), "")).await;
    begin(&gateway, &policies::denying(), &[]);
    assert!(login(&gateway, "a").await);
    let first = until(&gateway, |report| report["asked"] == 1).await;
    assert_eq!((&first["allow_to_deny"], &first["deny_to_allow"]), (&1.into(), &0.into()), "{first}");

    let gateway = Gateway::start(&doorman_with(policies::denying(), "")).await;
    begin(&gateway, &open(), &[]);
    assert!(!login(&gateway, "a").await);
    let first = until(&gateway, |report| report["asked"] == 1).await;
    assert_eq!((&first["allow_to_deny"], &first["deny_to_allow"]), (&0.into(), &1.into()), "{first}");

    let gateway = Gateway::start(&doorman_with(open(), "")).await;
    begin(&gateway, &policies::variant(&open(), 1), &[]);
    assert!(login(&gateway, "a").await);
    let first = until(&gateway, |report| report["asked"] == 1).await;
    assert_eq!(first["same"], 1, "{first}");
}

#[tokio::test]
async fn a_candidate_that_traps_or_never_ends_hurts_nobody_but_itself() {
    // A candidate has four times the deadline, and is late nine times.
    for (component, kind, deadline) in [(policies::trapping(), "trap", "20s"), (policies::looping(), "deadline", "1s")]
    {
        let limits = format!("limits = {{ deadline = {deadline:?} }}");
        let gateway = Gateway::start(&doorman_with(open(), &limits)).await;
        begin(&gateway, &component, &[]);
        for number in 0..12 {
            assert!(login(&gateway, &format!("pump-{number}")).await, "{kind}");
        }
        let report = until(&gateway, |report| report["candidate_failed"].as_u64() > Some(8)).await;
        assert!(report["failures"][kind].as_u64() >= Some(8), "{report}");
        assert_eq!(report["allow_to_deny"], 0, "{report}");
        // It is in quarantine, and the live one is not.
        assert_eq!(report["quarantined"], true, "{report}");
        let policies = gateway.admin().get("/api/v1/policies").await.json();
        let live = &policies["items"][0];
        assert_eq!((&live["quarantined"], &live["calls"]["trap"]), (&false.into(), &0.into()), "{live}");
        assert!(login(&gateway, "last").await);
    }
}

#[tokio::test]
async fn under_load_a_hopeless_candidate_changes_nothing_that_clients_see() {
    // It burns its whole deadline on each question, and its queue is full all the time.
    let gateway = Arc::new(Gateway::start(&doorman_with(open(), "limits = { deadline = \"20s\" }")).await);
    begin(&gateway, &policies::looping(), &[]);
    let over = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    for number in 0..4 {
        let (gateway, over) = (Arc::clone(&gateway), Arc::clone(&over));
        load.spawn(async move {
            let mut logins = 0u32;
            while !over.load(Ordering::Relaxed) {
                let name = format!("pump-{number}");
                let mut client = gateway.tcp(Version::V5, &name).connect().await;
                assert_eq!(client.subscribe(&name, 1).await, 1);
                client.publish(Message::new(&name, "x").qos(1)).await;
                assert_eq!(&client.message().await.payload[..], b"x");
                client.disconnect().await;
                logins += 1;
            }
            logins
        });
    }
    until(&gateway, |report| report["dropped"].as_u64() > Some(100)).await;
    over.store(true, Ordering::Relaxed);
    while let Some(client) = load.join_next().await {
        assert!(client.expect("no client notices") > 0);
    }
    let live = gateway.admin().get("/api/v1/policies").await.json()["items"][0]["calls"].clone();
    for outcome in ["deny", "trap", "deadline", "void", "refused"] {
        assert_eq!(live[outcome], 0, "{live}");
    }
}

#[tokio::test]
async fn a_share_of_the_clients_is_the_same_clients_each_time() {
    let gateway = Gateway::start(&doorman_with(open(), "")).await;
    let asked = async |share: &str| {
        begin(&gateway, &closed(), &["--share", share]);
        let mut taken = Vec::new();
        for number in 0..40 {
            let name = format!("pump-{number}");
            assert!(login(&gateway, &name).await);
            assert!(login(&gateway, &name).await);
        }
        // The last question is one that is asked in any case.
        let report = until(&gateway, |report| {
            let differences = report["differences"].as_array().unwrap();
            differences.len() == report["asked"].as_u64().unwrap().min(32) as usize && !differences.is_empty()
        })
        .await;
        let known = report["differences"].as_array().unwrap().iter();
        taken.extend(known.map(|difference| difference["client"].as_str().unwrap().to_owned()));
        taken.sort();
        taken
    };
    let taken = asked("20%").await;
    let mut once = taken.clone();
    once.dedup();
    assert!(!once.is_empty() && once.len() < 30, "{taken:?}");
    let refused = gateway.command(&["policy", "shadow", "doorman", "candidate.wasm", "--share", "110%"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}

#[tokio::test]
async fn promote_puts_exactly_that_candidate_in_place_and_it_stays() {
    let mut gateway = Gateway::start(&doorman_with(closed(), "")).await;
    begin(&gateway, &open(), &[]);
    // The file may have changed meanwhile: what was asked in shadow goes live.
    candidate(&gateway, &policies::trapping());
    let digest = report(&gateway)["digest"].as_str().unwrap().to_owned();
    let refused = gateway.command(&["policy", "promote", "doorman", "--digest", "0123456789ab"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(!is_open(&gateway).await);
    let said = gateway.ask(&["policy", "promote", "doorman", "--digest", &digest[..16]]);
    assert!(said.contains("was promoted"), "{said}");
    assert!(is_open(&gateway).await);
    assert_eq!(gateway.command(&["policy", "shadow", "doorman"]).status.code(), Some(4), "the shadow has ended");
    assert_eq!(versions(&gateway)["live"].as_str(), Some(digest.as_str()));

    // Promote, roll back, restart; promote's version is gone back to by its digest.
    let _ = gateway.ask(&["policy", "rollback", "doorman"]);
    assert!(!is_open(&gateway).await);
    gateway = gateway.restart().await;
    assert!(!is_open(&gateway).await);
    let _ = gateway.ask(&["policy", "rollback", "doorman", &digest[..12]]);
    gateway = gateway.kill_and_restart().await;
    assert!(is_open(&gateway).await);
    // Until the source changes.
    replace(&mut gateway, &policies::variant(&closed(), 3)).await;
    assert!(!is_open(&gateway).await);
}

#[tokio::test]
async fn a_shadow_survives_a_reload_and_gets_the_new_configuration() {
    let rules = |filter: &str| {
        format!("config = {{ rules = [{{ actions = [\"publish\", \"subscribe\"], filter = \"{filter}\" }}] }}")
    };
    let mut gateway = Gateway::start(&doorman_with(open(), &rules("a/#"))).await;
    begin(&gateway, &policies::variant(&open(), 1), &[]);
    gateway.reload().await;
    assert!(login(&gateway, "a").await);
    until(&gateway, |report| report["same"] == 1).await;
    let from = gateway.log().len();
    doorman_with(open(), &rules("b/#")).write(gateway.directory());
    gateway.signal(libc::SIGHUP);
    gateway.logged(from, "its shadow begins anew").await;
    assert!(login(&gateway, "a").await);
    let report = until(&gateway, |report| report["asked"] == 1).await;
    assert_eq!(report["same"], 1, "{report}");
    let gateway = gateway.restart().await;
    assert_eq!(gateway.command(&["policy", "shadow", "doorman"]).status.code(), Some(4), "a restart ends it");
}

#[tokio::test]
async fn killed_in_the_middle_of_promoting_it_has_the_one_or_the_other() {
    let mut gateway = Gateway::start(&doorman_with(closed(), "")).await;
    let both = [closed(), open()].map(|component| policies::digest(&component));
    for round in 0..6u32 {
        let now = versions(&gateway)["live"].as_str().unwrap().to_owned();
        let next = if now == both[0] { open() } else { closed() };
        begin(&gateway, &next, &[]);
        let admin = gateway.admin();
        let promoting = tokio::spawn(async move {
            // There may be no answer: the gateway is killed meanwhile.
            let body = serde_json::json!({});
            admin.request(Method::POST, "/api/v1/policies/doorman/promote", Some(&body)).await;
        });
        // Each round it lives a little longer. That is no wait for anything: every moment is a good one.
        for _ in 0..round * 200 {
            tokio::task::yield_now().await;
        }
        gateway = gateway.kill_and_restart().await;
        promoting.abort();
        let versions = versions(&gateway);
        let live = versions["live"].as_str().unwrap();
        assert!(both.iter().any(|digest| digest == live), "{versions}");
        assert_eq!(is_open(&gateway).await, live == both[1], "what the record says is what decides");
        for file in std::fs::read_dir(gateway.data().join("policies/doorman")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "wasm")
                && !path.file_name().unwrap().to_string_lossy().starts_with('.')
            {
                let content = std::fs::read(&path).unwrap();
                assert_eq!(path.file_stem().unwrap().to_str(), Some(policies::digest(&content).as_str()));
            }
        }
    }
}

#[tokio::test]
async fn an_unfit_candidate_is_refused_before_it_decides() {
    let gateway = Gateway::start(&doorman_with(open(), "")).await;
    for (component, words) in [
        (policies::garbage(), "not WebAssembly"),
        (policies::wanting_store(), "keyvalue"),
        (policies::trapping_at_start(), "cannot be started"),
    ] {
        candidate(&gateway, &component);
        let refused = gateway.command(&["policy", "shadow", "doorman", "candidate.wasm"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{said}");
    }
    assert!(is_open(&gateway).await);
}
