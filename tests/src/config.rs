//! Configurations for tests: TOML, put together piece by piece, with the files that it names.

use std::fmt::Write;
use std::sync::OnceLock;

use crate::certificates::Authority;
use crate::link::Transport;

/// The authority that signs the servers of all tests of this process.
#[must_use]
pub fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::new("Portcullis tests"))
}

/// A configuration file and its companions.
#[derive(Clone, Debug, Default)]
pub struct Config {
    text: String,
    files: Vec<(String, Vec<u8>)>,
    embedded: bool,
}

impl Config {
    /// An admin API on a free port, and nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self::bare().toml("[admin]\nbind = \"127.0.0.1:0\"")
    }

    /// Nothing at all.
    #[must_use]
    pub fn bare() -> Self {
        Self::default()
    }

    /// MQTT on all four transports, named as they are, behind one chain, with an admin API.
    #[must_use]
    pub fn everywhere(chain: &[&str]) -> Self {
        Transport::ALL
            .into_iter()
            .fold(Self::new(), |config, transport| config.mqtt(transport.name(), transport, chain))
    }

    /// MQTT on plain TCP, named `tcp`, behind one chain, with an admin API.
    #[must_use]
    pub fn tcp(chain: &[&str]) -> Self {
        Self::new().mqtt("tcp", Transport::Tcp, chain)
    }

    /// One more MQTT listener on a free port.
    #[must_use]
    pub fn mqtt(self, name: &str, transport: Transport, chain: &[&str]) -> Self {
        self.mqtt_with(name, transport, chain, "")
    }

    /// One more MQTT listener on a free port, with further lines.
    #[must_use]
    pub fn mqtt_with(mut self, name: &str, transport: Transport, chain: &[&str], more: &str) -> Self {
        let secure = matches!(transport, Transport::Tls | Transport::Wss);
        if secure && !more.contains("tls = ") {
            self = self.server_certificate();
            self.text += "\n";
        }
        let tls = if secure && !more.contains("tls = ") {
            "tls = { cert = \"server.pem\", key = \"server.key\" }\n"
        } else {
            ""
        };
        self.toml(&format!(
            "[[listener]]\nname = {name:?}\nbind = \"127.0.0.1:0\"\nprotocol = \"mqtt\"\ntransport = {:?}\n\
             policies = {chain:?}\n{tls}{more}",
            transport.name()
        ))
    }

    /// HTTP on plain TCP, named `http`.
    #[must_use]
    pub fn http(self) -> Self {
        self.toml("[[listener]]\nname = \"http\"\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\ntransport = \"tcp\"")
    }

    /// HTTP on plain TCP, named `http`, behind one chain: messages over HTTP, with further lines.
    #[must_use]
    pub fn http_with(self, chain: &[&str], more: &str) -> Self {
        self.toml(&format!(
            "[[listener]]\nname = \"http\"\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npolicies = {chain:?}\n{more}"
        ))
    }

    /// `server.pem` and `server.key`, signed by [`authority`].
    #[must_use]
    pub fn server_certificate(self) -> Self {
        if self.files.iter().any(|(name, _)| name == "server.pem") {
            return self;
        }
        let leaf = authority().server("portcullis");
        self.file("server.pem", leaf.certificate_pem).file("server.key", leaf.key_pem)
    }

    /// One more piece of TOML.
    #[must_use]
    pub fn toml(mut self, text: &str) -> Self {
        let _ = writeln!(self.text, "{text}\n");
        self
    }

    /// A file beside the configuration.
    #[must_use]
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.retain(|(known, _)| known != name);
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// With the bundled policies that are within the binary, whatever was built beside it: for tests of how the gateway
    /// treats its own.
    #[must_use]
    pub fn embedded(mut self) -> Self {
        self.embedded = true;
        self
    }

    /// The text of the configuration.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Writes everything into a directory; the configuration itself as `portcullis.toml`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, directory: &std::path::Path) {
        for (name, content) in &self.files {
            replace(&directory.join(name), content);
        }
        let folder = std::env::var("PORTCULLIS_TEST_POLICIES").ok().filter(|_| !self.embedded);
        let text = patient(&with_entries(&self.text, folder.as_deref()));
        replace(&directory.join("portcullis.toml"), text.as_bytes());
    }
}

/// What the bundled policies are granted by the gateway itself when they are embedded.
const BUNDLED: [(&str, &str); 6] = [
    ("anonymous", ""),
    ("device", "directory = \"read\""),
    ("jwt", "directory = \"write\", keys = [\"gateway-rs256\"]"),
    ("api-key", "directory = \"read\""),
    ("keystone", "directory = \"write\", keys = [\"gateway-es256\"], keyvalue = true, http = []"),
    ("layer", "directory = \"write\", keys = [\"gateway-rs256\"], keyvalue = true"),
];

/// The same configuration with an entry for each bundled policy that a chain names. With a folder they are taken from
/// there instead of from within the binary: the tests then run on what was built a moment ago.
fn with_entries(text: &str, folder: Option<&str>) -> String {
    let mut text = text.to_owned();
    for (name, allow) in BUNDLED {
        let embedded = format!("source = \"builtin:{name}\"");
        let named = text.lines().any(|line| line.starts_with("policies = ") && line.contains(&format!("{name:?}")));
        if named && !text.lines().any(|line| line == format!("name = {name:?}")) {
            let _ = write!(text, "\n[[policy]]\nname = {name:?}\n{embedded}\n");
        }
        if let Some(folder) = folder {
            let built = format!("source = \"{folder}/{name}.wasm\"");
            // A component of a file has nothing that it is not given; one that is given something keeps that.
            let granted = format!("{built}\nallow = {{ {allow} }}");
            let entries = text.split("[[policy]]\n").map(|entry| {
                let own = entry.lines().any(|line| line.starts_with("allow = "));
                entry.replace(&embedded, if own { &built } else { &granted })
            });
            text = entries.collect::<Vec<_>>().join("[[policy]]\n");
        }
    }
    text
}

/// What a gateway gives up on by its own clock, and sooner than a test may: by the kind of entry, with how long it waits here.
/// Machines that run many tests stand still for longer at times than a policy has (50 ms), or a client (ten seconds).
const PATIENT: [(&str, &[(&str, &str)]); 2] =
    [("[[policy]]", &[("deadline", "20s"), ("self-test", "60s")]), ("[[listener]]", &[("handshake", "60s")])];

/// The same configuration with more patience, where an entry does not say itself how much it has.
fn patient(text: &str) -> String {
    PATIENT.into_iter().fold(text.to_owned(), |text, (header, limits)| {
        let mut entries = text.split(header);
        let mut patient = entries.next().unwrap_or_default().to_owned();
        for entry in entries {
            // Up to the next table: what follows is not the entry's own.
            let own = entry.split("\n[").next().unwrap_or_default();
            let said = own.lines().find(|line| line.starts_with("limits = {")).unwrap_or_default();
            let more: Vec<_> = limits
                .iter()
                .filter(|(name, _)| !said.contains(name))
                .map(|(name, time)| format!("{name} = {time:?}"))
                .collect();
            let entry = match (said.is_empty(), more.is_empty()) {
                (_, true) => entry.to_owned(),
                (true, false) => format!("\nlimits = {{ {} }}{entry}", more.join(", ")),
                (false, false) => entry.replacen("\nlimits = {", &format!("\nlimits = {{ {},", more.join(", ")), 1),
            };
            patient = patient + header + &entry;
        }
        patient
    })
}

/// Puts a file in place in one step, as careful operators do: a reload never sees half of it.
///
/// # Panics
/// When it cannot be written.
pub fn replace(path: &std::path::Path, content: &[u8]) {
    let aside = path.with_extension("new");
    std::fs::write(&aside, content).expect("a file in the test's directory can be written");
    std::fs::rename(&aside, path).expect("a file in the test's directory can be renamed");
}
