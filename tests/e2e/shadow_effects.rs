//! What a candidate in shadow does reaches nobody: not its storage, not the directory, not other servers, not the counts of
//! wrong passwords. And it is asked whatever the live policy is asked, exchanges of several steps and renewals included.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_tests::policies::answers::Answers;
use portcullis_tests::script::{METHOD, No, Question, Says, Script, Terms};
use portcullis_tests::{Client, Config, Gateway, Incoming, Version, config, directory, packets, policies, within};
use serde_json::Value;

/// Wrong passwords that are too many.
const GUESSES: usize = 12;

/// A server that counts who comes, and closes.
async fn server() -> (SocketAddr, Arc<AtomicU32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicU32::new(0)));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    (address, count)
}

const VERIFY: &str = r#""verify-password" (func $verify (param i32 i32 i32 i32 i32 i32 i32 i32))"#;

/// Asks for the password of `ada@example.com`, at 64: `password` is its address and length.
fn verify(password: &str) -> String {
    format!(
        "(call $verify (i32.const 1) (i32.const 512) (i32.const 15) (i32.const 0) (i32.const 0) {password} (i32.const 64))"
    )
}

/// Stores something, revokes a key, guesses a password wrong, sends a request; and passes.
fn meddling(key: &str, server: SocketAddr) -> Vec<u8> {
    let url = format!("http://{server}/");
    let data = format!(
        "(data (i32.const 512) \"ada@example.com\") (data (i32.const 544) \"wrong\") (data (i32.const 576) \"{key}\")
         (data (i32.const 700) \"POST{url}\")"
    );
    let body = format!(
        "(call $set (i32.const 512) (i32.const 3) (i32.const 512) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 64))
         (call $revoke (i32.const 576) (i32.const {}) (i32.const 64))
         {}
         (call $send (i32.const 700) (i32.const 4) (i32.const 704) (i32.const {}) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))
         (i32.store8 (i32.const 16) (i32.const 2)) (i32.const 16)",
        key.len(),
        verify("(i32.const 544) (i32.const 5)"),
        url.len()
    );
    Answers::new()
        .import("store", r#""set" (func $set (param i32 i32 i32 i32 i32 i32 i32))"#)
        .import("directory-admin", r#""revoke-key" (func $revoke (param i32 i32 i32))"#)
        .import("directory", VERIFY)
        .import("http-client", r#""send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32))"#)
        .also(&data)
        .export("authentication", "authenticate", &body)
        .component()
}

/// Passes if the right password is taken, and else refuses as `unavailable`.
fn asking() -> Vec<u8> {
    let data = "(data (i32.const 512) \"ada@example.com\") (data (i32.const 544) \"correct horse\")";
    let body = format!(
        "{} (memory.fill (i32.const 16) (i32.const 0) (i32.const 40)) (i32.store8 (i32.const 16) (i32.const 2))
         (if (i32.load8_u (i32.const 64)) (then
           (i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 24) (i32.const 7))))
         (i32.const 16)",
        verify("(i32.const 544) (i32.const 13)")
    );
    Answers::new().import("directory", VERIFY).also(data).export("authentication", "authenticate", &body).component()
}

fn shadow(gateway: &Gateway, component: &[u8], more: &[&str]) {
    config::replace(&gateway.directory().join("candidate.wasm"), component);
    let _ = gateway.ask(&[&["policy", "shadow", "doorman", "candidate.wasm"], more].concat());
}

async fn until(gateway: &Gateway, is: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let waited = tokio::time::timeout(portcullis_tests::PATIENCE, async {
        loop {
            last = gateway.admin().get("/api/v1/policies/doorman/shadow").await.json();
            if is(&last) {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    assert!(waited.await.is_ok(), "not the report that was waited for: {last}");
    last
}

fn swap(gateway: &Gateway, component: &[u8]) {
    config::replace(&gateway.directory().join("doorman.wasm"), component);
    let _ = gateway.ask(&["policy", "reload", "doorman"]);
}

#[tokio::test]
async fn nothing_that_a_candidate_does_is_real() {
    let (address, requests) = server().await;
    let entry = format!(
        "[[policy]]\nname = \"doorman\"\nsource = \"doorman.wasm\"\nrollback = false\n\
         allow = {{ directory = \"write\", keyvalue = true, http = [\"{address}\"] }}"
    );
    let config = Config::tcp(&["doorman"]).toml(&entry).file("doorman.wasm", policies::passing());
    let gateway = Gateway::start(&config).await;
    let ada = directory::user(&gateway, "ada@example.com", "correct horse");
    let (key, _) = directory::key(&gateway, &format!("user:{ada}"));
    let login = async |code: u8| assert_eq!(gateway.tcp(Version::V5, "x").refusal().await, code);
    let keys = async || gateway.metric("portcullis_policy_storage_keys{policy=\"doorman\"}").await;
    let has_key = || gateway.ask(&["key", "list"]).contains(&key);

    shadow(&gateway, &meddling(&key, address), &[]);
    for _ in 0..GUESSES {
        login(0x86).await;
    }
    let report = until(&gateway, |report| report["asked"] == GUESSES).await;
    let hindered = &report["hindered"];
    assert_eq!(hindered["store"], GUESSES, "{report}");
    assert_eq!(hindered["http"], GUESSES, "{report}");
    assert!(hindered["directory"].as_u64() >= Some(GUESSES as u64), "{report}");
    assert_eq!(report["candidate_failed"], 0, "{report}");
    assert_eq!((keys().await, requests.load(Ordering::SeqCst)), (0, 0));
    assert!(has_key(), "the key is revoked");
    // Requests are real where they are asked for, and nothing else is.
    shadow(&gateway, &meddling(&key, address), &["--http"]);
    login(0x86).await;
    until(&gateway, |report| report["asked"] == 1).await;
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    assert!(keys().await == 0 && has_key());
    let _ = gateway.ask(&["policy", "shadow", "doorman", "--stop"]);
    swap(&gateway, &asking());
    login(0x86).await;

    // The same, live: everything that was not real is.
    swap(&gateway, &meddling(&key, address));
    for _ in 0..GUESSES {
        login(0x86).await;
    }
    assert_eq!((keys().await, requests.load(Ordering::SeqCst)), (1, 1 + GUESSES as u32));
    assert!(!has_key(), "the key is revoked");
    swap(&gateway, &asking());
    login(0x88).await;
}

/// Logs in by answering one question.
async fn answer(gateway: &Gateway, client_id: &str) -> Client {
    let dial = gateway.tcp(Version::V5, client_id).with(|properties| {
        properties.authentication_method = Some(METHOD.to_owned());
        properties.authentication_data = Some("r".into());
    });
    let mut client = Client::raw(dial.route.open().await.unwrap(), Version::V5);
    client.send(&packets::connect(&dial.hello)).await.unwrap();
    client.wait("AUTH", |packet| matches!(packet, Incoming::Auth(..)).then_some(())).await;
    client.send(&packets::auth(0x18, METHOD, Some("one"))).await.unwrap();
    let code = |packet: &Incoming| match packet {
        Incoming::ConnAck(_, code, _) => Some(*code),
        _ => None,
    };
    assert_eq!(client.wait("CONNACK", code).await, 0);
    client
}

#[tokio::test]
async fn exchanges_and_renewals_are_followed() {
    let terms = || Terms { renew_after: Some(1), renewal: 'm', ..Terms::of("alice") };
    let script = |question: &str, renewed| {
        Script::new()
            .on('r', Says::Challenge(Question::new(question, "one", 'a')))
            .on('a', Says::Allow(terms()))
            .on('m', renewed)
            .component()
    };
    let live = script("first", Says::Allow(terms()));
    let config = Config::tcp(&["doorman"])
        .toml("[[policy]]\nname = \"doorman\"\nsource = \"doorman.wasm\"")
        .file("doorman.wasm", live.clone());
    let gateway = Gateway::start(&config).await;

    // The login, the answer, and a renewal: three questions, three times the same.
    shadow(&gateway, &policies::variant(&live, 1), &[]);
    let mut client = answer(&gateway, "same").await;
    let report = until(&gateway, |report| report["asked"].as_u64() >= Some(3)).await;
    assert_eq!(report["same"], report["asked"], "{report}");
    assert_eq!(report["not_followed"], 0, "{report}");
    client.ping().await;
    client.disconnect().await;

    // It would have asked for something else: what the client answered says nothing to it.
    shadow(&gateway, &script("second", Says::Allow(terms())), &[]);
    answer(&gateway, "other").await.disconnect().await;
    let report = until(&gateway, |report| report["not_followed"] == 1).await;
    assert_eq!(report["differences"][0]["what"], "login", "{report}");

    // It would end the grant at the first renewal, by the state that the live one wrote.
    let ending = script("first", Says::Deny(No::because(1, "no longer")));
    shadow(&gateway, &ending, &[]);
    let mut client = answer(&gateway, "renewed").await;
    let report = until(&gateway, |report| report["differences"][0]["what"] == "renew").await;
    assert!(report["allow_to_deny"].as_u64() >= Some(1), "{report}");
    within("the client, whom nobody asked to leave", client.ping()).await;
}
