//! The one gateway that all tests share, and names that no two of them have.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use portcullis_tests::link::Route;
use portcullis_tests::tokens::SigningKey;
use portcullis_tests::{Config, Gateway, Transport, Version};
use tokio::sync::Mutex;

use crate::wire::{Hello, Peer};

/// Kept weakly: the last test that runs at a time takes the process down with it.
static SHARED: Mutex<Weak<Gateway>> = Mutex::const_new(Weak::new());

/// The key of those who log in with the authentication method `JWT`.
pub(crate) static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::new("ES256"));

/// The running gateway.
pub(crate) struct World(Arc<Gateway>);

impl Deref for World {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.0
    }
}

impl World {
    /// The gateway, started if nobody uses one at this moment.
    pub(crate) async fn get() -> Self {
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return Self(running);
        }
        let gateway = Arc::new(Gateway::start(&config()).await);
        *shared = Arc::downgrade(&gateway);
        Self(gateway)
    }

    /// The way to the listener where everyone may do everything.
    pub(crate) fn open(&self) -> Route {
        self.to("tcp")
    }

    /// The way to a listener on plain TCP.
    pub(crate) fn to(&self, listener: &str) -> Route {
        self.route_to(listener, Transport::Tcp)
    }

    /// A clean client on the open listener.
    pub(crate) async fn client(&self, version: Version) -> Peer {
        self.connect(&Hello::new(version, name("client"))).await
    }

    /// A client on the open listener.
    pub(crate) async fn connect(&self, hello: &Hello) -> Peer {
        Peer::connect(&self.open(), hello).await
    }
}

/// A name that nothing else of this process has: for clients and for topics. Some tests subscribe to `#`; where one must
/// know that nobody listens, its topic begins with `$conformance/`, which no wildcard reaches.
pub(crate) fn name(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{what}{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Listeners by what they are for; all of them before the same sessions and topics.
fn config() -> Config {
    let anonymous = |name: &str, config: &str| {
        format!("[[policy]]\nname = {name:?}\nsource = \"builtin:anonymous\"\n[policy.config]\n{config}\n")
    };
    // What begins with `$` needs a rule of its own: `#` does not reach it.
    let everything = "rules = [{ actions = [\"publish\", \"subscribe\", \"retain\", \"will\"], filter = \"#\" }, \
                      { actions = [\"publish\", \"subscribe\", \"retain\", \"will\"], filter = \"$conformance/#\" }]";
    let some = "rules = [{ actions = [\"publish\", \"subscribe\"], filter = \"open/#\", max-qos = 1 }, \
                { actions = [\"publish\", \"subscribe\"], filter = \"both/#\" }]";
    let tokens = format!(
        "[[policy]]\nname = \"tokens\"\nsource = \"builtin:jwt\"\nallow = {{ directory = \"write\", keys = [] }}\n\
         [policy.config]\napps = false\nissuers = [{{ issuer = \"conformance\", keys = {{ pem = {:?} }} }}]\n\
         rules = [{{ actions = [\"publish\", \"subscribe\"], filter = \"#\" }}]\n",
        KEY.public_pem()
    );
    let plain =
        |config: Config, name: &str, chain: &str, more: &str| config.mqtt_with(name, Transport::Tcp, &[chain], more);
    let mut config = Config::new().mqtt("tcp", Transport::Tcp, &["everyone"]).mqtt("ws", Transport::Ws, &["everyone"]);
    config = plain(config, "some", "some", "");
    config = plain(config, "strict", "some", "refused-publish = \"disconnect\"");
    config = plain(config, "tokens", "tokens", "");
    config = plain(config, "small", "everyone", "limits = { packet-size = \"1KiB\", receive-maximum = 4 }");
    config = plain(config, "tight", "everyone", "limits = { subscriptions = 2, queued-messages = 3 }");
    config = plain(config, "brief", "everyone", "limits = { keep-alive = \"1s\", session-expiry = \"1s\" }");
    config = plain(config, "impatient", "everyone", "limits = { handshake = \"300ms\" }");
    config =
        plain(config, "rated", "everyone", "limits = { publish-per-second = 3, publish-bytes-per-second = \"1KiB\" }");
    config = plain(config, "shallow", "everyone", "limits = { topic-length = \"20B\", topic-levels = 3 }");
    config = plain(config, "plain", "some", "refused-subscribe = \"plain\"\nlimits = { subscriptions = 4 }");
    config = plain(config, "rounds", "rounds", "");
    config = plain(config, "rounds-impatient", "rounds", "limits = { handshake = \"5s\" }");
    for transport in Transport::ALL {
        config = config.mqtt(&format!("rounds-{}", transport.name()), transport, &["rounds"]);
    }
    config = config
        .file("rounds.wasm", crate::challenge::script().component())
        .toml("[[policy]]\nname = \"rounds\"\nsource = \"rounds.wasm\"");
    config.toml(&anonymous("everyone", everything)).toml(&anonymous("some", some)).toml(&tokens)
}
