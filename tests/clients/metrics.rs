//! The metrics, read by the parser of Prometheus' own client.

use std::process::Stdio;

use portcullis_tests::{Config, Gateway, Transport, Version, policies};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::folder;

#[tokio::test]
async fn prometheus_reads_every_metric_and_their_number_does_not_grow_with_clients() {
    let entry = "[[policy]]\nname = \"limiter\"\nsource = \"limiter.wasm\"\nallow = { keyvalue = true }";
    let config = Config::new()
        .mqtt("tcp", Transport::Tcp, &["limiter", "anonymous"])
        .toml(entry)
        .file("limiter.wasm", policies::counting(3));
    let gateway = Gateway::start(&config).await;
    let mut before = Value::Null;
    for round in 0..2 {
        for number in 0..5 {
            let _ = gateway.tcp(Version::V5, &format!("client-{round}-{number}")).attempt().await;
        }
        let read = parsed(&gateway.admin().get("/metrics").await.body).await;
        let of = |name: &str| read[name]["type"].as_str().unwrap_or_else(|| panic!("no {name} in {read}")).to_owned();
        assert_eq!(of("portcullis_policy_calls"), "counter");
        assert_eq!(of("portcullis_policy_call_microseconds"), "histogram");
        assert_eq!(of("portcullis_policy_storage_keys"), "gauge");
        for name in ["denials", "traps", "limits_reached", "instances", "http_requests", "http_bytes", "key_lookups"] {
            assert_eq!(of(&format!("portcullis_policy_{name}")), "counter");
        }
        if round == 1 {
            assert_eq!(read, before, "the same samples, whoever came");
        }
        before = read;
    }
    // Every family that there is stands in the README, by its name or the end of it.
    let readme = std::fs::read_to_string(portcullis_tests::binary::root().join("README.md")).unwrap();
    for name in before.as_object().unwrap().keys() {
        let name = name.trim_start_matches("portcullis_");
        let end = name.split_once('_').map_or(name, |(_, end)| end);
        assert!(
            readme.contains(&format!("`{name}`")) || readme.contains(&format!("`_{end}`")),
            "{name} is not in the README"
        );
    }
}

async fn parsed(text: &str) -> Value {
    let mut child = Command::new(folder().join(".venv/bin/python"))
        .arg(folder().join("metrics_check.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("Python: run tests/run, which installs it");
    let mut input = child.stdin.take().unwrap();
    input.write_all(text.as_bytes()).await.unwrap();
    drop(input);
    let output = portcullis_tests::within("the parser", child.wait_with_output()).await.unwrap();
    assert!(output.status.success(), "the metrics are not what Prometheus reads:\n{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}
