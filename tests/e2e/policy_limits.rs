//! Limits of what a policy may ask of the gateway: what is beyond is an error that the policy can read, is counted by its key,
//! and named in the log.

use std::net::SocketAddr;

use portcullis_tests::policies::answers::Answers;
use portcullis_tests::{Config, Gateway, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server that answers each request with so many octets.
async fn server(octets: usize) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while let Ok(1..) = stream.read(&mut head).await {
                    let body = "x".repeat(octets);
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {octets}\r\n\r\n{body}");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A policy that sends so many requests, one after the other, and refuses with the first error: its text, or `too large`.
/// Without one it passes.
pub(crate) fn requesting(server: SocketAddr, requests: u32) -> Vec<u8> {
    let url = format!("http://{server}/");
    let send = r#""send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32))"#;
    // POST is never shared. The result is at 64: an error's case at 72, its text at 80.
    let body = format!(
        "(local $left i32) (local.set $left (i32.const {requests}))
         (block $failed
           (loop $again
             (call $send (i32.const 512) (i32.const 4) (i32.const 516) (i32.const {length}) (i32.const 0) (i32.const 0)
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))
             (br_if $failed (i32.load8_u (i32.const 64)))
             (local.set $left (i32.sub (local.get $left) (i32.const 1)))
             (br_if $again (local.get $left)))
           (i32.store8 (i32.const 16) (i32.const 2)) (return (i32.const 16)))
         {denied}
         (if (i32.eq (i32.load8_u (i32.const 72)) (i32.const 4))
           (then (i32.store (i32.const 28) (i32.const 768)) (i32.store (i32.const 32) (i32.const 9)))
           (else (i32.store (i32.const 28) (i32.load (i32.const 80))) (i32.store (i32.const 32) (i32.load (i32.const 84)))))
         (i32.const 16)",
        length = url.len(),
        denied = DENIED,
    );
    let data = format!("(data (i32.const 512) \"POST{url}\") (data (i32.const 768) \"too large\")");
    Answers::new().import("http-client", send).also(&data).export("authentication", "authenticate", &body).component()
}

/// A denial at 16, `unavailable`, whose detail is still to be written.
const DENIED: &str = "(memory.fill (i32.const 16) (i32.const 0) (i32.const 48))
    (i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 24) (i32.const 7))";

/// A policy that stores 30,000 octets under so many keys, and refuses with the error's case.
fn storing(keys: u32) -> Vec<u8> {
    let set = r#""set" (func $set (param i32 i32 i32 i32 i32 i32 i32))"#;
    let body = format!(
        "(local $left i32) (local.set $left (i32.const {keys}))
         (block $failed
           (loop $again
             (i32.store8 (i32.const 512) (i32.add (i32.const 64) (local.get $left)))
             (call $set (i32.const 512) (i32.const 1) (i32.const 1024) (i32.const 30000) (i32.const 0) (i32.const 0) (i32.const 64))
             (br_if $failed (i32.load8_u (i32.const 64)))
             (local.set $left (i32.sub (local.get $left) (i32.const 1)))
             (br_if $again (local.get $left)))
           (i32.store8 (i32.const 16) (i32.const 2)) (return (i32.const 16)))
         {DENIED}
         (i32.store (i32.const 28) (i32.add (i32.const 768) (i32.mul (i32.load8_u (i32.const 68)) (i32.const 8))))
         (i32.store (i32.const 32) (i32.const 8))
         (i32.const 16)"
    );
    let data = "(data (i32.const 768) \"is full invalid.other...\")";
    Answers::new().import("store", set).also(data).export("authentication", "authenticate", &body).component()
}

async fn gateway(component: Vec<u8>, allow: &str, limit: &str) -> Gateway {
    let entry = format!(
        "[[policy]]\nname = \"candidate\"\nsource = \"policy.wasm\"\nallow = {{ {allow} }}\nlimits = {{ deadline = \"20s\", {limit} }}"
    );
    Gateway::start(&Config::tcp(&["candidate"]).toml(&entry).file("policy.wasm", component)).await
}

/// Sees that a client is refused for it, that the operator reads it, and that it is counted.
async fn met(gateway: &Gateway, client: &str, words: &str, limit: &str) {
    // Nobody waits for the audit.
    portcullis_tests::within(&format!("{words:?} among the decisions"), async {
        while !gateway.ask(&["why", client]).contains(words) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let metric = format!("portcullis_policy_limits_reached_total{{policy=\"candidate\",limit=\"{limit}\"}}");
    assert!(gateway.metric(&metric).await > 0, "{limit}");
    let log = gateway.log();
    assert!(log.contains(&format!("`{limit}`")) && log.contains("candidate"), "{limit}: {log}");
}

#[tokio::test]
async fn requests_are_bounded_in_size_number_and_rate() {
    let allow = |server: SocketAddr| format!("http = [\"{server}\"]");
    let small = server(600).await;
    for (limit, requests, words, key) in [
        ("http-response = \"512B\"", 1, "too large", "http-response"),
        ("http-bytes = \"1000B\"", 3, "http-bytes", "http-bytes"),
        ("http-rate = \"2/s\"", 16, "http-rate", "http-rate"),
        ("http-requests = 2", 3, "http-requests", "http-requests"),
    ] {
        let gateway = gateway(requesting(small, requests), &allow(small), limit).await;
        assert_eq!(gateway.tcp(Version::V5, "client").refusal().await, 0x88, "{limit}");
        met(&gateway, "client", words, key).await;
    }
}

#[tokio::test]
async fn what_is_within_the_limits_is_done() {
    let small = server(600).await;
    let limits =
        "http-response = \"1KiB\", http-bytes = \"2KiB\", http-rate = \"100/s\", http-requests = 2, http-open = 1";
    let gateway = gateway(requesting(small, 2), &format!("http = [\"{small}\"]"), limits).await;
    assert_eq!(gateway.tcp(Version::V5, "client").refusal().await, 0x86, "it passes");
}

#[tokio::test]
async fn requests_under_way_are_bounded_over_all_calls() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let gateway = gateway(requesting(address, 1), &format!("http = [\"{address}\"]"), "http-open = 1").await;
    let waits = gateway.tcp(Version::V5, "waits");
    let waiting = tokio::spawn(async move { waits.attempt().await.is_ok() });
    let _held = portcullis_tests::within("the first request", silent.accept()).await.unwrap();
    assert_eq!(gateway.tcp(Version::V5, "client").refusal().await, 0x88);
    met(&gateway, "client", "http-open", "http-open").await;
    waiting.abort();
}

#[tokio::test]
async fn storage_is_bounded_in_octets() {
    let gateway = gateway(storing(3), "keyvalue = true", "storage = \"64KiB\"").await;
    assert_eq!(gateway.tcp(Version::V5, "client").refusal().await, 0x88);
    met(&gateway, "client", "is full", "storage").await;
    let gateway = self::gateway(storing(2), "keyvalue = true", "storage = \"64KiB\"").await;
    assert_eq!(gateway.tcp(Version::V5, "client").refusal().await, 0x86, "it passes");
}
