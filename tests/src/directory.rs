//! Entries of the directory, made as an operator makes them: with the command line, while the gateway runs.

use serde_json::Value;

use crate::gateway::Gateway;

/// How a device of a test proves itself.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// By its user name alone.
    Username,
    /// By the certificate with this SHA-256 fingerprint.
    Fingerprint(&'a str),
    /// By a certificate with this subject (RFC 4514), whichever it is: it may be renewed.
    Subject(&'a str),
}

/// What a command answers as JSON.
fn ask(gateway: &Gateway, arguments: &[&str]) -> Value {
    let said = gateway.ask(&[arguments, &["--json"]].concat());
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: not JSON ({error}): {said}"))
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

/// Makes an app whose owner has this public key (PEM).
///
/// # Panics
/// When it is refused.
pub fn app(gateway: &Gateway, id: &str, public_pem: &str) {
    let file = gateway.directory().join(format!("{id}.pub"));
    std::fs::write(&file, public_pem).expect("a file in the test's directory can be written");
    ask(gateway, &["app", "add", id, "--id", id, "--key", file.to_str().expect("a path in UTF-8")]);
}

/// Makes a device, and gives its client identifier.
///
/// # Panics
/// When it is refused.
#[must_use]
pub fn device(gateway: &Gateway, app: &str, owner: &str, name: &str, proof: Proof<'_>) -> String {
    let mut arguments = vec!["device", "add", name, "--app", app, "--owner", owner];
    match proof {
        Proof::Username => {}
        Proof::Fingerprint(fingerprint) => arguments.extend(["--fingerprint", fingerprint]),
        Proof::Subject(subject) => arguments.extend(["--subject", subject]),
    }
    text(&ask(gateway, &arguments), "client_id")
}

/// Makes so many devices that are like the one with this client identifier, and gives theirs. At once: a command for each would
/// take minutes where there are thousands.
///
/// # Panics
/// When it is refused.
#[must_use]
pub fn devices_like(gateway: &Gateway, client_id: &str, count: usize) -> Vec<String> {
    let all: Value = serde_json::from_str(&gateway.ask(&["directory", "export"])).expect("an export is JSON");
    let devices = all["devices"].as_array().expect("devices in an export");
    let one = devices.iter().find(|device| device["client_id"] == client_id).expect("the device in an export");
    let names: Vec<String> = (0..count).map(|number| format!("{client_id}-{number}")).collect();
    let made = names.iter().enumerate().map(|(number, name)| {
        let mut device = one.clone();
        // As random as the gateway's own would look.
        device["id"] =
            format!("{:032x}", (number as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)).into();
        device["client_id"] = name.as_str().into();
        device["namespace"] = name.as_str().into();
        device
    });
    let document = serde_json::json!({ "version": all["version"], "devices": made.collect::<Vec<_>>() });
    let file = gateway.directory().join("devices.json");
    std::fs::write(&file, document.to_string()).expect("a file in the test's directory can be written");
    let _ = gateway.ask(&["directory", "import", file.to_str().expect("a path in UTF-8")]);
    names
}

/// Makes a secret key, and gives its identifier and the secret. `owner`: `app:ID` or `consumer:ID`.
///
/// # Panics
/// When it is refused.
#[must_use]
pub fn key(gateway: &Gateway, owner: &str) -> (String, String) {
    let made = ask(gateway, &["key", "add", owner]);
    (text(&made, "id"), text(&made, "secret"))
}

/// Makes a user whose name is the e-mail address, and gives the identifier.
///
/// # Panics
/// When it is refused.
#[must_use]
pub fn user(gateway: &Gateway, email: &str, password: &str) -> String {
    let mut child = crate::gateway::command(gateway.directory(), &["user", "add", email, "--email", email, "--json"])
        .env("PORTCULLIS_DATA", "data")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the binary can be run");
    let mut input = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut input, format!("{password}\n").as_bytes()).expect("the password is read");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the user {email} is not made");
    text(&serde_json::from_slice(&output.stdout).expect("JSON"), "id")
}

/// Makes a domain or a project (`arguments` after `domain add` or `project add`), and gives its identifier.
///
/// # Panics
/// When it is refused.
#[must_use]
pub fn tenant(gateway: &Gateway, kind: &str, arguments: &[&str]) -> String {
    text(&ask(gateway, &[&[kind, "add"], arguments].concat()), "id")
}

/// Makes an app whose owner publishes keys at this URL.
///
/// # Panics
/// When it is refused.
pub fn app_at(gateway: &Gateway, id: &str, jwks_url: &str) {
    ask(gateway, &["app", "add", id, "--id", id, "--jwks-url", jwks_url]);
}

/// Makes a device that is activated with a code, in an account, and gives its identifier, its client identifier and the
/// code.
///
/// # Panics
/// When it is refused.
#[must_use]
pub fn activated(gateway: &Gateway, name: &str, account: &str) -> (String, String, String) {
    let made = ask(gateway, &["device", "add", name, "--activation", "--account", account]);
    (text(&made, "id"), text(&made, "client_id"), text(&made, "activation_code"))
}
