//! Compiling a large component leaves nothing behind in the gateway but the component, and a restart compiles nothing.

use portcullis_tests::{Config, Gateway, Version, config, policies};

use crate::language::Language;
use crate::plant::{self, PIN, Plant};
use crate::service::BadgeService;

/// The most that a swap from C to Python may add. Its machine code is 39 MB and its instance 7; the rest is what the allocator has not
/// given back yet. The compiler, were it in this process, would leave 400 MB.
const PYTHON: u64 = 160 << 20;

#[tokio::test]
async fn compiling_a_large_component_grows_the_gateway_by_the_component_alone() {
    let service = BadgeService::start();
    let config = Config::tcp(&["badge"]).file("badge.wasm", Language::C.component()).toml(&plant::entry(
        "badge",
        "badge.wasm",
        &service.address(),
        "",
    ));
    let gateway = Gateway::start(&config).await;
    let holder = gateway.tcp(Version::V5, "acme-halle-1001").login("1001", PIN);
    holder.connect().await.disconnect().await;
    let before = gateway.memory().0;
    // Not what the other tests have compiled: another component, by its digest.
    let component = policies::variant(&Language::Python.component(), 1);
    config::replace(&gateway.directory().join("badge.wasm"), &component);
    let _ = gateway.ask(&["policy", "reload", "badge"]);
    holder.connect().await.disconnect().await;
    let (after, most) = gateway.memory();
    #[allow(clippy::print_stderr, reason = "the figure")]
    {
        eprintln!("resident: {} MB before Python, {} MB with it, {} MB at most", before >> 20, after >> 20, most >> 20);
    }
    assert!(after < before + PYTHON, "{before} octets became {after}, and {most} meanwhile");
}

#[tokio::test]
async fn a_restart_compiles_nothing() {
    let plant = Plant::start(Language::Python).await;
    let gateway = plant.gateway.restart().await;
    let policies = gateway.admin().get("/api/v1/policies").await.good();
    let policies = policies["items"].as_array().unwrap_or_else(|| panic!("no list: {policies}"));
    assert!(policies.iter().all(|policy| policy["from_cache"] == true), "{policies:?}");
}
