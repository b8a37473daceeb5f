//! Traefik with `forwardAuth`: the middleware that the README shows, in front of a service that only bearers of a good token
//! reach.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use portcullis_tests::{Config, Gateway, Http, address, binary, policies, within};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::{asked_by_others, folder};

/// The middleware of the README, which begins after this line.
const MARK: &str = "<!-- traefik -->";

fn middleware(gateway: SocketAddr) -> String {
    let readme = std::fs::read_to_string(binary::root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once(MARK).expect("the README shows how Traefik asks");
    let block = rest.split("```").nth(1).expect("a block of code").strip_prefix("yaml\n").unwrap();
    assert!(block.contains("http://127.0.0.1:8080"), "{block}");
    block.replace("127.0.0.1:8080", &gateway.to_string())
}

/// A service that answers with the head of the request that it got.
async fn service() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let length = head.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                stream.write_all(&[answer.as_bytes(), &head].concat()).await
            });
        }
    });
    address
}

async fn traefik(directory: &std::path::Path, gateway: SocketAddr) -> (Child, SocketAddr) {
    let address = address::own();
    let text = format!(
        "{middleware}  routers:\n    all: {{ rule: \"PathPrefix(`/`)\", middlewares: [portcullis], service: own }}\n  \
         services:\n    own: {{ loadBalancer: {{ servers: [{{ url: \"http://{service}\" }}] }} }}\n",
        middleware = middleware(gateway),
        service = service().await,
    );
    // By the name `traefik.yaml` it would be taken for what the command line says already.
    let file = directory.join("routes.yaml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(folder().join(".venv/bin/traefik"));
    command.arg(format!("--entrypoints.web.address={address}"));
    command.arg(format!("--providers.file.filename={}", file.display()));
    command.args(["--log.level=ERROR", "--global.checknewversion=false", "--global.sendanonymoususage=false"]);
    let child = command
        .current_dir(directory)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("traefik: run tests/run, which installs it");
    // It listens before it has read what it routes, and says 404 meanwhile.
    within("traefik", async {
        loop {
            if TcpStream::connect(address).await.is_ok() && Http::connect(address).await.get("/").await.status != 404 {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    (child, address)
}

#[tokio::test]
async fn traefik_lets_through_whom_the_gateway_knows() {
    let (gateway, token) = asked_by_others().await;
    let directory = tempfile::tempdir().unwrap();
    let (_traefik, address) = traefik(directory.path(), gateway.address("http")).await;
    let mut http = Http::connect(address).await;
    for method in ["GET", "DELETE"] {
        let headers = [("authorization", token.as_str()), ("x-auth-subject", "root"), ("x-auth-roles", "admin")];
        let seen = http.send(method, "/report?x=1", &headers, "").await;
        assert_eq!(seen.status, 200, "{method}: {}", seen.body);
        let head = seen.body.to_ascii_lowercase();
        assert!(head.starts_with(&format!("{} /report?x=1 ", method.to_ascii_lowercase())), "{head}");
        assert!(head.contains("x-auth-subject: alice\r\n") && !head.contains("root"), "{head}");
        assert!(!head.contains("admin"), "what the client says of itself is overwritten: {head}");
    }
    for path in ["/report", "/../healthz/live", "/%2e%2e/healthz/live", "/verify?original=x-original"] {
        for headers in [&[][..], &[("authorization", "Bearer x.y.z")], &[("x-forwarded-uri", "/healthz/live")]] {
            let refused = http.send("GET", path, headers, "").await;
            assert_eq!(refused.status, 401, "{path} {headers:?}: {}", refused.body);
        }
    }
}

/// What the client writes into the headers by which Traefik, nginx and others name the original request changes nothing.
#[tokio::test]
async fn clients_of_traefik_do_not_choose_what_is_asked_about() {
    let policy = "[[policy]]\nname = \"telling\"\nsource = \"telling.wasm\"";
    let config = Config::new().http_with(&["telling"], "").file("telling.wasm", policies::telling()).toml(policy);
    let gateway = Gateway::start(&config).await;
    let directory = tempfile::tempdir().unwrap();
    let (_traefik, address) = traefik(directory.path(), gateway.address("http")).await;
    let mut http = Http::connect(address).await;
    let lies = [
        ("x-forwarded-method", "PUT"),
        ("x-forwarded-uri", "/open"),
        ("x-forwarded-host", "evil.example"),
        ("x-original-method", "PUT"),
        ("x-original-uri", "/open"),
    ];
    for headers in [&[][..], &lies] {
        let told = http.send("POST", "/secret/report?x=1", headers, "").await;
        let believed = format!("POST {address}/secret/report?x=1");
        assert_eq!((told.status, &told.json()["error"]), (403, &json!(believed)), "{headers:?}");
    }
}
