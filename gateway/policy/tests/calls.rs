//! Calls into well-behaved and hostile guests: what the chain makes of each.

#![allow(clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_grant::gatekeeper::Reply;
use portcullis_grant::{DenyReason, Gatekeeper, Identity, Outcome, Permission, Principal};
use portcullis_mqtt::QoS;
use portcullis_policy::{CallOutcome, Chain, Policy};
use support::*;

#[tokio::test]
async fn allow_deny_pass() {
    let (policy, chain) = alone(&host(), spec("p", guest())).await;
    let grant = granted(ask(&chain, "a").await);
    assert_eq!((grant.identity.scheme(), grant.identity.subject()), ("test", "alice"));
    assert_eq!(*grant.policy.name, *"p");
    assert_eq!(grant.publish("a/b", QoS::ExactlyOnce, true), Permission::Allow);
    assert_eq!(grant.publish("b", QoS::AtMostOnce, false), Permission::Deny);
    let denial = denied(ask(&chain, "d").await);
    assert_eq!((denial.reason, denial.detail.as_str()), (DenyReason::NotAuthorized, "not authorized"));
    let denial = denied(ask(&chain, "p").await);
    assert_eq!(denial.reason, DenyReason::BadCredentials);
    assert!(denial.detail.contains("(p) all passed"), "{}", denial.detail);
    let figures = policy.stats().figures();
    for outcome in [CallOutcome::Allow, CallOutcome::Deny, CallOutcome::Pass] {
        assert_eq!(figures.outcome(outcome), 1, "{outcome:?}");
    }
    assert_eq!(figures.latency.iter().sum::<u64>(), 3);
}

#[tokio::test]
async fn the_first_that_does_not_pass_decides() {
    let host = host();
    let passes = Policy::new(load(&host, spec("first", guest_passing())).await);
    let second = Policy::new(load(&host, spec("second", guest())).await);
    let chain = Chain::new(vec![passes, second]);
    assert_eq!(*granted(ask(&chain, "a").await).policy.name, *"second");
    assert!(denied(ask(&chain, "p").await).detail.contains("(first, second) all passed"));
    let nobody = Chain::default();
    assert_eq!(denied(ask(&nobody, "a").await).reason, DenyReason::NotAuthorized);
}

/// Passes whatever comes: the client identifier `a` begins with no letter that it knows.
fn guest_passing() -> Vec<u8> {
    let never =
        module(&TestGrant::default(), None, "").replace("(i32.load offset=124 (local.get $in))", "(i32.const 0)");
    component(AUTHENTICATION, &never)
}

#[tokio::test]
async fn a_trap_refuses_with_its_place() {
    let (policy, chain) = alone(&host(), spec("p", guest())).await;
    let denial = denied(ask(&chain, "t").await);
    assert_eq!(denial.reason, DenyReason::Unavailable);
    assert!(
        denial.detail.contains("policy `p`: it trapped") && denial.detail.contains("unreachable"),
        "{}",
        denial.detail
    );
    let denial = denied(ask(&chain, "r").await);
    assert!(denial.detail.contains("call stack exhausted") && denial.detail.contains("recurse"), "{}", denial.detail);
    granted(ask(&chain, "a").await);
    let figures = policy.stats().figures();
    assert_eq!(figures.outcome(CallOutcome::Trap), 2);
    assert!(figures.last_error.is_some_and(|error| error.what.contains("recurse")));
}

#[tokio::test]
async fn memory_has_an_end() {
    let (_, chain) = alone(&host(), spec("p", guest())).await;
    let denial = denied(ask(&chain, "m").await);
    assert_eq!(denial.reason, DenyReason::Unavailable);
    assert!(denial.detail.contains("memory limit of 16384 KiB"), "{}", denial.detail);
}

#[tokio::test]
async fn an_endless_loop_meets_the_deadline_and_holds_no_thread() {
    let mut looping = spec("p", guest());
    looping.limits.deadline = Some(Duration::from_secs(5));
    let (_, chain) = alone(&host(), looping).await;
    // This runtime has one thread: if the guest held it, the other task would not run before the deadline.
    let others_are_done = Cell::new(false);
    let others = async {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        others_are_done.set(true);
    };
    let guest = async {
        let outcome = ask(&chain, "l").await;
        (outcome, others_are_done.get())
    };
    let ((outcome, others_were_done), ()) = tokio::join!(guest, others);
    let denial = denied(outcome);
    assert_eq!(denial.reason, DenyReason::Unavailable);
    assert!(denial.detail.contains("did not answer within 5000 ms"), "{}", denial.detail);
    assert!(others_were_done, "the other task had no twenty turns before the deadline");
}

#[tokio::test]
async fn the_deadline_covers_waiting_for_the_host() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let accepted = tokio::spawn(async move {
        let held = listener.accept().await.expect("a connection");
        // Held open and never answered.
        std::future::pending::<()>().await;
        drop(held);
    });
    let url = format!("http://{address}/");
    let world = format!("import portcullis:policy/http-client@0.1.0; {AUTHENTICATION}");
    let mut waits = spec("p", component(&world, &module(&TestGrant::default(), Some(&url), "")));
    waits.allow.http = Some(vec![address.to_string()]);
    waits.limits.deadline = Some(Duration::from_millis(300));
    let (_, chain) = alone(&host(), waits).await;
    let outcome = tokio::time::timeout(Duration::from_secs(120), ask(&chain, "s")).await;
    let denial = denied(outcome.expect("the server never answers, and it ends all the same"));
    // Either the call was ended, or the client told the guest in time that there is no answer and the guest refused.
    assert!(denial.detail.contains("within 300 ms") || denial.detail == "not authorized", "{}", denial.detail);
    accepted.abort();
}

#[tokio::test]
async fn void_grants_refuse() {
    let host = host();
    for (grant, what) in [
        (TestGrant { rules: 2000, ..TestGrant::default() }, "2000 rules"),
        (TestGrant { filter: "a/#/b", ..TestGrant::default() }, "not a topic filter"),
        (TestGrant { subject: "", ..TestGrant::default() }, "empty subject"),
        (TestGrant { state: 5000, ..TestGrant::default() }, "5000 octets of state"),
        (TestGrant { state: 1 << 30, ..TestGrant::default() }, "it trapped"),
        (TestGrant { rules: u32::MAX, ..TestGrant::default() }, "it trapped"),
    ] {
        let (policy, chain) = alone(&host, spec("p", guest_with(&grant))).await;
        let denial = denied(ask(&chain, "a").await);
        assert_eq!(denial.reason, DenyReason::Unavailable, "{what}");
        assert!(denial.detail.contains(what), "{what}: {}", denial.detail);
        let figures = policy.stats().figures();
        assert_eq!(figures.outcome(CallOutcome::Void) + figures.outcome(CallOutcome::Trap), 1);
    }
}

#[tokio::test]
async fn a_huge_answer_is_not_copied() {
    let big = module(&TestGrant { state: 12 << 20, ..TestGrant::default() }, None, "")
        .replace(r#"(memory (export "memory") 4)"#, r#"(memory (export "memory") 224)"#);
    let (_, chain) = alone(&host(), spec("p", component(AUTHENTICATION, &big))).await;
    let denial = denied(ask(&chain, "a").await);
    assert!(denial.detail.contains("it trapped"), "{}", denial.detail);
}

#[tokio::test]
async fn challenges_are_for_those_who_asked_and_can_answer() {
    let (policy, chain) = alone(&host(), spec("p", guest())).await;
    // As often as it would take to put the policy into quarantine, were it to blame.
    for _ in 0..8 {
        let denial = denied(ask(&chain, "c").await);
        assert_eq!(denial.reason, DenyReason::BadAuthenticationMethod);
        assert!(denial.detail.contains("named no authentication method"), "{}", denial.detail);
    }
    assert!(!policy.current().is_quarantined());
    let mut with_method = login("c");
    with_method.credentials.method = Some("Test".to_owned());
    let denial = denied(chain.authenticate(with_method).await);
    assert!(denial.detail.contains("without exporting `enhanced-authentication`"), "{}", denial.detail);
}

/// `continue-authentication` that answers with what lies at an address.
fn continues(address: u32) -> Vec<u8> {
    let world = format!("{AUTHENTICATION} export portcullis:policy/enhanced-authentication@0.1.0;");
    let more = format!(
        r#"(func (export "portcullis:policy/enhanced-authentication@0.1.0#continue-authentication") (param i32) (result i32)
             (i32.const {address}))"#
    );
    component(&world, &module(&TestGrant::default(), None, &more))
}

#[tokio::test]
async fn an_exchange_ends_in_a_grant() {
    let (policy, chain) = alone(&host(), spec("p", continues(1024))).await;
    let reply = challenged(&chain).await;
    assert_eq!((reply.challenge.data.as_slice(), reply.challenge.state.as_slice()), (&b"nonce"[..], &b"state"[..]));
    assert_eq!(reply.challenge.step, 1);
    // A newer generation takes over in between: the exchange ends on the one that began it.
    policy.swap(load(&host(), spec("p", guest_passing())).await);
    granted(chain.continue_authentication(reply.clone()).await);
    // Two later, nobody knows it any more.
    policy.swap(load(&host(), spec("p", guest())).await);
    let denial = denied(chain.continue_authentication(reply).await);
    assert_eq!((denial.reason, denial.retry_after), (DenyReason::Unavailable, Some(1)));
}

#[tokio::test]
async fn an_exchange_has_an_end() {
    let (policy, chain) = alone(&host(), spec("p", continues(1400))).await;
    let mut reply = challenged(&chain).await;
    for step in 2..=8 {
        match chain.continue_authentication(reply.clone()).await {
            Outcome::Challenge(challenge) => reply.challenge = challenge,
            other => panic!("step {step}: {other:?}"),
        }
        assert_eq!(reply.challenge.step, step);
    }
    for _ in 0..8 {
        let denial = denied(chain.continue_authentication(reply.clone()).await);
        assert_eq!(denial.reason, DenyReason::NotAuthorized);
        assert!(denial.detail.contains("more than 8 challenges"), "{}", denial.detail);
    }
    assert!(!policy.current().is_quarantined(), "a client that goes on and on does not close the door for others");
}

#[tokio::test]
async fn a_pass_in_the_middle_of_an_exchange_refuses() {
    let (_, chain) = alone(&host(), spec("p", continues(1600))).await;
    let reply = challenged(&chain).await;
    assert_eq!(denied(chain.continue_authentication(reply).await).reason, DenyReason::BadCredentials);
}

async fn challenged(chain: &Chain) -> Reply {
    let mut login = login("c");
    login.credentials.method = Some("Test".to_owned());
    match chain.authenticate(login).await {
        Outcome::Challenge(challenge) => Reply {
            connection: facts(),
            client_id: "c".to_owned(),
            method: "Test".to_owned(),
            data: Some(b"answer".to_vec()),
            user_properties: Vec::new(),
            challenge,
        },
        other => panic!("no challenge: {other:?}"),
    }
}

#[tokio::test]
async fn a_method_that_nobody_serves() {
    let (_, chain) = alone(&host(), spec("p", described("", "(i32.const 2000)"))).await;
    let with = |method: &str| {
        let mut login = login("a");
        login.credentials.method = Some(method.to_owned());
        login
    };
    granted(chain.authenticate(with("Test")).await);
    let denial = denied(chain.authenticate(with("SCRAM-SHA-1")).await);
    assert_eq!(denial.reason, DenyReason::BadAuthenticationMethod);
    assert!(denial.detail.contains("SCRAM-SHA-1"), "{}", denial.detail);
}

#[tokio::test]
async fn authenticating_again_as_somebody_else_is_refused() {
    let (_, chain) = alone(&host(), spec("p", guest())).await;
    let first = granted(ask(&chain, "a").await);
    let mut again = login("a");
    again.connection.identity = Some(Arc::clone(&first.identity));
    granted(chain.authenticate(again.clone()).await);
    let somebody = Identity { scheme: "test".to_owned(), subject: "bob".to_owned(), ..Identity::default() };
    again.connection.identity = Some(Arc::new(Principal::from(&somebody)));
    assert_eq!(denied(chain.authenticate(again).await).reason, DenyReason::NotAuthorized);
}

#[tokio::test]
async fn a_grant_that_asks_and_a_policy_that_does_not_answer() {
    let (_, chain) = alone(&host(), spec("p", guest_with(&TestGrant { effect: 2, ..TestGrant::default() }))).await;
    let grant = granted(ask(&chain, "a").await);
    assert_eq!(grant.publish("a/b", QoS::AtMostOnce, false), Permission::Ask);
    let action = portcullis_grant::Action::Publish(portcullis_grant::Publication {
        topic: "a/b".to_owned(),
        qos: QoS::AtMostOnce,
        retain: false,
        will: false,
        size: 0,
    });
    let answer = chain.authorize(grant, action).await;
    assert!(answer.denied.is_some_and(|denial| denial.detail.contains("does not export `authorization`")));
}

#[tokio::test]
async fn instances_are_kept_and_renewed() {
    let host = host();
    let mut three = spec("p", guest());
    three.limits.calls_per_instance = 3;
    let (policy, chain) = alone(&host, three).await;
    for call in 1..=7 {
        granted(ask(&chain, "a").await);
        assert_eq!(policy.current().idle_instances(), usize::from(call % 3 != 0), "after call {call}");
    }
    denied(ask(&chain, "t").await);
    assert_eq!(policy.current().idle_instances(), 0, "one that trapped is not kept");
    let mut fresh = spec("p", guest());
    fresh.limits.reuse = false;
    let (policy, chain) = alone(&host, fresh).await;
    granted(ask(&chain, "a").await);
    assert_eq!(policy.current().idle_instances(), 0);
}

#[tokio::test]
async fn too_many_calls_are_refused_and_told_to_come_back() {
    let mut one = spec("p", guest());
    one.limits.concurrency = 1;
    one.limits.queue = 0;
    one.limits.deadline = Some(Duration::from_secs(5));
    let (_, chain) = alone(&host(), one).await;
    let (looping, other) = tokio::join!(ask(&chain, "l"), ask(&chain, "a"));
    denied(looping);
    let denial = denied(other);
    assert_eq!((denial.reason, denial.retry_after), (DenyReason::ServerBusy, Some(1)));
    assert!(denial.detail.contains("busy"), "{}", denial.detail);
    granted(ask(&chain, "a").await);
}

#[tokio::test]
async fn quarantine_opens_and_heals() {
    let (policy, chain) = alone(&host(), spec("p", guest())).await;
    let (calls, denial) = loop {
        let begun = Instant::now();
        for _ in 0..8 {
            assert!(denied(ask(&chain, "t").await).detail.contains("it trapped"));
        }
        assert!(policy.current().is_quarantined());
        let calls = policy.stats().figures().latency.iter().sum::<u64>();
        match ask(&chain, "a").await {
            Outcome::Deny(refusal) => break (calls, refusal.denial),
            // The machine has stood still for longer than the pause: once more.
            healed => assert!(begun.elapsed() >= Duration::from_millis(250), "{healed:?}"),
        }
    };
    assert!(denial.detail.contains("keeps failing") && denial.detail.contains("unreachable"), "{}", denial.detail);
    assert_eq!((denial.reason, denial.retry_after), (DenyReason::Unavailable, Some(1)));
    assert_eq!(policy.stats().figures().latency.iter().sum::<u64>(), calls, "it was not entered");
    // The pause is 250 ms; asked again and again, one call gets through and heals it.
    let limit = Instant::now() + Duration::from_secs(120);
    while !matches!(ask(&chain, "a").await, Outcome::Allow(..)) {
        assert!(Instant::now() < limit, "it did not heal");
        tokio::task::yield_now().await;
    }
    assert!(!policy.current().is_quarantined());
    granted(ask(&chain, "a").await);
    // A new generation begins without a past.
    for _ in 0..8 {
        denied(ask(&chain, "t").await);
    }
    assert!(policy.current().is_quarantined());
    policy.swap(load(&host(), spec("p", guest())).await);
    granted(ask(&chain, "a").await);
}
