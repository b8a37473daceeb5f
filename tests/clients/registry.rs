//! Policies out of a real registry (Debian's docker-registry): pulled, verified, kept for when it is away; with a password,
//! and with a token.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis_tests::certificates::Authority;
use portcullis_tests::tokens::now;
use portcullis_tests::{Config, Gateway, Http, Version, address, policies};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::listening;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry process. Dropping it kills it.
struct Registry {
    child: Child,
    address: SocketAddr,
    /// What opens it.
    authorization: Option<String>,
}

impl Registry {
    async fn start(folder: &Path, auth: &Value) -> Self {
        Self::with(folder, address::own(), json!({ "auth": auth })).await
    }

    /// With further settings: `auth`, and members of `http`.
    async fn with(folder: &Path, address: SocketAddr, settings: Value) -> Self {
        let mut config = json!({
            "version": "0.1",
            "log": { "level": "error" },
            "storage": { "filesystem": { "rootdirectory": folder.join("blobs") } },
            "http": { "addr": address.to_string(), "secret": "a-secret-of-this-test" },
        });
        if !settings["auth"].is_null() {
            config["auth"] = settings["auth"].clone();
        }
        for (name, value) in settings["http"].as_object().into_iter().flatten() {
            config["http"][name] = value.clone();
        }
        // JSON is YAML.
        let file = folder.join("registry.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().expect("docker-registry");
        listening("the registry", address).await;
        Self { child, address, authorization: None }
    }

    /// Ends it: when this is done, nobody listens any more.
    async fn stop(mut self) {
        self.child.kill().await.expect("it can be ended");
    }

    async fn open(folder: &Path) -> Self {
        Self::start(folder, &Value::Null).await
    }

    fn headers<'a>(&'a self, kind: &'a str) -> Vec<(&'a str, &'a str)> {
        let authorization = self.authorization.as_deref().map(|value| ("authorization", value));
        [("content-type", kind)].into_iter().chain(authorization).collect()
    }

    async fn blob(&self, content: &[u8]) -> Value {
        let mut http = Http::connect(self.address).await;
        let headers = self.headers("application/octet-stream");
        let begun = http.send("POST", "/v2/plant/doorman/blobs/uploads/", &headers, "").await;
        assert_eq!(begun.status, 202, "{}", begun.body);
        let to = begun.headers.iter().find(|(name, _)| name == "location").map(|(_, value)| value.clone()).unwrap();
        let to = to.strip_prefix(&format!("http://{}", self.address)).unwrap_or(&to).to_owned();
        let digest = format!("sha256:{}", policies::digest(content));
        let put = http.send("PUT", &format!("{to}&digest={digest}"), &headers, content.to_vec()).await;
        assert_eq!(put.status, 201, "{}", put.body);
        json!({ "digest": digest, "size": content.len() })
    }

    async fn put(&self, tag: &str, kind: &str, manifest: &Value) -> String {
        let content = manifest.to_string();
        let path = format!("/v2/plant/doorman/manifests/{tag}");
        let put = Http::connect(self.address).await.send("PUT", &path, &self.headers(kind), content.clone()).await;
        assert_eq!(put.status, 201, "{}", put.body);
        policies::digest(content.as_bytes())
    }

    /// Pushes a component, and answers the digest of its manifest.
    async fn push(&self, tag: &str, component: &[u8], annotations: Value) -> String {
        let (mut config, mut layer) = (self.blob(b"{}").await, self.blob(component).await);
        config["mediaType"] = "application/vnd.wasm.config.v0+json".into();
        layer["mediaType"] = "application/wasm".into();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer], "annotations": annotations,
        });
        self.put(tag, MANIFEST, &manifest).await
    }
}

fn entry(source: &str, more: &str) -> Config {
    Config::tcp(&["doorman"]).toml(&format!("[[policy]]\nname = \"doorman\"\nsource = \"{source}\"\n{more}"))
}

async fn is_open(gateway: &Gateway) -> bool {
    gateway.tcp(Version::V5, "visitor").attempt().await.is_ok()
}

#[tokio::test]
async fn a_tag_is_pulled_followed_and_kept_for_when_the_registry_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).await;
    let address = registry.address;
    registry.push("live", &policies::bundled("anonymous"), json!({})).await;
    let gateway = Gateway::start(&entry(&format!("oci://{address}/plant/doorman:live"), "")).await;
    assert!(is_open(&gateway).await);
    let list = gateway.ask(&["policy", "list"]);
    assert!(list.contains(&format!("oci://{address}/plant/doorman:live (manifest ")), "{list}");
    // Another content under the same tag is taken up by a reload.
    registry.push("live", &policies::passing(), json!({})).await;
    let said = gateway.ask(&["policy", "reload", "doorman"]);
    assert!(said.contains("was replaced"), "{said}");
    assert!(!is_open(&gateway).await);
    // Versions are kept as those of files are.
    let _ = gateway.ask(&["policy", "rollback", "doorman"]);
    assert!(is_open(&gateway).await);
    let _ = gateway.ask(&["policy", "reload", "doorman", "--source"]);
    registry.stop().await;
    let mut gateway = gateway.restart().await;
    assert!(!is_open(&gateway).await);
    assert!(gateway.log().contains("is what was pulled before"), "{}", gateway.log());
    gateway.reload().await;
    assert!(!is_open(&gateway).await);
    // What was never pulled cannot be had.
    let failure = Gateway::attempt(&entry(&format!("oci://{address}/plant/doorman:live"), "")).await.err().unwrap();
    assert!(failure.err.contains("cannot be reached"), "{}", failure.err);
}

#[tokio::test]
async fn a_digest_names_one_content_and_an_index_leads_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).await;
    let address = registry.address;
    let digest = registry.push("one", &policies::bundled("anonymous"), json!({})).await;
    registry.push("one", &policies::passing(), json!({})).await;
    let pinned = entry(&format!("oci://{address}/plant/doorman:one@sha256:{digest}"), "");
    let gateway = Gateway::start(&pinned).await;
    assert!(is_open(&gateway).await, "the tag has moved, the digest has not");

    let size = Http::connect(address)
        .await
        .send("GET", &format!("/v2/plant/doorman/manifests/sha256:{digest}"), &[("accept", MANIFEST)], "")
        .await
        .body
        .len();
    let kind = "application/vnd.oci.image.index.v1+json";
    let platform = json!({ "architecture": "wasm", "os": "wasip2" });
    let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": [
        { "mediaType": MANIFEST, "digest": format!("sha256:{digest}"), "size": size, "platform": platform } ] });
    registry.put("index", kind, &index).await;
    let gateway_of_index = Gateway::start(&entry(&format!("oci://{address}/plant/doorman:index"), "")).await;
    assert!(is_open(&gateway_of_index).await);

    let other = "0".repeat(64);
    let absent = entry(&format!("oci://{address}/plant/doorman@sha256:{other}"), "");
    let failure = Gateway::attempt(&absent).await.err().unwrap();
    assert!(failure.err.contains("answers 404"), "{}", failure.err);
    // What is no component is refused as such, and so is a layer of another kind.
    let mut config = registry.blob(b"{}").await;
    config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
    let mut layer = registry.blob(b"text").await;
    layer["mediaType"] = "text/plain".into();
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] });
    registry.put("text", MANIFEST, &manifest).await;
    let failure = Gateway::attempt(&entry(&format!("oci://{address}/plant/doorman:text"), "")).await.err().unwrap();
    assert!(failure.err.contains("0 layers of WebAssembly") && failure.err.contains("text/plain"), "{}", failure.err);

    // A pinned content needs no registry once it was pulled.
    registry.stop().await;
    let gateway = gateway.restart().await;
    assert!(is_open(&gateway).await);
    assert!(!gateway.log().contains("cannot be reached"), "it was not even asked: {}", gateway.log());
}

#[tokio::test]
async fn a_signature_comes_with_the_manifest() {
    let signer = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let component = policies::bundled("anonymous");
    let signature = minisign::sign(None, &signer.sk, std::io::Cursor::new(&component), Some("a test"), None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).await;
    registry.push("signed", &component, json!({ "io.portcullis.minisign": signature.into_string() })).await;
    registry.push("unsigned", &component, json!({})).await;
    let trusting = |tag: &str| {
        entry(&format!("oci://{}/plant/doorman:{tag}", registry.address), "")
            .toml(&format!("[trust]\nkeys = [\"{}\"]", signer.pk.to_base64()))
    };
    let gateway = Gateway::start(&trusting("signed")).await;
    assert!(is_open(&gateway).await);
    let failure = Gateway::attempt(&trusting("unsigned")).await.err().unwrap();
    assert!(failure.err.contains("it is not signed"), "{}", failure.err);
}

#[tokio::test]
async fn credentials_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("htpasswd");
    // bcrypt of `opensesame`.
    std::fs::write(&passwords, "ali:$2b$04$107K6e9LhxabZ/T4etGfJOp69U7eAhhlTypM69J4yFoNfw1Lj2yyS\n").unwrap();
    let auth = json!({ "htpasswd": { "realm": "tests", "path": passwords } });
    let mut registry = Registry::start(folder.path(), &auth).await;
    // `ali:opensesame`
    registry.authorization = Some("Basic YWxpOm9wZW5zZXNhbWU=".to_owned());
    registry.push("live", &policies::bundled("anonymous"), json!({})).await;
    let source = format!("oci://{}/plant/doorman:live", registry.address);
    let failure = Gateway::attempt(&entry(&source, "")).await.err().unwrap();
    assert!(failure.err.contains("answers 401") && failure.err.contains("credentials"), "{}", failure.err);
    let with = |auth: &str| {
        entry(&source, "registry = { credentials = \"registry.json\" }")
            .file("registry.json", json!({ "auths": { registry.address.to_string(): { "auth": auth } } }).to_string())
    };
    let failure = Gateway::attempt(&with("YWxpOndyb25n")).await.err().unwrap();
    assert!(failure.err.contains("answers 401") && !failure.err.contains("YWxpOndyb25n"), "{}", failure.err);
    let gateway = Gateway::start(&with("YWxpOm9wZW5zZXNhbWU=")).await;
    assert!(is_open(&gateway).await);
    assert!(!gateway.log().contains("YWxpOm9wZW5zZXNhbWU="));
}

/// Gives a token for whatever is asked for, and counts.
async fn token_server(key: EncodingKey, header: Header) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let asked = counter.fetch_add(1, Ordering::SeqCst);
            assert!(head.contains("scope=repository%3Aplant%2Fdoorman%3Apull"), "{head}");
            assert!(head.contains("service=the-registry"), "{head}");
            let actions = json!(["pull", "push"]);
            let claims = json!({
                "iss": "tests", "sub": "", "aud": "the-registry", "exp": now() + 300, "nbf": now() - 10, "iat": now() - 10,
                "jti": asked.to_string(), "access": [{ "type": "repository", "name": "plant/doorman", "actions": actions }],
            });
            let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
            let body = json!({ "token": token }).to_string();
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, count)
}

#[tokio::test]
async fn a_registry_that_wants_a_token_says_where_it_is_got() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("registry tests");
    let leaf = authority.server("token server");
    std::fs::write(folder.path().join("roots.pem"), authority.pem()).unwrap();
    let der: String = leaf.certificate_pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut header = Header::new(Algorithm::ES256);
    header.x5c = Some(vec![der]);
    let (at, count) = token_server(EncodingKey::from_ec_pem(leaf.key_pem.as_bytes()).unwrap(), header).await;
    let auth = json!({ "token": {
        "realm": format!("http://{at}/token"), "service": "the-registry", "issuer": "tests",
        "rootcertbundle": folder.path().join("roots.pem"),
    } });
    let mut registry = Registry::start(folder.path(), &auth).await;
    let mut http = Http::connect(at).await;
    let path = "/token?scope=repository%3Aplant%2Fdoorman%3Apull&service=the-registry";
    let token: Value = serde_json::from_str(&http.send("GET", path, &[], "").await.body).unwrap();
    registry.authorization = Some(format!("Bearer {}", token["token"].as_str().unwrap()));
    registry.push("live", &policies::bundled("anonymous"), json!({})).await;
    let before = count.load(Ordering::SeqCst);
    let gateway = Gateway::start(&entry(&format!("oci://{}/plant/doorman:live", registry.address), "")).await;
    assert!(is_open(&gateway).await);
    assert_eq!(count.load(Ordering::SeqCst), before + 1, "one token for the whole pull");
}

/// A registry that answers over TLS, and the reference of what is in it.
async fn over_tls(folder: &Path, authority: &Authority) -> (Registry, String) {
    let filled = Registry::open(folder).await;
    filled.push("live", &policies::bundled("anonymous"), json!({})).await;
    filled.stop().await;
    let address = address::own();
    let leaf = authority.server_at("registry", address.ip());
    let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
    std::fs::write(&certificate, &leaf.certificate_pem).unwrap();
    std::fs::write(&key, &leaf.key_pem).unwrap();
    let tls = json!({ "http": { "tls": { "certificate": certificate, "key": key } } });
    let registry = Registry::with(folder, address, tls).await;
    let source = format!("oci://{}/plant/doorman:live", registry.address);
    (registry, source)
}

#[tokio::test]
async fn tls_is_verified_against_the_authorities_that_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("registry tests");
    let (_registry, source) = over_tls(folder.path(), &authority).await;
    let with = |more: &str| {
        entry(&source, more).file("ca.pem", authority.pem()).file("other.pem", Authority::new("other").pem())
    };
    let gateway = Gateway::start(&with("registry = { ca = \"ca.pem\" }")).await;
    assert!(is_open(&gateway).await);
    let failure =
        Gateway::attempt(&with("registry = { ca = \"other.pem\" }")).await.err().expect("another's authority");
    assert!(failure.err.contains("cannot be reached") && failure.err.contains("certificate"), "{}", failure.err);
    // Plain HTTP to where TLS is spoken.
    for more in ["", "registry = { insecure = true }"] {
        let failure = Gateway::attempt(&with(more)).await.err().unwrap_or_else(|| panic!("{more:?} is enough"));
        assert!(failure.err.contains("answers 400"), "{more:?}: {}", failure.err);
    }
}

/// Stands before a registry: passes requests on, or sends their clients elsewhere. Keeps the heads of what it is asked.
/// `locked`: who does not say who he is is asked for it.
async fn front(
    registry: SocketAddr,
    locked: bool,
    elsewhere: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> (SocketAddr, Heads) {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Heads::default());
    let (kept, elsewhere) = (Arc::clone(&heads), Arc::new(elsewhere));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (kept, elsewhere) = (Arc::clone(&kept), Arc::clone(&elsewhere));
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let length = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                kept.lock().unwrap().push(head.clone());
                if locked && !head.contains("authorization: basic ") {
                    let answer = "HTTP/1.1 401 Who\r\nwww-authenticate: Basic realm=\"tests\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    return;
                }
                if let Some(to) = elsewhere(&path) {
                    let answer = format!(
                        "HTTP/1.1 307 Elsewhere\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    return;
                }
                // The registry's answer, octet by octet, to the same request.
                let mut behind = tokio::net::TcpStream::connect(registry).await.unwrap();
                let request = format!(
                    "GET {path} HTTP/1.1\r\nhost: {registry}\r\naccept: {MANIFEST}\r\nconnection: close\r\n\r\n"
                );
                behind.write_all(request.as_bytes()).await.unwrap();
                let _ = tokio::io::copy(&mut behind, &mut stream).await;
            });
        }
    });
    (address, heads)
}

/// The heads of requests, in lower case.
type Heads = Arc<std::sync::Mutex<Vec<String>>>;

/// Registries send their clients to where their blobs are, which is somebody else's.
#[tokio::test]
async fn a_redirect_is_followed_without_what_opens_the_registry() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).await;
    registry.push("live", &policies::bundled("anonymous"), json!({})).await;
    let (blobs, heard_there) = front(registry.address, false, |_| None).await;
    let to_blobs = move |path: &str| path.contains("/blobs/").then(|| format!("http://{blobs}{path}"));
    let (before, heard_here) = front(registry.address, true, to_blobs).await;
    let credentials = json!({ "auths": { before.to_string(): { "auth": "YWxpOm9wZW5zZXNhbWU=" } } });
    let config = entry(&format!("oci://{before}/plant/doorman:live"), "registry = { credentials = \"registry.json\" }");
    let gateway = Gateway::start(&config.file("registry.json", credentials.to_string())).await;
    assert!(is_open(&gateway).await);
    let here = heard_here.lock().unwrap().clone();
    assert!(here.iter().any(|head| head.contains("/blobs/") && head.contains("authorization: basic ")), "{here:?}");
    let there = heard_there.lock().unwrap().clone();
    assert!(there.len() == 1 && there[0].contains("/blobs/"), "{there:?}");
    assert!(!there[0].contains("authorization") && !there[0].contains("cookie"), "{there:?}");
    // In a circle, or to where nothing is said.
    for to in ["/v2/plant/doorman/manifests/live", "nowhere", "ftp://127.0.0.1/x"] {
        let (circle, heads) = front(registry.address, false, move |_| Some(to.to_owned())).await;
        let source = format!("oci://{circle}/plant/doorman:live");
        let failure =
            Gateway::attempt(&entry(&source, "")).await.err().unwrap_or_else(|| panic!("{to} leads somewhere"));
        assert!(failure.err.contains("doorman"), "{to}: {}", failure.err);
        assert!(heads.lock().unwrap().len() <= 6, "{to}: it is not followed for ever");
    }
}
