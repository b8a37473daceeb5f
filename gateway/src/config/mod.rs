//! The configuration file: its shape (described in the README), its reading, and what makes it sound.
//!
//! Every file named in it is relative to the configuration file's own directory. Reading gathers all problems at once;
//! a configuration that was read is sound in itself, and only what the machine may refuse (a port that is taken, say)
//! is left to `assemble`.
//!
//! Knows nothing of how the gateway is put together.

mod audit;
pub(crate) mod document;
mod engine;
mod key;
mod listener;
pub(crate) mod policy;
pub(crate) mod problem;
pub(crate) mod reader;
mod sound;
mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub(crate) use audit::Audit;
pub(crate) use engine::EngineEntry;
pub(crate) use key::{KeyEntry, KeyKind};
pub(crate) use listener::{
    ClientAuth, Durability, FilterEntry, Listener, Protocol, RefusedPublish, RefusedSubscribe, Transport,
};
pub(crate) use policy::{Allow, DirectoryAccess, OnSwap, PolicyEntry, PolicyLimits, Reuse, Rollback, Source};
pub(crate) use problem::{Problem, Report};
pub(crate) use reader::Located;
use reader::{Section, words};
pub(crate) use units::{PerSecond, Size, Time};

use crate::supply::PublicKey;

/// A configuration that was read and is sound.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// The data directory.
    pub(crate) data: Option<PathBuf>,
    /// Threads that carry connections. None: one for each processor.
    pub(crate) workers: Option<u16>,
    /// Where clients come in. At least one.
    pub(crate) listeners: Vec<Listener>,
    /// Configured policies, in the order of the file.
    pub(crate) policies: Vec<PolicyEntry>,
    /// Named keys.
    pub(crate) keys: Vec<KeyEntry>,
    /// Where the admin API listens. None: there is none.
    pub(crate) admin: Option<Admin>,
    /// Bounds of the whole gateway.
    pub(crate) limits: Limits,
    /// Where machine code of policies comes from.
    pub(crate) engine: EngineEntry,
    /// Keys whose signatures policies must have. Empty: they need none.
    pub(crate) trust: Vec<PublicKey>,
    /// What the gateway writes of itself.
    pub(crate) log: Log,
    /// Where decisions are written.
    pub(crate) audit: Audit,
}

/// `[limits]`: bounds of the whole gateway. None: the gateway's own bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Instances of all policies that live at one time, idle ones included.
    pub(crate) policy_instances: Option<u16>,
    /// Topics with a retained message.
    pub(crate) retained_messages: Option<u32>,
    /// Octets of retained messages.
    pub(crate) retained_bytes: Option<Size>,
    /// Octets that wait for all clients together.
    pub(crate) waiting_bytes: Option<Size>,
    /// How old keys of a JWK Set may become while they cannot be fetched anew.
    pub(crate) keys_stale: Option<Time>,
}

/// `[admin]`: the interface for administrators and for the command line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Admin {
    /// Where it listens.
    pub(crate) bind: Located<SocketAddr>,
    /// The file with the bearer token. None: one is made at each start and lies in `<data>/admin.json`.
    pub(crate) token_file: Option<Located<PathBuf>>,
    /// Whether `/metrics` needs no token.
    pub(crate) open_metrics: bool,
    /// Further host names that it is reached by on a loopback address, such as that of a reverse proxy.
    pub(crate) hosts: Vec<String>,
}

/// `[log]`: what is written to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    /// A level, or directives such as `info,portcullis_net=debug`.
    pub(crate) level: Located<String>,
    /// How a line looks.
    pub(crate) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Located::nowhere("info".to_owned()), format: LogFormat::Text }
    }
}

words! {
    /// How a line of the log looks.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn load(file: &Path) -> Result<Self, Report> {
        let source = crate::files::read_text(file).map_err(|error| Report::unreadable(file, crate::plain(&error)))?;
        Self::parse(file, &source)
    }

    /// Reads text as if it stood in `file`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(file: &Path, source: &str) -> Result<Self, Report> {
        let base = file.parent().unwrap_or(Path::new(""));
        document::read(file, source, "the configuration", |root| {
            let problems = root.problems();
            let config = Self::read(root, base);
            sound::check(&config, problems);
            config
        })
    }

    fn read(mut root: Section<'_>, base: &Path) -> Self {
        let config = Self {
            data: root.optional::<String>("data").map(|data| base.join(data)),
            workers: root.optional("workers"),
            listeners: Listener::read_all(root.sections("listener", "[[listener]]"), base),
            policies: PolicyEntry::read_all(root.sections("policy", "[[policy]]"), base),
            keys: KeyEntry::read_all(root.sections("key", "[[key]]"), base),
            admin: root.section("admin", "[admin]").and_then(|mut admin| {
                let bind = admin.required("bind", "an address and a port, such as \"127.0.0.1:9090\"");
                let token_file = admin.optional("token-file").map(|file| relative(file, base));
                let open_metrics = admin.optional("open-metrics").unwrap_or(false);
                let hosts: Vec<String> = admin.optional("hosts").unwrap_or_default();
                admin.finish();
                let hosts = hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect();
                Some(Admin { bind: bind?, token_file, open_metrics, hosts })
            }),
            limits: root.section("limits", "[limits]").map_or_else(Limits::default, |mut limits| {
                let read = Limits {
                    policy_instances: limits.optional("policy-instances"),
                    retained_messages: limits.optional("retained-messages"),
                    retained_bytes: limits.optional("retained-bytes"),
                    waiting_bytes: limits.optional("waiting-bytes"),
                    keys_stale: limits.optional("keys-stale"),
                };
                limits.finish();
                read
            }),
            engine: root
                .section("engine", "[engine]")
                .map_or_else(EngineEntry::default, |engine| EngineEntry::read(engine, base)),
            trust: root.section("trust", "[trust]").map_or_else(Vec::new, trusted),
            log: root.section("log", "[log]").map_or_else(Log::default, |mut log| {
                let default = Log::default();
                let read = Log {
                    level: log.optional("level").unwrap_or(default.level),
                    format: log.optional("format").unwrap_or(default.format),
                };
                log.finish();
                read
            }),
            audit: root.section("audit", "[audit]").map_or_else(Audit::default, |audit| Audit::read(audit, base)),
        };
        root.finish();
        config
    }
}

/// `[trust]`: whose policies are let in.
fn trusted(mut trust: Section<'_>) -> Vec<PublicKey> {
    let keys: Vec<Located<String>> =
        trust.required("keys", "a list of minisign's public keys, such as [\"RWQ…\"]").unwrap_or_default();
    let key = |text: &Located<String>| {
        let key = PublicKey::parse(text);
        if key.is_none() {
            let message = format!("{:?} is not a public key of minisign", text.value);
            let help = "write the second line of the .pub file that `minisign -G` made; it begins with RW";
            trust.problems().add(Problem::new(text.span.clone(), message).help(help));
        }
        key
    };
    let read: Vec<_> = keys.iter().filter_map(key).collect();
    if keys.is_empty() && trust.key_span("keys").is_some() && !trust.is_wrong("keys") {
        let span = trust.key_span("keys").unwrap_or_default();
        trust.problems().add(
            Problem::new(span, "an empty list trusts nobody, and would still let every policy in")
                .help("name a key, or take [trust] out"),
        );
    }
    trust.finish();
    read
}

/// A path in the file, made one that can be opened from anywhere.
fn relative(path: Located<String>, base: &Path) -> Located<PathBuf> {
    Located { value: base.join(&path.value), span: path.span }
}

/// Whether a text can stand as the path of a URL: from the root, without query, fragment or anything to be escaped.
fn is_url_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&b))
}
