//! `[[policy]]`: a component, what it may use, and how much of it.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::is_url_path;
use super::problem::{Problem, Problems};
use super::reader::{Located, OneOrMany, Read, Section, mismatch, words};
use super::units::{Size, Time};

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One that the gateway carries, by name.
    Builtin(String),
    /// A file.
    File(PathBuf),
}

/// One `[[policy]]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PolicyEntry {
    /// Its name: unique, and what listeners call it.
    pub(crate) name: Located<String>,
    /// The component.
    pub(crate) source: Located<Source>,
    /// Its configuration, as JSON, which is what policies read.
    pub(crate) config: serde_json::Map<String, serde_json::Value>,
    /// What it may use. None: what a bundled policy needs, and nothing for one of a file.
    pub(crate) allow: Option<Allow>,
    /// Bounds. What is None is the gateway's own bound.
    pub(crate) limits: PolicyLimits,
    /// Paths that it serves on HTTP listeners.
    pub(crate) mount: Vec<Located<String>>,
    /// The policies that are asked before it at its mounts. Empty: it looks at requests' credentials itself.
    pub(crate) guard: Vec<Located<String>>,
    /// What becomes of live connections when another version takes over.
    pub(crate) on_swap: OnSwap,
}

/// `allow = { … }`: each key opens one interface of the contract.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allow {
    /// `http-client`: these hosts (`host` or `host:port`). Empty: it has the interface and reaches nobody.
    pub(crate) http: Option<Vec<Located<String>>>,
    /// `store`.
    pub(crate) keyvalue: bool,
    /// `directory`, and `directory-admin` for [`DirectoryAccess::Write`].
    pub(crate) directory: Option<DirectoryAccess>,
    /// `jose`: these named keys. An empty list allows the interface with the keys that need no name. None: not at all.
    pub(crate) keys: Option<Vec<Located<String>>>,
}

words! {
    /// How far the directory is open to a policy.
    DirectoryAccess {
        /// Looking things up, and checking passwords.
        Read = "read",
        /// Changing them, too.
        Write = "write",
    }
}

words! {
    /// What becomes of live connections when a policy is replaced.
    OnSwap {
        /// They keep their grants until those end.
        Keep = "keep",
        /// Their grants are looked at again by the new version at once.
        Reauthenticate = "reauthenticate",
    }
}

/// `limits = { … }` of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicyLimits {
    /// Linear memory of one instance.
    pub(crate) memory: Option<Size>,
    /// Wall-clock time of one call, guest and host together.
    pub(crate) deadline: Option<Time>,
    /// Time for `describe` and for `self-test`, each.
    pub(crate) self_test: Option<Time>,
    /// Whether an instance serves more than one call.
    pub(crate) reuse: Option<Reuse>,
    /// Calls at one time, each in an instance of its own.
    pub(crate) instances: Option<u16>,
    /// Keys and values in the policy's storage.
    pub(crate) storage: Option<Size>,
    /// The largest response that `http-client` gives it.
    pub(crate) http_response: Option<Size>,
}

/// How long an instance is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// `false`: for one call.
    Never,
    /// `true`: as long as the gateway thinks right.
    Default,
    /// A number: for so many calls.
    Calls(u32),
}

impl Read for Reuse {
    fn read(value: &toml::Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(true) => Some(Self::Default),
            DeValue::Boolean(false) => Some(Self::Never),
            DeValue::Integer(_) => u32::read(value, problems).map(Self::Calls),
            _ => {
                problems.add(mismatch(value, "true, false or a number of calls"));
                None
            }
        }
    }
}

impl PolicyEntry {
    /// The entry of a built-in policy that the file does not mention.
    pub(crate) fn of_builtin(name: &str) -> Self {
        Self {
            name: Located::nowhere(name.to_owned()),
            source: Located::nowhere(Source::Builtin(name.to_owned())),
            config: serde_json::Map::new(),
            allow: None,
            limits: PolicyLimits::default(),
            mount: Vec::new(),
            guard: Vec::new(),
            on_swap: OnSwap::Keep,
        }
    }

    pub(super) fn read_all(sections: Vec<Section<'_>>, base: &Path) -> Vec<Self> {
        sections.into_iter().filter_map(|section| Self::read(section, base)).collect()
    }

    fn read(mut section: Section<'_>, base: &Path) -> Option<Self> {
        let name = section.required("name", "a name that is its own");
        let source = section.required::<Located<String>>("source", "\"builtin:NAME\" or the path of a component");
        let source = source.map(|text| Located {
            value: match text.strip_prefix("builtin:") {
                Some(builtin) => Source::Builtin(builtin.to_owned()),
                None => Source::File(base.join(&text.value)),
            },
            span: text.span,
        });
        let mount =
            section.optional::<OneOrMany<Located<String>>>("mount").map(|OneOrMany(list)| list).unwrap_or_default();
        for path in &mount {
            if !is_url_path(path) {
                let message = format!("{:?} is not the path of a URL", path.value);
                section.problems().add(Problem::new(path.span.clone(), message).label("expected \"/\" and no query"));
            }
        }
        let config = match section.raw("config").map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Table(table))) => table
                .iter()
                .filter_map(|(key, value)| Some((key.get_ref().to_string(), json(value, section.problems())?)))
                .collect(),
            Some((value, _)) => {
                section.problems().add(mismatch(value, "a table"));
                serde_json::Map::new()
            }
            None => serde_json::Map::new(),
        };
        let allow = section.section("allow", "allow").map(Allow::read);
        let limits = section.section("limits", "limits of a policy").map(PolicyLimits::read).unwrap_or_default();
        let guard = section.optional("guard").unwrap_or_default();
        let on_swap = section.optional("on-swap").unwrap_or(OnSwap::Keep);
        section.finish();
        Some(Self { name: name?, source: source?, config, allow, limits, mount, guard, on_swap })
    }
}

impl Allow {
    pub(crate) fn read(mut section: Section<'_>) -> Self {
        let allow = Self {
            http: section.optional("http"),
            keyvalue: section.optional("keyvalue").unwrap_or_default(),
            directory: section.optional("directory"),
            keys: section.optional("keys"),
        };
        for host in allow.http.iter().flatten() {
            if host.contains('/') || host.contains('@') || host.contains(char::is_whitespace) {
                let message = format!("{:?} is not a host", host.value);
                let help = "write the host, or the host and its port, without scheme and path: \"127.0.0.1:5000\"";
                section.problems().add(Problem::new(host.span.clone(), message).help(help));
            }
        }
        section.finish();
        allow
    }
}

impl PolicyLimits {
    pub(crate) fn read(mut section: Section<'_>) -> Self {
        let limits = Self {
            memory: section.optional("memory"),
            deadline: section.optional("deadline"),
            self_test: section.optional("self-test"),
            reuse: section.optional("reuse"),
            instances: section.optional("instances"),
            storage: section.optional("storage"),
            http_response: section.optional("http-response"),
        };
        section.finish();
        limits
    }
}

/// TOML as JSON. Dates become text; numbers that JSON cannot say are problems.
pub(crate) fn json(value: &toml::Spanned<DeValue<'_>>, problems: &Problems) -> Option<serde_json::Value> {
    use serde_json::Value;
    let read = match value.get_ref() {
        DeValue::String(text) => Some(Value::from(text.as_ref())),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::from),
        DeValue::Float(number) => {
            number.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::from)
        }
        DeValue::Boolean(yes) => Some(Value::from(*yes)),
        DeValue::Datetime(time) => Some(Value::from(time.to_string())),
        DeValue::Array(array) => Some(array.iter().filter_map(|element| json(element, problems)).collect()),
        DeValue::Table(table) => {
            let pairs =
                table.iter().filter_map(|(key, value)| Some((key.get_ref().to_string(), json(value, problems)?)));
            Some(Value::Object(pairs.collect()))
        }
    };
    if read.is_none() {
        problems.add(Problem::new(value.span(), "policies read JSON, which cannot say this number"));
    }
    read
}
