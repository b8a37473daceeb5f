//! Every credential with the clients that people have: paho-mqtt, MQTT.js in Node.js, and MQTT.js in a browser's page.

use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_tests::Transport;
use portcullis_tests::people::{Credential, Stand};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::scripts::Library;
use crate::{folder, succeed};

/// What a script is told: where, as whom, what it may publish to, and what not.
///
/// A device's client has the device's name. Each other one has a name of its own: a client does not wait until the gateway
/// has read its DISCONNECT, and until then its identifier is another's no more than its session is.
fn told(stand: &Stand, credential: &Credential, transport: Transport, version: u8) -> Value {
    static CLIENTS: AtomicU32 = AtomicU32::new(0);
    let client_id = || format!("phone-{}", CLIENTS.fetch_add(1, Ordering::Relaxed));
    let directory = stand.gateway.directory();
    let (username, password) = credential.login.clone().expect("each of them fits into CONNECT");
    let mut told = json!({
        "scenario": "credential",
        "credential": credential.name,
        "transport": transport.name(),
        "host": "127.0.0.1",
        "port": stand.gateway.address(transport.name()).port(),
        "ca": directory.join("ca.pem"),
        "version": version,
        "clientId": credential.client_id.clone().unwrap_or_else(client_id),
        "username": username,
        "password": password,
        "topic": credential.own,
        "forbidden": "users/somebody-else/x",
    });
    if let Some(leaf) = &credential.certificate {
        std::fs::write(directory.join("device.pem"), &leaf.certificate_pem).unwrap();
        std::fs::write(directory.join("device.key"), &leaf.key_pem).unwrap();
        told["cert"] = directory.join("device.pem").to_str().unwrap().into();
        told["key"] = directory.join("device.key").to_str().unwrap().into();
    }
    told
}

async fn stand() -> Stand {
    let stand = Stand::new().await;
    std::fs::write(stand.gateway.directory().join("ca.pem"), portcullis_tests::config::authority().pem()).unwrap();
    stand
}

#[tokio::test]
async fn every_credential_comes_in_with_paho_and_mqttjs() {
    let stand = stand().await;
    for credential in &stand.credentials {
        for library in Library::BOTH {
            for (transport, version) in [(Transport::Wss, 4), (Transport::Wss, 5), (Transport::Tls, 5)] {
                succeed(library.command(&told(&stand, credential, transport, version))).await;
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_secret_comes_in_with_none_of_them() {
    let stand = stand().await;
    for credential in stand.credentials.iter().filter(|credential| credential.certificate.is_none()) {
        for library in Library::BOTH {
            let mut told = told(&stand, credential, Transport::Wss, 5);
            told["scenario"] = "refused".into();
            // The last characters of a signature may be padding: the first of the last ten is not.
            let mut secret = told["password"].as_str().unwrap_or("x").to_owned();
            let at = secret.len().saturating_sub(10);
            let other = if secret[at..].starts_with('A') { "B" } else { "A" };
            secret.replace_range(at..=at, other);
            told["password"] = secret.into();
            let said = succeed(library.command(&told)).await;
            assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["code"], 134, "{} {library:?}", credential.name);
        }
    }
}

/// A browser chooses certificates itself and shows them to servers that it knows, so a page has every credential but that.
#[tokio::test]
async fn every_credential_comes_in_from_a_page_in_chromium() {
    let stand = stand().await;
    let logins: Vec<Value> = stand
        .credentials
        .iter()
        .filter(|credential| credential.certificate.is_none())
        .flat_map(|credential| [4, 5].map(|version| told(&stand, credential, Transport::Wss, version)))
        .map(|mut told| {
            told["port"] = stand.gateway.address("browser").port().into();
            told
        })
        .collect();
    let page = json!({ "logins": logins });
    let mut command = Command::new("node");
    command.arg(folder().join("browser.mjs")).arg(page.to_string());
    let said = succeed(command).await;
    let results: Value = serde_json::from_str(&said).unwrap();
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 16, "{said}");
    for result in results {
        let (version, refused) = (&result["version"], &result["forbidden"]);
        assert_eq!(result["admitted"], true, "{result}");
        assert_eq!(*refused, if *version == 5 { json!(135) } else { Value::Null }, "{result}");
    }
}
