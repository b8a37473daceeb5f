//! What a policy may export beside `authenticate`: renewal, authorization, an HTTP face; and WASI in its empty form.

#![allow(clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use portcullis_grant::{
    Action, DenyReason, Gatekeeper, Grant, HttpAnswer, HttpCall, HttpEndpoint, HttpHead, Permission, Publication,
    Renewal,
};
use portcullis_mqtt::QoS;
use portcullis_policy::{Chain, Host, HostOptions, Services};
use support::*;

/// A guest with one more export.
fn with_export(interface: &str, grant: &TestGrant, more: &str) -> Vec<u8> {
    let world = format!("{AUTHENTICATION} export portcullis:policy/{interface}@0.1.0;");
    component(&world, &module(grant, None, more))
}

fn renews(code: &str) -> Vec<u8> {
    // `keep(77)` lies at 2104, `revoke` with an empty denial at 2208.
    let more = format!(
        r#"(data (i32.const 2104) "\00\00\00\00\00\00\00\00\4d\00\00\00")
           (data (i32.const 2208) "\02\00\00\00\00\00\00\00\04")
           (func (export "portcullis:policy/renewal@0.1.0#renew") (param i32) (result i32) {code})"#
    );
    with_export("renewal", &TestGrant::default(), &more)
}

async fn renewed(component: Vec<u8>) -> Renewal {
    let (_, chain) = alone(&host(), spec("p", component)).await;
    let grant = granted(ask(&chain, "a").await);
    chain.renew(facts(), grant).await
}

#[tokio::test]
async fn a_grant_is_kept_or_revoked_as_the_policy_says() {
    assert!(matches!(renewed(renews("(i32.const 2104)")).await, Renewal::Keep(77)));
    match renewed(renews("(i32.const 2208)")).await {
        Renewal::Revoke(refusal) => assert_eq!(refusal.denial.reason, DenyReason::Banned),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_failed_renewal_keeps_the_grant_and_is_tried_again() {
    assert!(matches!(renewed(renews("unreachable")).await, Renewal::Keep(30)));
    let mut looping = spec("p", renews("(loop $l (br $l)) unreachable"));
    looping.limits.deadline = Some(Duration::from_secs(5));
    let (_, chain) = alone(&host(), looping).await;
    let grant = granted(ask(&chain, "a").await);
    assert!(matches!(chain.renew(facts(), grant).await, Renewal::Keep(30)));
}

#[tokio::test]
async fn without_renewal_a_change_ends_the_grant() {
    match renewed(guest()).await {
        Renewal::Revoke(refusal) => assert!(refusal.denial.detail.contains("does not renew"), "{refusal:?}"),
        other => panic!("{other:?}"),
    }
    let (_, chain) = alone(&host(), spec("p", guest())).await;
    let grant = granted(ask(&chain, "a").await);
    assert!(
        matches!(Chain::default().renew(facts(), grant).await, Renewal::Revoke(_)),
        "nor does a policy that is gone"
    );
}

fn publication() -> Action {
    Action::Publish(Publication { topic: "a/b".to_owned(), qos: QoS::AtMostOnce, retain: false, will: false, size: 3 })
}

async fn asking(code: &str) -> (Chain, Arc<Grant>) {
    // `decision { denied: none, valid-for: 60 }` lies at 2100, one that denies for 60 s at 2200.
    let denies = format!(r"\01\00\00\00\01{}\3c", r"\00".repeat(67));
    let allows = format!(r"{}\3c", r"\00".repeat(72));
    let more = format!(
        r#"(data (i32.const 2100) "{allows}") (data (i32.const 2200) "{denies}")
           (func (export "portcullis:policy/authorization@0.1.0#authorize") (param i32) (result i32) {code})"#
    );
    let grant = TestGrant { effect: 2, ..TestGrant::default() };
    let (_, chain) = alone(&host(), spec("p", with_export("authorization", &grant, &more))).await;
    let grant = granted(ask(&chain, "a").await);
    assert_eq!(grant.publish("a/b", QoS::AtMostOnce, false), Permission::Ask);
    (chain, grant)
}

#[tokio::test]
async fn an_answer_is_remembered_in_the_grant() {
    let (chain, grant) = asking("(i32.const 2100)").await;
    let answer = chain.authorize(Arc::clone(&grant), publication()).await;
    assert!(answer.denied.is_none() && answer.valid_for == 60, "{answer:?}");
    assert_eq!(grant.publish("a/b", QoS::AtMostOnce, false), Permission::Allow);
    assert_eq!(grant.publish("a/c", QoS::AtMostOnce, false), Permission::Ask);
    let (chain, grant) = asking("(i32.const 2200)").await;
    let answer = chain.authorize(Arc::clone(&grant), publication()).await;
    assert_eq!(answer.denied.map(|denial| denial.reason), Some(DenyReason::NotAuthorized));
    assert_eq!(grant.publish("a/b", QoS::AtMostOnce, false), Permission::Deny);
}

#[tokio::test]
async fn a_failed_answer_denies_and_is_not_remembered() {
    let (chain, grant) = asking("unreachable").await;
    let answer = chain.authorize(Arc::clone(&grant), publication()).await;
    assert_eq!(answer.denied.map(|denial| denial.reason), Some(DenyReason::Unavailable));
    assert_eq!(grant.publish("a/b", QoS::AtMostOnce, false), Permission::Ask);
}

/// A guest that serves HTTP.
fn serving(code: &str) -> Vec<u8> {
    // Status 201, no headers, the body "hello".
    let more = format!(
        r#"(data (i32.const 2100) "\c9\00\00\00\00\00\00\00\00\00\00\00\98\08\00\00\05\00\00\00") (data (i32.const 2200) "hello")
           (data (i32.const 2300) "\64")
           (func (export "portcullis:policy/http-endpoint@0.1.0#handle") (param i32) (result i32) {code})"#
    );
    with_export("http-endpoint", &TestGrant::default(), &more)
}

async fn handled(code: &str, deadline: Duration) -> HttpAnswer {
    let mut spec = spec("p", serving(code));
    spec.limits.deadline = Some(deadline);
    let (policy, _) = alone(&host(), spec).await;
    policy.handle(facts(), call()).await
}

fn call() -> HttpCall {
    let head = HttpHead {
        method: "GET".to_owned(),
        authority: "gw".to_owned(),
        path: "/v3".to_owned(),
        query: None,
        headers: Vec::new(),
    };
    HttpCall { head, body: Vec::new() }
}

#[tokio::test]
async fn an_http_face_answers_and_its_failures_have_their_status() {
    let long = Duration::from_secs(20);
    let answer = handled("(i32.const 2100)", long).await;
    assert_eq!((answer.status, answer.body.as_slice()), (201, &b"hello"[..]));
    assert_eq!(handled("unreachable", long).await.status, 500);
    assert_eq!(handled("(loop $l (br $l)) unreachable", Duration::from_millis(200)).await.status, 504);
    assert_eq!(handled("(i32.const 2300)", long).await.status, 500, "a status of 100 breaks the contract");
    let (without, _) = alone(&host(), spec("p", guest())).await;
    assert_eq!(without.handle(facts(), call()).await.status, 404);
}

#[tokio::test]
async fn requests_that_make_it_trap_shut_out_no_client() {
    let (policy, chain) = alone(&host(), spec("p", serving("unreachable"))).await;
    let mut failed = 0;
    loop {
        match policy.handle(facts(), call()).await.status {
            500 => failed += 1,
            // A machine may stand still for a pause: then one more was tried, and the next pause is longer.
            status => break assert!(status == 503 && failed >= 8, "{status} after {failed}"),
        }
    }
    granted(ask(&chain, "a").await);
    let live = policy.current();
    assert!(live.is_quarantined_for_http_alone() && live.is_quarantined(), "nor does a client that is let in end it");
}

#[tokio::test]
async fn requests_that_it_answers_keep_no_broken_login_going() {
    let (policy, chain) = alone(&host(), spec("p", serving("(i32.const 2100)"))).await;
    for _ in 0..8 {
        assert_eq!(policy.handle(facts(), call()).await.status, 201);
        denied(ask(&chain, "t").await);
    }
    assert_eq!(policy.handle(facts(), call()).await.status, 201);
    let live = policy.current();
    assert!(live.is_quarantined() && !live.is_quarantined_for_http_alone());
}

#[tokio::test]
async fn wasi_is_there_and_empty() {
    let contract =
        "package wasi:cli@0.2.3; interface environment { get-environment: func() -> list<tuple<string, string>>;
        get-arguments: func() -> list<string>; }";
    let world = format!("import wasi:cli/environment@0.2.3; {AUTHENTICATION}");
    // Allows if there are neither variables nor arguments.
    let look = "(call $environment (i32.const 2400)) (call $arguments (i32.const 2408))
        (if (i32.eqz (i32.or (i32.load (i32.const 2404)) (i32.load (i32.const 2412)))) (then (return (i32.const 1024))))";
    let text = module(&TestGrant::default(), None, "")
        .replacen(
            "(module",
            r#"(module (import "wasi:cli/environment@0.2.3" "get-environment" (func $environment (param i32)))
               (import "wasi:cli/environment@0.2.3" "get-arguments" (func $arguments (param i32)))"#,
            1,
        )
        .replace("(then unreachable (return (i32.const 1200)))", &format!("(then {look} unreachable)"));
    let (policy, chain) = alone(&host(), spec("p", component_beside(contract, &world, &text))).await;
    assert!(policy.current().abilities().wasi);
    granted(ask(&chain, "s").await);
}

/// A guest that lets in whoever is the first to come: it writes a key if there is none.
fn once() -> Vec<u8> {
    let world = format!("import portcullis:policy/store@0.1.0; {AUTHENTICATION}");
    let write = "(call $write (i32.const 460) (i32.const 3) (i32.const 460) (i32.const 3) (i32.const 0) (i32.const 0)
          (i32.const 2400))
        (if (i32.and (i32.eqz (i32.load8_u (i32.const 2400))) (i32.load8_u (i32.const 2404))) (then (return (i32.const 1024))))";
    let text = module(&TestGrant::default(), None, "")
        .replacen(
            "(module",
            r#"(module (import "portcullis:policy/store@0.1.0" "set-if-absent"
                 (func $write (param i32 i32 i32 i32 i32 i32 i32)))"#,
            1,
        )
        .replace("(then unreachable (return (i32.const 1200)))", &format!("(then {write} (return (i32.const 1200)))"));
    component(&world, &text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_is_a_policys_own_and_outlives_its_versions() {
    let store = portcullis_store::Store::in_memory(portcullis_store::Options::default()).expect("a store");
    let services = Services { store: Some(store), ..Services::default() };
    let host = Host::new(HostOptions { services, ..HostOptions::default() }).expect("a host");
    let stored = |name: &str| {
        let mut spec = spec(name, once());
        spec.allow.keyvalue = true;
        spec
    };
    let (policy, chain) = alone(&host, stored("one")).await;
    granted(ask(&chain, "s").await);
    denied(ask(&chain, "s").await);
    policy.swap(load(&host, stored("one")).await);
    denied(ask(&chain, "s").await);
    let (_, other) = alone(&host, stored("two")).await;
    granted(ask(&other, "s").await);
}
