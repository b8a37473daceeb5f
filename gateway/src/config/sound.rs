//! What makes a configuration sound beyond its single values: names that lead somewhere and do not clash, files that
//! can be read, and nothing that is there and unused.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use portcullis_net::Endpoint;
use portcullis_policy::{EngineOptions, PolicyLimits};

use super::Config;
use super::key;
use super::listener::Protocol;
use super::policy::Source;
use super::problem::{Problem, Problems};
use super::reader::{Located, nearest};
use crate::builtin;

/// Adds every problem that the parts of a configuration have with one another.
pub(super) fn check(config: &Config, problems: &Problems) {
    unique("listener", config.listeners.iter().map(|listener| &listener.name), problems);
    unique("policy", config.policies.iter().map(|policy| &policy.name), problems);
    unique("key", config.keys.iter().map(|key| &key.name), problems);
    addresses(config, problems);
    sources(config, problems);
    chains(config, problems);
    mounts(config, problems);
    instances(config, problems);
    keys(config, problems);
    files(config, problems);
    log(config, problems);
}

/// Names are what logs, policies and commands say. Each is there once.
fn unique<'c>(kind: &str, names: impl Iterator<Item = &'c Located<String>>, problems: &Problems) {
    let mut seen = HashSet::new();
    for name in names {
        if name.len() > 64 || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
            let message = format!("{:?} cannot be the name of a {kind}", name.value);
            problems
                .add(Problem::new(name.span.clone(), message).label("lower-case letters, digits and '-', at most 64"));
        }
        if !seen.insert(name.value.as_str()) {
            let message = format!("another {kind} has the name {:?} already", name.value);
            problems.add(Problem::new(name.span.clone(), message));
        }
    }
}

fn addresses(config: &Config, problems: &Problems) {
    let mut taken: HashMap<Endpoint, String> = HashMap::new();
    for listener in &config.listeners {
        for address in &listener.bind {
            if address.ip().is_some_and(|address| address.port() == 0) {
                continue;
            }
            if let Some(other) = taken.insert(address.value.clone(), listener.name.value.clone()) {
                let message = format!("the listener {other:?} has the address {} already", address.value);
                problems.add(Problem::new(address.span.clone(), message));
            }
        }
    }
    if let Some(bind) = config.admin.as_ref().map(|admin| &admin.bind).filter(|bind| bind.port() != 0)
        && let Some(other) = taken.get(&bind.value.into())
    {
        let message = format!("the listener {other:?} has the address {} already", bind.value);
        problems.add(Problem::new(bind.span.clone(), message));
    }
    if config.listeners.is_empty() && problems.is_empty() {
        problems.add(
            Problem::new(0..0, "the configuration opens no listener, so that no client could come in")
                .help("add a [[listener]] with `name`, `bind` and `policies`"),
        );
    }
}

fn sources(config: &Config, problems: &Problems) {
    for policy in &config.policies {
        let Source::Builtin(name) = &policy.source.value else { continue };
        if builtin::find(name).is_none() {
            let problem = Problem::new(policy.source.span.clone(), format!("there is no built-in policy {name:?}"));
            problems.add(match nearest(name, builtin::names()) {
                Some(near) => problem.label(format!("did you mean \"builtin:{near}\"?")),
                None => problem
                    .help(format!("the built-in policies are: {}", builtin::names().collect::<Vec<_>>().join(", "))),
            });
        }
    }
}

/// Every policy that a chain names is there, and every policy that is there is named or mounted.
fn chains(config: &Config, problems: &Problems) {
    for listener in &config.listeners {
        chain(&listener.policies, config, problems);
        for filter in &listener.filters {
            chain(std::slice::from_ref(&filter.policy), config, problems);
        }
    }
    for policy in &config.policies {
        chain(&policy.guard, config, problems);
        if let Some(first) = policy.guard.first().filter(|_| policy.mount.is_empty()) {
            problems.add(Problem::new(first.span.clone(), "`guard` does nothing without a `mount`").help(
                "it names the policies that are asked before the mounted one; a listener's are in its `policies`",
            ));
        }
    }
    let named = |name| {
        config.listeners.iter().any(|listener| {
            listener.policies.contains(name) || listener.filters.iter().any(|filter| filter.policy == *name)
        }) || config.policies.iter().any(|policy| policy.guard.contains(name))
    };
    for policy in config.policies.iter().filter(|policy| policy.mount.is_empty() && !named(&policy.name)) {
        problems.add(
            Problem::new(policy.name.span.clone(), format!("the policy {:?} is not used", policy.name.value))
                .help("name it in the `policies` or `filters` of a listener, give it a `mount`, or take it out"),
        );
    }
}

fn chain(names: &[Located<String>], config: &Config, problems: &Problems) {
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            let message = format!("the chain has the policy {:?} already", name.value);
            problems.add(Problem::new(name.span.clone(), message));
        }
        if config.policies.iter().any(|policy| policy.name == *name) || builtin::find(name).is_some() {
            continue;
        }
        let builtins = builtin::names().map(|name: &str| name);
        let known = config.policies.iter().map(|policy| policy.name.as_str()).chain(builtins);
        let problem = Problem::new(name.span.clone(), format!("there is no policy {:?}", name.value));
        problems.add(match nearest(name, known) {
            Some(near) => problem.label(format!("did you mean {near:?}?")),
            None => problem.help(format!(
                "add a [[policy]] with this name, or take a built-in one: {}",
                builtin::names().collect::<Vec<_>>().join(", ")
            )),
        });
    }
}

/// The policies have room for the instances that they may have, all at one time: none can take another's.
fn instances(config: &Config, problems: &Problems) {
    let most = config.limits.policy_instances.map_or(EngineOptions::default().instances, u32::from);
    let own = |name: &str| {
        let entry = config.policies.iter().find(|policy| policy.name.value == name);
        entry.and_then(|policy| policy.limits.instances.as_ref())
    };
    let usual = PolicyLimits::default().concurrency;
    let mut sum = 0;
    for name in crate::policies::used(config) {
        let wanted = own(&name);
        sum += wanted.map_or(usual, |number| u32::from(number.value));
        if sum > most {
            let span = wanted.map_or(0..0, |number| number.span.clone());
            let message = format!(
                "with the policy {name:?} all may have {sum} instances at one time, more than the {most} of `policy-instances`"
            );
            let help = "raise `policy-instances` of [limits], or lower `instances` in the `limits` of policies";
            problems.add(Problem::new(span, message).help(help));
            return;
        }
    }
}

/// Every mounted path is one policy's, and somebody can reach it.
fn mounts(config: &Config, problems: &Problems) {
    let http = config.listeners.iter().any(|listener| listener.protocol == Protocol::Http);
    let mut taken: HashMap<&str, &str> = HashMap::new();
    for policy in &config.policies {
        for path in &policy.mount {
            if !http {
                problems.add(
                    Problem::new(path.span.clone(), "a mount needs a listener that speaks HTTP, and there is none")
                        .help("add a [[listener]] with `protocol = \"http\"`"),
                );
            }
            if let Some(other) = taken.insert(path.trim_end_matches('/'), &policy.name.value) {
                let message = format!("the policy {other:?} is mounted at {:?} already", path.value);
                problems.add(Problem::new(path.span.clone(), message));
            }
        }
    }
}

/// Every key that a policy names is there, and every key that is there is named.
fn keys(config: &Config, problems: &Problems) {
    let named = || config.policies.iter().filter_map(|policy| policy.allow.as_ref()?.keys.as_ref()).flatten();
    for name in named() {
        // The gateway's own keys need no entry.
        if !name.starts_with(key::RESERVED) && !config.keys.iter().any(|key| key.name == *name) {
            let problem = Problem::new(name.span.clone(), format!("there is no key {:?}", name.value));
            problems.add(match nearest(name, config.keys.iter().map(|key| key.name.as_str())) {
                Some(near) => problem.label(format!("did you mean {near:?}?")),
                None => problem.help("add a [[key]] with this name, and a `pem` or `secret`"),
            });
        }
    }
    for key in config.keys.iter().filter(|key| !named().any(|name| *name == key.name)) {
        problems.add(
            Problem::new(key.name.span.clone(), format!("the key {:?} is not used", key.name.value))
                .help("name it in the `allow.keys` of a policy, or take it out"),
        );
    }
}

fn files(config: &Config, problems: &Problems) {
    let readable = |file: &Located<PathBuf>| {
        // Looked at before it is opened: a pipe would be waited for.
        let why = match std::fs::metadata(&file.value) {
            Ok(metadata) if !metadata.is_file() => "it is not a file".to_owned(),
            Ok(_) => match std::fs::File::open(&file.value) {
                Ok(_) => return,
                Err(error) => crate::plain(&error),
            },
            Err(error) => crate::plain(&error),
        };
        let message = format!("{} cannot be read: {why}", file.display());
        problems.add(Problem::new(file.span.clone(), message));
    };
    for tls in config.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        readable(&tls.cert);
        readable(&tls.key);
        tls.client_ca.iter().chain(&tls.client_crl).for_each(readable);
    }
    for policy in &config.policies {
        if let Source::File(path) = &policy.source.value {
            readable(&Located { value: path.clone(), span: policy.source.span.clone() });
        }
        policy.signature.iter().for_each(readable);
        let access = policy.registry.iter().flat_map(|access| access.credentials.iter().chain(&access.ca));
        access.for_each(|path| readable(&Located { value: path.clone(), span: policy.source.span.clone() }));
    }
    config.keys.iter().for_each(|key| readable(&key.file));
    config.admin.iter().filter_map(|admin| admin.token_file.as_ref()).for_each(readable);
    if let Some(file) = &config.audit.file {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() || file.is_dir() {
            let message =
                format!("{} cannot be a file: {} is not a directory for it", file.display(), folder.display());
            problems.add(Problem::new(file.span.clone(), message));
        }
    }
}

fn log(config: &Config, problems: &Problems) {
    let level = &config.log.level;
    if !crate::logging::is_level(level) {
        let message = format!("{:?} is not a level of the log", level.value);
        let help = "write off, error, warn, info, debug or trace, also by room: \"info,portcullis_net=debug\"";
        problems.add(Problem::new(level.span.clone(), message).help(help));
    }
}
