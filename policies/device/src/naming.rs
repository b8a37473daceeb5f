//! Devices that are known by what is written in their certificates: a name that a pattern finds in the subject or in an
//! alternative name.
//!
//! Whoever may have a certificate issued may choose what is written in it, within what the authority permits. So a pattern
//! is the operator's word that the authority names devices like this, a certificate that names two is refused, and what is
//! found is never more than one level of a topic.

use policy_support::config::{ConfigError, Table};
use policy_support::deny;
use policy_support::wit::directory::Device;
use policy_support::wit::peer::Certificate;
use policy_support::wit::types::{Denial, DenyReason};

/// The most entries of `certificates`.
const ENTRIES: usize = 32;
/// Octets of a pattern.
const PATTERN: usize = 1024;
/// Octets of what a placeholder finds, and of a client identifier.
const FOUND: usize = 128;

/// Where in a certificate names may be. The words are those of the configuration.
const PLACES: [&str; 7] = ["subject.cn", "subject", "serial", "san.dns", "san.uri", "san.email", "san.ip"];

/// The names in a certificate, each with the place where it stands.
#[must_use]
pub fn names(certificate: &Certificate) -> Vec<(String, String)> {
    let subject = [("subject", Some(&certificate.subject)), ("subject.cn", certificate.common_name.as_ref())];
    let mut all: Vec<_> =
        subject.into_iter().filter_map(|(place, name)| Some((place.to_owned(), name?.clone()))).collect();
    all.push(("serial".to_owned(), certificate.serial.clone()));
    all.extend(certificate.alternative_names.iter().map(|name| (format!("san.{}", name.kind), name.value.clone())));
    all
}

/// One entry of `certificates`.
#[derive(Clone, Debug)]
pub struct Naming {
    /// Only certificates of this authority: its subject, as RFC 4514 writes it.
    issuer: Option<String>,
    /// One of [`PLACES`].
    from: String,
    pattern: Pattern,
    client_id: Pattern,
    /// Of devices that need not be registered: within what their names are meant. None: only registered devices come in.
    tenant: Option<Pattern>,
}

/// A device that a certificate names.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// The place and the name that said so.
    pub name: (String, String),
    /// Its client identifier.
    pub client_id: String,
    /// What it is taken for if it is not registered. None: it must be.
    pub derived: Option<Device>,
}

impl Naming {
    /// Reads an entry.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read_all(config: &Table<'_>) -> Result<Vec<Self>, ConfigError> {
        Ok(config.tables("certificates", ENTRIES, Self::read)?.unwrap_or_default())
    }

    fn read(table: &Table<'_>) -> Result<Self, ConfigError> {
        let from = table.needed_text("from")?.to_owned();
        if !PLACES.contains(&from.as_str()) {
            return Err(table.error("from", format!("expected one of `{}`, found {from:?}", PLACES.join("`, `"))));
        }
        let pattern = |key, default: Option<&str>, known: Option<&Pattern>| {
            let Some(text) = table.text(key)?.or(default) else { return Ok(None) };
            let pattern = Pattern::parse(text).map_err(|why| table.error(key, why))?;
            let known = known.map(Pattern::placeholders);
            let unknown = known.and_then(|known| pattern.placeholders().into_iter().find(|name| !known.contains(name)));
            match unknown {
                Some(name) => Err(table.error(key, format!("`{{{name}}}` is no placeholder of the pattern"))),
                None => Ok(Some(pattern)),
            }
        };
        let missing = |key| move || table.error(key, "it is missing");
        let names = pattern("pattern", Some("{name}"), None)?.ok_or_else(missing("pattern"))?;
        if !names.finds_plainly() {
            return Err(
                table.error("pattern", "two placeholders need a text between them, and each name its own place")
            );
        }
        if names.placeholders().is_empty() {
            return Err(table.error("pattern", "it has no placeholder, and would name one device whoever it is"));
        }
        let client_id = pattern("client-id", Some("{name}"), Some(&names))?.ok_or_else(missing("client-id"))?;
        if client_id.placeholders().is_empty() {
            return Err(table.error("client-id", "it has no placeholder, and would be every device's"));
        }
        let tenant = pattern("tenant", None, Some(&names))?;
        let registered = table.flag("registered", true)?;
        if registered != tenant.is_none() {
            let why = "it belongs to devices that need not be registered (`registered = false`), and those need it";
            return Err(table.error("tenant", why));
        }
        Ok(Self { issuer: table.text("issuer")?.map(str::to_owned), from, pattern: names, client_id, tenant })
    }

    /// The device that this entry finds.
    fn find(&self, issuer: &str, names: &[(String, String)]) -> Result<Option<Named>, Denial> {
        if self.issuer.as_ref().is_some_and(|wanted| wanted != issuer) {
            return Ok(None);
        }
        let mut found: Option<Named> = None;
        for name in names.iter().filter(|(place, _)| *place == self.from) {
            let Some(caught) = self.pattern.find(&name.1) else { continue };
            let client_id = self.client_id.fill(&caught);
            if !is_name(&client_id) {
                let detail = format!("the certificate names {client_id:?}, which is no client id of a device");
                return Err(deny(DenyReason::BadCredentials, detail));
            }
            let derived = self.tenant.as_ref().map(|tenant| device(&client_id, tenant.fill(&caught), &caught));
            if found.as_ref().is_some_and(|found| found.client_id != client_id || found.derived != derived) {
                return Err(deny(DenyReason::BadCredentials, "the certificate names more than one device"));
            }
            found = Some(Named { name: name.clone(), client_id, derived });
        }
        Ok(found)
    }
}

/// The device that a certificate names: what the first entry that finds one says.
///
/// # Errors
/// It names several, or one that cannot be.
pub fn find(namings: &[Naming], issuer: &str, names: &[(String, String)]) -> Result<Option<Named>, Denial> {
    for naming in namings {
        if let Some(named) = naming.find(issuer, names)? {
            return Ok(Some(named));
        }
    }
    Ok(None)
}

/// A device that is in no directory. What the pattern found are its attributes.
fn device(client_id: &str, tenant: String, caught: &[(&str, &str)]) -> Device {
    Device {
        id: client_id.to_owned(),
        app_id: Some(tenant),
        owner_id: None,
        client_id: client_id.to_owned(),
        namespace: client_id.to_owned(),
        credential: "x509".to_owned(),
        enabled: true,
        attributes: caught.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    }
}

/// What the directory takes for a client identifier.
fn is_name(text: &str) -> bool {
    (1..=FOUND).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"._:-".contains(&octet))
}

/// A text with placeholders in braces, to find values in a name or to write them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Placeholder(String),
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN {
            return Err(format!("it is longer than {PATTERN} octets"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, more) = rest.split_once('{').map_or((rest, None), |(literal, more)| (literal, Some(more)));
            if literal.contains('}') {
                return Err("a `}` has no `{`".to_owned());
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let Some(more) = more else { break };
            let Some((name, after)) = more.split_once('}') else { return Err("a `{` has no `}`".to_owned()) };
            if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'-') {
                return Err(format!("{name:?} is no name of a placeholder: lower-case letters and `-`"));
            }
            parts.push(Part::Placeholder(name.to_owned()));
            rest = after;
        }
        Ok(Self(parts))
    }

    fn placeholders(&self) -> Vec<&str> {
        let names = self.0.iter().filter_map(|part| match part {
            Part::Placeholder(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        });
        names.collect()
    }

    /// Whether there is one way only to read a name: no two placeholders side by side, none twice.
    fn finds_plainly(&self) -> bool {
        let names = self.placeholders();
        let twice = names.iter().enumerate().any(|(at, name)| names[..at].contains(name));
        let beside = self.0.windows(2).any(|pair| matches!(pair, [Part::Placeholder(_), Part::Placeholder(_)]));
        !twice && !beside
    }

    /// What the placeholders stand for in a name, which must fit whole. None: it does not.
    fn find<'p>(&'p self, name: &'p str) -> Option<Vec<(&'p str, &'p str)>> {
        let mut caught = Vec::new();
        let mut rest = name;
        for (at, part) in self.0.iter().enumerate() {
            let key = match part {
                Part::Literal(text) => {
                    rest = rest.strip_prefix(text.as_str())?;
                    continue;
                }
                Part::Placeholder(key) => key,
            };
            let end = match self.0.get(at + 1) {
                // What ends the pattern ends the name.
                Some(Part::Literal(text)) if at + 2 == self.0.len() => rest.strip_suffix(text.as_str())?.len(),
                Some(Part::Literal(text)) => rest.find(text.as_str())?,
                _ => rest.len(),
            };
            let (value, after) = rest.split_at(end);
            let fits = (1..=FOUND).contains(&value.len()) && !value.contains(['/', '+', '#']);
            if !fits || value.chars().any(char::is_control) {
                return None;
            }
            caught.push((key.as_str(), value));
            rest = after;
        }
        rest.is_empty().then_some(caught)
    }

    fn fill(&self, caught: &[(&str, &str)]) -> String {
        let value = |name: &str| caught.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| *value);
        self.0
            .iter()
            .map(|part| match part {
                Part::Literal(text) => text,
                Part::Placeholder(name) => value(name),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Naming, Pattern, find};
    use policy_support::config::parse;

    fn namings(json: &str) -> Result<Vec<Naming>, String> {
        parse(json, Naming::read_all).map_err(|error| error.to_string())
    }

    fn caught(pattern: &str, name: &str) -> Option<Vec<String>> {
        let pattern = Pattern::parse(pattern).unwrap();
        pattern.find(name).map(|found| found.into_iter().map(|(key, value)| format!("{key}={value}")).collect())
    }

    #[test]
    fn a_pattern_fits_a_name_whole_or_not_at_all() {
        let found = |pattern, name| caught(pattern, name).map(|all| all.join(" "));
        assert_eq!(found("{name}.devices.example", "pump.devices.example").as_deref(), Some("name=pump"));
        assert_eq!(found("{name}.d.e", "a.d.e.d.e").as_deref(), Some("name=a.d.e"));
        let spiffe = "spiffe://plant.example/{site}/{name}";
        assert_eq!(found(spiffe, "spiffe://plant.example/north/pump-7").as_deref(), Some("site=north name=pump-7"));
        for other in [
            "spiffe://plant.example/north/pump-7/x",
            "spiffe://plant.example/north/",
            "spiffe://plant.example//pump",
            "spiffe://plant.example.evil/north/pump",
            "xspiffe://plant.example/north/pump",
            "spiffe://plant.example/north/#",
            "spiffe://plant.example/+/pump",
        ] {
            assert_eq!(found(spiffe, other), None, "{other}");
        }
        assert_eq!(found("{name}.devices.example", ".devices.example"), None);
        assert_eq!(found("{name}.devices.example", "pump.devices.example.evil"), None);
    }

    #[test]
    fn the_first_entry_that_finds_one_names_the_device() {
        let all = namings(
            r#"{"certificates":[
                {"from":"san.dns","pattern":"{name}.example","issuer":"CN=A"},
                {"from":"subject.cn","client-id":"{name}","registered":false,"tenant":"plant"}]}"#,
        )
        .unwrap();
        let named = |issuer: &str, names: &[(&str, &str)]| {
            let names: Vec<_> = names.iter().map(|(place, name)| ((*place).to_owned(), (*name).to_owned())).collect();
            find(&all, issuer, &names).map_err(|denial| denial.detail)
        };
        let both = [("subject.cn", "cn"), ("san.dns", "dns.example")];
        assert_eq!(
            named("CN=A", &both).unwrap().map(|named| (named.client_id, named.derived)),
            Some(("dns".into(), None))
        );
        let derived = named("CN=B", &both).unwrap().unwrap();
        assert_eq!(derived.client_id, "cn");
        assert_eq!(derived.derived.unwrap().app_id.as_deref(), Some("plant"));
        let two = [("san.dns", "one.example"), ("san.dns", "two.example")];
        assert!(named("CN=A", &two).unwrap_err().contains("more than one"));
        assert!(named("CN=B", &[("subject.cn", "a b")]).unwrap_err().contains("no client id"));
        assert_eq!(named("CN=B", &[("san.uri", "urn:x")]), Ok(None));
    }

    #[test]
    fn mistakes_are_named() {
        for (entry, part) in [
            (r#"{}"#, "`certificates.0.from`"),
            (r#"{"from":"cn"}"#, "expected one of `subject.cn`"),
            (r#"{"from":"subject.cn","pattern":"{a}{b}"}"#, "a text between them"),
            (r#"{"from":"subject.cn","pattern":"{a}-{a}"}"#, "a text between them"),
            (r#"{"from":"subject.cn","pattern":"pump"}"#, "no placeholder"),
            (r#"{"from":"subject.cn","pattern":"{name"}"#, "has no `}`"),
            (r#"{"from":"subject.cn","pattern":"name}"}"#, "has no `{`"),
            (r#"{"from":"subject.cn","pattern":"{Name}"}"#, "no name of a placeholder"),
            (r#"{"from":"subject.cn","pattern":"{a}"}"#, "`{name}` is no placeholder of the pattern"),
            (r#"{"from":"subject.cn","client-id":"all"}"#, "every device's"),
            (r#"{"from":"subject.cn","registered":false}"#, "those need it"),
            (r#"{"from":"subject.cn","tenant":"t"}"#, "those need it"),
        ] {
            let error = namings(&format!(r#"{{"certificates":[{entry}]}}"#)).unwrap_err();
            assert!(error.contains(part), "{entry}: {error}");
        }
    }
}
