//! From a configuration to a running gateway: the only place where the rooms are put together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portcullis_grant::Dependency;
use portcullis_identity::{Directory, DirectoryError, DirectoryOptions, KeyError, KeySource, Keyring, NamedKey, Subscription};
use portcullis_net::{BindError, Bound, MqttHandler, TlsError, TlsHandle, Wheel};
use portcullis_policy::{ChildProcess, Host, HostError, HostOptions, Services};
use portcullis_session::{Broker, BrokerOptions};
use portcullis_store::{Clock, OpenError, Options, Store};

use crate::audit::Audit;
use crate::config::{Config, KeyKind, Protocol};
use crate::listeners::{self, MqttListener};
use crate::logging::Level;
use crate::policies::{self, Policies, PolicyError};

/// How long the compiler may take for one policy. A component of a scripting language takes ten seconds.
const COMPILE: Duration = Duration::from_secs(180);

/// Why the gateway does not start: one sentence each, with the mend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The data directory.
    #[error(transparent)]
    Store(#[from] OpenError),
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
    pub(crate) mqtt: Mutex<BTreeMap<String, Arc<MqttListener>>>,
    /// Held while something is changed: reloads happen one after the other.
    pub(crate) changing: tokio::sync::Mutex<()>,
    _changes: Subscription,
}

impl Gateway {
    /// Takes the addresses, loads the policies, and lets clients in.
    ///
    /// # Errors
    /// The first thing that is in the way. Nobody was let in then.
    pub(crate) async fn start(ground: Ground, file: PathBuf, config: Config, level: Level) -> Result<Arc<Self>, StartError> {
        // What is cheap and often wrong comes first: certificates, then addresses, then policies.
        let mut bound = Vec::new();
        for listener in config.listeners.iter().filter(|listener| listener.protocol == Protocol::Mqtt) {
            let tls = listeners::load_tls(listener)
                .map_err(|why| StartError::Tls { listener: listener.name.value.clone(), why })?;
            let handle = tls.as_ref().map(TlsHandle::new);
            bound.push((listener, Bound::bind(listeners::spec(listener, handle.clone()))?, handle));
        }
        let keyring = Keyring::open(ground.store.clone(), Clock::system(), &named_keys(&config))?;
        let host = Host::new(HostOptions {
            data: Some(ground.data.clone()),
            compiler: Arc::new(compiler()),
            services: Services {
                store: Some(ground.store.clone()),
                directory: Some(ground.directory.clone()),
                keyring: Some(keyring.clone()),
                ..Services::default()
            },
            ..HostOptions::default()
        })?;
        let entries = policies::used(&config).iter().filter_map(|name| policies::entry(&config, name)).collect();
        let mut slots = Policies::default();
        for candidate in Policies::load(&host, entries).await {
            slots.put(candidate?);
        }

        let audit = Audit::default();
        let broker = Broker::new(BrokerOptions { observer: Arc::new(audit.clone()), ..BrokerOptions::default() });
        let wheel = Wheel::new();
        tokio::spawn(Arc::clone(&wheel).run(Arc::clone(&broker)));
        let changes = {
            let broker = Arc::clone(&broker);
            ground.directory.subscribe(move |change| {
                for dependency in &change.dependencies {
                    broker.changed(&Dependency(dependency.as_str().into()));
                }
            })
        };
        let mut mqtt = BTreeMap::new();
        for (listener, bound, tls) in bound {
            let settings = listeners::settings(listener, Arc::new(slots.chain(listener)));
            let handler = MqttHandler::new(Arc::clone(&broker), Arc::clone(&wheel), settings);
            let running = MqttListener::start(bound, tls, handler)?;
            mqtt.insert(listener.name.value.clone(), Arc::new(running));
        }
        Ok(Arc::new(Self {
            ground,
            file,
            level,
            host,
            broker,
            audit,
            wheel,
            config: ArcSwap::from_pointee(config),
            policies: ArcSwap::from_pointee(slots),
            mqtt: Mutex::new(mqtt),
            changing: tokio::sync::Mutex::new(()),
            _changes: changes,
        }))
    }

    /// Names and bound addresses, in the order of the configuration, one pair an address.
    pub(crate) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let mqtt = self.mqtt.lock();
        let config = self.config.load();
        let of = |name: &String| mqtt.get(name).map(|listener| listener.addresses().to_vec()).unwrap_or_default();
        let names = config.listeners.iter().map(|listener| &listener.name.value);
        names.flat_map(|name| of(name).into_iter().map(|address| (name.clone(), address))).collect()
    }

    /// Says good-bye to everybody and stops. Bounded in time.
    pub(crate) async fn stop(&self) {
        let running: Vec<_> = std::mem::take(&mut *self.mqtt.lock()).into_values().collect();
        // Nobody new comes in anywhere before the first is sent away, or it would come back through another door.
        for listener in &running {
            listener.stop_accepting().await;
        }
        self.broker.shut_down();
        let mut draining = tokio::task::JoinSet::new();
        for listener in running {
            draining.spawn(async move { listener.drain().await });
        }
        while draining.join_next().await.is_some() {}
        let store = self.ground.store.clone();
        // What was acknowledged is on disk already; this is for the rest.
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }
}

fn named_keys(config: &Config) -> Vec<NamedKey> {
    let source = |kind, path: &PathBuf| match kind {
        KeyKind::Pem => KeySource::Pem(path.clone()),
        KeyKind::Secret => KeySource::Secret(path.clone()),
    };
    config.keys.iter().map(|key| NamedKey { name: key.name.value.clone(), source: source(key.kind, &key.file) }).collect()
}

/// This very program, as `compile-policy`. Through /proc it is the same program even when its file was replaced by an
/// update meanwhile.
fn compiler() -> ChildProcess {
    let program = PathBuf::from("/proc/self/exe");
    let program = if program.exists() { program } else { std::env::current_exe().unwrap_or(program) };
    ChildProcess { program, args: vec!["compile-policy".into()], timeout: COMPILE }
}
