//! `[[policy]]`: a component, what it may use, and how much of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::is_url_path;
use super::problem::{Problem, Problems};
use super::reader::{Located, OneOrMany, Read, Section, mismatch, words};
use super::units::{PerSecond, Percent, Size, Time};
use crate::supply::{Access, Reference};

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One that the gateway carries, by name.
    Builtin(String),
    /// A file.
    File(PathBuf),
    /// What a registry has.
    Oci(Reference),
}

impl Source {
    /// As the file says it.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Builtin(name) => format!("builtin:{name}"),
            Self::File(path) => path.display().to_string(),
            Self::Oci(reference) => reference.to_string(),
        }
    }
}

/// One `[[policy]]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PolicyEntry {
    /// Its name: unique, and what listeners call it.
    pub(crate) name: Located<String>,
    /// The component.
    pub(crate) source: Located<Source>,
    /// SHA-256 that the component must have, in hexadecimal.
    pub(crate) digest: Option<Located<String>>,
    /// Where its signature is. None: beside the component.
    pub(crate) signature: Option<Located<PathBuf>>,
    /// How its registry is spoken to.
    pub(crate) registry: Option<Access>,
    /// How many versions are kept to go back to, the live one included.
    pub(crate) versions: Option<u16>,
    /// Its configuration, as JSON, which is what policies read.
    pub(crate) config: serde_json::Map<String, serde_json::Value>,
    /// What it may use. None: what a bundled policy needs, and nothing for one of a file.
    pub(crate) allow: Option<Allow>,
    /// Bounds. What is None is the gateway's own bound.
    pub(crate) limits: PolicyLimits,
    /// When a fresh version is taken back. None: never.
    pub(crate) rollback: Option<Rollback>,
    /// Paths that it serves on HTTP listeners.
    pub(crate) mount: Vec<Located<String>>,
    /// The policies that are asked before it at its mounts. Empty: it looks at requests' credentials itself.
    pub(crate) guard: Vec<Located<String>>,
    /// What becomes of live connections when another version takes over.
    pub(crate) on_swap: OnSwap,
    /// Whether a chain names it.
    pub(crate) authenticates: bool,
    /// Whether a listener names it among its `filters`.
    pub(crate) filters: bool,
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
        /// What lives under their grants is judged again by the new version at once; no grant ends for want of `renewal`.
        Recheck = "recheck",
        /// Their grants are looked at again by the new version at once; those that it does not renew end.
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
    pub(crate) instances: Option<Located<u16>>,
    /// Keys and values in the policy's storage.
    pub(crate) storage: Option<Size>,
    /// The largest response that `http-client` gives it.
    pub(crate) http_response: Option<Size>,
    /// Calls that wait for their turn.
    pub(crate) queue: Option<u32>,
    /// Keys in the policy's storage.
    pub(crate) storage_keys: Option<u32>,
    /// Requests to other servers of one call.
    pub(crate) http_requests: Option<u32>,
    /// Octets of them and their responses.
    pub(crate) http_bytes: Option<Size>,
    /// Requests of all calls.
    pub(crate) http_rate: Option<PerSecond>,
    /// Requests under way.
    pub(crate) http_open: Option<u16>,
    /// Lines of the log.
    pub(crate) log_lines: Option<PerSecond>,
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
            digest: None,
            signature: None,
            registry: None,
            versions: None,
            rollback: Some(Rollback::default()),
            config: serde_json::Map::new(),
            allow: None,
            limits: PolicyLimits::default(),
            mount: Vec::new(),
            guard: Vec::new(),
            on_swap: OnSwap::Keep,
            authenticates: false,
            filters: false,
        }
    }

    pub(super) fn read_all(sections: Vec<Section<'_>>, base: &Path) -> Vec<Self> {
        sections.into_iter().filter_map(|section| Self::read(section, base)).collect()
    }

    fn read(mut section: Section<'_>, base: &Path) -> Option<Self> {
        let name = section.required("name", "a name that is its own");
        let source = section.required::<Located<String>>(
            "source",
            "\"builtin:NAME\", the path of a component, or \"oci://HOST/REPOSITORY:TAG\"",
        );
        let source = source.and_then(|text| {
            let value = match (text.strip_prefix("builtin:"), text.strip_prefix("oci://")) {
                (Some(builtin), _) => Source::Builtin(builtin.to_owned()),
                (_, Some(reference)) => match Reference::parse(reference) {
                    Ok(reference) => Source::Oci(reference),
                    Err(why) => {
                        let message = format!("{:?} names nothing in a registry: {why}", text.value);
                        let help = "write \"oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:…]\"";
                        section.problems().add(Problem::new(text.span.clone(), message).help(help));
                        return None;
                    }
                },
                _ => Source::File(base.join(&text.value)),
            };
            Some(Located { value, span: text.span })
        });
        let digest = section.optional::<Located<String>>("digest").and_then(|text| pinned(text, section.problems()));
        let signature = section.optional::<Located<String>>("signature").map(|path| super::relative(path, base));
        let registry = section.section("registry", "registry of a policy").map(|mut access| {
            let path = |path: Located<String>| super::relative(path, base).value;
            let read = Access {
                insecure: access.optional("insecure").unwrap_or_default(),
                credentials: access.optional("credentials").map(path),
                ca: access.optional("ca").map(path),
            };
            if !matches!(source.as_ref().map(|source| &source.value), Some(Source::Oci(_)) | None) {
                let message = "`registry` is about a source that begins with \"oci://\"";
                access.problems().add(Problem::new(access.span(), message));
            }
            access.finish();
            read
        });
        let versions = section.optional::<Located<u16>>("versions").map(|number| {
            if number.value > MOST_VERSIONS {
                let message = format!("{} versions are more than the {MOST_VERSIONS} that can be kept", number.value);
                section.problems().add(Problem::new(number.span.clone(), message));
            }
            number.value
        });
        let rollback = Rollback::read_from(&mut section);
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
        Some(Self {
            name: name?,
            source: source?,
            digest,
            signature,
            registry,
            versions,
            rollback,
            config,
            allow,
            limits,
            mount,
            guard,
            on_swap,
            authenticates: false,
            filters: false,
        })
    }
}

/// `rollback = { … }` of a policy: when a version that has just gone live is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rollback {
    /// After so many traps, missed deadlines and void answers.
    pub(crate) after_traps: u32,
    /// When its share of refusals is larger than that of the version before by more than this.
    pub(crate) refusals: Percent,
    /// For so long after it went live.
    pub(crate) within: Time,
}

impl Default for Rollback {
    fn default() -> Self {
        Self { after_traps: 3, refusals: Percent(2000), within: Time(Duration::from_secs(600)) }
    }
}

impl Rollback {
    /// `false`, or a table.
    fn read_from(section: &mut Section<'_>) -> Option<Self> {
        let default = Self::default();
        match section.raw("rollback").map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Boolean(false))) => None,
            None | Some((_, DeValue::Boolean(true))) => Some(default),
            Some((value, DeValue::Table(table))) => {
                let mut rule = Section::new("rollback of a policy", value.span(), table, section.problems());
                let read = Self {
                    after_traps: rule.optional("after-traps").unwrap_or(default.after_traps),
                    refusals: rule.optional("refusals").unwrap_or(default.refusals),
                    within: rule.optional("within").unwrap_or(default.within),
                };
                rule.finish();
                Some(read)
            }
            Some((value, _)) => {
                section.problems().add(mismatch(value, "false, or a table"));
                Some(default)
            }
        }
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
            queue: section.optional("queue"),
            storage_keys: section.optional("storage-keys"),
            http_requests: section.optional("http-requests"),
            http_bytes: section.optional("http-bytes"),
            http_rate: section.optional("http-rate"),
            http_open: section.optional("http-open"),
            log_lines: section.optional("log-lines"),
        };
        section.finish();
        limits
    }
}

/// The most versions that an entry may ask to keep.
const MOST_VERSIONS: u16 = 50;

/// `sha256:` and 64 hexadecimal digits, without the former.
fn pinned(text: Located<String>, problems: &Problems) -> Option<Located<String>> {
    let digits = text.strip_prefix("sha256:").map(str::to_ascii_lowercase);
    let digits = digits.filter(|digits| digits.len() == 64 && digits.bytes().all(|octet| octet.is_ascii_hexdigit()));
    if digits.is_none() {
        let message = format!("{:?} is not the digest of a component", text.value);
        let help = "write \"sha256:\" and the 64 digits that `portcullis policy inspect FILE` shows";
        problems.add(Problem::new(text.span.clone(), message).help(help));
    }
    digits.map(|value| Located { value, span: text.span })
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
