//! HTTP: what everybody may see, and the admin API behind its token.

use hyper::Method;
use portcullis_tests::{Admin, Config, Gateway, Version, within};

async fn gateway() -> Gateway {
    Gateway::start(&Config::everywhere(&["anonymous"]).http()).await
}

#[tokio::test]
async fn health_version_and_keys_are_public() {
    let gateway = gateway().await;
    let public = Admin::new(gateway.address("http"));
    for path in ["/healthz", "/healthz/ready", "/version", "/.well-known/jwks.json"] {
        let answer = public.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(answer.json().is_object(), "{path}");
    }
    assert!(public.get("/.well-known/jwks.json").await.json()["keys"].is_array());
    assert_eq!(public.get("/nothing/here").await.status, 404);
    assert_eq!(public.request(Method::DELETE, "/version", None).await.status, 405);
    // The admin API is not here.
    assert_eq!(public.get("/api/v1/status").await.status, 404);
}

#[tokio::test]
async fn the_admin_api_opens_to_its_token_alone() {
    let gateway = gateway().await;
    let address = gateway.address("admin");
    let paths = ["/api/v1/status", "/api/v1/policies", "/api/v1/connections", "/api/v1/apps", "/metrics"];
    for path in paths {
        for stranger in [Admin::new(address), Admin::new(address).bearer("0123456789abcdef0123456789abcdef")] {
            let answer = stranger.get(path).await;
            assert_eq!(answer.status, 401, "{path}");
            assert!(answer.headers.iter().any(|(name, _)| name == "www-authenticate"), "{path}");
        }
        assert_eq!(gateway.admin().get(path).await.status, 200, "{path}");
    }
    assert_eq!(Admin::new(address).get("/healthz").await.status, 200);
    assert_eq!(gateway.admin().get("/api/v1/nothing").await.status, 404);
}

#[tokio::test]
async fn the_token_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mut gateway = gateway().await;
    let file = gateway.data().join("admin.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    gateway.stop().await;
    assert!(!file.exists(), "nobody is told of a gateway that has stopped");
}

#[tokio::test]
async fn connections_are_seen_and_ended() {
    let gateway = gateway().await;
    let mut client = gateway.tcp(Version::V5, "seen").connect().await;
    let admin = gateway.admin();
    let seen = admin.get("/api/v1/connections").await.good();
    assert!(seen["items"].as_array().unwrap().iter().any(|item| item.to_string().contains("\"seen\"")), "{seen}");
    let answer = admin.delete("/api/v1/connections/seen").await;
    assert!((200..300).contains(&answer.status), "{}", answer.body);
    assert_eq!(client.ended().await.map(|(reason, _)| reason), Some(0x98), "administrative action");
    // Whether it is still among them when it has heard of it is a matter of a moment.
    within("the end of the connection", async {
        while admin.delete("/api/v1/connections/seen").await.status != 404 {}
    })
    .await;
}

#[tokio::test]
async fn metrics_count_what_happens() {
    let gateway = gateway().await;
    let value = |text: &str, name: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    };
    let before = gateway.admin().get("/metrics").await.body;
    assert!(before.contains("# TYPE") && before.trim_end().ends_with("# EOF"), "OpenMetrics text:\n{before}");
    let client = gateway.tcp(Version::V5, "counted").connect().await;
    let during = gateway.admin().get("/metrics").await.body;
    let open = |text: &str| value(text, "portcullis_connections");
    assert!(open(&during) > open(&before), "{during}");
    client.disconnect().await;
}
