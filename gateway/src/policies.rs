//! From what the configuration says about policies to slots with live generations.
//!
//! A candidate is loaded aside; nothing that is live is touched before everything that a change needs is there.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_grant::{Gatekeeper, HttpEndpoint};
use portcullis_http::{Mount, MountError, Mounts};
use portcullis_policy::{self as host, Chain, Filter, Generation, Host, LoadError, Policy, PolicySpec, Score};
use portcullis_session::unix_now;

use crate::builtin;
use crate::config::{
    Allow, Config, DirectoryAccess, FilterEntry, Listener, Located, OnSwap, PolicyEntry, PolicyLimits, Reuse, Source,
};
use crate::supply::{Archive, Change, Component, How, KEPT, Supply, TakenBack};

/// Why a policy cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    /// Its file cannot be read.
    #[error("policy `{name}` cannot be used: {file} cannot be read: {why}")]
    Read {
        /// Its configured name.
        name: String,
        /// The file.
        file: String,
        /// What the system says.
        why: String,
    },
    /// The host refuses it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The gateway stops, or the host has a fault.
    #[error("policy `{0}` cannot be used: loading it was interrupted")]
    Interrupted(String),
    /// A registry does not give it.
    #[error("policy `{name}` cannot be used: {why}")]
    Pull {
        /// Its configured name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The operator's rules about who may bring policies forbid it.
    #[error("policy `{name}` ({origin}) is not used: {why}")]
    Untrusted {
        /// Its configured name.
        name: String,
        /// Where the component came from.
        origin: String,
        /// What is wrong.
        why: String,
    },
    /// A version that was asked for cannot be had.
    #[error("policy `{name}`: version {digest} cannot be used: {why}")]
    Version {
        /// Its configured name.
        name: String,
        /// The version.
        digest: String,
        /// What is wrong.
        why: String,
    },
    /// What is asked for makes no sense as things are.
    #[error("policy `{name}`: {why}")]
    Refused {
        /// Its configured name.
        name: String,
        /// Why.
        why: String,
    },
    /// Nothing can be remembered.
    #[error("policy `{name}` stays as it was: its versions cannot be written to the data directory: {why}")]
    Archive {
        /// Its configured name.
        name: String,
        /// What the system says.
        why: String,
    },
    /// Nothing decides in shadow.
    #[error("policy `{0}` has no shadow; `portcullis policy shadow {0} FILE` begins one")]
    NoShadow(String),
    /// There is none of this name.
    #[error("no policy named `{0}` is in use")]
    Unknown(String),
}

/// The policies in use, by configured name. Slots stay when generations change, so that chains hold them for good.
#[derive(Clone, Default)]
pub(crate) struct Policies {
    slots: HashMap<String, Slot>,
}

#[derive(Clone)]
struct Slot {
    policy: Arc<Policy>,
    /// What the live generation was loaded by; a newer entry may have failed to load.
    entry: Arc<PolicyEntry>,
    standing: Standing,
}

/// How the live version of a policy came to be so.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// How.
    pub(crate) how: How,
    /// Digest of what its source had then.
    pub(crate) source: Arc<str>,
    /// Seconds since 1970 at which this component went live in this process.
    pub(crate) since: u64,
}

/// A policy that was loaded and waits for its turn.
pub(crate) struct Candidate {
    pub(crate) entry: Arc<PolicyEntry>,
    pub(crate) component: Component,
    generation: Arc<Generation>,
}

impl Candidate {
    /// Notes in the archive that it goes live, before it does: a restart finds it so.
    ///
    /// # Errors
    /// The disk refuses. A restart finds what was there before.
    pub(crate) async fn note(&self, archive: &Archive, taken_back: Option<TakenBack>) -> Result<(), PolicyError> {
        let change = Change {
            name: &self.entry.name,
            component: &self.component,
            keep: self.entry.versions.map_or(KEPT, usize::from),
            now: unix_now(),
            taken_back,
        };
        archive
            .goes_live(change)
            .await
            .map_err(|error| PolicyError::Archive { name: self.entry.name.value.clone(), why: crate::plain(&error) })
    }

    /// The same, where that it goes live is more important than that it is remembered.
    pub(crate) async fn note_if_possible(&self, archive: &Archive) {
        if let Some(note) = &self.component.note {
            tracing::info!("policy `{}`: {note}", self.entry.name.value);
        }
        if let Err(error) = self.note(archive, None).await {
            tracing::warn!("{error}; it goes live all the same, and cannot be gone back to");
        }
    }
}

/// What a swap did.
#[derive(Clone, Debug)]
pub(crate) struct Swapped {
    /// The configured name.
    pub(crate) name: String,
    /// Digest of the component that was live. None: the policy is new.
    pub(crate) before: Option<Arc<str>>,
    /// Digest of the component that is live now.
    pub(crate) now: Arc<str>,
    /// The serial of its loading: grants with a smaller one are of versions before.
    pub(crate) serial: u64,
    /// How it came to be so.
    pub(crate) how: How,
    /// How the version before fared.
    pub(crate) score_before: Score,
    /// What becomes of live connections.
    pub(crate) on_swap: OnSwap,
}

/// The entry of a policy: what the file says, or for a built-in one that it does not mention, nothing but its name.
pub(crate) fn entry(config: &Config, name: &str) -> Option<PolicyEntry> {
    let configured = config.policies.iter().find(|policy| policy.name.value == name);
    let found = configured.cloned().or_else(|| builtin::find(name).map(|b| PolicyEntry::of_builtin(b.name)));
    let filters = config.listeners.iter().flat_map(|listener| &listener.filters).any(|f| f.policy.value == name);
    let guards = config.policies.iter().flat_map(|policy| &policy.guard);
    let chains = config.listeners.iter().flat_map(|listener| &listener.policies);
    let authenticates = chains.chain(guards).any(|named| named.value == name);
    found.map(|entry| PolicyEntry { authenticates, filters, ..entry })
}

/// The names of all policies that a configuration uses, each once: those of listeners, then those of mounts.
pub(crate) fn used(config: &Config) -> Vec<String> {
    let chains = config
        .listeners
        .iter()
        .flat_map(|listener| listener.policies.iter().chain(listener.filters.iter().map(|filter| &filter.policy)));
    let mounted = config.policies.iter().filter(|policy| !policy.mount.is_empty());
    let mounted = mounted.flat_map(|policy| std::iter::once(&policy.name).chain(&policy.guard));
    let mut names: Vec<String> = Vec::new();
    for name in chains.chain(mounted) {
        if !names.contains(&name.value) {
            names.push(name.value.clone());
        }
    }
    names
}

/// Describes a policy as the host wants it: the component with what its entry says now.
pub(crate) fn spec(entry: &PolicyEntry, component: &Component) -> PolicySpec {
    let builtin = match &entry.source.value {
        Source::Builtin(name) => builtin::find(name),
        Source::File(_) | Source::Oci(_) => None,
    };
    let default = builtin.map(|found| found.allow(&entry.config)).unwrap_or_default();
    let mut spec = PolicySpec::new(&entry.name.value, component.bytes.clone(), component.origin.clone());
    spec.config = serde_json::Value::Object(entry.config.clone());
    spec.allow = allow(entry.allow.as_ref().unwrap_or(&default));
    spec.optional = builtin.map_or(&[], builtin::Builtin::optional);
    spec.limits = limits(&entry.limits);
    (spec.authenticates, spec.filters) = (entry.authenticates, entry.filters);
    spec
}

/// What the host understands by an `allow`.
pub(crate) fn allow(allow: &Allow) -> host::Allow {
    let names = |list: &[Located<String>]| list.iter().map(|name| name.value.clone()).collect();
    host::Allow {
        http: allow.http.as_deref().map(names),
        keyvalue: allow.keyvalue,
        keys: allow.keys.as_deref().map(names),
        directory: match allow.directory {
            None => host::DirectoryAccess::None,
            Some(DirectoryAccess::Read) => host::DirectoryAccess::Read,
            Some(DirectoryAccess::Write) => host::DirectoryAccess::Write,
        },
    }
}

/// What the host understands by `limits`.
pub(crate) fn limits(limits: &PolicyLimits) -> host::PolicyLimits {
    let default = host::PolicyLimits::default();
    let (reuse, calls) = match limits.reuse {
        None | Some(Reuse::Default) => (true, default.calls_per_instance),
        Some(Reuse::Never) => (false, 1),
        Some(Reuse::Calls(calls)) => (true, calls),
    };
    host::PolicyLimits {
        memory: limits.memory.map_or(default.memory, |size| usize::try_from(size.0).unwrap_or(usize::MAX)),
        deadline: limits.deadline.map(|time| time.0),
        self_test: limits.self_test.map_or(default.self_test, |time| time.0),
        reuse,
        calls_per_instance: calls,
        concurrency: limits.instances.as_ref().map_or(default.concurrency, |number| u32::from(number.value)),
        storage: limits.storage.map_or(default.storage, |size| size.0),
        http_response: limits.http_response.map_or(default.http_response, |size| size.0),
        queue: limits.queue.unwrap_or(default.queue),
        storage_keys: limits.storage_keys.map_or(default.storage_keys, u64::from),
        http_requests: limits.http_requests.unwrap_or(default.http_requests),
        http_bytes: limits.http_bytes.map_or(default.http_bytes, |size| size.0),
        http_rate: limits.http_rate.map_or(default.http_rate, |rate| rate.0),
        http_open: limits.http_open.map_or(default.http_open, u32::from),
        log_lines: limits.log_lines.map_or(default.log_lines, |rate| rate.0),
    }
}

impl Policies {
    /// Gets and loads policies aside, all at a time. Nothing has changed when it returns.
    pub(crate) async fn load(
        host: &Host,
        supply: &Supply,
        entries: Vec<PolicyEntry>,
    ) -> Vec<Result<Candidate, PolicyError>> {
        let resolve = async |supply: Supply, entry: PolicyEntry| {
            let component = supply.resolve(&entry).await;
            (entry, component)
        };
        // A task each: some are far away.
        let tasks: Vec<_> =
            entries.into_iter().map(|entry| (entry.clone(), tokio::spawn(resolve(supply.clone(), entry)))).collect();
        let mut resolved = Vec::new();
        for (entry, task) in tasks {
            let name = entry.name.value.clone();
            resolved.push(task.await.unwrap_or((entry, Err(PolicyError::Interrupted(name)))));
        }
        Self::load_resolved(host, resolved).await
    }

    /// The same for components that are there already.
    pub(crate) async fn load_resolved(
        host: &Host,
        resolved: Vec<(PolicyEntry, Result<Component, PolicyError>)>,
    ) -> Vec<Result<Candidate, PolicyError>> {
        let one = async |host: Host, entry: PolicyEntry, component: Result<Component, PolicyError>| {
            let component = component?;
            let generation = host.load(spec(&entry, &component)).await?;
            Ok(Candidate { entry: Arc::new(entry), component, generation })
        };
        // A task each, so that several are compiled at a time.
        let tasks: Vec<_> = resolved
            .into_iter()
            .map(|(entry, component)| (entry.name.value.clone(), tokio::spawn(one(host.clone(), entry, component))))
            .collect();
        let mut loaded = Vec::new();
        for (name, task) in tasks {
            loaded.push(task.await.unwrap_or(Err(PolicyError::Interrupted(name))));
        }
        loaded
    }

    /// Whether the live generation is what this entry and this component would give.
    pub(crate) fn is_current(&self, entry: &PolicyEntry, component: &Component) -> bool {
        self.slots.get(&entry.name.value).is_some_and(|slot| {
            *slot.entry == *entry
                && *slot.policy.current().stamp().digest == *component.digest
                && slot.standing.source == component.source
        })
    }

    /// What the live version was loaded by, and how it came to be live.
    pub(crate) fn standing(&self, name: &str) -> Option<(Arc<PolicyEntry>, Standing)> {
        self.slots.get(name).map(|slot| (Arc::clone(&slot.entry), slot.standing.clone()))
    }

    /// Puts a candidate in place.
    pub(crate) fn put(&mut self, candidate: Candidate) -> Swapped {
        let Candidate { entry, component, generation } = candidate;
        let (now, serial) = (Arc::clone(&generation.stamp().digest), generation.stamp().serial);
        let (name, on_swap, how) = (entry.name.value.clone(), entry.on_swap, component.how);
        let mut standing = Standing { how, source: component.source, since: unix_now() };
        let mut score_before = Score::default();
        let before = match self.slots.get_mut(&name) {
            Some(slot) => {
                let before = slot.policy.swap(generation);
                score_before = before.score();
                let before = Arc::clone(&before.stamp().digest);
                if before == now {
                    standing.since = slot.standing.since;
                }
                (slot.entry, slot.standing) = (entry, standing);
                Some(before)
            }
            None => {
                self.slots.insert(name.clone(), Slot { policy: Policy::new(generation), entry, standing });
                None
            }
        };
        Swapped { name, before, now, serial, how, score_before, on_swap }
    }

    /// Forgets policies that the configuration no longer uses.
    pub(crate) fn retain(&mut self, names: &[String]) {
        self.slots.retain(|name, _| names.contains(name));
    }

    /// The slot of a policy.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Policy>> {
        self.slots.get(name).map(|slot| &slot.policy)
    }

    /// All slots, in the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<Policy>> {
        let mut all: Vec<_> = self.slots.values().map(|slot| Arc::clone(&slot.policy)).collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// A chain. A policy that is not there would be a fault of [`used`]; without it nobody is let in by it.
    pub(crate) fn chain(&self, names: &[Located<String>]) -> Chain {
        Chain::new(names.iter().filter_map(|name| self.get(name).cloned()).collect())
    }

    /// The chain of a listener, with its filters.
    pub(crate) fn chain_of(&self, listener: &Listener) -> Chain {
        let filter = |entry: &FilterEntry| {
            let topics = entry.topics.iter().map(|topic| topic.value.clone()).collect();
            Some(Filter { policy: Arc::clone(self.get(&entry.policy)?), topics })
        };
        self.chain(&listener.policies).with_filters(listener.filters.iter().filter_map(filter).collect())
    }

    /// What is mounted on HTTP listeners. The configuration made sure that the paths are paths, and each is there once.
    pub(crate) fn mounts(&self, config: &Config) -> Result<Mounts, MountError> {
        let mut mounts = Vec::new();
        for entry in &config.policies {
            let Some(policy) = self.get(&entry.name) else { continue };
            for prefix in &entry.mount {
                let guard =
                    (!entry.guard.is_empty()).then(|| Arc::new(self.chain(&entry.guard)) as Arc<dyn Gatekeeper>);
                let endpoint: Arc<dyn HttpEndpoint> = Arc::clone(policy) as _;
                mounts.push(Mount { prefix: prefix.value.clone(), endpoint, guard });
            }
        }
        Mounts::new(mounts)
    }
}
