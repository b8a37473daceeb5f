//! The directory from outside: tenants, roles, changes and copies by command, with a gateway that runs and without.

use portcullis_tests::tokens::SigningKey;
use portcullis_tests::{Config, Gateway, Version, directory, gateway};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn tenants_people_and_roles_are_managed_by_command() {
    let gateway = Gateway::start(&Config::tcp(&["device"])).await;
    let ada = directory::user(&gateway, "ada@example.com", "correct horse");
    let domain = directory::tenant(&gateway, "domain", &["plant"]);
    let project = directory::tenant(&gateway, "project", &["line-1", "--domain", &domain]);
    let _ = gateway.ask(&["role", "add", "ada@example.com", "operator", "--project", &project]);
    let _ = gateway.ask(&["role", "add", &ada, "admin", "--system"]);
    let roles = json(&gateway.ask(&["role", "list", "--json"]));
    let scopes: Vec<_> = roles.as_array().unwrap().iter().map(|role| role["scope"].as_str().unwrap()).collect();
    assert_eq!(scopes.len(), 2);
    assert!(scopes.contains(&"system") && scopes.contains(&format!("project:{project}").as_str()));
    let operator = format!("{ada}:project:{project}:operator");
    let _ = gateway.ask(&["role", "remove", &operator]);
    assert_eq!(gateway.command(&["role", "remove", &operator]).status.code(), Some(4), "it is gone already");
    assert_eq!(gateway.command(&["role", "add", &ada, "x"]).status.code(), Some(2), "a role counts somewhere");

    let _ = gateway.ask(&[
        "user",
        "set",
        "ada@example.com",
        "verified=true",
        "attributes.first-name=Ada",
        "attributes.pin=0042",
    ]);
    let user = &json(&gateway.ask(&["user", "list", "--json"]))[0];
    assert_eq!(user["verified"], true);
    assert_eq!(user["attributes"], serde_json::json!([["first-name", "Ada"], ["pin", "0042"]]));
    let wrong = gateway.command(&["user", "set", &ada, "colour=red"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("colour"), "{}", String::from_utf8_lossy(&wrong.stderr));
    assert_eq!(gateway.command(&["domain", "remove", &domain]).status.code(), Some(1), "it has a project");
    let _ = gateway.ask(&["project", "remove", &project]);
    let _ = gateway.ask(&["domain", "remove", &domain]);
}

#[tokio::test]
async fn a_device_that_is_disabled_is_disconnected_at_once_and_comes_back_when_it_is_enabled() {
    let gateway = Gateway::start(&Config::tcp(&["device"])).await;
    directory::app(&gateway, "pumps", &SigningKey::new("RS256").public_pem());
    let name = directory::device(&gateway, "pumps", "alice", "pump", directory::Proof::Username);
    let mut device = gateway.tcp(Version::V5, &name).user(&name).connect().await;
    let _ = gateway.ask(&["device", "set", &name, "enabled=false"]);
    assert_eq!(device.ended().await.unwrap().0, 0x87);
    assert_eq!(gateway.tcp(Version::V5, &name).user(&name).refusal().await, 0x87);
    let _ = gateway.ask(&["device", "set", &name, "enabled=true"]);
    gateway.tcp(Version::V5, &name).user(&name).connect().await;
}

#[tokio::test]
async fn a_directory_moves_to_another_gateway_whole() {
    let one = Gateway::start(&Config::tcp(&["device"])).await;
    directory::app(&one, "pumps", &SigningKey::new("RS256").public_pem());
    let name = directory::device(&one, "pumps", "alice", "pump", directory::Proof::Username);
    let (_, secret) = directory::key(&one, "app:pumps");
    let plain = one.ask(&["directory", "export"]);
    assert!(json(&plain)["keys"].as_array().is_none_or(Vec::is_empty), "no hash of a key unless it is asked for");
    let whole = one.ask(&["directory", "export", "--secrets"]);
    assert!(!whole.contains(&secret), "the secret itself is nowhere");

    let two = Gateway::start(&Config::tcp(&["device"])).await;
    std::fs::write(two.directory().join("copy.json"), &whole).unwrap();
    let said = two.ask(&["directory", "import", "copy.json"]);
    assert!(said.contains("1 apps, 1 devices, 1 keys"), "{said}");
    two.tcp(Version::V5, &name).user(&name).connect().await;
    std::fs::write(two.directory().join("broken.json"), whole.replace("\"version\"", "\"edition\"")).unwrap();
    assert_eq!(two.command(&["directory", "import", "broken.json"]).status.code(), Some(1));
}

#[test]
fn without_a_gateway_the_commands_work_on_its_data_directory() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("data")).unwrap();
    let run = |arguments: &[&str]| {
        let output = gateway::run(home.path(), &[arguments, &["--data", "data"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["domain", "add", "plant", "--id", "plant"]);
    run(&["domain", "set", "plant", "enabled=false"]);
    assert_eq!(json(&run(&["domain", "list", "--json"]))[1]["enabled"], false);
    run(&["domain", "remove", "plant"]);
    assert!(run(&["directory", "export"]).contains("\"version\": 1"));
}
