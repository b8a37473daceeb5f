//! Candidates that must never go live, and the sentence that each is refused with.

#![allow(clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::time::Duration;

use portcullis_policy::{Allow, DirectoryAccess};
use support::*;

#[tokio::test]
async fn what_is_not_a_component() {
    let host = host();
    let garbage = refused(&host, spec("p", b"hello, world".to_vec())).await;
    assert!(garbage.contains("policy `p` (test) cannot be used: it is not WebAssembly"), "{garbage}");
    assert!(refused(&host, spec("p", Vec::new())).await.contains("not WebAssembly"));
    let core = wat::parse_str("(module)").expect("a module");
    let core = refused(&host, spec("p", core)).await;
    assert!(core.contains("a core WebAssembly module") && core.contains("wasm-tools component new"), "{core}");
    let mut broken = guest();
    let half = broken.len() / 2;
    broken.truncate(half);
    assert!(refused(&host, spec("p", broken)).await.contains("it does not compile"));
}

#[tokio::test]
async fn another_world() {
    let host = host();
    let other = component("export run: func();", r#"(module (func (export "run")))"#);
    let why = refused(&host, spec("p", other)).await;
    assert!(why.contains("a component, but not a policy") && why.contains("the function `run`"), "{why}");
}

#[tokio::test]
async fn another_version() {
    let contract = "package portcullis:policy@0.9.0; interface authentication { authenticate: func() -> u32; }";
    let module =
        r#"(module (func (export "portcullis:policy/authentication@0.9.0#authenticate") (result i32) (i32.const 0)))"#;
    let other = component_of(contract, "export portcullis:policy/authentication@0.9.0;", module);
    let why = refused(&host(), spec("p", other)).await;
    assert!(why.contains("built for portcullis:policy 0.9.0; this gateway speaks 0.1.0"), "{why}");
}

#[tokio::test]
async fn another_shape_of_the_same_version() {
    let contract = "package portcullis:policy@0.1.0; interface authentication { authenticate: func() -> u32; }";
    let module =
        r#"(module (func (export "portcullis:policy/authentication@0.1.0#authenticate") (result i32) (i32.const 0)))"#;
    let other = component_of(contract, AUTHENTICATION, module);
    let why = refused(&host(), spec("p", other)).await;
    assert!(why.contains("its interfaces differ from those of this gateway's contract"), "{why}");
}

#[tokio::test]
async fn a_function_of_a_later_version() {
    let contract = "package portcullis:policy@0.1.7; interface log { purge: func(); }
        interface authentication { authenticate: func() -> u32; }";
    let module = r#"(module (import "portcullis:policy/log@0.1.7" "purge" (func $purge))
        (func (export "portcullis:policy/authentication@0.1.7#authenticate") (result i32) (call $purge) (i32.const 0)))"#;
    let world = "import portcullis:policy/log@0.1.7; export portcullis:policy/authentication@0.1.7;";
    let why = refused(&host(), spec("p", component_of(contract, world, module))).await;
    assert!(why.contains("calls `log.purge`") && why.contains("built for 0.1.7"), "{why}");
}

#[tokio::test]
async fn what_was_not_granted() {
    let world = format!("import portcullis:policy/http-client@0.1.0; {AUTHENTICATION}");
    let guest = component(&world, &module(&TestGrant::default(), Some("http://127.0.0.1:1/"), ""));
    let host = host();
    let why = refused(&host, spec("p", guest.clone())).await;
    assert!(why.contains("imports `http-client`, which its entry does not grant"), "{why}");
    assert!(why.contains(r#"add `allow = { http = ["host:port"] }`"#), "{why}");
    let mut granted = spec("p", guest);
    granted.allow.http = Some(vec!["127.0.0.1:1".to_owned()]);
    load(&host, granted).await;
}

#[tokio::test]
async fn what_nobody_offers() {
    let contract = "package acme:secrets@1.0.0; interface keys { get: func(); }";
    let mut world = "import acme:secrets/keys@1.0.0; export run: func();".to_owned();
    let module = r#"(module (import "acme:secrets/keys@1.0.0" "get" (func $get)) (func (export "run") (call $get)))"#;
    let why = refused(&host(), spec("p", component_of(contract, &world, module))).await;
    assert!(why.contains("imports `acme:secrets/keys@1.0.0`, which is not part of portcullis:policy"), "{why}");
    let contract = "package wasi:http@0.2.0; interface handler { get: func(); }";
    world = world.replace("acme:secrets/keys@1.0.0", "wasi:http/handler@0.2.0");
    let module = module.replace("acme:secrets/keys@1.0.0", "wasi:http/handler@0.2.0");
    let why = refused(&host(), spec("p", component_of(contract, &world, &module))).await;
    assert!(why.contains("imports `wasi:http/handler@0.2.0`, which this gateway does not offer"), "{why}");
}

#[tokio::test]
async fn a_self_test_that_fails_traps_or_loops() {
    let host = host();
    load(&host, spec("p", described("", "(i32.const 2000)"))).await;
    let why = refused(&host, spec("p", described("", "(i32.const 1800)"))).await;
    assert!(why.contains("its self-test failed: no issuer"), "{why}");
    let why = refused(&host, spec("p", described("", "unreachable"))).await;
    assert!(why.contains("its self-test failed: it trapped") && why.contains("unreachable"), "{why}");
    let mut looping = spec("p", described("", "(loop $l (br $l)) unreachable"));
    looping.limits.self_test = Duration::from_millis(200);
    let why = refused(&host, looping).await;
    assert!(why.contains("its self-test failed: it did not answer within 200 ms"), "{why}");
    let mut looping = spec("p", described("(loop $l (br $l))", "unreachable"));
    looping.limits.self_test = Duration::from_millis(200);
    let why = refused(&host, looping).await;
    assert!(why.contains("description is of no use: it did not answer within 200 ms"), "{why}");
}

#[tokio::test]
async fn more_memory_than_it_may_have() {
    let host = host();
    let mut small = spec("p", guest());
    small.limits.memory = 64 << 10;
    let why = refused(&host, small).await;
    assert!(why.contains("cannot be started"), "{why}");
    let mut huge = spec("p", guest());
    huge.limits.memory = usize::MAX;
    let why = refused(&host, huge).await;
    assert!(why.contains("`limits.memory`"), "{why}");
}

#[tokio::test]
async fn settings_without_sense() {
    let host = host();
    for name in ["", "Upper", "a/b", "a b", &"x".repeat(65)] {
        assert!(refused(&host, spec(name, guest())).await.contains("its name"), "{name:?}");
    }
    let mut none = spec("p", guest());
    none.limits.concurrency = 0;
    assert!(refused(&host, none).await.contains("0 calls"));
    let mut late = spec("p", guest());
    late.limits.deadline = Some(Duration::ZERO);
    assert!(refused(&host, late).await.contains("`limits.deadline`"));
    let mut nothing = spec("p", guest());
    nothing.allow = Allow { directory: DirectoryAccess::Read, ..Allow::default() };
    assert!(refused(&host, nothing).await.contains("granted the directory, and there is none"));
    let mut nothing = spec("p", guest());
    nothing.allow.keyvalue = true;
    assert!(refused(&host, nothing).await.contains("granted storage, and there is none"));
    let mut list = spec("p", guest());
    list.config = serde_json::json!([1]);
    assert!(refused(&host, list).await.contains("`config` must be a table"));
}
