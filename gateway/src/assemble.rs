//! From a configuration to a running gateway: the only place where the rooms are put together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portcullis_grant::Dependency;
use portcullis_http::{
    AdminSettings, AdminSite, AdminToken, HttpHandler, HttpSettings, Messages, MountError, MountTable, PublicSite,
    WeakToken, Witness,
};
use portcullis_identity::{
    Directory, DirectoryError, DirectoryOptions, KeyError, KeySource, Keyring, NamedKey, Subscription,
};
use portcullis_net::{BindError, Bound, Endpoint, ListenerSpec, MqttHandler, TlsError, TlsHandle, Transport, Wheel};
use portcullis_policy::{ChildProcess, Compiler, EngineOptions, Host, HostError, HostOptions, Services};
use portcullis_router::{RetainedLimits, RouterLimits};
use portcullis_session::{Broker, BrokerOptions, RecoveryError};
use portcullis_store::{Clock, OpenError, Options, Store};
use prometheus_client::registry::Registry;

use crate::administration::Office;
use crate::audit::{Audit, pending};
use crate::config::{Admin, Config, KeyKind, Listener, Protocol};
use crate::inside::Inside;
use crate::listeners::{self, Door};
use crate::logging::Level;
use crate::metrics::Figures;
use crate::policies::{self, Policies, PolicyError};
use crate::probation::RollBacks;
use crate::runtime_file::RuntimeFile;
use crate::shadows::Shadows;
use crate::supply::{self, Archive, Supply};

/// How long the compiler may take for one policy. A component of a scripting language takes ten seconds.
const COMPILE: Duration = Duration::from_secs(180);

/// Octets of an admin request's body: a whole directory may come in. Only administrators get so far.
const ADMIN_BODY: usize = 64 << 20;

/// Why the gateway does not start: one sentence each, with the mend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The data directory.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The sessions in it.
    #[error(transparent)]
    Sessions(#[from] RecoveryError),
    /// The directory of users, devices and keys.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A named key.
    #[error("the keys cannot be used: {0}")]
    Keys(#[from] KeyError),
    /// The WebAssembly host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A certificate.
    #[error("listener `{listener}`: {why}")]
    Tls {
        /// The listener.
        listener: String,
        /// What is wrong.
        why: TlsError,
    },
    /// An address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The admin token.
    #[error(transparent)]
    Token(#[from] WeakToken),
    /// The file with the admin token.
    #[error("the admin token {} cannot be read: {}", path.display(), crate::plain(source))]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file of the audit stream.
    #[error("the audit stream cannot be written: {}", crate::plain(.0))]
    Audit(std::io::Error),
    /// The file that commands find the gateway by.
    #[error("admin.json cannot be written into the data directory: {}", crate::plain(.0))]
    RuntimeFile(std::io::Error),
}

/// What stands on the data directory: opened before the configuration of the demo is made.
#[derive(Clone)]
pub(crate) struct Ground {
    /// The data directory.
    pub(crate) data: PathBuf,
    /// The database in it.
    pub(crate) store: Store,
    /// The directory in the database.
    pub(crate) directory: Directory,
}

impl Ground {
    /// Opens the data directory and makes it this process's own.
    ///
    /// # Errors
    /// Another process has it, or it cannot be used.
    pub(crate) fn open(data: PathBuf) -> Result<Self, StartError> {
        let store = Store::open(&data, Options::default())?;
        let directory = Directory::open(store.clone(), DirectoryOptions::default())?;
        Ok(Self { data, store, directory })
    }

    /// The gateway's own signing keys in it, without those of a configuration.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn keyring(&self) -> Result<Keyring, StartError> {
        Ok(Keyring::open(self.store.clone(), Clock::system(), &[])?)
    }
}

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) ground: Ground,
    /// The configuration's file.
    pub(crate) file: PathBuf,
    pub(crate) level: Level,
    pub(crate) host: Host,
    pub(crate) broker: Arc<Broker>,
    pub(crate) audit: Audit,
    pub(crate) wheel: Arc<Wheel>,
    /// What was read last and is in force, apart from what could not be changed.
    pub(crate) config: ArcSwap<Config>,
    /// The policies in use. Replaced whole when one comes or goes.
    pub(crate) policies: ArcSwap<Policies>,
    pub(crate) doors: Mutex<BTreeMap<String, Arc<Door>>>,
    /// What is mounted on all HTTP listeners.
    pub(crate) mounts: MountTable,
    admin: Mutex<Option<Arc<Door>>>,
    pub(crate) keyring: Keyring,
    /// The versions of policies that were live.
    pub(crate) archive: Archive,
    /// What decides in shadow.
    pub(crate) shadows: Shadows,
    /// How often policies were rolled back automatically.
    pub(crate) roll_backs: RollBacks,
    started: Instant,
    stopping: AtomicBool,
    /// Held while something is changed: reloads happen one after the other.
    pub(crate) changing: tokio::sync::Mutex<()>,
    _changes: Subscription,
}

impl Gateway {
    /// Takes the addresses, loads the policies, and lets clients in.
    ///
    /// # Errors
    /// The first thing that is in the way. Nobody was let in then.
    pub(crate) async fn start(
        ground: Ground,
        file: PathBuf,
        config: Config,
        level: Level,
    ) -> Result<Arc<Self>, StartError> {
        // What is cheap and often wrong comes first: certificates, then addresses, then policies.
        let mut bound = Vec::new();
        for listener in &config.listeners {
            let tls = listeners::load_tls(listener)
                .map_err(|why| StartError::Tls { listener: listener.name.value.clone(), why })?;
            let handle = tls.as_ref().map(TlsHandle::new);
            bound.push((listener.clone(), Bound::bind(listeners::spec(listener, handle.clone()))?, handle));
        }
        let admin = match &config.admin {
            Some(admin) => Some((Bound::bind(admin_spec(admin))?, admin_token(admin)?)),
            None => None,
        };
        let keyring = Keyring::open(ground.store.clone(), Clock::system(), &named_keys(&config))?;
        let audit = Audit::default();
        let host = Host::new(HostOptions {
            data: Some(ground.data.clone()),
            compiler: config.engine.compile.then(compiler),
            services: Services {
                store: Some(ground.store.clone()),
                directory: Some(ground.directory.clone()),
                keyring: Some(keyring.clone()),
                keys_stale: config.limits.keys_stale.map_or(Duration::ZERO, |time| time.0),
                quarantine: Some(audit.quarantines()),
                ..Services::default()
            },
            engine: engine(&config),
        })?;
        host.use_precompiled(supply::precompiled(&config, &ground.data));
        let entries = policies::used(&config).iter().filter_map(|name| policies::entry(&config, name)).collect();
        let archive = Archive::of(&ground.data);
        let supply = Supply::new(&config, Some(archive.clone()));
        let mut slots = Policies::default();
        for candidate in Policies::load(&host, &supply, entries).await {
            let candidate = candidate?;
            candidate.note_if_possible(&archive).await;
            slots.put(candidate);
        }
        let mounts = MountTable::new(slots.mounts(&config)?);

        let broker = Broker::open_store(BrokerOptions {
            observer: Arc::new(audit.clone()),
            store: Some(ground.store.clone()),
            router: router(&config),
            ..BrokerOptions::default()
        })?;
        audit.write_to(&config.audit, &broker).map_err(StartError::Audit)?;
        pending::take_up(&audit, &ground.data);
        let wheel = Wheel::new();
        tokio::spawn(Arc::clone(&wheel).run(Arc::clone(&broker)));
        let changes = {
            let (broker, audit) = (Arc::clone(&broker), audit.clone());
            ground.directory.subscribe(move |change| {
                audit.changed(change);
                for dependency in &change.dependencies {
                    broker.changed(&Dependency(dependency.as_str().into()));
                }
            })
        };
        let gateway = Arc::new(Self {
            ground,
            file,
            level,
            host,
            broker,
            audit,
            wheel,
            config: ArcSwap::from_pointee(config),
            policies: ArcSwap::from_pointee(slots),
            doors: Mutex::default(),
            mounts,
            admin: Mutex::default(),
            keyring,
            archive,
            shadows: Shadows::default(),
            roll_backs: RollBacks::default(),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            changing: tokio::sync::Mutex::new(()),
            _changes: changes,
        });
        for (listener, bound, tls) in bound {
            let door = gateway.open(&listener, bound, tls)?;
            gateway.doors.lock().insert(listener.name.value.clone(), Arc::new(door));
        }
        if let Some((bound, token)) = admin {
            gateway.open_admin(bound, token)?;
        }
        gateway.watch_fresh_after_start().await;
        Ok(gateway)
    }

    /// Begins to accept on addresses that were taken.
    pub(crate) fn open(
        self: &Arc<Self>,
        listener: &Listener,
        bound: Bound,
        tls: Option<TlsHandle>,
    ) -> Result<Door, BindError> {
        match listener.protocol {
            Protocol::Mqtt => {
                let chain = self.policies.load().chain_of(listener);
                let settings = listeners::mqtt_settings(listener, Arc::new(chain));
                Door::mqtt(bound, tls, MqttHandler::new(Arc::clone(&self.broker), Arc::clone(&self.wheel), settings))
            }
            Protocol::Http => {
                let chain = Arc::new(self.policies.load().chain_of(listener));
                let inside =
                    Inside::new(Arc::clone(&self.broker), Arc::clone(&self.wheel), listeners::inner_rules(listener));
                let witness: Arc<dyn Witness> = Arc::new(self.audit.clone());
                let settings = listeners::message_settings(listener, chain);
                let messages = Messages::new(Arc::clone(&inside) as _, Arc::clone(&witness), settings);
                let site = PublicSite::new(Office::of(self), self.mounts.clone())
                    .with_messages(Arc::clone(&messages))
                    .witnessed_by(witness);
                let handler = self.http(Arc::new(site), listeners::http_settings(listener));
                Ok(Door::http(bound, tls, handler)?.with_messages(messages, inside))
            }
        }
    }

    fn open_admin(self: &Arc<Self>, bound: Bound, token: Option<(AdminToken, String)>) -> Result<(), StartError> {
        let address = bound.local_addrs().first().copied().unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
        let mut runtime = RuntimeFile::new(address).map_err(StartError::RuntimeFile)?;
        let token = match token {
            Some((token, text)) => {
                runtime.token = text;
                token
            }
            None => AdminToken::new(&runtime.token)?,
        };
        let config = self.config.load();
        let (open_metrics, hosts) =
            config.admin.as_ref().map_or((false, Vec::new()), |admin| (admin.open_metrics, admin.hosts.clone()));
        let office = Office::of(self);
        let mut registry = Registry::with_prefix("portcullis");
        registry.register_collector(Box::new(Figures::of(self)));
        let settings = AdminSettings { token, open_metrics, hosts };
        let site = AdminSite::new(settings, Arc::clone(&office) as _, office, Arc::new(registry))
            .witnessed_by(Arc::new(self.audit.clone()));
        let door = Door::http(
            bound,
            None,
            self.http(Arc::new(site), HttpSettings { max_body: ADMIN_BODY, ..HttpSettings::default() }),
        )?;
        *self.admin.lock() = Some(Arc::new(door));
        runtime.write(&self.ground.data).map_err(StartError::RuntimeFile)?;
        Ok(())
    }

    fn http(&self, site: Arc<dyn portcullis_http::Site>, settings: HttpSettings) -> HttpHandler {
        let broker = Arc::clone(&self.broker);
        HttpHandler::new(site, settings, Arc::new(move || broker.connection_name()))
    }

    /// Names and bound addresses, in the order of the configuration, one pair an address; `admin` last.
    pub(crate) fn addresses(&self) -> Vec<(String, Endpoint)> {
        let config = self.config.load();
        let doors = self.doors.lock();
        let mut addresses = Vec::new();
        let mut add = |name: &str, door: &Door| {
            addresses.extend(door.listening().endpoints().iter().map(|endpoint| (name.to_owned(), endpoint.clone())));
        };
        for listener in &config.listeners {
            if let Some(door) = doors.get(&listener.name.value) {
                add(&listener.name, door);
            }
        }
        if let Some(door) = &*self.admin.lock() {
            add("admin", door);
        }
        addresses
    }

    /// Since when it runs.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether it is being stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The gateway's public keys as a JWK Set.
    pub(crate) fn public_keys(&self) -> Result<String, KeyError> {
        // They are made when they are first asked for, which takes a processor a moment.
        tokio::task::block_in_place(|| self.keyring.gateway_jwks())
    }

    /// Says good-bye to everybody and stops. Bounded in time.
    pub(crate) async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.end_shadows();
        RuntimeFile::remove(&self.ground.data);
        let mut doors: Vec<_> = std::mem::take(&mut *self.doors.lock()).into_values().collect();
        doors.extend(self.admin.lock().take());
        // Nobody new comes in anywhere before the first is sent away, or it would come back through another door.
        for door in &doors {
            door.stop_accepting().await;
        }
        for door in &doors {
            door.stop_connections();
        }
        self.broker.shut_down();
        let mut draining = tokio::task::JoinSet::new();
        for door in doors {
            draining.spawn(async move { door.drain().await });
        }
        while draining.join_next().await.is_some() {}
        let (store, audit) = (self.ground.store.clone(), self.audit.clone());
        // What was acknowledged is on disk already; this is for the rest.
        let _ = tokio::task::spawn_blocking(move || {
            audit.close();
            store.close();
        })
        .await;
    }
}

fn engine(config: &Config) -> EngineOptions {
    let default = EngineOptions::default();
    let instances = config.limits.policy_instances.map_or(default.instances, u32::from);
    // While a policy is replaced both versions have instances.
    let own = config.policies.iter().filter_map(|policy| policy.limits.instances.as_ref());
    let largest = own.map(|number| u32::from(number.value)).max().unwrap_or_default().max(16);
    let interpret = config.engine.interpret;
    EngineOptions { instances: instances.saturating_add(largest), interpret, ..default }
}

fn router(config: &Config) -> RouterLimits {
    let (default, limits) = (RouterLimits::default(), &config.limits);
    let bytes = |size: crate::config::Size| usize::try_from(size.0).unwrap_or(usize::MAX);
    let retained = RetainedLimits {
        messages: limits.retained_messages.map_or(default.retained.messages, |number| number as usize),
        bytes: limits.retained_bytes.map_or(default.retained.bytes, bytes),
    };
    RouterLimits { retained, waiting_bytes: limits.waiting_bytes.map_or(default.waiting_bytes, bytes) }
}

/// The admin interface, as a listener. Its name is no listener's, or logs would not tell them apart.
fn admin_spec(admin: &Admin) -> ListenerSpec {
    let mut spec = ListenerSpec::new("admin", [admin.bind.value], Transport::Tcp);
    // For a person, a few commands and a scraper.
    spec.live.max_connections = 256;
    spec
}

/// The configured token, with its text. None: one is to be made.
fn admin_token(admin: &Admin) -> Result<Option<(AdminToken, String)>, StartError> {
    let Some(file) = &admin.token_file else { return Ok(None) };
    let text = std::fs::read_to_string(&file.value)
        .map_err(|source| StartError::TokenFile { path: file.value.clone(), source })?;
    let text = text.trim().to_owned();
    Ok(Some((AdminToken::new(&text)?, text)))
}

/// The `[[key]]` entries as the keyring takes them.
pub(crate) fn named_keys(config: &Config) -> Vec<NamedKey> {
    let source = |kind, path: &PathBuf| match kind {
        KeyKind::Pem => KeySource::Pem(path.clone()),
        KeyKind::Secret => KeySource::Secret(path.clone()),
    };
    config
        .keys
        .iter()
        .map(|key| NamedKey { name: key.name.value.clone(), source: source(key.kind, &key.file) })
        .collect()
}

/// This very program, as `compile-policy`. Through /proc it is the same program even when its file was replaced by an
/// update meanwhile.
fn compiler() -> Arc<dyn Compiler> {
    let program = PathBuf::from("/proc/self/exe");
    let program = if program.exists() { program } else { std::env::current_exe().unwrap_or(program) };
    Arc::new(ChildProcess { program, args: vec!["compile-policy".into()], timeout: COMPILE })
}
