//! Debian's nginx with `auth_request`: the configuration that the README shows, in front of files that only bearers of a
//! good token get.

use std::net::SocketAddr;
use std::process::Stdio;

use portcullis_tests::{Http, address, binary};
use tokio::process::{Child, Command};

use crate::{asked_by_others, listening};

/// The `location` blocks of the README, which begin after this line.
const MARK: &str = "<!-- nginx -->";

fn locations(gateway: SocketAddr) -> String {
    let readme = std::fs::read_to_string(binary::root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once(MARK).expect("the README shows how nginx asks");
    let block = rest.split("```").nth(1).expect("a block of code").strip_prefix("nginx\n").unwrap();
    assert!(block.contains("127.0.0.1:8080"), "{block}");
    block.replace("127.0.0.1:8080", &gateway.to_string())
}

async fn nginx(directory: &std::path::Path, gateway: SocketAddr) -> (Child, SocketAddr) {
    let address = address::own();
    std::fs::create_dir(directory.join("site")).unwrap();
    std::fs::write(directory.join("site/report.txt"), "in confidence").unwrap();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path tmp-{kind};\n"))
        .collect();
    let text = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {{ }}\nhttp {{\naccess_log off;\n\
         {temporary}server {{\nlisten {address};\nroot site;\n{}\n}}\n}}\n",
        locations(gateway)
    );
    std::fs::write(directory.join("nginx.conf"), text).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(directory).args(["-c", "nginx.conf", "-e", "stderr"]).stdin(Stdio::null()).kill_on_drop(true);
    let child = command.spawn().expect("nginx");
    listening("nginx", address).await;
    (child, address)
}

#[tokio::test]
async fn nginx_lets_through_whom_the_gateway_knows() {
    let (gateway, token) = asked_by_others().await;
    let directory = tempfile::tempdir().unwrap();
    let (_nginx, address) = nginx(directory.path(), gateway.address("http")).await;
    let mut http = Http::connect(address).await;
    let seen = http
        .send(
            "GET",
            "/report.txt",
            &[("authorization", &token), ("x-auth-subject", "root"), ("origin", "https://x.y")],
            "",
        )
        .await;
    assert_eq!((seen.status, seen.body.as_str()), (200, "in confidence"));
    assert!(seen.headers.contains(&("x-seen-subject".to_owned(), "alice".to_owned())), "{:?}", seen.headers);
    for bad in ["Bearer x.y.z", "Basic eDp5"] {
        let refused = http.send("GET", "/report.txt", &[("authorization", bad)], "").await;
        assert_eq!(refused.status, 401, "{bad}: {}", refused.body);
        assert!(!refused.body.contains("confidence"));
    }
    assert_eq!(http.get("/report.txt").await.status, 401);
}
