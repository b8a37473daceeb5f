//! A gateway with the configuration that `examples/` recommends, beside the badge service.

use std::fmt::Write;

use portcullis_tests::binary::root;
use portcullis_tests::{Config, Dial, Gateway, Transport, Version};
use serde_json::Value;

use crate::compiled;
use crate::language::Language;
use crate::service::BadgeService;

/// The PIN of every badge.
pub(crate) const PIN: &str = "4711";

/// Two listeners: `mqtt` behind the policy as `examples/portcullis.toml` configures it, and `hasty` behind the same component, which
/// asks the service at each login (`fresh = 0`) and allows three logins an hour.
pub(crate) struct Plant {
    pub(crate) gateway: Gateway,
    pub(crate) service: BadgeService,
}

/// The example's entry for the policy, under this name and with these further lines of configuration in place of its own.
pub(crate) fn entry(name: &str, source: &str, service: &str, instead: &str) -> String {
    let text = std::fs::read_to_string(root().join("examples/portcullis.toml")).unwrap();
    let begin = text.find("[[policy]]").expect("an entry");
    let end = text.find("[admin]").expect("the admin API after it");
    let replaced: Vec<_> = instead.lines().filter_map(|line| line.split(" = ").next()).collect();
    let mut entry = String::new();
    for line in text[begin..end].lines() {
        let key = line.split(" = ").next().unwrap_or_default();
        if replaced.contains(&key) {
            continue;
        }
        let _ = writeln!(entry, "{line}");
        if line == "[policy.config]" {
            let _ = writeln!(entry, "{instead}");
        }
    }
    entry
        .replace("name = \"badge\"", &format!("name = {name:?}"))
        .replace("badge.wasm", source)
        .replace("127.0.0.1:8099", service)
        // A machine that runs many tests stands still for longer at times.
        .replace("deadline = \"1s\"", "deadline = \"20s\"")
}

impl Plant {
    pub(crate) async fn start(language: Language) -> Self {
        let service = BadgeService::start();
        let address = service.address();
        let directory = tempfile::tempdir().unwrap();
        configuration(language, &address, "").write(directory.path());
        compiled::give(&directory.path().join("data"));
        let serve = ["serve", "--config", "portcullis.toml", "--data", "data"];
        let gateway = Gateway::spawn(directory, &serve).await;
        let gateway = gateway.unwrap_or_else(|failure| panic!("{language:?}: {failure:?}"));
        Self { gateway, service }
    }

    /// A client that is about to connect to a listener as the holder of a badge of acme-halle.
    pub(crate) fn holder(&self, listener: &str, number: &str) -> Dial {
        self.dial(listener, &format!("acme-halle-{number}")).login(number, PIN)
    }

    pub(crate) fn dial(&self, listener: &str, client_id: &str) -> Dial {
        Dial::new(self.gateway.route_to(listener, Transport::Tcp), Version::V5, client_id)
    }

    /// Why the last login with this client identifier ended as it did.
    pub(crate) fn detail(&self, client_id: &str) -> String {
        let decisions: Value = serde_json::from_str(&self.gateway.ask(&["why", client_id, "--json"])).unwrap();
        let decisions = decisions.as_array().unwrap();
        let login = decisions.iter().find(|decision| decision["what"] == "login").expect("a login");
        login["detail"].as_str().unwrap_or_default().to_owned()
    }

    /// Puts the component of another language in place.
    pub(crate) fn swap(&self, language: Language) {
        portcullis_tests::config::replace(&self.gateway.directory().join("badge.wasm"), &language.component());
        let _ = self.gateway.ask(&["policy", "reload", "badge"]);
    }
}

/// The configuration of the plant, with further lines in place of the example's own.
pub(crate) fn configuration(language: Language, service: &str, instead: &str) -> Config {
    let hasty = "fresh = 0\nlogins-per-hour = 3";
    Config::new()
        .mqtt("mqtt", Transport::Tcp, &["badge"])
        .mqtt("hasty", Transport::Tcp, &["hasty"])
        .file("badge.wasm", language.component())
        .toml(&entry("badge", "badge.wasm", service, instead))
        .toml(&entry("hasty", "badge.wasm", service, hasty))
}
