//! OpenStack's own programs: keystoneauth1 and `openstack` against the gateway as a Keystone; a real Keystone (PyPI, SQLite,
//! waitress) as the uplink of another gateway; and both answering one corpus of requests.

use std::path::PathBuf;
use std::process::Stdio;

use portcullis_tests::keystone::{PASSWORD, fill, token};
use portcullis_tests::{Config, Dial, Gateway, Version, within};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{PATIENCE, folder, succeed};

fn python() -> PathBuf {
    folder().join(".venv-keystone/bin/python")
}

const RULES: &str =
    r#"rules = [{ actions = ["publish", "subscribe"], filter = "{service}/{user}/#", role = "operator" }]"#;

async fn local() -> (Gateway, Value) {
    let entry = format!(
        "[[policy]]\nname = \"keystone\"\nsource = \"builtin:keystone\"\nmount = [\"/\"]\nconfig = {{ {RULES} }}"
    );
    let gateway = Gateway::start(&Config::tcp(&["keystone"]).http().toml(&entry)).await;
    let about = fill(&gateway).await;
    (gateway, about)
}

/// A Keystone that runs, and what it was filled with. It ends with its standard input.
struct Real {
    _child: Child,
    about: Value,
    folder: TempDir,
}

impl Real {
    async fn start(provider: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut command = Command::new(python());
        command.arg(folder().join("keystone_server.py")).arg(place.path()).arg(provider).current_dir(place.path());
        let errors = std::fs::File::create(place.path().join("errors")).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{error}: run tests/run, which installs it"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("a Keystone that starts").unwrap();
        let Some(line) = line else {
            panic!("the Keystone ended: {}", std::fs::read_to_string(place.path().join("errors")).unwrap());
        };
        Self { _child: child, about: serde_json::from_str(&line).unwrap(), folder: place }
    }

    fn text(&self, name: &str) -> &str {
        self.about[name].as_str().unwrap()
    }

    /// A gateway that asks it.
    async fn gateway(&self, more: &str) -> Gateway {
        let url = self.text("url");
        let host = url.trim_start_matches("http://").trim_end_matches("/v3");
        Gateway::start(&Config::tcp(&["keystone"]).toml(&format!(
            "[[policy]]\nname = \"keystone\"\nsource = \"builtin:keystone\"\n\
             allow = {{ directory = \"write\", keyvalue = true, keys = [], http = [\"{host}\"] }}\n\
             [policy.config]\nmode = \"upstream\"\nurl = \"{url}\"\ntimeout = 15000\ncache = 1\nrefused = 1\n{RULES}\n{more}"
        )))
        .await
    }

    /// Runs a piece of Python with a session of keystoneauth1 for Ann.
    async fn python(&self, code: &str) -> String {
        python_as_ann(self.text("url"), code).await
    }
}

/// Runs a piece of Python with a session of keystoneauth1 for Ann.
async fn python_as_ann(url: &str, code: &str) -> String {
    let begin = format!(
        "from keystoneauth1 import session\nfrom keystoneauth1.identity import v3\n\
         auth = v3.Password({url:?}, username='ann', password={PASSWORD:?}, user_domain_name='smart',\n\
         \x20   project_name='gardens', project_domain_name='smart')\ns = session.Session(auth=auth)\n"
    );
    let mut command = Command::new(python());
    command.arg("-c").arg(format!("{begin}{code}"));
    patiently(command).await
}

/// Runs a program that must succeed, and gives what it said.
async fn patiently(command: Command) -> String {
    succeed(command).await.trim().to_owned()
}

fn dial(gateway: &Gateway, username: &str, password: &str) -> Dial {
    gateway.tcp(Version::V5, "ann").login(username, password)
}

async fn works(gateway: &Gateway, username: &str, password: &str) {
    let mut client = dial(gateway, username, password).connect().await;
    assert_eq!(client.subscribe("smart/ann/x", 1).await, 1);
    client.disconnect().await;
}

#[tokio::test]
async fn keystoneauth_takes_the_gateway_for_a_keystone() {
    let (gateway, about) = local().await;
    let url = about["url"].as_str().unwrap();
    let code = "\
token = s.get_token()
assert s.get_project_id() and s.get_user_id()
access = auth.get_access(s)
assert access.role_names == ['operator'], access.role_names
assert access.project_name == 'gardens' and access.user_domain_name == 'smart'
assert s.get_endpoint(service_type='identity', interface='public').rstrip('/').endswith('/v3')
assert s.get('/auth/projects', endpoint_filter={'service_type': 'identity'}).json()['projects'][0]['name'] == 'gardens'
again = v3.Token(auth.auth_url, token, domain_name='smart')
assert session.Session(auth=again).get_token()
from keystoneauth1 import discover
assert discover.Discover(s, auth.auth_url).version_data()[0]['version'] == (3, 14)
assert discover.Discover(s, auth.auth_url.removesuffix('/v3')).version_data()[0]['version'] == (3, 14)
print(token)";
    let token = python_as_ann(url, code).await;
    works(&gateway, "smart/gardens", &token).await;
    let code = format!(
        "auth = v3.ApplicationCredential({url:?}, application_credential_id={}, application_credential_secret={})\n\
         print(session.Session(auth=auth).get_token())",
        about["credential"], about["secret"]
    );
    works(&gateway, "smart", &python_as_ann(url, &code).await).await;
}

#[tokio::test]
async fn openstack_issues_and_revokes_tokens() {
    let (gateway, about) = local().await;
    let openstack = |arguments: &[&str]| {
        let mut command = Command::new(folder().join(".venv-keystone/bin/openstack"));
        command.args(arguments).env("OS_AUTH_URL", about["url"].as_str().unwrap());
        for (name, value) in [
            ("OS_USERNAME", "ann"),
            ("OS_PASSWORD", PASSWORD),
            ("OS_USER_DOMAIN_NAME", "smart"),
            ("OS_PROJECT_NAME", "gardens"),
            ("OS_PROJECT_DOMAIN_NAME", "smart"),
            ("OS_IDENTITY_API_VERSION", "3"),
        ] {
            command.env(name, value);
        }
        patiently(command)
    };
    let issued: Value = serde_json::from_str(&openstack(&["token", "issue", "-f", "json"]).await).unwrap();
    assert_eq!((&issued["project_id"], &issued["user_id"]), (&about["gardens"], &about["ann"]));
    let token = issued["id"].as_str().unwrap();
    let mut client = dial(&gateway, "smart/gardens", token).connect().await;
    openstack(&["token", "revoke", token]).await;
    assert!(client.ended().await.is_some(), "whoever came with it is told to go");
    assert_eq!(dial(&gateway, "smart/gardens", token).refusal().await, 0x86);
    let catalog: Value = serde_json::from_str(&openstack(&["catalog", "list", "-f", "json"]).await).unwrap();
    assert_eq!(catalog[0]["Type"], "identity");
}

#[tokio::test]
async fn a_real_keystones_fernet_tokens_open_the_gateway() {
    let real = Real::start("fernet").await;
    let gateway = real.gateway("").await;
    let token = real.python("print(s.get_token())").await;
    assert!(token.starts_with("gAAAAA"));
    works(&gateway, "smart/gardens", &token).await;
    works(&gateway, "ann@smart/gardens", PASSWORD).await;
    for (username, secret) in [
        ("smart/other", token.as_str()),
        ("smart", &token.replace('A', "B")),
        ("ann@smart/gardens", "wrong"),
        ("cem@smart", PASSWORD),
        ("bob@smart/gardens", PASSWORD),
    ] {
        assert_eq!(dial(&gateway, username, secret).refusal().await, 0x86, "{username}");
    }
    // Revoked there: the next look, at most a second of `cache` later, ends the connection here.
    let mut client = dial(&gateway, "smart", &token).connect().await;
    let revoke = format!(
        "t = {token:?}\nassert s.delete('/auth/tokens', endpoint_filter={{'service_type': 'identity'}},\n\
         \x20   headers={{'X-Subject-Token': t}}).status_code == 204"
    );
    real.python(&revoke).await;
    within("the end of the connection", client.ended()).await;
    assert_eq!(dial(&gateway, "smart", &token).refusal().await, 0x86);
}

#[tokio::test]
async fn a_real_keystones_jws_tokens_are_checked_before_it_is_asked() {
    let real = Real::start("jws").await;
    let pem = std::fs::read_to_string(real.folder.path().join("jws-public/public.pem")).unwrap();
    let gateway = real.gateway(&format!("keys = {{ pem = '''{pem}''' }}")).await;
    let token_there = real.python("print(s.get_token())").await;
    works(&gateway, "smart/gardens", &token_there).await;
    // Ours are signed with another key.
    let (other, _) = local().await;
    let foreign = token(&other, "ann", json!("unscoped")).await;
    assert_eq!(dial(&gateway, "smart", &foreign).refusal().await, 0x86);
    let forged = portcullis_tests::tokens::tampered(&token_there);
    assert_eq!(dial(&gateway, "smart", &forged).refusal().await, 0x86);
}

#[tokio::test]
async fn the_gateway_answers_as_a_keystone_does() {
    let real = Real::start("fernet").await;
    let (_gateway, ours) = local().await;
    let mut command = Command::new(python());
    command.arg(folder().join("keystone_differential.py")).arg(real.about.to_string()).arg(ours.to_string());
    let said: Value = serde_json::from_str(&patiently(command).await).unwrap();
    assert!(said["requests"].as_u64().unwrap() > 100, "{said}");
}
