//! Starting, and not starting: one sentence that says what is wrong and how to mend it.

use portcullis_tests::certificates::Authority;
use portcullis_tests::config::authority;
use portcullis_tests::gateway::Failure;
use portcullis_tests::{Config, Gateway, Transport, Version};

async fn failure(config: &Config) -> Failure {
    match Gateway::attempt(config).await {
        Ok(_) => panic!("the gateway came up"),
        Err(failure) => failure,
    }
}

/// The one line that says what is wrong.
fn sentence(failure: &Failure) -> String {
    assert!(!failure.status.success());
    assert!(!failure.err.contains("panicked"), "{}", failure.err);
    assert!(!failure.out.contains("ready "), "{}", failure.out);
    let lines: Vec<&str> = failure.err.lines().filter(|line| line.to_lowercase().contains("error")).collect();
    assert_eq!(lines.len(), 1, "one sentence, not this:\n{}", failure.err);
    lines[0].to_owned()
}

#[tokio::test]
async fn ready_names_every_listener_and_admin() {
    let gateway = Gateway::start(&Config::everywhere(&["anonymous"]).http()).await;
    let mut names: Vec<&str> = gateway.ready().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["admin", "http", "tcp", "tls", "ws", "wss"]);
    assert!(gateway.ready().values().all(|address| address.ip().is_loopback() && address.port() != 0));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = Config::bare().toml(&format!(
        "[[listener]]\nname = \"first\"\nbind = \"{address}\"\nprotocol = \"mqtt\"\ntransport = \"tcp\"\npolicies = [\"anonymous\"]"
    ));
    let said = failure(&config).await;
    let line = sentence(&said);
    assert!(line.contains(&address.to_string()) && line.contains("first"), "{line}");
    drop(taken);
}

#[tokio::test]
async fn a_policy_needs_what_its_configuration_uses_and_no_more() {
    let entry = |name: &str, allow: &str, config: &str| {
        Config::tcp(&[name]).embedded().toml(&format!(
            "[[policy]]\nname = \"{name}\"\nsource = \"builtin:{name}\"\nallow = {{ {allow} }}\nconfig = {{ {config} }}"
        ))
    };
    // Tokens of others change nothing in the directory, and neither do those of another Keystone.
    Gateway::start(&entry("jwt", "directory = \"read\", keys = []", "")).await;
    let upstream = "directory = \"read\", keyvalue = true, keys = [], http = [\"127.0.0.1:1\"]";
    Gateway::start(&entry("keystone", upstream, "mode = \"upstream\", url = \"http://127.0.0.1:1/v3\"")).await;
    // Tokens of the gateway's own are revoked there. Said at the start, and not at the first who logs out.
    for (name, allow, config) in [
        ("jwt", "directory = \"read\", keys = [\"gateway-rs256\"]", "oisp = {}"),
        (
            "keystone",
            "directory = \"read\", keyvalue = true, keys = [\"gateway-es256\"], http = []",
            "mode = \"local\"",
        ),
    ] {
        let line = sentence(&failure(&entry(name, allow, config)).await);
        assert!(line.contains(name) && line.contains("allow = { directory = \"write\" }"), "{line}");
    }
    let line = sentence(&failure(&entry("jwt", "keys = []", "")).await);
    assert!(line.contains("imports `directory`"), "{line}");
}

#[tokio::test]
async fn a_data_directory_in_use_is_left_alone() {
    let gateway = Gateway::start(&Config::tcp(&["anonymous"])).await;
    let data = gateway.data();
    let directory = tempfile::tempdir().unwrap();
    Config::tcp(&["anonymous"]).write(directory.path());
    let second =
        Gateway::spawn(directory, &["serve", "--config", "portcullis.toml", "--data", data.to_str().unwrap()]).await;
    let Err(failure) = second else { panic!("two gateways on one data directory") };
    let line = sentence(&failure);
    assert!(line.contains(data.to_str().unwrap()) && line.contains("in use"), "{line}");
    gateway.tcp(Version::V5, "first").connect().await.ping().await;
}

#[tokio::test]
async fn a_certificate_and_a_key_that_do_not_match_are_named() {
    let config = Config::tcp(&["anonymous"]).mqtt("tls", Transport::Tls, &["anonymous"]);
    let config = config.file("server.key", authority().server("another").key_pem);
    let line = sentence(&failure(&config).await);
    assert!(line.contains("server.key") && line.contains("server.pem"), "{line}");
}

#[tokio::test]
async fn an_unreadable_key_is_named() {
    for content in ["", "-----BEGIN PRIVATE KEY-----\nnot base64!\n-----END PRIVATE KEY-----\n"] {
        let config =
            Config::tcp(&["anonymous"]).mqtt("tls", Transport::Tls, &["anonymous"]).file("server.key", content);
        let line = sentence(&failure(&config).await);
        assert!(line.contains("server.key"), "{line}");
    }
}

#[tokio::test]
async fn a_damaged_database_is_reported_and_not_emptied() {
    let mut gateway = Gateway::start(&Config::tcp(&["anonymous"])).await;
    gateway.stop().await;
    let mut files: Vec<_> = std::fs::read_dir(gateway.data()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "redb"));
    let [database] = &files[..] else { panic!("one database in the data directory: {files:?}") };
    let mut octets = std::fs::read(database).unwrap();
    for octet in &mut octets[..4096] {
        *octet ^= 0x5a;
    }
    std::fs::write(database, &octets).unwrap();
    let directory = tempfile::tempdir().unwrap();
    Config::tcp(&["anonymous"]).write(directory.path());
    let data = gateway.data();
    let again =
        Gateway::spawn(directory, &["serve", "--config", "portcullis.toml", "--data", data.to_str().unwrap()]).await;
    let Err(failure) = again else { panic!("a damaged database was taken for a new one") };
    let line = sentence(&failure);
    assert!(line.contains(database.to_str().unwrap()), "{line}");
    assert_eq!(std::fs::read(database).unwrap(), octets, "the file is left as it was found");
}

#[tokio::test]
async fn it_starts_again_on_its_own_data_and_from_the_compile_cache() {
    let gateway = Gateway::start(&Config::tcp(&["device", "jwt", "api-key"])).await;
    let gateway = gateway.restart().await;
    assert_eq!(gateway.tcp(Version::V311, "stranger").login("a", "b").refusal().await, 4, "nobody took the login");
}

#[tokio::test]
async fn a_wrong_authority_for_clients_is_named() {
    let config = Config::tcp(&["anonymous"])
        .mqtt_with(
            "mtls",
            Transport::Tls,
            &["anonymous"],
            "tls = { cert = \"server.pem\", key = \"server.key\", client-ca = \"ca.pem\" }",
        )
        .server_certificate()
        .file("ca.pem", "no certificates here");
    let line = sentence(&failure(&config).await);
    assert!(line.contains("ca.pem"), "{line}");
    let config = config.file("ca.pem", Authority::new("clients").pem());
    Gateway::start(&config).await;
}

#[tokio::test]
async fn nobody_without_a_session_delays_the_stop() {
    // They are waited for five seconds, which a machine may stand still for. Hardly three times.
    for attempt in 1..=3 {
        let mut gateway = Gateway::start(&Config::everywhere(&["anonymous"])).await;
        let mut silent = Vec::new();
        for transport in Transport::ALL {
            let mut link = gateway.route(transport).open().await.unwrap();
            // Half a CONNECT.
            link.send(b"\x10\x0d\0\x04MQ").await.unwrap();
            silent.push(link);
        }
        assert!(gateway.stop().await.success());
        let log = gateway.log();
        if !log.contains("did not end in time") {
            return;
        }
        assert!(attempt < 3, "{log}");
    }
}

/// The gateway as where a process may have so much address space and no more, with a client that has logged in; and what it
/// said on standard error until then.
async fn log_in_within(kibibytes: u64) -> String {
    let directory = tempfile::tempdir().unwrap();
    Config::tcp(&["anonymous"]).write(directory.path());
    let mut child = std::process::Command::new("sh")
        .args(["-c", "ulimit -v \"$0\" && exec \"$@\"", &kibibytes.to_string()])
        .arg(portcullis_tests::binary::portcullis())
        .args(["serve", "--config", "portcullis.toml", "--data", "data"])
        .current_dir(directory.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    // Either the line comes or the stream ends with the process.
    let ready = tokio::task::spawn_blocking(move || {
        std::io::BufRead::lines(out).map_while(Result::ok).find(|line| line.starts_with("ready "))
    });
    let ready = ready.await.unwrap();
    let address = ready.as_deref().and_then(|line| line.split(' ').find_map(|word| word.strip_prefix("tcp=")));
    let logged_in = match address {
        None => false,
        Some(address) => {
            let route = portcullis_tests::link::Route::new(Transport::Tcp, address.parse().unwrap(), "");
            portcullis_tests::Dial::new(route, Version::V5, "first").connect().await.ping().await;
            true
        }
    };
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(logged_in, "within {kibibytes} KiB it did not come up:\n{said}");
    said
}

#[tokio::test]
async fn it_lives_within_39_bits_of_address_space_and_within_much_less() {
    const GIB: u64 = 1 << 20;
    // 39 bits are what a kernel for small ARM boards gives a process.
    let told = "the address space is too small to pool";
    let said = log_in_within(512 * GIB).await;
    assert!(!said.contains(told), "{said}");
    let said = log_in_within(2 * GIB).await;
    assert!(said.contains(told), "{said}");
}
