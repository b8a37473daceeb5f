//! `[[listener]]`: where clients come in, and which policies stand in front of it.

mod limits;
mod tls;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use portcullis_mqtt::valid_topic_filter;
use portcullis_net::{Balancer, Endpoint, MAX_SOCKET_PATH};

pub(crate) use self::limits::ListenerLimits;
pub(crate) use self::tls::TlsFiles;
use super::is_url_path;
use super::problem::Problem;
use super::reader::{Located, OneOrMany, Section, words};
use super::units::FileMode;

words! {
    /// What is spoken.
    Protocol {
        /// MQTT 3.1, 3.1.1 and 5.
        Mqtt = "mqtt",
        /// HTTP/1.1 and HTTP/2.
        Http = "http",
    }
}

words! {
    /// What carries it.
    Transport {
        /// Plain TCP.
        Tcp = "tcp",
        /// TLS.
        Tls = "tls",
        /// WebSocket.
        Ws = "ws",
        /// WebSocket within TLS.
        Wss = "wss",
    }
}

impl Transport {
    /// The word in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// Whether it needs a certificate.
    pub(crate) fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether it is a WebSocket.
    pub(crate) fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

words! {
    /// What is asked of a client's certificate.
    ClientAuth {
        /// Nothing: none is asked for.
        None = "none",
        /// Verified if the client has one.
        Optional = "optional",
        /// No certificate, no connection.
        Required = "required",
    }
}

words! {
    /// What a publication that is not permitted gets before MQTT 5, where no acknowledgement can say no.
    RefusedPublish {
        /// It is acknowledged and dropped (3.1.1 §3.3.5).
        Drop = "drop",
        /// The connection is closed.
        Disconnect = "disconnect",
    }
}

words! {
    /// What a subscription that is not permitted gets in MQTT 5, where SUBACK has a code for it.
    RefusedSubscribe {
        /// The code that says why, such as 0x87.
        Reason = "reason",
        /// 0x80, as before MQTT 5: nothing is learnt from it.
        Plain = "plain",
    }
}

words! {
    /// When what clients send counts as stored, where somebody's session has to keep it.
    Durability {
        /// When it is on disk.
        Ack = "ack",
        /// At once; the disk has it within a fifth of a second.
        Interval = "interval",
        /// At once; the disk has it when there is much of it, or at the end.
        None = "none",
    }
}

/// One `[[listener]]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listener {
    /// Its name: unique, and what policies see.
    pub(crate) name: Located<String>,
    /// Addresses and Unix sockets, at least one.
    pub(crate) bind: Vec<Located<Endpoint>>,
    /// Who may connect to the Unix sockets. None: nobody but the gateway's own user.
    pub(crate) socket_mode: Option<FileMode>,
    /// What is spoken.
    pub(crate) protocol: Protocol,
    /// What carries it.
    pub(crate) transport: Transport,
    /// Present exactly when the transport is secure.
    pub(crate) tls: Option<TlsFiles>,
    /// The path of the WebSocket.
    pub(crate) path: String,
    /// The origins (RFC 6454) of the pages that may connect. None: on a WebSocket any, on HTTP the listener's own.
    pub(crate) origins: Option<Vec<String>>,
    /// WebSocket: the sub-protocols that may be agreed on, the one that is liked best first. None: those of MQTT.
    pub(crate) subprotocols: Option<Vec<String>>,
    /// The peers whose connections begin with a PROXY header. None: it is not spoken.
    pub(crate) proxy_protocol: Option<Vec<Balancer>>,
    /// The chain, asked in this order. Never empty on MQTT; on HTTP, empty, there are no messages.
    pub(crate) policies: Vec<Located<String>>,
    /// Policies that look at messages before they are published, in this order.
    pub(crate) filters: Vec<FilterEntry>,
    /// Whether a subscription that reaches into a deny rule is refused whole, instead of leaving the denied
    /// topics out.
    pub(crate) strict: bool,
    /// MQTT before version 5: what a publication that is not permitted gets.
    pub(crate) refused_publish: RefusedPublish,
    /// MQTT 5: what a subscription that is not permitted gets.
    pub(crate) refused_subscribe: RefusedSubscribe,
    /// What an acknowledgement means.
    pub(crate) durability: Durability,
    /// Bounds of each connection and of all.
    pub(crate) limits: ListenerLimits,
}

/// One of `filters = [{ … }]`: a policy, and the topics of the messages that it looks at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FilterEntry {
    /// Its name.
    pub(crate) policy: Located<String>,
    /// Topic filters, at least one.
    pub(crate) topics: Vec<Located<String>>,
}

impl FilterEntry {
    fn read(mut section: Section<'_>) -> Option<Self> {
        let policy = section.required("policy", "the name of a policy that exports `message-filter`");
        let topics = section.required::<OneOrMany<Located<String>>>("topics", "topic filters, such as [\"plant/#\"]");
        let topics = topics.map(|OneOrMany(topics)| topics);
        if topics.as_ref().is_some_and(Vec::is_empty) {
            let place = section.key_span("topics").unwrap_or(section.span());
            section.problems().add(
                Problem::new(place, "a filter without topics looks at nothing")
                    .help("name its topics, such as `topics = [\"plant/#\"]`, or take it out"),
            );
        }
        for topic in topics.iter().flatten() {
            if let Err(why) = valid_topic_filter(topic) {
                let message = format!("{:?} is not a topic filter: {why}", topic.value);
                section.problems().add(Problem::new(topic.span.clone(), message));
            } else if topic.starts_with("$share/") {
                let message = "messages are filtered before there is anybody to share them";
                section.problems().add(Problem::new(topic.span.clone(), message));
            }
        }
        section.finish();
        Some(Self { policy: policy?, topics: topics? })
    }
}

impl Listener {
    pub(super) fn read_all(sections: Vec<Section<'_>>, base: &Path) -> Vec<Self> {
        sections.into_iter().filter_map(|section| Self::read(section, base)).collect()
    }

    fn read(mut section: Section<'_>, base: &Path) -> Option<Self> {
        let name = section.required("name", "a name that is its own");
        let bind = section
            .required::<OneOrMany<_>>("bind", "an address and a port, the path of a Unix socket, or a list of them");
        let bind = bind.map(|OneOrMany(list)| endpoints(list, &section, base)).unwrap_or_default();
        let socket_mode = section.optional("socket-mode");
        let protocol = section.optional("protocol").unwrap_or(Protocol::Mqtt);
        let transport = section.optional("transport").unwrap_or(Transport::Tcp);
        let tls = section.section("tls", "tls").map(|tls| TlsFiles::read(tls, base));
        let path = section.optional("path");
        let origins = section.optional("origins");
        let subprotocols = section.optional("subprotocols");
        let proxy_protocol = section.section("proxy-protocol", "proxy-protocol").and_then(proxies);
        let chained = section.key_span("policies").is_some();
        let policies: Vec<_> = section.optional("policies").unwrap_or_default();
        // What only MQTT has is unknown on the other protocol, so that no choice is believed that does nothing. HTTP has
        // messages where it has a chain.
        let messages = protocol == Protocol::Mqtt || chained;
        let (strict, durability) =
            if messages { (section.optional("strict"), section.optional("durability")) } else { (None, None) };
        let filters = if messages { section.sections("filters", "filters") } else { Vec::new() };
        let filters = filters.into_iter().filter_map(FilterEntry::read).collect();
        let (refused_publish, refused_subscribe) = match protocol {
            Protocol::Mqtt => (section.optional("refused-publish"), section.optional("refused-subscribe")),
            Protocol::Http => (None, None),
        };
        let limits = section
            .section("limits", "limits of a listener")
            .map(|limits| ListenerLimits::read(limits, protocol, messages));
        if policies.is_empty() && messages && !section.is_wrong("policies") && !section.is_misspelt("policies") {
            let place = section.key_span("policies").unwrap_or(section.span());
            section.problems().add(Problem::new(place, "a listener without policies lets nobody in").help(
                "name the policies that decide, such as `policies = [\"device\", \"jwt\", \"api-key\"]`, \
                 or open it to everyone with `policies = [\"anonymous\"]`",
            ));
        }
        // What was meant by an unknown transport is not known: nothing is made of the keys that depend on it.
        if !section.is_wrong("transport") {
            Self::check_transport(&section, protocol, transport, path.as_ref());
            Self::check_subprotocols(&section, transport, subprotocols.as_deref());
        }
        section.finish();
        Some(Self {
            name: name?,
            // An address that is missing was said; the rest of the listener is still looked at.
            bind,
            socket_mode,
            protocol,
            transport,
            tls: tls.flatten(),
            path: path.map_or_else(|| "/mqtt".to_owned(), |path| path.value),
            origins,
            subprotocols,
            proxy_protocol,
            policies,
            filters,
            strict: strict.unwrap_or(false),
            refused_publish: refused_publish.unwrap_or(RefusedPublish::Drop),
            refused_subscribe: refused_subscribe.unwrap_or(RefusedSubscribe::Reason),
            durability: durability.unwrap_or(Durability::Ack),
            limits: limits.unwrap_or_default(),
        })
    }

    /// Keys that a transport needs, and keys that do nothing on it.
    fn check_transport(
        section: &Section<'_>,
        protocol: Protocol,
        transport: Transport,
        path: Option<&Located<String>>,
    ) {
        let word = transport.as_str();
        let place = || section.key_span("transport").unwrap_or(section.span());
        let add = |problem| section.problems().add(problem);
        if protocol == Protocol::Http && transport.is_websocket() {
            add(Problem::new(place(), "HTTP is carried by \"tcp\" or \"tls\"")
                .help("MQTT over WebSocket is `protocol = \"mqtt\"` with this transport"));
        }
        match (transport.is_secure(), section.key_span("tls")) {
            (true, None) => add(Problem::new(place(), "this transport needs a certificate")
                .help("add `tls = { cert = \"server.pem\", key = \"server.key\" }`")),
            (false, Some(span)) => {
                let meant = if transport == Transport::Ws { "wss" } else { "tls" };
                add(Problem::new(span, format!("`tls` does nothing on the transport {word:?}"))
                    .help(format!("write `transport = {meant:?}`")));
            }
            _ => {}
        }
        let paged = transport.is_websocket() || (protocol == Protocol::Http && section.key_span("policies").is_some());
        if let Some(span) = section.key_span("origins").filter(|_| !paged && protocol == Protocol::Http) {
            add(Problem::new(span, "`origins` does nothing on an HTTP listener without `policies`")
                .help("it is about messages over HTTP, which such a listener has not"));
        } else if let Some(span) = section.key_span("origins").filter(|_| !paged) {
            add(Problem::new(span, format!("`origins` does nothing on the transport {word:?}"))
                .help("only a WebSocket (\"ws\", \"wss\") is opened by web pages"));
        }
        let Some(path) = path else { return };
        if !transport.is_websocket() {
            add(Problem::new(path.span.clone(), format!("`path` does nothing on the transport {word:?}"))
                .help("only a WebSocket (\"ws\", \"wss\") has a path"));
        } else if !is_url_path(path) {
            add(Problem::new(path.span.clone(), format!("{:?} is not the path of a URL", path.value))
                .label("expected \"/\" and no query"));
        }
    }

    /// Names that a header can carry (RFC 6455 §4.1: tokens of RFC 9110 §5.6.2), where there is a WebSocket to agree on.
    fn check_subprotocols(section: &Section<'_>, transport: Transport, names: Option<&[String]>) {
        let (Some(names), Some(span)) = (names, section.key_span("subprotocols")) else { return };
        let token = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        };
        if !transport.is_websocket() {
            let problem = format!("`subprotocols` does nothing on the transport {:?}", transport.as_str());
            let help = "only a WebSocket (\"ws\", \"wss\") has sub-protocols";
            section.problems().add(Problem::new(span, problem).help(help));
        } else if names.is_empty() {
            let help = "name what may be agreed on, such as \"mqtt\", or leave `subprotocols` out";
            section
                .problems()
                .add(Problem::new(span, "with no sub-protocol no client of MQTT could connect").help(help));
        } else if let Some(name) = names.iter().find(|name| !token(name)) {
            section.problems().add(
                Problem::new(span, format!("{name:?} cannot be the name of a sub-protocol"))
                    .label("expected letters, digits, `-`, `.`, `_` and the like"),
            );
        }
    }
}

/// Where the listener listens, with the paths of Unix sockets made whole; and what is wrong with those.
fn endpoints(list: Vec<Located<Endpoint>>, section: &Section<'_>, base: &Path) -> Vec<Located<Endpoint>> {
    let add = |problem| section.problems().add(problem);
    let whole = |mut found: Located<Endpoint>| {
        if let Endpoint::Unix(path) = &mut found.value {
            let joined = base.join(&*path);
            // Whole, so that it can be told from others and removed wherever the process is by then.
            *path = std::path::absolute(&joined).unwrap_or(joined);
            let octets = path.as_os_str().as_bytes().len();
            if octets > MAX_SOCKET_PATH {
                let message =
                    format!("the path of a socket has at most {MAX_SOCKET_PATH} octets, and this one {octets}");
                add(Problem::new(found.span.clone(), message).help("the directory of this file counts, too"));
            }
        }
        found
    };
    let list: Vec<_> = list.into_iter().map(whole).collect();
    let any_socket = list.iter().any(|found| matches!(found.value, Endpoint::Unix(_)));
    if let Some(span) = section.key_span("socket-mode").filter(|_| !any_socket && !section.is_wrong("bind")) {
        add(Problem::new(span, "`socket-mode` does nothing without a Unix socket in `bind`")
            .help("a socket is written as \"unix:/run/portcullis/mqtt.sock\""));
    }
    list
}

/// `proxy-protocol = { from = […] }`.
fn proxies(mut section: Section<'_>) -> Option<Vec<Balancer>> {
    let what = "the addresses of the load balancers, such as [\"10.0.0.0/8\", \"192.0.2.7\"], or \"unix\"";
    let from = section.required::<OneOrMany<_>>("from", what);
    if let Some(none) = section.raw("from").filter(|from| from.get_ref().as_array().is_some_and(|list| list.is_empty()))
    {
        section.problems().add(
            Problem::new(none.span(), "with no peer in `from` nobody could connect")
                .help("name the load balancers, or leave `proxy-protocol` out"),
        );
    }
    section.finish();
    from.map(|OneOrMany(from)| from)
}
