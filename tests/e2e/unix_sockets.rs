//! Unix sockets: clients of the same machine come in as others do, and the file is looked after.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use portcullis_tests::{Config, Dial, Gateway, Message, Refused, Transport, Version, policies, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

fn listener(name: &str, bind: &str, more: &str) -> String {
    format!("[[listener]]\nname = {name:?}\nbind = {bind}\n{more}\n")
}

/// Everyone may come in through `mqtt.sock`.
fn open(more: &str) -> Config {
    let text = format!("policies = [\"anonymous\"]\n{more}");
    Config::new().toml(&listener("mqtt", "[\"127.0.0.1:0\", \"unix:mqtt.sock\"]", &text))
}

fn dial(gateway: &Gateway, transport: Transport, socket: &str, client_id: &str) -> Dial {
    Dial::new(gateway.route_to_socket(transport, socket), Version::V5, client_id)
}

/// As policies and operators see a client that this process is.
fn own() -> String {
    let output = std::process::Command::new("id").arg("-u").output().unwrap();
    format!("unix:{}", String::from_utf8(output.stdout).unwrap().trim())
}

fn mode(path: &Path) -> u32 {
    let found = std::fs::symlink_metadata(path).unwrap();
    assert!(found.file_type().is_socket());
    found.permissions().mode() & 0o777
}

async fn peer_of(gateway: &Gateway, client_id: &str) -> String {
    let all = gateway.admin().get("/api/v1/connections").await.good();
    let found = all["items"].as_array().unwrap().iter().find(|item| item["client_id"] == client_id);
    found.unwrap_or_else(|| panic!("{client_id} is not in {all}"))["peer"].as_str().unwrap().to_owned()
}

async fn ask(gateway: &Gateway, socket: &str, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(gateway.directory().join(socket)).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut back = Vec::new();
    within("the answer", stream.read_to_end(&mut back)).await.unwrap();
    String::from_utf8(back).unwrap()
}

#[tokio::test]
async fn mqtt_websocket_and_http_come_in_through_sockets_and_addresses() {
    let config = open("")
        .toml(&listener("ws", "\"unix:ws.sock\"", "transport = \"ws\"\npolicies = [\"anonymous\"]"))
        .toml(&listener("http", "\"unix:http.sock\"", "protocol = \"http\"\npolicies = [\"anonymous\"]"));
    let mut gateway = Gateway::start(&config).await;
    let mut far = Dial::new(gateway.route_to("mqtt", Transport::Tcp), Version::V5, "far").connect().await;
    far.subscribe("t", 1).await;
    let mut near = dial(&gateway, Transport::Tcp, "mqtt.sock", "near").connect().await;
    let mut page = dial(&gateway, Transport::Ws, "ws.sock", "page").connect().await;
    assert_eq!((peer_of(&gateway, "near").await, peer_of(&gateway, "page").await), (own(), own()));
    // Large enough that a socket takes it in several pieces.
    let large = vec![7; 700_000];
    for (client, payload) in [(&mut near, large.clone()), (&mut page, b"page".to_vec())] {
        client.publish(Message::new("t", payload.clone()).qos(1)).await;
        assert_eq!(far.message().await.payload, payload);
    }
    near.subscribe("back", 1).await;
    far.publish(Message::new("back", large.clone()).qos(1)).await;
    assert_eq!(near.message().await.payload, large);
    let request = b"POST /publish/t HTTP/1.1\r\nHost: gateway\r\nContent-Length: 3\r\nConnection: close\r\n\r\nweb";
    let answer = ask(&gateway, "http.sock", request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(far.message().await.payload, b"web"[..]);
    let mut sockets = ["mqtt.sock", "ws.sock", "http.sock"].map(|name| gateway.directory().join(name));
    assert!(sockets.iter_mut().all(|path| mode(path) == 0o600), "nobody else, unless told so");
    assert!(gateway.stop().await.success());
    assert!(sockets.iter().all(|path| !path.exists()), "gone with the gateway");
}

#[tokio::test]
async fn policies_and_why_see_the_user_of_the_process() {
    // Traps on clients whose address begins with `u`. `peer-address` is 36 octets into the record `connection`.
    let policy = policies::authenticating(
        "(if (i32.eq (i32.load8_u (i32.load offset=36 (local.get 0))) (i32.const 0x75)) (then unreachable))
         (i32.store8 (i32.const 16) (i32.const 2)) (i32.const 16)",
    );
    let config = Config::new()
        .toml(&listener("mqtt", "[\"127.0.0.1:0\", \"unix:mqtt.sock\"]", "policies = [\"seeing\"]"))
        .toml("[[policy]]\nname = \"seeing\"\nsource = \"policy.wasm\"")
        .file("policy.wasm", policy);
    let gateway = Gateway::start(&config).await;
    assert_eq!(dial(&gateway, Transport::Tcp, "mqtt.sock", "near").refusal().await, 0x88, "trapped");
    let far = Dial::new(gateway.route_to("mqtt", Transport::Tcp), Version::V5, "far");
    assert_eq!(far.refusal().await, 0x86, "passed");
    let why = gateway.ask(&["why", "near"]);
    assert!(why.contains(&own()), "{why}");
}

#[tokio::test]
async fn what_a_killed_gateway_left_behind_is_replaced_and_nothing_else() {
    let gateway = Gateway::start(&open("")).await.kill_and_restart().await;
    dial(&gateway, Transport::Tcp, "mqtt.sock", "again").connect().await.ping().await;

    // Somebody listens there: it is theirs.
    let taken = gateway.directory().join("mqtt.sock");
    let other =
        Config::new().toml(&listener("mqtt", &format!("\"unix:{}\"", taken.display()), "policies = [\"anonymous\"]"));
    let failure = Gateway::attempt(&other).await.err().expect("two on one socket");
    let holder = format!("(process {})", gateway.pid());
    assert!(failure.err.contains("is listening there") && failure.err.contains(&holder), "{}", failure.err);
    dial(&gateway, Transport::Tcp, "mqtt.sock", "still").connect().await.ping().await;

    // Nor is a file removed that is no socket.
    let failure = Gateway::attempt(&open("").file("mqtt.sock", "precious")).await.err().expect("a file in the way");
    assert!(failure.err.contains("not a socket") && failure.err.contains("mqtt.sock"), "{}", failure.err);
    let nowhere = Config::new().toml(&listener("mqtt", "\"unix:nowhere/mqtt.sock\"", "policies = [\"anonymous\"]"));
    let failure = Gateway::attempt(&nowhere).await.err().expect("no such directory");
    assert!(failure.err.contains("its directory does not exist"), "{}", failure.err);
}

#[tokio::test]
async fn a_reload_moves_a_socket_and_changes_who_may_use_it() {
    let mut gateway = Gateway::start(&open("")).await;
    let mut resident = dial(&gateway, Transport::Tcp, "mqtt.sock", "resident").connect().await;
    let from = gateway.log().len();
    open("socket-mode = \"0666\"").write(gateway.directory());
    gateway.signal(libc::SIGHUP);
    gateway.logged(from, "has new settings").await;
    assert_eq!(mode(&gateway.directory().join("mqtt.sock")), 0o666);
    resident.ping().await;

    let from = gateway.log().len();
    let moved = listener("mqtt", "\"unix:moved.sock\"", "policies = [\"anonymous\"]");
    Config::new().toml(&moved).write(gateway.directory());
    gateway.signal(libc::SIGHUP);
    gateway.logged(from, "has moved").await;
    assert!(!gateway.directory().join("mqtt.sock").exists());
    dial(&gateway, Transport::Tcp, "moved.sock", "visitor").connect().await.ping().await;
    assert!(resident.ended().await.is_some(), "it is told");
}

#[tokio::test]
async fn a_load_balancer_may_sit_behind_a_socket() {
    let from = |who: &str| format!("policies = [\"anonymous\"]\nproxy-protocol = {{ from = [{who}] }}");
    let config = Config::new()
        .toml(&listener("balanced", "[\"unix:balanced.sock\", \"127.0.0.1:0\"]", &from("\"unix\"")))
        .toml(&listener("remote", "\"unix:remote.sock\"", &from("\"127.0.0.1\"")));
    let gateway = Gateway::start(&config).await;
    for (header, peer) in [
        ("PROXY TCP4 203.0.113.9 198.51.100.1 49152 1883\r\n", "203.0.113.9:49152".to_owned()),
        ("PROXY UNKNOWN\r\n", own()),
    ] {
        let route = gateway.route_to_socket(Transport::Tcp, "balanced.sock").ahead(header.as_bytes());
        let client = Dial::new(route, Version::V5, "client").connect().await;
        assert_eq!(peer_of(&gateway, "client").await, peer);
        client.disconnect().await;
    }
    let header = b"PROXY TCP4 203.0.113.9 198.51.100.1 49152 1883\r\n";
    let routes = [gateway.route_to("balanced", Transport::Tcp), gateway.route_to_socket(Transport::Tcp, "remote.sock")];
    for route in routes {
        match Dial::new(route.ahead(header), Version::V5, "pretender").attempt().await {
            Err(Refused::Closed | Refused::Link(_)) => {}
            other => panic!("{:?}", other.map(|_| "let in")),
        }
    }
}

#[tokio::test]
async fn a_rate_counts_the_users_of_the_machine() {
    let gateway = Gateway::start(&open("limits = { connect-rate-per-address = \"2/s\" }")).await;
    within("somebody who is told that it is too fast", async {
        loop {
            // All at once: more than two unless the machine takes seconds for them.
            let crowd = (0..20).map(|number| {
                let dial = dial(&gateway, Transport::Tcp, "mqtt.sock", &format!("hasty-{number}"));
                async move { dial.attempt().await }
            });
            let crowd = futures_util::future::join_all(crowd).await;
            if crowd.iter().any(|attempt| matches!(attempt, Err(Refused::Code(0x9f, _)))) {
                break;
            }
        }
    })
    .await;
    // Whoever comes from elsewhere has a rate of their own.
    Dial::new(gateway.route_to("mqtt", Transport::Tcp), Version::V5, "far").connect().await.ping().await;
}
