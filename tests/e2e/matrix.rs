//! One person, four systems: every credential, wherever it came from, on every way in. A person who registers at km-api is
//! the same one for Keystone, for the Open IoT platform, for an app's tokens and keys, and owns the same devices.

use std::sync::Arc;

use hyper::body::Bytes;
use portcullis_tests::certificates::{Authority, Leaf, fingerprint};
use portcullis_tests::directory::{self, Proof};
use portcullis_tests::tokens::{SigningKey, now};
use portcullis_tests::{Config, Gateway, Http, Message, Transport, Version};
use serde_json::{Value, json};

use crate::http_messages::header;
use crate::named;

const CHAIN: &[&str] = &["device", "keystone", "layer", "jwt", "api-key"];
const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse battery";
const JSON: (&str, &str) = ("content-type", "application/json");
const LAYER: (&str, &str) = ("accept", "application/vnd.layer+json; version=1.0");

/// What opens the gateway, in each of the forms in which it may be shown.
struct Credential {
    name: &'static str,
    /// User name and password of CONNECT. None: it is no password.
    login: Option<(String, Option<String>)>,
    /// Header fields of a request or of a WebSocket upgrade. Empty: it is not shown there.
    headers: Vec<(&'static str, String)>,
    certificate: Option<Arc<Leaf>>,
    /// The client identifier that it must have.
    client_id: Option<String>,
    /// A topic that its bearer may publish to.
    own: String,
    /// Who `/verify` says that it is.
    subject: Option<String>,
}

struct Stand {
    gateway: Gateway,
    http: Http,
    credentials: Vec<Credential>,
}

async fn told(http: &mut Http, path: &str, headers: &[(&str, &str)], body: &Value) -> (Value, Option<String>) {
    let headers = [headers, &[JSON]].concat();
    let answer = http.send("POST", path, &headers, Bytes::from(body.to_string())).await;
    assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
    (answer.json(), header(&answer, "x-subject-token").map(str::to_owned))
}

impl Stand {
    async fn new() -> Self {
        let clients = Authority::new("clients");
        let tls = "tls = { cert = \"server.pem\", key = \"server.key\", client-ca = \"clients.pem\", \
                   client-auth = \"optional\" }";
        let config = [Transport::Tls, Transport::Wss]
            .into_iter()
            .fold(Config::new(), |config, transport| config.mqtt_with(transport.name(), transport, CHAIN, tls))
            .mqtt("tcp", Transport::Tcp, CHAIN)
            .mqtt("ws", Transport::Ws, CHAIN)
            .server_certificate()
            .file("clients.pem", clients.pem())
            .http_with(CHAIN, "")
            .toml("[[policy]]\nname = \"keystone\"\nsource = \"builtin:keystone\"\nmount = [\"/v3\"]")
            .toml("[[policy]]\nname = \"jwt\"\nsource = \"builtin:jwt\"\nmount = [\"/v1/api\"]\nconfig = { oisp = {} }")
            .toml(
                "[[policy]]\nname = \"layer\"\nsource = \"builtin:layer\"\n\
                 mount = [\"/auth\", \"/nonces\", \"/sessions\"]",
            );
        let gateway = Gateway::start(&config).await;
        let mut http = Http::connect(gateway.address("http")).await;

        // The person comes about at km-api, and nowhere else.
        let body = json!({ "email": EMAIL, "password": PASSWORD, "first_name": "Ann", "last_name": "Miller" });
        let (person, _) = told(&mut http, "/auth/register/", &[], &body).await;
        let id = person["id"].as_str().unwrap().to_owned();
        let _ = gateway.ask(&["user", "set", EMAIL, "verified=true"]);
        let project = directory::tenant(&gateway, "project", &["home"]);
        let _ = gateway.ask(&["role", "add", EMAIL, "user", "--project", &project]);

        let mut stand = Self { gateway, http, credentials: Vec::new() };
        stand.layer(&id).await;
        stand.keystone(&id, &project).await;
        stand.open_iot(&id).await;
        stand.app(&id);
        stand.devices(&id, &clients);
        stand
    }

    fn add(
        &mut self,
        name: &'static str,
        username: &str,
        secret: &str,
        headers: &[(&'static str, String)],
        own: String,
        subject: &str,
    ) {
        self.credentials.push(Credential {
            name,
            login: Some((username.to_owned(), Some(secret.to_owned()))),
            headers: headers.to_vec(),
            certificate: None,
            client_id: None,
            own,
            subject: Some(subject.to_owned()),
        });
    }

    async fn layer(&mut self, id: &str) {
        let login = json!({ "username": EMAIL, "password": PASSWORD });
        let token = told(&mut self.http, "/auth/login/", &[], &login).await.0["token"].as_str().unwrap().to_owned();
        let own = format!("users/{id}/x");
        let authorization = format!("Token {token}");
        self.add("km-api token", EMAIL, &token, &[("authorization", authorization.clone())], own.clone(), id);

        let nonce = self.http.send("POST", "/nonces", &[LAYER], "").await.json()["nonce"].clone();
        let asked = [("authorization", authorization.as_str())];
        let (identity, _) = told(&mut self.http, "/auth/layer/", &asked, &json!({ "nonce": nonce })).await;
        let body = json!({
            "identity_token": identity["identity_token"],
            "app_id": "layer:///apps/staging/e49e50aa-ffda-453f-adc8-404f68de84ae",
        });
        let (session, _) = told(&mut self.http, "/sessions", &[LAYER], &body).await;
        let session = session["session_token"].as_str().unwrap();
        let authorization = format!("Layer session-token=\"{session}\"");
        self.add("Layer session", EMAIL, session, &[("authorization", authorization)], own, id);
    }

    async fn keystone(&mut self, id: &str, project: &str) {
        let body = json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": {
                "name": EMAIL, "domain": { "id": "default" }, "password": PASSWORD,
            } } },
            "scope": { "project": { "id": project } },
        } });
        let (answer, token) = told(&mut self.http, "/v3/auth/tokens", &[], &body).await;
        assert_eq!(answer["token"]["user"]["id"], id, "Keystone knows the person who registered at km-api");
        let token = token.expect("X-Subject-Token");
        let headers = [("x-auth-token", token.clone())];
        self.add("Keystone token", "Default/home", &token, &headers, format!("users/{id}/x"), id);
        // The name of a person at km-api is the e-mail address, so there are two of these signs.
        let user = format!("{EMAIL}@Default");
        self.add("Keystone password", &user, PASSWORD, &[], format!("users/{id}/x"), id);
    }

    async fn open_iot(&mut self, id: &str) {
        let login = json!({ "username": EMAIL, "password": PASSWORD });
        let (answer, _) = told(&mut self.http, "/v1/api/auth/token", &[], &login).await;
        let token = answer["token"].as_str().unwrap();
        let headers = [("authorization", format!("Bearer {token}"))];
        self.add("Open IoT token", EMAIL, token, &headers, format!("users/{id}/x"), id);
    }

    fn app(&mut self, id: &str) {
        let key = SigningKey::new("ES256");
        directory::app(&self.gateway, "shop", &key.public_pem());
        let token = key.token(&json!({ "sub": id, "iat": now(), "exp": now() + 600 }));
        let headers = [("authorization", format!("Bearer {token}")), ("x-app-id", "shop".to_owned())];
        self.add("consumer JWT", "shop", &token, &headers, format!("shop/{id}/x"), id);
        let (key, secret) = directory::key(&self.gateway, "app:shop");
        let headers = [("x-api-key", secret.clone()), ("x-on-behalf-of", id.to_owned())];
        self.add("API key", id, &secret, &headers, format!("shop/{id}/x"), &key);
    }

    fn devices(&mut self, id: &str, clients: &Authority) {
        let plain = directory::device(&self.gateway, "shop", id, "lamp", Proof::Username);
        let leaf = clients.client("fan");
        let print = fingerprint(&leaf.der);
        let certified = directory::device(&self.gateway, "shop", id, "fan", Proof::Fingerprint(&print));
        let device = |name, client_id: String, certificate| Credential {
            name,
            login: Some((client_id.clone(), None)),
            headers: Vec::new(),
            certificate,
            own: format!("{client_id}/stream"),
            client_id: Some(client_id),
            subject: None,
        };
        self.credentials.push(device("device name", plain, None));
        self.credentials.push(device("device certificate", certified, Some(Arc::new(leaf))));
    }
}

impl Credential {
    /// Whether the way can carry it: a certificate needs TLS.
    fn fits(&self, transport: Transport) -> bool {
        self.certificate.is_none() || matches!(transport, Transport::Tls | Transport::Wss)
    }

    /// Logs in as CONNECT has it, or by the headers of the upgrade; publishes where it may, and where it may not.
    async fn use_on_mqtt(&self, gateway: &Gateway, transport: Transport, version: Version, by_header: bool) {
        let way = format!("{} over {} {version:?}, by header: {by_header}", self.name, transport.name());
        let client_id = self.client_id.clone().unwrap_or_else(|| named("client", transport, version));
        let mut dial = gateway.dial(transport, version, &client_id);
        dial.route.identity = self.certificate.clone();
        if by_header {
            dial.route.headers = self.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        } else if let Some((username, password)) = &self.login {
            dial = match password {
                Some(password) => dial.login(username, password),
                None => dial.user(username),
            };
        }
        let mut client = match dial.attempt().await {
            Ok(client) => client,
            Err(refused) => panic!("{way}: {refused:?}\n{}", gateway.ask(&["why", &client_id])),
        };
        let answer = client.publish(Message::new(self.own.clone(), "x").qos(1)).await;
        assert!(answer < 0x80, "{way}: {answer:#04x} on {}", self.own);
        if version == Version::V5 {
            let answer = client.publish(Message::new("users/somebody-else/x", "x").qos(1)).await;
            assert_eq!(answer, 0x87, "{way}: another's topic");
        }
        client.disconnect().await;
    }

    async fn use_on_http(&self, http: &mut Http) {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let name = self.name;
        let done = http.send("POST", &format!("/publish/{}?qos=1", self.own), &headers, "x").await;
        assert_eq!(done.status / 100, 2, "{name}: {}", done.body);
        let refused = http.send("POST", "/publish/users/somebody-else/x?qos=1", &headers, "x").await;
        assert_eq!(refused.status, 403, "{name}: {}", refused.body);
        let verified = http.send("GET", "/verify", &headers, "").await;
        assert_eq!(verified.status, 200, "{name}: {}", verified.body);
        assert_eq!(header(&verified, "x-auth-subject"), self.subject.as_deref(), "{name}");
    }
}

#[tokio::test]
async fn every_credential_opens_every_way_that_can_carry_it_and_no_topic_of_others() {
    let Stand { gateway, mut http, credentials } = Stand::new().await;
    assert_eq!(credentials.len(), 9);
    for credential in &credentials {
        for (transport, version) in crate::ways().filter(|(transport, _)| credential.fits(*transport)) {
            credential.use_on_mqtt(&gateway, transport, version, false).await;
            let upgraded = matches!(transport, Transport::Ws | Transport::Wss);
            if upgraded && !credential.headers.is_empty() {
                credential.use_on_mqtt(&gateway, transport, version, true).await;
            }
        }
        if !credential.headers.is_empty() {
            credential.use_on_http(&mut http).await;
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
