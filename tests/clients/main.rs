//! Clients that others wrote, against the real binary: Debian's mosquitto_pub and mosquitto_sub, paho-mqtt and MQTT.js,
//! on every transport that they speak and every version, also in Chromium; curl; nginx, Traefik and Envoy, which ask about their
//! clients;
//! and Debian's docker-registry, which has policies.
//!
//! Compiled with the feature `real-clients`, which `tests/run` switches on after it has installed them: then a client that
//! is missing is a failure. Without the feature there is nothing here, so that plain `cargo test` needs only Rust.
#![cfg(feature = "real-clients")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops with the reason")]

mod credentials;
mod curl;
mod envoy;
mod keystone;
mod layer;
mod metrics;
mod mosquitto;
mod nginx;
mod registry;
mod scripts;
mod swap;
mod traefik;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use portcullis_tests::tokens::{SigningKey, now};
use portcullis_tests::{Config, Gateway, policies, within};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::process::Command;

/// A gateway behind the bundled `jwt` policy (of a file, so that it can be swapped), and a token that it takes.
struct Stand {
    gateway: Gateway,
    token: String,
}

impl Stand {
    async fn new() -> Self {
        let key = SigningKey::new("ES256");
        let token = key.token(&json!({ "iss": "tests", "sub": "client", "exp": now() + 3600 }));
        let config = Config::everywhere(&["tokens"]).file("jwt.wasm", policies::bundled("jwt")).toml(&format!(
            "[[policy]]\nname = \"tokens\"\nsource = \"jwt.wasm\"\nallow = {{ directory = \"write\", keys = [] }}\n\
             [policy.config]\nusername = \"any\"\n\
             rules = [{{ actions = [\"publish\", \"subscribe\", \"retain\", \"will\"], filter = \"clients/#\" }}]\n\
             [[policy.config.issuers]]\nissuer = \"tests\"\nalgorithms = \"ES256\"\nkeys = {{ pem = '''{}''' }}",
            key.public_pem()
        ));
        let config = config.file("ca.pem", portcullis_tests::config::authority().pem());
        Self { gateway: Gateway::start(&config).await, token }
    }

    /// The authority that signed the gateway's certificate, as a file.
    fn authority(&self) -> PathBuf {
        self.gateway.directory().join("ca.pem")
    }
}

/// A gateway over HTTP that others' gateways ask about their clients, and the `Authorization` of one whom it knows, `alice`.
async fn asked_by_others() -> (Gateway, String) {
    let key = SigningKey::new("ES256");
    let config = Config::new().http_with(&["jwt"], "").toml(&format!(
        "[[policy]]\nname = \"jwt\"\nsource = \"builtin:jwt\"\n\
         [[policy.config.issuers]]\nissuer = \"tests\"\nkeys = {{ pem = '''{}''' }}\nalgorithms = \"ES256\"",
        key.public_pem()
    ));
    let token = key.token(&json!({ "iss": "tests", "sub": "alice", "exp": now() + 600 }));
    (Gateway::start(&config).await, format!("Bearer {token}"))
}

/// Waits until a server listens.
async fn listening(what: &str, address: SocketAddr) {
    within(what, async {
        while TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The folder of this file, where `tests/run` puts the clients.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// How long a client may take. Its first start on a machine, with tests all around it, may take minutes: an interpreter with what it imports,
/// or a browser.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs a client to its end.
async fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let program = command.as_std().get_program().to_owned();
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the end of a client");
    output.unwrap_or_else(|error| panic!("{}: {error}: run tests/run, which installs it", program.display()))
}

/// Standard output of a client that must succeed.
async fn succeed(command: Command) -> String {
    let told = format!("{:?}", command.as_std());
    let output = run(command).await;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told} failed: {}\n{out}{err}", output.status);
    out.into_owned()
}
