//! One person, four systems: every credential, wherever it came from, on every way in. A person who registers at km-api is
//! the same one for Keystone, for the Open IoT platform, for an app's tokens and keys, and owns the same devices.

use portcullis_tests::people::{Credential, EMAIL, Stand};
use portcullis_tests::{Gateway, Http, Message, Transport, Version};

use crate::http_messages::header;
use crate::named;

/// Whether the way can carry it: a certificate needs TLS.
fn fits(credential: &Credential, transport: Transport) -> bool {
    credential.certificate.is_none() || matches!(transport, Transport::Tls | Transport::Wss)
}

/// Logs in as CONNECT has it, or by the headers of the upgrade; publishes where it may, and where it may not.
async fn use_on_mqtt(
    credential: &Credential,
    gateway: &Gateway,
    transport: Transport,
    version: Version,
    by_header: bool,
) {
    let way = format!("{} over {} {version:?}, by header: {by_header}", credential.name, transport.name());
    let client_id = credential.client_id.clone().unwrap_or_else(|| named("client", transport, version));
    let mut dial = gateway.dial(transport, version, &client_id);
    dial.route.identity = credential.certificate.clone();
    if by_header {
        dial.route.headers =
            credential.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    } else if let Some((username, password)) = &credential.login {
        dial = match password {
            Some(password) => dial.login(username, password),
            None => dial.user(username),
        };
    }
    let mut client = match dial.attempt().await {
        Ok(client) => client,
        Err(refused) => panic!("{way}: {refused:?}\n{}", gateway.ask(&["why", &client_id])),
    };
    let answer = client.publish(Message::new(credential.own.clone(), "x").qos(1)).await;
    assert!(answer < 0x80, "{way}: {answer:#04x} on {}", credential.own);
    if version == Version::V5 {
        let answer = client.publish(Message::new("users/somebody-else/x", "x").qos(1)).await;
        assert_eq!(answer, 0x87, "{way}: another's topic");
    }
    client.disconnect().await;
}

async fn use_on_http(credential: &Credential, http: &mut Http) {
    let headers: Vec<_> = credential.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let name = credential.name;
    let done = http.send("POST", &format!("/publish/{}?qos=1", credential.own), &headers, "x").await;
    assert_eq!(done.status / 100, 2, "{name}: {}", done.body);
    let refused = http.send("POST", "/publish/users/somebody-else/x?qos=1", &headers, "x").await;
    assert_eq!(refused.status, 403, "{name}: {}", refused.body);
    let verified = http.send("GET", "/verify", &headers, "").await;
    assert_eq!(verified.status, 200, "{name}: {}", verified.body);
    assert_eq!(header(&verified, "x-auth-subject"), credential.subject.as_deref(), "{name}");
}

#[tokio::test]
async fn every_credential_opens_every_way_that_can_carry_it_and_no_topic_of_others() {
    let Stand { gateway, mut http, credentials } = Stand::new().await;
    assert_eq!(credentials.len(), 9);
    for credential in &credentials {
        for (transport, version) in crate::ways().filter(|(transport, _)| fits(credential, *transport)) {
            use_on_mqtt(credential, &gateway, transport, version, false).await;
            let upgraded = matches!(transport, Transport::Ws | Transport::Wss);
            if upgraded && !credential.headers.is_empty() {
                use_on_mqtt(credential, &gateway, transport, version, true).await;
            }
        }
        if !credential.headers.is_empty() {
            use_on_http(credential, &mut http).await;
        }
    }
}

#[tokio::test]
async fn a_person_who_is_disabled_is_out_of_every_system_at_once() {
    let Stand { gateway, mut http, credentials } = Stand::new().await;
    let mut clients = Vec::new();
    let persons = |credential: &&Credential| {
        ["km-api token", "Layer session", "Keystone token", "Keystone password", "Open IoT token"]
            .contains(&credential.name)
    };
    for credential in credentials.iter().filter(persons) {
        let (username, password) = credential.login.as_ref().unwrap();
        let dial = gateway.tcp(Version::V5, &credential.name.replace(' ', "-"));
        clients.push((credential, dial.login(username, password.as_deref().unwrap()).connect().await));
    }
    assert_eq!(clients.len(), 5);
    let _ = gateway.ask(&["user", "set", EMAIL, "enabled=false"]);
    for (credential, client) in &mut clients {
        let (code, _) = client.ended().await.unwrap_or_else(|| panic!("{}: it is not told", credential.name));
        assert!(code >= 0x80, "{}: {code:#04x}", credential.name);
    }
    for credential in credentials.iter().filter(persons) {
        let (username, password) = credential.login.as_ref().unwrap();
        let dial = gateway.tcp(Version::V5, "again").login(username, password.as_deref().unwrap());
        assert!(dial.attempt().await.is_err(), "{}", credential.name);
        if !credential.headers.is_empty() {
            let headers: Vec<_> = credential.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = http.send("GET", "/verify", &headers, "").await;
            assert!([401, 403].contains(&answer.status), "{}: {}", credential.name, answer.status);
        }
    }
}
