//! The host interfaces, one file each. An interface that a policy was not granted is not linked: the policy cannot be
//! loaded, rather than fail when it runs. The exception are interfaces that a bundled policy uses or not according to its
//! configuration ([`crate::PolicySpec::optional`]): those refuse each call.

use std::sync::Arc;

use portcullis_identity::{Directory, Keyring};
use portcullis_store::KeyValue;
use tokio::sync::Semaphore;
use wasmtime::component::Linker;

use crate::bindings::portcullis::policy as contract;
use crate::inspect::Abilities;
use crate::outside::Outside;
use crate::pace::Places;
use crate::services::QuarantineWitness;
use crate::spec::{Allow, Fault, PolicySpec};
use crate::state::State;
use crate::uses::Uses;

mod clock;
mod config;
mod directory;
mod directory_admin;
mod effects;
mod http_client;
mod http_gate;
mod jose;
mod jwks;
mod jwks_shelf;
mod log;
mod peer;
mod random;
mod store;
mod taped;
pub(crate) mod wasi;

pub(crate) use clock::seconds_now;
pub(crate) use effects::{Effect, Effects};
pub(crate) use http_client::HttpClient;
use http_gate::HttpGate;
pub(crate) use http_gate::Spent;
pub(crate) use jwks::JwksCache;
pub(crate) use log::escaped;
use taped::{Hosts, Taped};

/// What the instances of one generation may use.
pub(crate) struct Capabilities {
    pub(crate) policy: Arc<str>,
    pub(crate) allow: Allow,
    pub(crate) http_response: u64,
    pub(crate) config: config::Values,
    pub(crate) log: log::Lines,
    pub(crate) shared: Arc<SharedServices>,
    pub(crate) store: Option<KeyValue>,
    /// Of a candidate in shadow. None: what it does is done.
    pub(crate) effects: Option<Arc<Effects>>,
    pub(crate) uses: Arc<Uses>,
    http: HttpGate,
    /// Its places among guests that run for long.
    pub(crate) places: Places,
    /// Its place among those who have passwords checked: one policy's crowd must not stand before another's client.
    passwords: Arc<Semaphore>,
    /// Work of its calls on blocking threads, which goes on when a call is given up.
    blocking: Arc<Semaphore>,
}

/// Calls of one policy that may have something done on a blocking thread at one time.
const BLOCKING: usize = 16;

/// What all policies share.
pub(crate) struct SharedServices {
    pub(crate) directory: Option<Directory>,
    pub(crate) keyring: Option<Keyring>,
    /// Bounds password checks; shared so that a check that outlives its call still counts.
    pub(crate) passwords: Arc<Semaphore>,
    /// How many that are.
    pub(crate) password_checks: usize,
    /// Places for guests that run for long, and how many.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) place_count: usize,
    pub(crate) quarantine: Option<QuarantineWitness>,
    pub(crate) http: HttpClient,
    pub(crate) jwks: JwksCache,
    pub(crate) outside: Outside,
}

impl Capabilities {
    pub(crate) fn new(
        spec: &PolicySpec,
        store: Option<KeyValue>,
        shared: Arc<SharedServices>,
        effects: Option<Arc<Effects>>,
        uses: Arc<Uses>,
    ) -> Result<Self, Fault> {
        let name = if effects.is_some() { format!("{} (shadow)", spec.name) } else { spec.name.clone() };
        let policy: Arc<str> = name.into();
        Ok(Self {
            policy: Arc::clone(&policy),
            allow: spec.allow.clone(),
            http_response: spec.limits.http_response,
            config: config::Values::new(&spec.config).map_err(Fault::Settings)?,
            log: log::Lines::new(policy, spec.limits.log_lines, shared.outside.ear.clone(), Arc::clone(&uses)),
            http: HttpGate::new(&spec.limits, Arc::clone(&uses)),
            places: Places::of_one(shared.place_count, &shared.places),
            passwords: Arc::new(Semaphore::new(shared.password_checks)),
            blocking: Arc::new(Semaphore::new(BLOCKING)),
            shared,
            store,
            effects,
            uses,
        })
    }
}

/// Links what a component imports. What it may import was checked before.
pub(crate) fn link(linker: &mut Linker<State>, abilities: &Abilities) -> wasmtime::Result<()> {
    macro_rules! each {
        ($($name:literal => $module:ident),* $(,)?) => {
            $(if abilities.imports($name) {
                contract::$module::add_to_linker::<_, Hosts>(linker, |state| Taped(state))?;
            })*
        };
    }
    each! {
        "types" => types,
        "peer" => peer,
        "log" => log,
        "clock" => clock,
        "random" => random,
        "config" => config,
        "jose" => jose,
        "store" => store,
        "http-client" => http_client,
        "directory" => directory,
        "directory-admin" => directory_admin,
    }
    if abilities.wasi {
        wasmtime_wasi::p2::add_to_linker_async(linker)?;
    }
    Ok(())
}

impl contract::types::Host for State {}
