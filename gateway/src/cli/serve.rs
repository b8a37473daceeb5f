//! `portcullis serve`: start, say so, and do as the signals say until the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Exit, Failure, Serve, out};
use crate::assemble::{Gateway, Ground};
use crate::config::Config;
use crate::demo::{self, People};
use crate::{logging, memory, watch};
use portcullis_net::Endpoint;

/// Where the data is when nobody says.
pub(super) const DATA: &str = "portcullis-data";

/// Serves until it is told to stop.
pub(super) fn run(arguments: &Serve) -> Result<Exit, Failure> {
    memory::no_large_pages_unasked();
    serve(prepare(arguments)?, arguments.config.is_none())?;
    Ok(Exit::Success)
}

impl From<demo::DemoError> for Failure {
    fn from(error: demo::DemoError) -> Self {
        Self::new(error.to_string(), Exit::Failure)
    }
}

/// Everything that is needed before the first thread is started.
struct Start {
    ground: Ground,
    file: PathBuf,
    config: Config,
    people: Option<People>,
}

fn prepare(arguments: &Serve) -> Result<Start, Failure> {
    let load =
        |file: &Path| Config::load(file).map_err(|report| Failure { words: report.to_string(), exit: Exit::Config });
    if let Some(file) = &arguments.config {
        let config = load(file)?;
        let data = arguments.data.clone().or_else(|| config.data.clone()).unwrap_or_else(|| PathBuf::from(DATA));
        return Ok(Start { ground: Ground::open(data)?, file: file.clone(), config, people: None });
    }
    let data = arguments.data.clone().unwrap_or_else(|| PathBuf::from(DATA));
    // The directory is ours before anything is written into it.
    let ground = Ground::open(data)?;
    let file = demo::prepare(&ground.data, arguments.any_port)?;
    let people = People::ensure(&ground.data.join(demo::FOLDER), &ground.store, &ground.directory)
        .map_err(demo::DemoError::from)?;
    Ok(Start { config: load(&file)?, ground, file, people: Some(people) })
}

fn serve(start: Start, is_demo: bool) -> Result<(), Failure> {
    let Start { ground, file, config, people } = start;
    let level = logging::start(&config.log);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().thread_name("portcullis");
    if let Some(workers) = config.workers {
        runtime.worker_threads(usize::from(workers));
    }
    let runtime = runtime.build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let data = ground.data.clone();
        let gateway = tokio::select! {
            started = Gateway::start(ground, file, config, level) => started?,
            // Told to stop before it was ready.
            () = signals.stop() => return Ok(()),
        };
        // Who changes a file after `ready` may rely on it.
        let (begun, is_watching) = tokio::sync::oneshot::channel();
        let watching = tokio::spawn(watch::run(Arc::clone(&gateway), begun));
        let _ = is_watching.await;
        let addresses = gateway.addresses();
        announce(&addresses);
        if let Some(people) = people.filter(|_| is_demo) {
            show_demo(&gateway, &data, &addresses, &people);
        }
        memory::give_back_program();
        signals.serve(&gateway).await;
        watching.abort();
        tracing::info!("stopping: nobody new is let in, connections are told");
        tokio::select! {
            () = gateway.stop() => tracing::info!("stopped"),
            // Twice means now.
            () = signals.stop() => tracing::warn!("stopped at once"),
        }
        Ok::<_, Failure>(())
    })?;
    // A call into a policy or the disk that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// One line that programs read: `ready NAME=ADDRESS …`.
fn announce(addresses: &[(String, Endpoint)]) {
    let pairs: String = addresses.iter().map(|(name, address)| format!(" {name}={address}")).collect();
    out::line(format_args!("ready{pairs}"));
}

/// What listens, what stands in front of it, and what to try.
fn show_demo(gateway: &Gateway, data: &Path, addresses: &[(String, Endpoint)], people: &People) {
    out::line("\n  LISTENER  ADDRESS                TRANSPORT  POLICIES IN FRONT");
    let config = gateway.config.load();
    for (name, address) in addresses {
        let listener = config.listeners.iter().find(|listener| listener.name.value == *name);
        let transport = listener.map_or("tcp", |listener| listener.transport.as_str());
        let chain =
            listener.map(|listener| listener.policies.iter().map(|name| name.value.as_str()).collect::<Vec<_>>());
        let chain = match (name.as_str(), chain.filter(|chain| !chain.is_empty())) {
            (_, Some(chain)) => chain.join(", "),
            ("admin", None) => "(the token in admin.json)".to_owned(),
            (_, None) => "(public: health, version, keys)".to_owned(),
        };
        out::line(format_args!("  {name:<9} {:<22} {transport:<10} {chain}", address.to_string()));
    }
    let at = |name: &str| addresses.iter().find(|(known, _)| known == name).and_then(|(_, address)| address.ip());
    if let (Some(mqtt), Some(mqtts)) = (at("mqtt"), at("mqtts")) {
        out::line(demo::tour(data, mqtt, mqtts, people));
    }
    out::line(format_args!(
        "  This demo as a configuration to start from: {}\n  Stop with Ctrl-C.",
        gateway.file.display()
    ));
}

/// The signals that mean something.
struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
    /// Heard so that it does not kill: a file that may not grow further is an error to the store, like a full disk.
    _file_too_large: Signal,
}

/// SIGXFSZ, on all systems that the gateway is built for.
const FILE_TOO_LARGE: i32 = 25;

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            _file_too_large: signal(SignalKind::from_raw(FILE_TOO_LARGE))?,
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits until it is to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Reloads whenever it is told to, until it is to stop.
    async fn serve(&mut self, gateway: &Arc<Gateway>) {
        loop {
            tokio::select! {
                _ = self.hang_up.recv() => {
                    // Beside this loop, so that it can be stopped meanwhile.
                    let gateway = Arc::clone(gateway);
                    tokio::spawn(async move { gateway.reload_and_log("SIGHUP came").await });
                }
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }
}
