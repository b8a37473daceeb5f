//! One person and everything that opens the gateway for them: each credential that one of the bundled policies gives or takes,
//! come by as its clients come by it.

use std::sync::Arc;

use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::certificates::{Authority, Leaf, fingerprint};
use crate::directory::{self, Proof};
use crate::tokens::{SigningKey, now};
use crate::{Config, Gateway, Http, Transport};

/// The policies of every listener, in an order that is good for all of them.
pub const CHAIN: &[&str] = &["device", "keystone", "layer", "jwt", "api-key"];
/// The person's address.
pub const EMAIL: &str = "ann@example.com";
/// The person's password.
pub const PASSWORD: &str = "correct horse battery";
const JSON: (&str, &str) = ("content-type", "application/json");
const LAYER: (&str, &str) = ("accept", "application/vnd.layer+json; version=1.0");

/// What opens the gateway, in each of the forms in which it may be shown.
pub struct Credential {
    /// For people.
    pub name: &'static str,
    /// User name and password of CONNECT. None: it is no password.
    pub login: Option<(String, Option<String>)>,
    /// Header fields of a request or of a WebSocket upgrade. Empty: it is not shown there.
    pub headers: Vec<(&'static str, String)>,
    /// Shown in the TLS handshake.
    pub certificate: Option<Arc<Leaf>>,
    /// The client identifier that it must have.
    pub client_id: Option<String>,
    /// A topic that its bearer may publish to.
    pub own: String,
    /// Who `/verify` says that it is.
    pub subject: Option<String>,
}

/// A gateway with the person in it.
pub struct Stand {
    /// Listeners of every transport, and one for HTTP on which all the interfaces are mounted.
    pub gateway: Gateway,
    /// A connection to it.
    pub http: Http,
    /// All of them.
    pub credentials: Vec<Credential>,
}

async fn told(http: &mut Http, path: &str, headers: &[(&str, &str)], body: &Value) -> (Value, Option<String>) {
    let headers = [headers, &[JSON]].concat();
    let answer = http.send("POST", path, &headers, Bytes::from(body.to_string())).await;
    assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
    let subject = answer.headers.iter().find(|(name, _)| name == "x-subject-token");
    let subject = subject.map(|(_, value)| value.clone());
    (answer.json(), subject)
}

impl Stand {
    /// Starts it, registers the person, and has every credential issued.
    ///
    /// # Panics
    /// When one of them is not to be had.
    pub async fn new() -> Self {
        let clients = Authority::new("clients");
        let tls = "tls = { cert = \"server.pem\", key = \"server.key\", client-ca = \"clients.pem\", \
                   client-auth = \"optional\" }";
        let config = [Transport::Tls, Transport::Wss]
            .into_iter()
            .fold(Config::new(), |config, transport| config.mqtt_with(transport.name(), transport, CHAIN, tls))
            .mqtt("tcp", Transport::Tcp, CHAIN)
            .mqtt("ws", Transport::Ws, CHAIN)
            // Chromium gives a WebSocket up where it is asked for a certificate, be it optional.
            .mqtt("browser", Transport::Wss, CHAIN)
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
