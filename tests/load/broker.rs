//! The brokers that are measured: the gateway behind a policy, and others that are installed on this machine.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use portcullis_tests::gateway::share_code;
use portcullis_tests::policies::answers::{Answers, Effect, Terms};
use portcullis_tests::tokens::{SigningKey, now};
use portcullis_tests::{Config, Gateway, Transport, config, directory};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Login;
use crate::languages::{self, BadgeService, Language};
use crate::wire::{PATIENCE, Road};

/// Who is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The gateway; what stands in front of each client.
    Gateway(Front),
    Mosquitto,
    Nats,
    Rumqttd(PathBuf),
    /// No broker at all: what the system and this harness cost.
    Floor,
}

/// What stands in front of each client of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// Everybody may do everything.
    Anonymous,
    /// A signed token; a grant with so many rules.
    Jwt { rules: usize },
    /// A device of the directory, and a grant with rules.
    Device,
    /// A secret of the directory.
    ApiKey,
    /// So many policies, of which the last one decides.
    Chain(usize),
    /// A policy that is asked about each topic, and whose answer holds for an hour.
    Ask,
    /// As `Jwt`, and an acknowledgement means that it is in memory.
    Forgetful,
    /// The example's policy, in one of the languages that it is written in.
    Badge(Language),
}

/// Rules of a grant where it does not matter how many exactly.
pub(crate) const RULES: usize = 8;
/// Devices that connect at the same time.
pub(crate) const DEVICES: usize = 16;
/// Devices of which each connects once, where they are to be as many as there are connections.
const CROWD: usize = 6200;

impl Subject {
    /// The gateway as it is meant to be used.
    pub(crate) fn gateway() -> Self {
        Self::Gateway(Front::Jwt { rules: RULES })
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Gateway(Front::Anonymous) => "Portcullis, anonymous".into(),
            Self::Gateway(Front::Jwt { .. }) => "Portcullis, jwt".into(),
            Self::Gateway(Front::Device) => "Portcullis, device".into(),
            Self::Gateway(Front::ApiKey) => "Portcullis, api-key".into(),
            Self::Gateway(Front::Chain(length)) => format!("Portcullis, {length} policies"),
            Self::Gateway(Front::Ask) => "Portcullis, ask".into(),
            Self::Gateway(Front::Forgetful) => "Portcullis, jwt, `durability = \"none\"`".into(),
            Self::Gateway(Front::Badge(language)) => format!("Portcullis, badge in {}", language.name),
            Self::Mosquitto => "Mosquitto".into(),
            Self::Nats => "NATS".into(),
            Self::Rumqttd(_) => "rumqttd".into(),
            Self::Floor => "floor".into(),
        }
    }

    /// Whether it carries MQTT in this way, as it is set up here.
    pub(crate) fn speaks(&self, transport: Transport) -> bool {
        match self {
            Self::Gateway(_) | Self::Mosquitto => true,
            Self::Nats | Self::Rumqttd(_) | Self::Floor => transport == Transport::Tcp,
        }
    }

    /// Whether the work of the row with this key is any of its business.
    pub(crate) fn does(&self, row: &str) -> bool {
        let simple = ["pairs", "fan-out", "fan-out-1000", "sparse", "rate", "beside"];
        *self != Self::Floor || simple.contains(&row)
    }

    /// What has to be built before it can be started.
    pub(crate) fn lacks(&self) -> Option<String> {
        let Self::Gateway(Front::Badge(language)) = self else { return None };
        language.component().err().map(|error| format!("{error:#}"))
    }

    /// Starts it and waits until it accepts connections.
    pub(crate) fn start(&self) -> Result<Broker> {
        match self {
            Self::Gateway(front) => gateway(front),
            Self::Mosquitto => again(mosquitto),
            Self::Nats => again(nats),
            Self::Rumqttd(program) => again(|| rumqttd(program)),
            Self::Floor => floor(),
        }
    }
}

/// A running broker, which ends when it is dropped.
pub(crate) struct Broker {
    process: Process,
    addresses: HashMap<&'static str, SocketAddr>,
    tls: Arc<rustls::ClientConfig>,
    /// Client identifiers and what belongs to them; the last one counts for everybody beyond.
    logins: Vec<(Option<String>, Login)>,
    /// Client identifiers of devices, for [`Broker::own_login`]; none where nobody has to be one.
    crowd: Vec<String>,
    /// What signs a token, and says what it says of everybody; none where nobody needs one.
    tokens: Option<(SigningKey, Value)>,
}

enum Process {
    Gateway(Box<Gateway>, #[allow(dead_code, reason = "what the policy asks lives as long")] Option<BadgeService>),
    Other(Child, #[allow(dead_code, reason = "the directory lives as long as the process")] TempDir),
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Self::Other(child, _) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Broker {
    /// One that lets everybody in.
    fn of_nobody(process: Process, addresses: HashMap<&'static str, SocketAddr>) -> Result<Self> {
        let logins = vec![(None, Login::default())];
        Ok(Self { process, addresses, tls: client_config()?, logins, crowd: Vec::new(), tokens: None })
    }

    pub(crate) fn pid(&self) -> u32 {
        match &self.process {
            Process::Gateway(gateway, _) => gateway.pid(),
            Process::Other(child, _) => child.id(),
        }
    }

    pub(crate) fn road(&self, transport: Transport) -> Result<Road> {
        let address = self.addresses.get(transport.name()).copied();
        let address = address.with_context(|| format!("it is not set up for {}", transport.name()))?;
        let secure = matches!(transport, Transport::Tls | Transport::Wss);
        Ok(Road { transport, address, tls: secure.then(|| Arc::clone(&self.tls)) })
    }

    /// Client identifier and credentials of the client with this number.
    pub(crate) fn login(&self, number: usize) -> (String, Login) {
        let (name, login) = &self.logins[number.min(self.logins.len() - 1)];
        (name.clone().unwrap_or_else(|| format!("load-{number}")), login.clone())
    }

    /// The same, where each client is somebody else as far as the front knows one from another.
    pub(crate) fn own_login(&self, number: usize) -> (String, Login) {
        if let Some(name) = self.crowd.get(number) {
            return (name.clone(), Login { username: Some(name.clone()), ..Login::default() });
        }
        let (name, mut login) = self.login(number);
        if let Some((key, claims)) = &self.tokens {
            let mut claims = claims.clone();
            let subject = format!("tester-{number}");
            claims["sub"] = subject.as_str().into();
            login.username = Some(subject);
            login.password = Some(key.token(&claims).into_bytes());
        }
        (name, login)
    }
}

fn client_config() -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(config::authority().pem().as_bytes()) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    // Each connection is to cost what the first one costs.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn gateway(front: &Front) -> Result<Broker> {
    let key = SigningKey::new("ES256");
    let chain: Vec<String> = match front {
        Front::Anonymous => vec!["anonymous".into()],
        Front::Jwt { .. } | Front::Forgetful => vec!["jwt".into()],
        Front::Badge(_) => vec!["badge".into()],
        Front::Device => vec!["device".into()],
        Front::ApiKey => vec!["api-key".into()],
        Front::Ask => vec!["ask".into()],
        Front::Chain(length) => (1..*length).map(|n| format!("device-{n}")).chain(["jwt".into()]).collect(),
    };
    let names: Vec<&str> = chain.iter().map(String::as_str).collect();
    let durability = if *front == Front::Forgetful { "none" } else { "ack" };
    let more = format!("durability = {durability:?}\nlimits = {{ subscriptions = 1000000, packet-size = \"1MiB\" }}");
    let mut config = Transport::ALL
        .into_iter()
        .fold(Config::new(), |config, transport| config.mqtt_with(transport.name(), transport, &names, &more));
    let mut service = None;
    let mut sites: Vec<String> = Vec::new();
    let shared = r#"{ actions = ["publish", "subscribe", "retain"], filter = "load/#" }"#;
    match front {
        Front::Jwt { .. } | Front::Forgetful | Front::Chain(_) => {
            let rules = if let Front::Jwt { rules } = front { *rules } else { RULES };
            let mut text = shared.to_owned();
            if rules > 1 {
                text += r#", { effect = "deny", actions = ["publish", "subscribe"], filter = "load/+/secret/#" }"#;
            }
            // One more for each site that the token names.
            sites = (2..rules).map(|number| format!("site-{number}")).collect();
            text += r#", { actions = ["publish", "subscribe"], filter = "sites/{claim.sites}/#" }"#;
            config = config.toml(&format!(
                "[[policy]]\nname = \"jwt\"\nsource = \"builtin:jwt\"\nallow = {{ directory = \"write\", keys = [] }}\n\
                 config = {{ apps = false, rules = [{text}], issuers = [{{ issuer = \"load\", keys = {{ pem = {:?} }} }}] }}",
                key.public_pem()
            ));
        }
        Front::Device => {
            config = config.toml(&format!(
                "[[policy]]\nname = \"device\"\nsource = \"builtin:device\"\nconfig = {{ rules = [{shared}, {{ actions = \
                 [\"publish\", \"will\"], filter = \"{{device}}/stream\" }}, {{ actions = \"subscribe\", filter = \
                 \"{{device}}/control\" }}] }}"
            ));
        }
        Front::Ask => {
            let mut policy = Answers::new();
            let granted = policy.allow(&Terms::with(&[(Effect::Ask, "load/#")]));
            let allowed = policy.decision(true, 3600);
            config = config
                .toml("[[policy]]\nname = \"ask\"\nsource = \"ask.wasm\"")
                .file("ask.wasm", policy.authenticate(granted).authorize(allowed).component());
        }
        Front::Badge(language) => {
            let asked = service.insert(BadgeService::start(DEVICES)?);
            config = config.file("badge.wasm", language.component()?).toml(&languages::entry(asked)?);
        }
        Front::Anonymous | Front::ApiKey => {}
    }
    for name in chain.iter().filter(|name| name.starts_with("device-")) {
        config = config.toml(&format!("[[policy]]\nname = {name:?}\nsource = \"builtin:device\""));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut gateway = runtime.block_on(start(&config))?;
    let login = |username: &str, password: &str| Login {
        username: Some(username.to_owned()),
        password: (!password.is_empty()).then(|| password.as_bytes().to_vec()),
        ..Login::default()
    };
    let (mut tokens, mut crowd) = (None, Vec::new());
    let logins = match front {
        Front::Anonymous | Front::Ask => vec![(None, Login::default())],
        Front::Badge(_) => {
            let badges = (0..DEVICES).map(languages::badge);
            badges.map(|badge| (Some(languages::client(&badge)), login(&badge, languages::PIN))).collect()
        }
        Front::Jwt { .. } | Front::Forgetful | Front::Chain(_) => {
            let claims = json!({ "iss": "load", "sub": "tester", "exp": now() + 86_400, "sites": sites });
            let all = vec![(None, login("tester", &key.token(&claims)))];
            tokens = Some((key, claims));
            all
        }
        Front::Device => {
            directory::app(&gateway, "load", &key.public_pem());
            let device = |number| {
                let name = format!("load{number}");
                directory::device(&gateway, "load", "tester", &name, directory::Proof::Username)
            };
            let names: Vec<_> = (0..DEVICES).map(device).collect();
            crowd = directory::devices_like(&gateway, &names[0], CROWD);
            // What making so many leaves behind in its memory would be of use to those who are measured.
            gateway = runtime.block_on(gateway.restart());
            names.into_iter().map(|name| (Some(name.clone()), login(&name, ""))).collect()
        }
        Front::ApiKey => {
            directory::app(&gateway, "load", &key.public_pem());
            let (_, secret) = directory::key(&gateway, "app:load");
            vec![(None, login("load", &secret))]
        }
    };
    let addresses =
        Transport::ALL.into_iter().map(|transport| (transport.name(), gateway.address(transport.name()))).collect();
    Ok(Broker {
        process: Process::Gateway(Box::new(gateway), service),
        addresses,
        tls: client_config()?,
        logins,
        crowd,
        tokens,
    })
}

/// Starts the gateway. What it compiles is kept for those that are started after it.
async fn start(config: &Config) -> Result<Gateway> {
    static COMPILED: OnceLock<TempDir> = OnceLock::new();
    let compiled = match COMPILED.get() {
        Some(compiled) => compiled,
        None => {
            let made = tempfile::tempdir()?;
            COMPILED.get_or_init(|| made)
        }
    };
    let directory = tempfile::tempdir()?;
    config.write(directory.path());
    let data = directory.path().join("data");
    share_code(compiled.path(), &data);
    let serve = ["serve", "--config", "portcullis.toml", "--data", "data"];
    let started = Gateway::spawn(directory, &serve).await;
    let gateway =
        started.map_err(|failure| anyhow!("the gateway did not come up: {}\n{}", failure.status, failure.err))?;
    share_code(&gateway.data(), compiled.path());
    Ok(gateway)
}

/// Starts a program that needs nothing but a configuration, and waits until its ports accept.
fn launch(
    program: &Path,
    arguments: &[&str],
    (name, text): (&str, &str),
    addresses: HashMap<&'static str, SocketAddr>,
    directory: TempDir,
) -> Result<Broker> {
    std::fs::write(directory.path().join(name), text)?;
    let log = std::fs::File::create(directory.path().join("log"))?;
    let child = Command::new(program)
        .args(arguments)
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("{} cannot be run", program.display()))?;
    let mut process = Process::Other(child, directory);
    let begun = Instant::now();
    for address in addresses.values() {
        while TcpStream::connect(address).is_err() {
            let Process::Other(child, directory) = &mut process else { continue };
            if begun.elapsed() > PATIENCE || child.try_wait()?.is_some() {
                let log = std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
                bail!("{} does not come up:\n{log}", program.display());
            }
            std::thread::yield_now();
        }
    }
    Broker::of_nobody(process, addresses)
}

/// Tries a few times: a port that was free a moment ago may be somebody's by now.
fn again(start: impl Fn() -> Result<Broker>) -> Result<Broker> {
    let mut attempt = start();
    for _ in 0..4 {
        if attempt.is_ok() {
            break;
        }
        attempt = start();
    }
    attempt
}

/// A port below those that the system gives to clients: connections of a moment ago still hold thousands of them, and not
/// every broker may listen beside such a one.
fn free_port() -> Result<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS.len() {
        let step = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + (step % PORTS.len() as u32) as u16;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
    }
    bail!("all ports of {PORTS:?} are taken")
}

/// Where brokers listen that cannot be told to choose for themselves.
const PORTS: Range<u16> = 20_000..32_000;

/// A program of the PATH, or of a Debian package: brokers lie where only the superuser looks.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

fn mosquitto() -> Result<Broker> {
    let directory = tempfile::tempdir()?;
    let leaf = config::authority().server("mosquitto");
    std::fs::write(directory.path().join("server.pem"), leaf.certificate_pem)?;
    std::fs::write(directory.path().join("server.key"), leaf.key_pem)?;
    // It has no Nagle's delay switched off by itself, which would be all that is measured of TLS.
    let mut text = "set_tcp_nodelay true\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n\
        max_inflight_messages 0\nuser root\nlog_type error\n"
        .to_owned();
    let mut addresses = HashMap::new();
    for transport in Transport::ALL {
        let address = free_port()?;
        addresses.insert(transport.name(), address);
        text += &format!("listener {} 127.0.0.1\n", address.port());
        if matches!(transport, Transport::Ws | Transport::Wss) {
            text += "protocol websockets\n";
        }
        if matches!(transport, Transport::Tls | Transport::Wss) {
            text += "certfile server.pem\nkeyfile server.key\n";
        }
    }
    let program = installed("mosquitto").context("mosquitto is not installed")?;
    launch(&program, &["-c", "mosquitto.conf"], ("mosquitto.conf", &text), addresses, directory)
}

fn nats() -> Result<Broker> {
    let directory = tempfile::tempdir()?;
    let (mqtt, own) = (free_port()?, free_port()?);
    let text = format!(
        "server_name: load\nlisten: \"{own}\"\njetstream {{ store_dir: \"jetstream\" }}\n\
         mqtt {{ listen: \"{mqtt}\", max_ack_pending: 65535 }}\n"
    );
    let program = installed("nats-server").context("nats-server is not installed")?;
    launch(&program, &["-c", "nats.conf"], ("nats.conf", &text), HashMap::from([("tcp", mqtt)]), directory)
}

/// This program again, which does nothing but pass octets on.
fn floor() -> Result<Broker> {
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.arg("floor").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
    let process = Process::Other(child, directory);
    let addresses = HashMap::from([("tcp", line.trim().parse().with_context(|| format!("{line:?} is no address"))?)]);
    Broker::of_nobody(process, addresses)
}

fn rumqttd(program: &Path) -> Result<Broker> {
    let address = free_port()?;
    let text = format!(
        "id = 0\n[router]\nid = 0\nmax_connections = 20010\nmax_outgoing_packet_count = 200\n\
         max_segment_size = 104857600\nmax_segment_count = 10\n\
         [v4.1]\nname = \"v4-1\"\nlisten = \"{address}\"\nnext_connection_delay_ms = 0\n\
         [v4.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 1048576\nmax_inflight_count = 1000\n\
         dynamic_filters = true\n"
    );
    let directory = tempfile::tempdir()?;
    let mut broker = launch(
        program,
        &["-c", "rumqttd.toml"],
        ("rumqttd.toml", &text),
        HashMap::from([("tcp", address)]),
        directory,
    )?;
    // It refuses clients without a keep-alive.
    broker.logins = vec![(None, Login { keep_alive: 600, ..Login::default() })];
    Ok(broker)
}
