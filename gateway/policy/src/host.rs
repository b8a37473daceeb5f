//! The host: one for the gateway. It turns what an operator configured into generations that may go live.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use portcullis_grant::{Grants, PolicyStamp};
use portcullis_identity::Directory;
use portcullis_store::KeyValue;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::cache::CodeCache;
use crate::call::{Answer, CallError, Question};
use crate::capability::{Capabilities, Effects, HttpClient, JwksCache, SharedServices, link, seconds_now};
use crate::compile::{COMPILES, Compiler, InProcess};
use crate::convert;
use crate::digest::digest_of;
use crate::engine::{EngineOptions, PolicyEngine};
use crate::generation::{Generation, Loading, Runtime};
use crate::inspect::{Abilities, check_kind, inspect};
use crate::instance::{Indices, Instance};
use crate::load::{cached, load_code};
use crate::pace::Places;
use crate::pool::Pool;
use crate::precompiled::{Lack, Precompiled};
use crate::quarantine::Quarantines;
use crate::services::Services;
use crate::spec::{Allow, Description, DirectoryAccess, Fault, LoadError, PolicySpec};
use crate::state::{Call, State};
use crate::tally::Tally;
use crate::target;
use crate::uses::AllUses;

/// How many generations were loaded by this process: their serials.
static LOADED: AtomicU64 = AtomicU64::new(1);

/// How the host is set up.
pub struct HostOptions {
    /// The engine's bounds.
    pub engine: EngineOptions,
    /// The data directory, for compiled code (`<data>/cache/policies`). None: nothing is cached.
    pub data: Option<PathBuf>,
    /// Who compiles. None: only what was [precompiled](Precompiled) is loaded.
    pub compiler: Option<Arc<dyn Compiler>>,
    /// What policies may be let into.
    pub services: Services,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            engine: EngineOptions::default(),
            data: None,
            compiler: COMPILES.then(|| Arc::new(InProcess) as _),
            services: Services::default(),
        }
    }
}

/// Why the host cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// wasmtime does not work on this machine.
    #[error("the WebAssembly engine cannot be started: {0}")]
    Engine(String),
    /// The cache cannot be used.
    #[error("the cache of compiled policies in {} cannot be used: {why}", data.display())]
    Cache {
        /// The data directory.
        data: PathBuf,
        /// What the operating system says.
        why: std::io::Error,
    },
    /// The HTTP client's certificates are of no use.
    #[error("{0}")]
    HttpClient(String),
}

/// Loads policies. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    engine: PolicyEngine,
    cache: Option<Arc<CodeCache>>,
    compiler: Option<Arc<dyn Compiler>>,
    precompiled: Arc<ArcSwapOption<Precompiled>>,
    store: Option<portcullis_store::Store>,
    shared: Arc<SharedServices>,
    uses: Arc<AllUses>,
}

impl Host {
    /// Makes the host. Needs no runtime yet; [`Host::load`] does.
    ///
    /// # Errors
    /// [`HostError`] when the machine does not let it.
    pub fn new(options: HostOptions) -> Result<Self, HostError> {
        let cache = match options.data.filter(|_| options.compiler.is_some()) {
            Some(data) => Some(Arc::new(CodeCache::open(&data).map_err(|why| HostError::Cache { data, why })?)),
            None => None,
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let services = options.services;
        // Half of the processors at most work for guests that run for long; messages have the others.
        let places = (cores / 2).max(1);
        // More would only keep threads waiting.
        let checks = services.directory.as_ref().map_or(1, Directory::passwords_at_once);
        Ok(Self {
            engine: PolicyEngine::new(options.engine).map_err(HostError::Engine)?,
            cache,
            compiler: options.compiler,
            precompiled: Arc::default(),
            store: services.store.clone(),
            shared: Arc::new(SharedServices {
                directory: services.directory,
                keyring: services.keyring,
                passwords: Arc::new(Semaphore::new(checks)),
                password_checks: checks,
                places: Places::of_all(places),
                place_count: places,
                quarantine: services.quarantine,
                http: HttpClient::new(&services.http_authorities, services.outside.servers.clone())
                    .map_err(HostError::HttpClient)?,
                jwks: JwksCache::open(services.store, services.keys_stale),
                outside: services.outside,
            }),
            uses: Arc::default(),
        })
    }

    /// Whether instances are pooled; otherwise the address space was too small.
    #[must_use]
    pub fn pools_instances(&self) -> bool {
        self.engine.pooled()
    }

    /// From now on machine code is looked for here first. None: nowhere.
    pub fn use_precompiled(&self, precompiled: Option<Precompiled>) {
        self.precompiled.store(precompiled.map(Arc::new));
    }

    /// Compiles (or finds compiled), inspects, links, starts and tests a policy. Nothing of what is live is touched; a
    /// candidate that traps, loops, or wants what it was not given is refused.
    ///
    /// # Errors
    /// [`LoadError`], a sentence for the operator.
    pub async fn load(&self, spec: PolicySpec) -> Result<Arc<Generation>, LoadError> {
        match self.generation(&spec, None).await {
            Ok(generation) => Ok(Arc::new(generation)),
            Err(why) => Err(LoadError::new(&spec, why)),
        }
    }

    /// The same for a candidate that is to decide in shadow: whatever it does is done to nobody. `http`: except that it may
    /// send requests to the hosts that it is granted.
    ///
    /// # Errors
    /// [`LoadError`], a sentence for the operator.
    pub async fn load_shadow(&self, mut spec: PolicySpec, http: bool) -> Result<Arc<Generation>, LoadError> {
        // It runs when nobody else wants to: what would be late is seen in the latencies.
        spec.limits.deadline = Some((spec.limits.deadline_with(&spec.allow) * 4).min(Duration::from_secs(60)));
        spec.limits.concurrency = 1;
        spec.limits.queue = 0;
        let effects = Effects::new(http, spec.limits.storage).map_err(Fault::Settings);
        let loaded = match effects {
            Ok(effects) => self.generation(&spec, Some(Arc::new(effects))).await,
            Err(why) => Err(why),
        };
        match loaded {
            Ok(generation) => Ok(Arc::new(generation)),
            Err(why) => Err(LoadError::new(&spec, why)),
        }
    }

    /// What a component imports and exports, whatever it may be granted. It is compiled and not run.
    ///
    /// # Errors
    /// It is no policy, or one for another gateway.
    pub async fn examine(&self, component: Bytes) -> Result<Abilities, Fault> {
        check_kind(&component)?;
        let (_, component, _) = self.component(&component).await?;
        let everything =
            Allow { http: Some(Vec::new()), keyvalue: true, keys: Some(Vec::new()), directory: DirectoryAccess::Write };
        inspect(self.engine.wasmtime(), &component, &everything, &[])
    }

    /// What a policy says of itself, and what it says against going live as it is.
    ///
    /// # Errors
    /// It cannot say anything: [`Fault`].
    pub async fn describe(&self, spec: &PolicySpec) -> Result<(Option<Description>, Option<Fault>), Fault> {
        let (loaded, runtime) = self.prepare(spec, None).await?;
        let instance = self.begin(&runtime).await?;
        if !loaded.abilities.exports("descriptor") {
            return Ok((None, None));
        }
        let (description, instance) = ask_description(&runtime, instance).await?;
        Ok((Some(description), ask_self_test(&runtime, instance).await.err()))
    }

    async fn generation(&self, spec: &PolicySpec, effects: Option<Arc<Effects>>) -> Result<Generation, Fault> {
        let begun = Instant::now();
        let (Loaded { digest, from_cache, abilities }, runtime) = self.prepare(spec, effects).await?;
        let code = begun.elapsed();
        let mut instance = self.begin(&runtime).await?;
        let mut description = None;
        if abilities.exports("descriptor") {
            let (says, described) = ask_description(&runtime, instance).await?;
            description = Some(says);
            instance = ask_self_test(&runtime, described).await?;
        }
        if runtime.limits.reuse {
            runtime.pool.give_back(instance);
        }
        Ok(Generation {
            stamp: PolicyStamp {
                name: Arc::clone(&runtime.with.policy),
                digest: digest.into(),
                serial: LOADED.fetch_add(1, Ordering::Relaxed),
            },
            origin: spec.origin.clone(),
            octets: spec.component.len(),
            loaded_at: seconds_now(),
            from_cache,
            loading: Loading { code, test: begun.elapsed().saturating_sub(code) },
            abilities,
            description,
            quarantines: Quarantines::default(),
            tally: Tally::default(),
            grants: Grants::default(),
            runtime,
        })
    }

    /// Compiles, inspects and links.
    async fn prepare(&self, spec: &PolicySpec, effects: Option<Arc<Effects>>) -> Result<(Loaded, Runtime), Fault> {
        self.check_settings(spec)?;
        check_kind(&spec.component)?;
        let (digest, component, from_cache) = self.component(&spec.component).await?;
        let abilities = inspect(self.engine.wasmtime(), &component, &spec.allow, spec.optional)?;
        for (named, place, interface) in [
            (spec.authenticates, "a chain names it (`policies` of a listener, `guard` of a policy)", "authentication"),
            (spec.filters, "a listener names it in `filters`, or a case has it look at a message", "message-filter"),
        ] {
            if named && !abilities.exports(interface) {
                return Err(Fault::Contract(vec![format!("{place}, and it does not export `{interface}`")]));
            }
        }
        let mut linker: Linker<State> = Linker::new(self.engine.wasmtime());
        link(&mut linker, &abilities).map_err(|why| Fault::Shape(words(&why)))?;
        let pre = linker.instantiate_pre(&component).map_err(|why| Fault::Shape(words(&why)))?;
        let indices = Indices::of(&pre, |name| abilities.exports(name)).map_err(|why| Fault::Shape(words(&why)))?;
        if !spec.allow.hosts().is_empty() {
            // It will ask somebody: before a client waits for it.
            let shared = Arc::clone(&self.shared);
            tokio::task::spawn_blocking(move || shared.http.connections().clone());
        }
        let runtime = self.runtime(spec, pre, indices, effects)?;
        Ok((Loaded { digest, from_cache, abilities }, runtime))
    }

    fn check_settings(&self, spec: &PolicySpec) -> Result<(), Fault> {
        let wrong = |why: String| Err(Fault::Settings(why));
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if spec.name.is_empty() || spec.name.len() > 64 || !spec.name.chars().all(word) {
            return wrong(format!("its name {:?} is not 1 to 64 lower-case letters, digits and hyphens", spec.name));
        }
        let most = self.engine.max_memory();
        if spec.limits.memory > most {
            return wrong(format!(
                "`limits.memory` is {} MiB, more than the {} MiB that instances have room for",
                spec.limits.memory >> 20,
                most >> 20
            ));
        }
        if spec.limits.deadline.is_some_and(|d| d < Duration::from_millis(1) || d > Duration::from_secs(60)) {
            return wrong("`limits.deadline` is not between 1 ms and 60 s".to_owned());
        }
        if spec.limits.concurrency == 0 || spec.limits.calls_per_instance == 0 {
            return wrong("a limit of 0 calls lets nobody in".to_owned());
        }
        if spec.allow.directory > DirectoryAccess::None && self.shared.directory.is_none() {
            return wrong("it is granted the directory, and there is none".to_owned());
        }
        if spec.allow.keyvalue && self.store.is_none() {
            return wrong("it is granted storage, and there is none".to_owned());
        }
        Ok(())
    }

    fn storage(&self, spec: &PolicySpec) -> Result<Option<KeyValue>, Fault> {
        match &self.store {
            Some(store) if spec.allow.keyvalue => {
                let opened = store.key_value(&format!("policy:{}", spec.name), spec.limits.storage);
                let opened = opened.map(|space| space.with_keys(spec.limits.storage_keys));
                opened.map(Some).map_err(|why| Fault::Settings(format!("its storage cannot be opened: {why}")))
            }
            _ => Ok(None),
        }
    }

    fn runtime(
        &self,
        spec: &PolicySpec,
        pre: InstancePre<State>,
        indices: Indices,
        effects: Option<Arc<Effects>>,
    ) -> Result<Runtime, Fault> {
        // A candidate in shadow is told apart: it is not what the operator's metrics are about.
        let uses = match effects {
            Some(_) => self.uses.of(&format!("{} (shadow)", spec.name)),
            None => self.uses.of(&spec.name),
        };
        let with = Capabilities::new(spec, self.storage(spec)?, Arc::clone(&self.shared), effects, uses)?;
        Ok(Runtime {
            engine: self.engine.clone(),
            with: Arc::new(with),
            pre,
            indices: Arc::new(indices),
            deadline: spec.limits.deadline_with(&spec.allow),
            pool: Pool::new(spec.limits.concurrency, spec.limits.queue),
            limits: spec.limits.clone(),
            made: AtomicU64::new(0),
        })
    }

    /// Machine code that was made elsewhere, from the cache, or from the compiler, loaded.
    async fn component(&self, bytes: &Bytes) -> Result<(String, Component, bool), Fault> {
        let host = self.clone();
        let component = bytes.clone();
        let found = blocking(move || {
            let digest = digest_of(&component);
            let loaded = match host.precompiled(&digest) {
                Ok(component) => Ok(Some(component)),
                Err(lack) if host.compiler.is_none() => Err(Fault::NotPrecompiled(host.not_compiled(&lack))),
                Err(Lack::Absent) => Ok(host.cached(&digest)),
                Err(Lack::Refused(why)) => {
                    tracing::warn!("{why}; the policy is compiled here");
                    Ok(host.cached(&digest))
                }
            };
            (digest, loaded)
        });
        let (digest, loaded) = found.await?;
        if let Some(component) = loaded? {
            return Ok((digest, component, true));
        }
        let Some(compiler) = &self.compiler else {
            return Err(Fault::NotPrecompiled(self.not_compiled(&Lack::Absent)));
        };
        let code = compiler.compile(bytes.clone(), self.engine.target()).await.map_err(Fault::Compile)?;
        let (cache, engine) = (self.cache.clone(), self.engine.clone());
        let made = blocking(move || {
            if let Some(cache) = cache {
                match cache.store(&digest, engine.compatibility(), &code) {
                    // Loaded from the file, and the memory that the compiler's answer took given back.
                    Ok(()) => {
                        if let Some(component) = cached(&cache, &digest, &engine) {
                            return Ok((digest, component));
                        }
                    }
                    // It works all the same; only the next start takes longer.
                    Err(why) => tracing::warn!("compiled code cannot be kept: {why}"),
                }
            }
            load_code(&engine, &code).map(|component| (digest, component))
        });
        let (digest, component) = made.await?.map_err(Fault::Compile)?;
        Ok((digest, component, false))
    }

    /// What was made elsewhere.
    fn precompiled(&self, digest: &str) -> Result<Component, Lack> {
        let precompiled = self.precompiled.load_full().ok_or(Lack::Absent)?;
        let (code, index) = precompiled.load(digest, self.engine.target())?;
        load_code(&self.engine, &code).map_err(|why| {
            let place = precompiled.directory().display();
            let (by, of) = (&index.made_by, &index.target);
            Lack::Refused(format!("the machine code in {place}, made by {by} for {of}, is of no use here: {why}"))
        })
    }

    /// What is lacking where nothing is compiled, and what mends it.
    fn not_compiled(&self, lack: &Lack) -> String {
        let lacks = match (lack, &*self.precompiled.load()) {
            (Lack::Refused(why), _) => why.clone(),
            (Lack::Absent, Some(there)) => format!("{} has no machine code for it", there.directory().display()),
            (Lack::Absent, None) => "there is no machine code for it".to_owned(),
        };
        let because =
            if COMPILES { "the configuration lets nothing be compiled" } else { "this build has no compiler" };
        format!(
            "{lacks}, and {because}: make it with a full build of portcullis {}, `portcullis policy precompile --target {} --config FILE --out DIRECTORY`",
            env!("CARGO_PKG_VERSION"),
            target::word(self.engine.target())
        )
    }

    /// What this gateway compiled before.
    fn cached(&self, digest: &str) -> Option<Component> {
        cached(self.cache.as_ref()?, digest, &self.engine)
    }

    /// Starts the candidate.
    async fn begin(&self, runtime: &Runtime) -> Result<Box<Instance>, Fault> {
        let _ticking = self.engine.ticker().enter();
        let allowed = runtime.limits.self_test;
        let call = Call { describing: true, ..Call::within(allowed) };
        let until = call.deadline;
        let notes = Arc::default();
        let started = match tokio::time::timeout_at(until.into(), runtime.start(call, &notes)).await {
            Ok(started) => started.map_err(|why| runtime.start_error(&why, &notes, allowed)),
            Err(_) => Err(CallError::Deadline(notes.late(allowed))),
        };
        let mut instance = started.map_err(|why| match why {
            CallError::Start(why) => Fault::Start(why),
            other => Fault::Start(other.to_string()),
        })?;
        instance.check_exports().map_err(|why| Fault::Shape(words(&why)))?;
        Ok(instance)
    }
}

/// What was found out about a candidate before it was started.
struct Loaded {
    digest: String,
    from_cache: bool,
    abilities: Abilities,
}

async fn ask_description(runtime: &Runtime, instance: Box<Instance>) -> Result<(Description, Box<Instance>), Fault> {
    let allowed = runtime.limits.self_test;
    let call = Call { describing: true, ..Call::within(allowed) };
    let asked = runtime.run(Some(instance), &Question::Describe, call, allowed).await;
    let (instance, answer) = asked.map_err(|why| Fault::Describe(why.to_string()))?;
    let Answer::Description(said) = answer else { return Err(Fault::Describe("no answer".to_owned())) };
    Ok((convert::description(said).map_err(Fault::Describe)?, instance))
}

/// Puts the candidate through its own tests.
async fn ask_self_test(runtime: &Runtime, instance: Box<Instance>) -> Result<Box<Instance>, Fault> {
    let allowed = runtime.limits.self_test;
    let asked = runtime.run(Some(instance), &Question::SelfTest, Call::within(allowed), allowed).await;
    let (instance, answer) = asked.map_err(|why| Fault::SelfTest(why.to_string()))?;
    match answer {
        Answer::SelfTest(Ok(())) => Ok(instance),
        Answer::SelfTest(Err(why)) => Err(Fault::SelfTest(crate::capability::escaped(&why))),
        _ => Err(Fault::SelfTest("no answer".to_owned())),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Fault::Compile("the gateway is stopping".to_owned()))
}

fn words(error: &wasmtime::Error) -> String {
    crate::capability::escaped(&format!("{error:#}"))
}
