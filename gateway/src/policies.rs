//! From what the configuration says about policies to slots with live generations.
//!
//! A candidate is loaded aside; nothing that is live is touched before everything that a change needs is there.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use hyper::body::Bytes;
use portcullis_grant::{Gatekeeper, HttpEndpoint};
use portcullis_http::{Mount, MountError, Mounts};
use portcullis_policy::{self as host, Chain, Generation, Host, LoadError, Policy, PolicySpec, digest_of};

use crate::builtin;
use crate::config::{Allow, Config, DirectoryAccess, Located, OnSwap, PolicyEntry, PolicyLimits, Reuse, Source};

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
}

/// A policy that was loaded and waits for its turn.
pub(crate) struct Candidate {
    entry: Arc<PolicyEntry>,
    generation: Arc<Generation>,
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
    /// What becomes of live connections.
    pub(crate) on_swap: OnSwap,
}

/// The entry of a policy: what the file says, or for a built-in one that it does not mention, nothing but its name.
pub(crate) fn entry(config: &Config, name: &str) -> Option<PolicyEntry> {
    let configured = config.policies.iter().find(|policy| policy.name.value == name);
    configured.cloned().or_else(|| builtin::find(name).map(|builtin| PolicyEntry::of_builtin(builtin.name)))
}

/// The names of all policies that a configuration uses, each once: those of listeners, then those of mounts.
pub(crate) fn used(config: &Config) -> Vec<String> {
    let chains = config.listeners.iter().flat_map(|listener| &listener.policies);
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

/// Reads and describes a policy as the host wants it.
pub(crate) async fn spec(entry: &PolicyEntry) -> Result<PolicySpec, PolicyError> {
    let (component, origin, default) = match &entry.source.value {
        Source::Builtin(name) => match builtin::find(name) {
            Some(found) => (found.component.into(), format!("builtin:{name}"), found.allow()),
            None => return Err(PolicyError::Unknown(name.clone())),
        },
        Source::File(path) => (read(&entry.name, path).await?, path.display().to_string(), Allow::default()),
    };
    let mut spec = PolicySpec::new(&entry.name.value, component, origin);
    spec.config = serde_json::Value::Object(entry.config.clone());
    spec.allow = allow(entry.allow.as_ref().unwrap_or(&default));
    spec.limits = limits(&entry.limits);
    Ok(spec)
}

async fn read(name: &str, path: &Path) -> Result<Bytes, PolicyError> {
    let content = tokio::fs::read(path).await.map_err(|error| PolicyError::Read {
        name: name.to_owned(),
        file: path.display().to_string(),
        why: crate::plain(&error),
    })?;
    Ok(content.into())
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
        concurrency: limits.instances.map_or(default.concurrency, u32::from),
        storage: limits.storage.map_or(default.storage, |size| size.0),
        http_response: limits.http_response.map_or(default.http_response, |size| size.0),
        ..default
    }
}

impl Policies {
    /// Loads policies aside, all at a time. Nothing has changed when it returns.
    pub(crate) async fn load(host: &Host, entries: Vec<PolicyEntry>) -> Vec<Result<Candidate, PolicyError>> {
        let one = async |host: Host, entry: PolicyEntry| {
            let generation = host.load(spec(&entry).await?).await?;
            Ok(Candidate { entry: Arc::new(entry), generation })
        };
        // A task each, so that several are compiled at a time.
        let tasks: Vec<_> = entries
            .into_iter()
            .map(|entry| (entry.name.value.clone(), tokio::spawn(one(host.clone(), entry))))
            .collect();
        let mut loaded = Vec::new();
        for (name, task) in tasks {
            loaded.push(task.await.unwrap_or(Err(PolicyError::Interrupted(name))));
        }
        loaded
    }

    /// Whether the live generation is what this entry and its file would give.
    pub(crate) async fn is_current(&self, entry: &PolicyEntry) -> bool {
        let Some(slot) = self.slots.get(&entry.name.value).filter(|slot| *slot.entry == *entry) else { return false };
        match &entry.source.value {
            Source::Builtin(_) => true,
            Source::File(path) => match read(&entry.name, path).await {
                Ok(component) => digest_of(&component) == *slot.policy.current().stamp().digest,
                Err(_) => false,
            },
        }
    }

    /// Puts a candidate in place.
    pub(crate) fn put(&mut self, candidate: Candidate) -> Swapped {
        let Candidate { entry, generation } = candidate;
        let now = Arc::clone(&generation.stamp().digest);
        let (name, on_swap) = (entry.name.value.clone(), entry.on_swap);
        let before = match self.slots.get_mut(&name) {
            Some(slot) => {
                slot.entry = entry;
                Some(Arc::clone(&slot.policy.swap(generation).stamp().digest))
            }
            None => {
                self.slots.insert(name.clone(), Slot { policy: Policy::new(generation), entry });
                None
            }
        };
        Swapped { name, before, now, on_swap }
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
