//! What the operator says about a policy, and why one cannot be loaded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// What is to be loaded: one `[[policy]]` of the configuration, or a built-in one.
#[derive(Clone, Debug)]
pub struct PolicySpec {
    /// The configured name: lower-case letters, digits and hyphens, 1 to 64. Logs, storage and stamps go by it.
    pub name: String,
    /// The component's bytes.
    pub component: Bytes,
    /// Where they came from, for people: `builtin:jwt`, or a path.
    pub origin: String,
    /// The `config` table; [`serde_json::Value::Null`] counts as empty.
    pub config: serde_json::Value,
    /// What it may use beyond what every policy may.
    pub allow: Allow,
    /// Interfaces of the contract that it imports and does without where `allow` does not grant them: they are linked, and
    /// every call of theirs is refused. For bundled policies, whose configuration decides what they use. What is not named
    /// here and not granted is an error, as it is for everything in a file.
    pub optional: &'static [&'static str],
    /// What it may use up.
    pub limits: PolicyLimits,
    /// Whether a chain names it, in front of a listener or as the guard of a mount, so that it must export
    /// `authentication`.
    pub authenticates: bool,
    /// Whether a listener names it among its `filters`, so that it must export `message-filter`.
    pub filters: bool,
}

impl PolicySpec {
    /// A policy without configuration or capabilities, under the default limits.
    #[must_use]
    pub fn new(name: impl Into<String>, component: impl Into<Bytes>, origin: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            component: component.into(),
            origin: origin.into(),
            config: serde_json::Value::Null,
            allow: Allow::default(),
            optional: &[],
            limits: PolicyLimits::default(),
            authenticates: false,
            filters: false,
        }
    }
}

/// The `allow` table of a policy: each entry links interfaces that are otherwise not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// `http`: hosts that it may send requests to, `host` (its scheme's own port) or `host:port`.
    /// Some, even if empty, grants `http-client`.
    pub http: Option<Vec<String>>,
    /// `keyvalue`: storage of its own.
    pub keyvalue: bool,
    /// `keys`: names of keys that `jose` may verify and sign with. Some, even if empty, grants `jose`.
    pub keys: Option<Vec<String>>,
    /// `directory`.
    pub directory: DirectoryAccess,
}

impl Allow {
    /// The hosts that it may send requests to.
    pub(crate) fn hosts(&self) -> &[String] {
        self.http.as_deref().unwrap_or_default()
    }
}

/// How much of the directory a policy sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DirectoryAccess {
    /// Nothing.
    #[default]
    None,
    /// Look up, and check passwords.
    Read,
    /// Change as well.
    Write,
}

/// The `limits` table of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLimits {
    /// Octets of linear memory of one instance, all its memories together. At most
    /// [`crate::EngineOptions::max_memory`].
    pub memory: usize,
    /// Wall-clock time of one call, guest and host together. None: 50 ms, or 1 s when it may check passwords, which take
    /// tens of milliseconds each.
    pub deadline: Option<Duration>,
    /// Time for `describe` and for `self-test`, each.
    pub self_test: Duration,
    /// Keep instances for later calls. False: each call gets a fresh one.
    pub reuse: bool,
    /// Calls that one instance serves before it is thrown away.
    pub calls_per_instance: u32,
    /// Calls that run at one time.
    pub concurrency: u32,
    /// Calls that may wait for their turn; one more is refused.
    pub queue: u32,
    /// Octets of keys and values in the policy's storage.
    pub storage: u64,
    /// Octets of the largest HTTP response that `http-client` gives it.
    pub http_response: u64,
    /// Keys in the policy's storage.
    pub storage_keys: u64,
    /// Requests to other servers that one call may make.
    pub http_requests: u32,
    /// Octets that one call may send to and get from other servers.
    pub http_bytes: u64,
    /// Requests that begin in a second, of all calls together.
    pub http_rate: u32,
    /// Requests that are under way at one time.
    pub http_open: u32,
    /// Log lines a second, on average.
    pub log_lines: u32,
}

impl Default for PolicyLimits {
    fn default() -> Self {
        Self {
            memory: 16 << 20,
            deadline: None,
            self_test: Duration::from_secs(5),
            reuse: true,
            calls_per_instance: 1000,
            concurrency: 16,
            queue: 1024,
            storage: 16 << 20,
            http_response: 1 << 20,
            storage_keys: 100_000,
            http_requests: 16,
            http_bytes: 4 << 20,
            http_rate: 200,
            http_open: 64,
            log_lines: 50,
        }
    }
}

impl PolicyLimits {
    /// The deadline in force.
    #[must_use]
    pub fn deadline_with(&self, allow: &Allow) -> Duration {
        self.deadline.unwrap_or(match allow.directory {
            DirectoryAccess::None => Duration::from_millis(50),
            DirectoryAccess::Read | DirectoryAccess::Write => Duration::from_secs(1),
        })
    }
}

/// Why a policy cannot be loaded. It shows as one sentence that names the policy and says what to do; the one that is
/// live stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy `{policy}` ({origin}) cannot be used: {why}")]
pub struct LoadError {
    /// The configured name.
    pub policy: String,
    /// Where the component came from.
    pub origin: String,
    /// What is wrong.
    pub why: Fault,
}

/// What is wrong with a candidate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file is not WebAssembly.
    #[error("it is not WebAssembly: a component begins with the octets 00 61 73 6d")]
    NotWasm,
    /// A core module.
    #[error("it is a core WebAssembly module, not a component: wrap it with `wasm-tools component new`")]
    CoreModule,
    /// Larger than the gateway takes.
    #[error("it has {octets} octets; the gateway takes at most {limit}")]
    TooLarge {
        /// Octets it has.
        octets: usize,
        /// Octets it may have.
        limit: usize,
    },
    /// It does not validate or compile.
    #[error("it does not compile: {0}")]
    Compile(String),
    /// It would have to be compiled, and nothing is compiled here.
    #[error("{0}")]
    NotPrecompiled(String),
    /// It asks for what it was not given, or is built for something else.
    #[error("{}", .0.join("; "))]
    Contract(Vec<String>),
    /// An import or export has another shape than the contract's.
    #[error("its interfaces differ from those of this gateway's contract: {0}")]
    Shape(String),
    /// It cannot be instantiated, or failed in doing so.
    #[error("it cannot be started: {0}")]
    Start(String),
    /// `describe` failed or says nonsense.
    #[error("its description is of no use: {0}")]
    Describe(String),
    /// `self-test` failed in the policy's own words.
    #[error("its self-test failed: {0}")]
    SelfTest(String),
    /// A setting of its entry makes no sense.
    #[error("its entry is wrong: {0}")]
    Settings(String),
}

impl LoadError {
    pub(crate) fn new(spec: &PolicySpec, why: Fault) -> Self {
        Self { policy: spec.name.clone(), origin: spec.origin.clone(), why }
    }
}

/// What a policy says of itself (the contract's `descriptor`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Its own name, which may differ from the configured one.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// The words that it writes into `identity.scheme`.
    pub schemes: Vec<String>,
    /// The MQTT 5 authentication methods that it serves.
    pub methods: Vec<Arc<str>>,
    /// JSON Schema of its configuration, or empty.
    pub config_schema: String,
}
