//! A file of cases: which policy, in which world, asked what, and what is expected of it.
//!
//! A case is a list of steps; the first stands in the case itself, the others in `[[case.then]]`. Everything that is not
//! known is an error with its line: a case that tests nothing by mistake is worse than none.

use std::path::Path;
use std::time::Duration;

use portcullis_grant::{Action, Publication, SubscriptionRequest};
use portcullis_mqtt::QoS;
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::read::{Moment, Octets, Text, Whole, members, object};
use super::scene::Scene;
use crate::config::policy::json;
use crate::config::problem::{Problem, Problems, Report};
use crate::config::reader::{Located, Read, Section, mismatch, wrong_word};
use crate::config::{Allow, PolicyLimits, Time, Transport};

/// A file of cases.
pub(super) struct Cases {
    /// In the order of the file.
    pub(super) cases: Vec<Case>,
}

/// One case.
pub(super) struct Case {
    /// What it says of the policy.
    pub(super) name: String,
    /// Where it begins.
    pub(super) line: usize,
    /// The policy's `config`.
    pub(super) config: Map<String, Value>,
    /// What it may use. None: what a bundled one needs.
    pub(super) allow: Option<Allow>,
    /// Its bounds.
    pub(super) limits: PolicyLimits,
    /// Where it is asked.
    pub(super) scene: Scene,
    /// What happens, in order. Empty: no more than that the policy is loaded.
    pub(super) steps: Vec<Step>,
    /// What must be so in the end.
    pub(super) after: After,
}

/// One question, and what is expected of the answer.
pub(super) struct Step {
    /// Where it stands.
    pub(super) line: usize,
    /// The question.
    pub(super) ask: Option<Ask>,
    /// Where the client is.
    pub(super) from: From,
    /// The answer as far as it matters, in the words of `shown`.
    pub(super) expect: Map<String, Value>,
    /// When the grant is to end.
    pub(super) expires: Option<Moment>,
    /// What the grant must permit.
    pub(super) may: Vec<Deed>,
    /// What it must not.
    pub(super) may_not: Vec<Deed>,
}

/// A question.
pub(super) enum Ask {
    /// A login by MQTT.
    Connect(Connect),
    /// A login by an HTTP request, as a listener with a chain sees it.
    Request(Request),
    /// A request to the policy's own HTTP interface.
    Http(Request),
    /// The client's answer to a challenge.
    Reply(Option<Octets>, Vec<(String, Text)>),
    /// What a rule with the effect `ask` asks.
    Authorize(Deed),
    /// The grant is looked at again.
    Renew,
    /// Time passes.
    Wait(Duration),
}

/// What a client offers.
#[derive(Default)]
pub(super) struct Connect {
    pub(super) client_id: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<Octets>,
    pub(super) method: Option<String>,
    pub(super) data: Option<Octets>,
    pub(super) user_properties: Vec<(String, Text)>,
}

/// An HTTP request.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) authority: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: Vec<(String, Octets)>,
    pub(super) body: Option<Octets>,
}

/// Where a client is, and how it came.
#[derive(Clone)]
pub(super) struct From {
    pub(super) listener: String,
    pub(super) transport: &'static str,
    pub(super) version: u8,
    pub(super) address: std::net::SocketAddr,
    pub(super) server_name: Option<String>,
    pub(super) certificate: Option<Certificate>,
    /// Header fields of the request that opened the WebSocket.
    pub(super) headers: Vec<(String, Text)>,
}

/// A client's certificate: a file, or what is known of it.
#[derive(Clone, Default)]
pub(super) struct Certificate {
    pub(super) pem: Option<std::path::PathBuf>,
    pub(super) subject: String,
    pub(super) common_name: Option<String>,
    pub(super) issuer: String,
    pub(super) serial: String,
    pub(super) fingerprint: String,
    pub(super) not_after: Option<Moment>,
    pub(super) names: Vec<(&'static str, String)>,
}

/// Something that a client may or may not do.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    /// Publish, subscribe, have a will.
    Act(String, Action),
    /// Be delivered a message of this topic.
    Receive(String, String),
}

impl Deed {
    /// As the case writes it.
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Act(words, _) | Self::Receive(words, _) => words,
        }
    }

    /// `publish TOPIC [qos N] [retain] [will]`, `subscribe FILTER [qos N]`, `receive TOPIC`.
    fn parse(text: &str) -> Option<Self> {
        let (verb, mut rest) = text.split_once(' ')?;
        let (mut qos, mut retain, mut will) = (QoS::AtMostOnce, false, false);
        while let Some((before, word)) = rest.rsplit_once(' ') {
            match word {
                "retain" => retain = true,
                "will" => will = true,
                "0" | "1" | "2" if before.ends_with(" qos") => {
                    qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(word.as_bytes()[0] - b'0')];
                    rest = before.strip_suffix(" qos")?;
                    continue;
                }
                _ => break,
            }
            rest = before;
        }
        let action = match verb {
            "publish" => {
                portcullis_mqtt::topic::valid_topic_name(rest).ok()?;
                Action::Publish(Publication { topic: rest.to_owned(), qos, retain, will, size: 0 })
            }
            "subscribe" => {
                portcullis_mqtt::topic::valid_topic_filter(rest).ok()?;
                Action::Subscribe(SubscriptionRequest { filter: rest.to_owned(), qos, share: None })
            }
            "receive" => return Some(Self::Receive(text.to_owned(), rest.to_owned())),
            _ => return None,
        };
        Some(Self::Act(text.to_owned(), action))
    }
}

impl Read for Deed {
    fn read(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
        let read = value.get_ref().as_str().and_then(Self::parse);
        if read.is_none() {
            let problem = mismatch(value, "something that a client does");
            problems.add(problem.help(
                "write \"publish TOPIC\" with \"qos 1\", \"retain\" and \"will\" behind it, \"subscribe FILTER\", or \"receive TOPIC\"",
            ));
        }
        read
    }
}

/// What must be so when a case is over.
#[derive(Default)]
pub(super) struct After {
    /// Where it stands.
    pub(super) line: usize,
    /// Stored keys and their values.
    pub(super) store: Vec<(String, Text)>,
    /// Keys that must not be stored.
    pub(super) not_stored: Vec<String>,
    /// Requests to other servers, all of them, in order.
    pub(super) requests: Option<Vec<String>>,
    /// Texts that lines of the log contain.
    pub(super) log: Vec<String>,
    /// Entries of the directory, in the words of `portcullis directory export`.
    pub(super) directory: Map<String, Value>,
}

/// What an answer may be expected to say.
const EXPECTED: [&str; 26] = [
    "fault",
    "scheme",
    "subject",
    "tenant",
    "acting-for",
    "roles",
    "attributes",
    "renew-after",
    "client-id",
    "rules",
    "limits",
    "depends-on",
    "state",
    "data",
    "reason",
    "detail",
    "message",
    "retry-after",
    "server-reference",
    "reply-within",
    "valid-for",
    "seconds",
    "status",
    "headers",
    "body",
    "json",
];

/// The words for what an answer is.
const VERDICTS: [&str; 8] = ["allow", "deny", "pass", "challenge", "keep", "replace", "revoke", "response"];

impl Cases {
    /// Reads a file.
    pub(super) fn load(file: &Path) -> Result<Self, Report> {
        let source = std::fs::read_to_string(file).map_err(|error| Report::unreadable(file, crate::plain(&error)))?;
        Self::parse(file, &source)
    }

    /// Reads text as if it stood in `file`.
    pub(super) fn parse(file: &Path, source: &str) -> Result<Self, Report> {
        let problems = Problems::default();
        let (document, errors) = DeTable::parse_recoverable(source);
        for error in errors {
            problems.add(Problem::new(error.span().unwrap_or(0..0), format!("this is not TOML: {}", error.message())));
        }
        if !problems.is_empty() {
            return Err(problems.into_report(file, source));
        }
        let root = Section::new("the cases", 0..0, document.get_ref(), &problems);
        let cases = Reader { base: file.parent().unwrap_or(Path::new("")), source }.cases(root);
        if problems.is_empty() { Ok(cases) } else { Err(problems.into_report(file, source)) }
    }
}

/// Reads with what every part of a file needs.
struct Reader<'s> {
    /// Paths are relative to this.
    base: &'s Path,
    source: &'s str,
}

impl Reader<'_> {
    fn line(&self, section: &Section<'_>) -> usize {
        let start = section.span().start.min(self.source.len());
        self.source.as_bytes()[..start].iter().filter(|octet| **octet == b'\n').count() + 1
    }

    fn cases(&self, mut root: Section<'_>) -> Cases {
        let config = object(&mut root, "config");
        let allow = root.section("allow", "allow").map(Allow::read);
        let limits = root.section("limits", "limits of a policy").map(PolicyLimits::read);
        let scene = root.section("world", "[world]").map(|section| Scene::read(section, self.base)).unwrap_or_default();
        let mut cases = Vec::new();
        for mut section in root.sections("case", "[[case]]") {
            let name: Option<Located<String>> = section.required("name", "what it says of the policy");
            let mut whole = config.clone();
            whole.extend(object(&mut section, "config"));
            let own = section.section("world", "[case.world]").map(|section| Scene::read(section, self.base));
            let own_allow = section.section("allow", "allow").map(Allow::read);
            let own_limits = section.section("limits", "limits of a policy").map(PolicyLimits::read);
            let then = section.sections("then", "[[case.then]]");
            let after = section.section("after", "[case.after]").map(|section| self.after(section)).unwrap_or_default();
            let line = self.line(&section);
            let mut steps = vec![self.step(section)];
            steps.extend(then.into_iter().map(|section| self.step(section)));
            if let Some(name) = name {
                cases.push(Case {
                    name: name.value,
                    line,
                    config: whole,
                    allow: own_allow.or_else(|| allow.clone()),
                    limits: own_limits.or_else(|| limits.clone()).unwrap_or_default(),
                    scene: own.unwrap_or_default().over(&scene),
                    steps,
                    after,
                });
            }
        }
        if cases.is_empty() && root.problems().is_empty() {
            root.problems().add(Problem::new(0..0, "there is no [[case]]"));
        }
        root.finish();
        Cases { cases }
    }

    fn step(&self, mut section: Section<'_>) -> Step {
        let line = self.line(&section);
        let mut asks = Vec::new();
        asks.extend(section.section("connect", "connect").map(|section| Ask::Connect(connect(section))));
        asks.extend(section.section("request", "request").map(|section| Ask::Request(request(section))));
        asks.extend(section.section("http", "http").map(|section| Ask::Http(request(section))));
        asks.extend(section.section("reply", "reply").map(|mut section| {
            let reply = Ask::Reply(section.optional("data"), members(&mut section, "user-properties"));
            section.finish();
            reply
        }));
        asks.extend(section.optional("authorize").map(Ask::Authorize));
        asks.extend(section.optional::<bool>("renew").map(|_| Ask::Renew));
        asks.extend(section.optional::<Time>("wait").map(|time| Ask::Wait(time.0)));
        if asks.len() > 1 {
            let problem = Problem::new(section.span(), "this step asks two things");
            section.problems().add(problem.help("put the second into a [[case.then]]"));
        }
        let ask = asks.pop();
        let http = matches!(ask, Some(Ask::Request(_) | Ask::Http(_)));
        let from = section.section("from", "from").map_or_else(|| From::anywhere(http), |from| self.from(from, http));
        let mut step = Step { line, ask, from, expect: Map::new(), expires: None, may: vec![], may_not: vec![] };
        if let Some(expect) = section.section("expect", "expect") {
            read_expected(&mut step, expect);
        }
        section.finish();
        step
    }

    fn from(&self, mut section: Section<'_>, http: bool) -> From {
        let anywhere = From::anywhere(http);
        let transport = match section.optional::<Transport>("transport") {
            None => anywhere.transport,
            Some(Transport::Tcp) => "tcp",
            Some(Transport::Tls) => "tls",
            Some(Transport::Ws) => "ws",
            Some(Transport::Wss) => "wss",
        };
        let certificate = section.section("certificate", "certificate").map(|section| self.certificate(section));
        let from = From {
            listener: section.optional("listener").unwrap_or(anywhere.listener),
            version: section.optional::<Whole>("version").map_or(anywhere.version, |w| u8::try_from(w.0).unwrap_or(0)),
            address: section.optional("address").unwrap_or(anywhere.address),
            server_name: section.optional("server-name"),
            headers: members(&mut section, "headers"),
            transport: if certificate.is_some() && transport == "tcp" { "tls" } else { transport },
            certificate,
        };
        section.finish();
        from
    }

    fn certificate(&self, mut section: Section<'_>) -> Certificate {
        let mut names = Vec::new();
        for kind in ["dns", "email", "uri", "ip"] {
            let list: Vec<String> = section.optional(kind).unwrap_or_default();
            names.extend(list.into_iter().map(|name| (kind, name)));
        }
        let common_name: Option<String> = section.optional("common-name");
        let subject = section.optional("subject");
        let certificate = Certificate {
            pem: section.optional::<String>("pem").map(|file| self.base.join(file)),
            subject: subject.or_else(|| Some(format!("CN={}", common_name.as_deref()?))).unwrap_or_default(),
            common_name,
            issuer: section.optional("issuer").unwrap_or_else(|| "CN=test".to_owned()),
            serial: section.optional("serial").unwrap_or_else(|| "01".to_owned()),
            fingerprint: section.optional("fingerprint").unwrap_or_else(|| "00".repeat(32)),
            not_after: section.optional("not-after"),
            names,
        };
        section.finish();
        certificate
    }

    fn after(&self, mut section: Section<'_>) -> After {
        let after = After {
            line: self.line(&section),
            store: members(&mut section, "store"),
            not_stored: section.optional("not-stored").unwrap_or_default(),
            requests: section.optional("requests"),
            log: section.optional("log").unwrap_or_default(),
            directory: object(&mut section, "directory"),
        };
        section.finish();
        after
    }
}

impl From {
    fn anywhere(http: bool) -> Self {
        Self {
            listener: if http { "http" } else { "mqtt" }.to_owned(),
            transport: "tcp",
            version: if http { 1 } else { 5 },
            address: std::net::SocketAddr::from(([192, 0, 2, 1], 50_000)),
            server_name: None,
            certificate: None,
            headers: Vec::new(),
        }
    }
}

fn connect(mut section: Section<'_>) -> Connect {
    let text = |text: Option<Text>| text.map(|text| text.0);
    let connect = Connect {
        client_id: text(section.optional("client-id")).unwrap_or_default(),
        username: text(section.optional("username")),
        password: section.optional("password"),
        method: text(section.optional("method")),
        data: section.optional("data"),
        user_properties: members(&mut section, "user-properties"),
    };
    section.finish();
    connect
}

fn request(mut section: Section<'_>) -> Request {
    let path: String = section.optional("path").unwrap_or_else(|| "/".to_owned());
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (path, None),
    };
    let request = Request {
        method: section.optional("method").unwrap_or_else(|| "GET".to_owned()),
        authority: section.optional("authority").unwrap_or_else(|| "gateway.test".to_owned()),
        path,
        query,
        headers: members(&mut section, "headers"),
        body: section.optional("body"),
    };
    section.finish();
    request
}

fn read_expected(step: &mut Step, mut section: Section<'_>) {
    let problems = section.problems();
    if let Some(value) = section.raw("verdict") {
        match value.get_ref().as_str() {
            Some(word) if VERDICTS.contains(&word) => {
                step.expect.insert("verdict".to_owned(), word.into());
            }
            word => wrong_word(value, word, &VERDICTS, problems),
        }
    }
    for key in EXPECTED {
        if let Some(value) = section.raw(key).and_then(|value| json(value, problems)) {
            step.expect.insert(key.to_owned(), value);
        }
    }
    step.expires = section.optional("expires-at");
    step.may = section.optional("may").unwrap_or_default();
    step.may_not = section.optional("may-not").unwrap_or_default();
    section.finish();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeds_are_read_from_behind() {
        let words = "publish a b/c qos 1 retain";
        let Some(Deed::Act(_, Action::Publish(publication))) = Deed::parse(words) else { panic!("{words}") };
        assert_eq!(
            (publication.topic.as_str(), publication.qos, publication.retain),
            ("a b/c", QoS::AtLeastOnce, true)
        );
        for wrong in ["", "publish", "publish a/#", "subscribe a#", "watch a", "publish a/+ qos 1"] {
            assert!(Deed::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_known_is_shown_with_its_line() {
        let source =
            "[[case]]\nname = \"a\"\nconnect = { client = \"x\" }\nexpect = { verdict = \"alow\", subjct = \"x\" }\n";
        let report = Cases::parse(Path::new("cases.toml"), source).err().unwrap().to_string();
        for said in [
            "cases.toml:3:13",
            "`client` is not a key of connect",
            "did you mean \"allow\"?",
            "did you mean `subject`?",
        ] {
            assert!(report.contains(said), "{said} in\n{report}");
        }
    }
}
