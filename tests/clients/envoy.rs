//! Envoy with `ext_authz` over HTTP: the filter that the README shows, in front of an answer that only bearers of a good
//! token get.

use std::net::SocketAddr;
use std::process::Stdio;

use portcullis_tests::{Http, address, binary};
use tokio::process::{Child, Command};

use crate::{asked_by_others, folder, listening};

/// The filter of the README, which begins after this line.
const MARK: &str = "<!-- envoy -->";

fn filter(gateway: SocketAddr) -> String {
    let readme = std::fs::read_to_string(binary::root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once(MARK).expect("the README shows how Envoy asks");
    let block = rest.split("```").nth(1).expect("a block of code").strip_prefix("yaml\n").unwrap();
    assert!(block.contains("http://127.0.0.1:8080"), "{block}");
    let block = block.replace("127.0.0.1:8080", &gateway.to_string());
    block.lines().map(|line| format!("          {line}\n")).collect()
}

async fn envoy(directory: &std::path::Path, gateway: SocketAddr) -> (Child, SocketAddr) {
    let address = address::own();
    let text = format!(
        r#"static_resources:
  listeners:
  - address: {{ socket_address: {{ address: {host}, port_value: {listen} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: test
          normalize_path: false
          http_filters:
{filter}          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              response_headers_to_add:
              - header: {{ key: x-seen-subject, value: "%REQ(x-auth-subject)%" }}
              routes:
              - match: {{ prefix: "/" }}
                direct_response: {{ status: 200, body: {{ inline_string: "in confidence" }} }}
  clusters:
  - name: portcullis
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: portcullis
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }}
"#,
        host = address.ip(),
        listen = address.port(),
        filter = filter(gateway),
        port = gateway.port(),
    );
    let file = directory.join("envoy.yaml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(folder().join(".venv/bin/envoy"));
    command.arg("-c").arg(&file).args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "error"]);
    let child =
        command.stdin(Stdio::null()).kill_on_drop(true).spawn().expect("envoy: run tests/run, which installs it");
    listening("envoy", address).await;
    (child, address)
}

#[tokio::test]
async fn envoy_lets_through_whom_the_gateway_knows() {
    let (gateway, token) = asked_by_others().await;
    let directory = tempfile::tempdir().unwrap();
    let (_envoy, address) = envoy(directory.path(), gateway.address("http")).await;
    let mut http = Http::connect(address).await;
    for method in ["GET", "DELETE"] {
        let headers = [("authorization", token.as_str()), ("x-auth-subject", "root")];
        let seen = http.send(method, "/report?x=1", &headers, "").await;
        assert_eq!((seen.status, seen.body.as_str()), (200, "in confidence"), "{method}");
        assert!(seen.headers.contains(&("x-seen-subject".to_owned(), "alice".to_owned())), "{:?}", seen.headers);
    }
    // The last three would be answered with 200 if their dots led out of `/verify`.
    for path in ["/report", "/../healthz/live", "/%2e%2e/healthz/live", "/a/../../healthz/live"] {
        for headers in [&[][..], &[("authorization", "Bearer x.y.z")], &[("x-original-uri", "/healthz/live")]] {
            let refused = http.send("GET", path, headers, "").await;
            assert_eq!(refused.status, 401, "{path} {headers:?}: {}", refused.body);
            assert!(!refused.body.contains("confidence"));
        }
    }
}
