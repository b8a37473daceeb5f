//! The PROXY protocol: behind a load balancer clients are who the balancer says, and nobody else is a balancer.

use std::net::{IpAddr, SocketAddr};

use portcullis_tests::{Client, Config, Dial, Gateway, Refused, Transport, Version, policies, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::named;

const BALANCER: &str = "proxy-protocol = { from = [\"192.0.2.0/24\", \"127.0.0.1\"] }";

/// Version 1 of the header.
fn line(source: SocketAddr) -> Vec<u8> {
    let (kind, to) = if source.is_ipv4() { ("TCP4", "198.51.100.1") } else { ("TCP6", "2001:db8::1") };
    format!("PROXY {kind} {} {to} {} 1883\r\n", source.ip(), source.port()).into_bytes()
}

/// Version 2 of the header, with extensions behind the addresses.
fn binary(source: SocketAddr) -> Vec<u8> {
    let port = source.port().to_be_bytes();
    let (family, addresses) = match source.ip() {
        IpAddr::V4(v4) => (0x11, [&v4.octets()[..], &[198, 51, 100, 1], &port, &[7, 91]].concat()),
        IpAddr::V6(v6) => (0x21, [&v6.octets()[..], &[0xfe; 16], &port, &[7, 91]].concat()),
    };
    v2(0x21, family, &[&addresses[..], &[0x05, 0, 3, 1, 2, 3]].concat())
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, body].concat()
}

fn behind(gateway: &Gateway, transport: Transport, header: &[u8], client_id: &str) -> Dial {
    Dial::new(gateway.route(transport).ahead(header), Version::V5, client_id)
}

async fn peer_of(gateway: &Gateway, client_id: &str) -> String {
    let all = gateway.admin().get("/api/v1/connections").await.good();
    let found = all["items"].as_array().unwrap().iter().find(|item| item["client_id"] == client_id);
    found.unwrap_or_else(|| panic!("{client_id} is not in {all}"))["peer"].as_str().unwrap().to_owned()
}

/// How often something became of a connection at the door of a listener.
async fn count(gateway: &Gateway, listener: &str, outcome: &str) -> u64 {
    let text = gateway.admin().get("/metrics").await.body;
    let label = format!("{{listener=\"{listener}\",outcome=\"{outcome}\"}} ");
    let line =
        text.lines().find_map(|line| line.strip_prefix("portcullis_listener_accepts_total")?.strip_prefix(&label));
    line.unwrap_or_else(|| panic!("no {label} in {text}")).parse().unwrap()
}

/// What comes back, up to the end.
async fn answer(address: SocketAddr, octets: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The gateway may have closed already, which is what is tested.
    let _ = stream.write_all(octets).await;
    let mut back = Vec::new();
    let _ = within("the end of the connection", stream.read_to_end(&mut back)).await;
    back
}

#[tokio::test]
async fn a_client_has_the_address_that_its_header_says() {
    let config = Transport::ALL.into_iter().fold(Config::new(), |config, transport| {
        config.mqtt_with(transport.name(), transport, &["anonymous"], BALANCER)
    });
    let gateway = Gateway::start(&config).await;
    let sources: [SocketAddr; 2] = ["203.0.113.9:49152".parse().unwrap(), "[2001:db8::9]:7".parse().unwrap()];
    for transport in Transport::ALL {
        for source in sources {
            for (version, header) in [("one", line(source)), ("two", binary(source))] {
                let name = named(version, transport, Version::V5);
                let mut client = behind(&gateway, transport, &header, &name).connect().await;
                client.ping().await;
                assert_eq!(peer_of(&gateway, &name).await, source.to_string(), "{name}");
                client.disconnect().await;
            }
        }
        // Headers without an address, such as those of a health check, leave the balancer's own.
        let none = [b"PROXY UNKNOWN\r\n".to_vec(), v2(0x20, 0, b""), v2(0x21, 0x31, &[0; 216]), v2(0x21, 0, b"")];
        for header in none {
            let client = behind(&gateway, transport, &header, "balancer").connect().await;
            assert!(peer_of(&gateway, "balancer").await.starts_with("127.0.0.1:"), "{header:x?}");
            client.disconnect().await;
        }
    }
}

#[tokio::test]
async fn a_header_in_pieces_is_a_header() {
    let config = Config::new().mqtt_with("tcp", Transport::Tcp, &["anonymous"], BALANCER);
    let gateway = Gateway::start(&config).await;
    let source = "203.0.113.9:49152".parse().unwrap();
    let connect = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01p";
    // Extensions as long as they may be, and as few.
    let long = v2(0x21, 0x11, &[&binary(source)[16..28], &[0; 4000][..]].concat());
    for header in [line(source), binary(source), long] {
        let whole = [&header[..], connect].concat();
        for size in [1, 7, 600] {
            let mut stream = TcpStream::connect(gateway.address("tcp")).await.unwrap();
            stream.set_nodelay(true).unwrap();
            for piece in whole.chunks(size) {
                stream.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut connack = [0; 4];
            within("CONNACK", stream.read_exact(&mut connack)).await.unwrap();
            assert_eq!(connack, [0x20, 2, 0, 0]);
            assert_eq!(peer_of(&gateway, "p").await, source.to_string());
        }
    }
}

#[tokio::test]
async fn policies_and_the_record_see_the_address_of_the_header() {
    // Traps on clients whose address begins with `2`, and passes on all others. `peer-address` is 36 octets into the
    // record `connection`.
    let policy = policies::authenticating(
        "(if (i32.eq (i32.load8_u (i32.load offset=36 (local.get 0))) (i32.const 0x32)) (then unreachable))
         (i32.store8 (i32.const 16) (i32.const 2)) (i32.const 16)",
    );
    let config = Config::new()
        .mqtt_with("tcp", Transport::Tcp, &["seeing"], BALANCER)
        .toml("[[policy]]\nname = \"seeing\"\nsource = \"policy.wasm\"")
        .file("policy.wasm", policy);
    let gateway = Gateway::start(&config).await;
    let far = line("203.0.113.9:49152".parse().unwrap());
    assert_eq!(behind(&gateway, Transport::Tcp, &far, "far").refusal().await, 0x88, "trapped");
    assert_eq!(behind(&gateway, Transport::Tcp, b"PROXY UNKNOWN\r\n", "near").refusal().await, 0x86, "passed");
    let why = gateway.ask(&["why", "far"]);
    assert!(why.contains("203.0.113.9:49152"), "{why}");
}

#[tokio::test]
async fn http_listeners_have_it_too() {
    let listener = |protocol: &str| {
        format!("[[listener]]\nname = \"http\"\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n{protocol}")
    };
    let gateway = Gateway::start(&Config::new().toml(&listener(BALANCER))).await;
    let request = b"GET /version HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n";
    let source = "203.0.113.9:49152".parse().unwrap();
    for header in [line(source), binary(source)] {
        let back = answer(gateway.address("http"), &[&header[..], request].concat()).await;
        assert!(back.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&back));
    }
    assert_eq!(answer(gateway.address("http"), request).await, b"", "no header, no answer");
}

#[tokio::test]
async fn nobody_else_may_say_who_a_client_is() {
    let elsewhere = "proxy-protocol = { from = [\"192.0.2.0/24\", \"2001:db8::/32\"] }";
    let config = Config::new().mqtt_with("tcp", Transport::Tcp, &["anonymous"], elsewhere);
    let gateway = Gateway::start(&config).await;
    let header = line("192.0.2.1:49152".parse().unwrap());
    for header in [&header[..], b""] {
        match behind(&gateway, Transport::Tcp, header, "pretender").attempt().await {
            Err(Refused::Closed | Refused::Link(_)) => {}
            other => panic!("{:?}", other.map(|_| "let in")),
        }
    }
    assert_eq!(count(&gateway, "tcp", "peer").await, 2);
    assert_eq!(count(&gateway, "tcp", "admitted").await, 0);
}

#[tokio::test]
async fn without_a_whole_header_nobody_comes_in() {
    let config = Transport::ALL.into_iter().fold(Config::new(), |config, transport| {
        let quick = format!("{BALANCER}\nlimits = {{ handshake = \"500ms\" }}");
        config.mqtt_with(transport.name(), transport, &["anonymous"], &quick)
    });
    let gateway = Gateway::start(&config).await;
    let whole = binary("203.0.113.9:49152".parse().unwrap());
    let cases: [&[u8]; 6] = [
        b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01p",
        b"GET /mqtt HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 49152\r\n\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01p",
        &v2(0x21, 0x11, &[0; 11]),
        // Beginnings that never become a whole.
        b"PROXY TCP4 203.0.113.9 198.51",
        &whole[..20],
    ];
    for transport in Transport::ALL {
        for case in cases {
            let back = answer(gateway.address(transport.name()), case).await;
            assert_eq!(back, b"", "{} to {case:x?}", transport.name());
        }
        assert_eq!(count(&gateway, transport.name(), "handshake-failed").await, cases.len() as u64);
        assert_eq!(count(&gateway, transport.name(), "admitted").await, 0);
    }
}

#[tokio::test]
async fn the_rate_by_address_is_that_of_the_client_behind_the_balancer() {
    let rate = format!("{BALANCER}\nlimits = {{ connect-rate-per-address = \"1/s\" }}");
    let config = Config::new().mqtt_with("tcp", Transport::Tcp, &["anonymous"], &rate);
    let gateway = Gateway::start(&config).await;
    let all_at_once = async |headers: Vec<Vec<u8>>| {
        let mut attempts = tokio::task::JoinSet::new();
        for (number, header) in headers.into_iter().enumerate() {
            let dial = behind(&gateway, Transport::Tcp, &header, &format!("client-{number}"));
            attempts.spawn(async move { dial.attempt().await });
        }
        attempts.join_all().await
    };
    let crowd = (1..=20).map(|n| binary(SocketAddr::from(([203, 0, 113, n], 1000)))).collect();
    let in_all: Vec<Result<Client, Refused>> = all_at_once(crowd).await;
    assert!(in_all.iter().all(Result::is_ok), "each has a rate of its own");
    drop(in_all);
    assert!(all_at_once(vec![v2(0x20, 0, b""); 20]).await.iter().all(Result::is_ok), "the balancer itself has none");
    let one = all_at_once(vec![line("203.0.113.99:1000".parse().unwrap()); 20]).await;
    // Who is slow to say CONNECT is closed without a word.
    let told = one.iter().filter(|attempt| matches!(attempt, Err(Refused::Code(0x9f, _)))).count();
    let refused = one.iter().filter(|attempt| attempt.is_err()).count();
    assert!(told > 0, "{refused} refused, and nobody told");
    assert_eq!(count(&gateway, "tcp", "rate").await, refused as u64);
}

#[tokio::test]
async fn it_can_be_switched_on_and_off_while_the_gateway_runs() {
    let config = |more| Config::new().mqtt_with("tcp", Transport::Tcp, &["anonymous"], more);
    let mut gateway = Gateway::start(&config("")).await;
    let mut resident = gateway.tcp(Version::V5, "resident").connect().await;
    let header = line("203.0.113.9:49152".parse().unwrap());
    for (more, header_in) in [(BALANCER, true), ("", false)] {
        config(more).write(gateway.directory());
        gateway.reload().await;
        let with = behind(&gateway, Transport::Tcp, &header, "with").attempt().await;
        let without = behind(&gateway, Transport::Tcp, b"", "without").attempt().await;
        assert_eq!((with.is_ok(), without.is_ok()), (header_in, !header_in), "{more}");
    }
    resident.ping().await;
}
