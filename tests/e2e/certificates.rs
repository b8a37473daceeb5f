//! TLS: the server's certificate and its reload, and clients' certificates.

use std::sync::Arc;

use portcullis_tests::certificates::Authority;
use portcullis_tests::{Config, Gateway, Refused, Transport, Version, config};

#[tokio::test]
async fn a_certificate_is_replaced_while_connections_live() {
    let mut gateway = Gateway::start(&Config::everywhere(&["anonymous"])).await;
    let mut residents = Vec::new();
    for transport in [Transport::Tls, Transport::Wss] {
        residents.push(gateway.dial(transport, Version::V5, transport.name()).connect().await);
    }
    let another = Authority::new("another authority");
    let leaf = another.server("renewed");
    let trusting_new = |transport| {
        let mut dial = gateway.dial(transport, Version::V5, "newcomer");
        dial.route.roots = another.pem();
        dial
    };
    let dials = [Transport::Tls, Transport::Wss].map(trusting_new);
    assert!(matches!(dials[0].attempt().await, Err(Refused::Link(_))), "the new authority is not in use yet");

    config::replace(&gateway.directory().join("server.key"), leaf.key_pem.as_bytes());
    config::replace(&gateway.directory().join("server.pem"), leaf.certificate_pem.as_bytes());
    gateway.reload().await;
    for dial in &dials {
        dial.connect().await.disconnect().await;
    }
    assert!(matches!(gateway.dial(Transport::Tls, Version::V5, "old").attempt().await, Err(Refused::Link(_))));
    for resident in &mut residents {
        resident.ping().await;
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_match_stays_out() {
    let mut gateway = Gateway::start(&Config::everywhere(&["anonymous"])).await;
    let from = gateway.log().len();
    config::replace(&gateway.directory().join("server.key"), config::authority().server("other").key_pem.as_bytes());
    gateway.signal(libc::SIGHUP);
    gateway.logged(from, "server.key").await;
    gateway.dial(Transport::Tls, Version::V5, "newcomer").connect().await.disconnect().await;
}

/// The listener `tls` asks for a certificate as `auth` says.
async fn asking(clients: &Authority, auth: &str) -> Gateway {
    let tls = format!(
        "tls = {{ cert = \"server.pem\", key = \"server.key\", client-ca = \"clients.pem\", client-auth = \"{auth}\" }}"
    );
    let config = Config::new()
        .mqtt_with("tls", Transport::Tls, &["anonymous"], &tls)
        .server_certificate()
        .file("clients.pem", clients.pem());
    Gateway::start(&config).await
}

#[tokio::test]
async fn a_certificate_that_is_required_is_verified() {
    let (clients, strangers) = (Authority::new("clients"), Authority::new("strangers"));
    for auth in ["required", "optional"] {
        let gateway = asking(&clients, auth).await;
        let with = |leaf| {
            let mut dial = gateway.dial(Transport::Tls, Version::V5, "certified");
            dial.route.identity = leaf;
            dial
        };
        with(Some(Arc::new(clients.client("good")))).connect().await.disconnect().await;
        for (what, leaf) in [
            ("of a stranger", strangers.client("good")),
            ("expired", clients.expired_client("good")),
            ("a server's", clients.server("good")),
        ] {
            let answer = with(Some(Arc::new(leaf))).attempt().await;
            assert!(matches!(answer, Err(Refused::Link(_) | Refused::Closed)), "{what}, {auth}");
        }
        let without = with(None).attempt().await;
        assert_eq!(without.is_ok(), auth == "optional", "without a certificate, {auth}");
    }
}

#[tokio::test]
async fn a_revoked_certificate_ends_its_connection_and_does_not_come_in_again() {
    let clients = Authority::new("clients");
    let (good, bad) = (Arc::new(clients.client("good")), Arc::new(clients.client("bad")));
    let tls = "tls = { cert = \"server.pem\", key = \"server.key\", client-ca = \"clients.pem\", client-crl = \"revoked.pem\" }";
    let config = Config::new()
        .mqtt_with("tls", Transport::Tls, &["anonymous"], tls)
        .server_certificate()
        .file("clients.pem", clients.pem())
        .file("revoked.pem", clients.revocation_list(&[]));
    let mut gateway = Gateway::start(&config).await;
    let dial = |gateway: &Gateway, name: &str, leaf: &Arc<portcullis_tests::certificates::Leaf>| {
        let mut dial = gateway.dial(Transport::Tls, Version::V5, name);
        dial.route.identity = Some(Arc::clone(leaf));
        dial
    };
    let mut stays = dial(&gateway, "stays", &good).connect().await;
    let mut goes = dial(&gateway, "goes", &bad).connect().await;

    config::replace(&gateway.directory().join("revoked.pem"), clients.revocation_list(&[&bad]).as_bytes());
    // No signal: a changed file is noticed.
    assert_eq!(goes.ended().await.expect("MQTT 5 clients are told").0, 0x87);
    let again = dial(&gateway, "goes", &bad).attempt().await;
    assert!(matches!(again, Err(Refused::Link(_) | Refused::Closed)), "the handshake ends");
    stays.ping().await;
    dial(&gateway, "another", &good).connect().await.disconnect().await;

    let from = gateway.log().len();
    config::replace(&gateway.directory().join("revoked.pem"), b"no list");
    gateway.logged(from, "holds no revocation list").await;
    assert!(dial(&gateway, "goes", &bad).attempt().await.is_err(), "the list before stays in use");
}

#[tokio::test]
async fn a_device_is_what_its_certificate_says_where_the_operator_wants_it_so() {
    let (field, office) = (Authority::new("field"), Authority::new("office"));
    let tls = "tls = { cert = \"server.pem\", key = \"server.key\", client-ca = \"clients.pem\" }";
    let config = Config::new()
        .mqtt_with("tls", Transport::Tls, &["device"], tls)
        .server_certificate()
        .file("clients.pem", format!("{}{}", field.pem(), office.pem()))
        .toml(
            "[[policy]]\nname = \"device\"\nsource = \"builtin:device\"\n[policy.config]\n\
             rules = [{ actions = [\"publish\", \"subscribe\"], filter = \"sites/{attribute.site}/{device}/#\" }]\n\
             [[policy.config.certificates]]\nissuer = \"CN=field\"\nfrom = \"san.uri\"\n\
             pattern = \"spiffe://plant.example/{site}/{name}\"\nregistered = false\ntenant = \"plant\"",
        );
    let gateway = Gateway::start(&config).await;
    let dial = |name: &str, leaf: portcullis_tests::certificates::Leaf| {
        let mut dial = gateway.dial(Transport::Tls, Version::V5, name);
        dial.route.identity = Some(Arc::new(leaf));
        dial
    };
    let uri = "spiffe://plant.example/north/pump7";
    let mut pump = dial("pump7", field.client_with("x", &[uri])).connect().await;
    assert_eq!(pump.subscribe("sites/north/pump7/#", 1).await, 1);
    assert_eq!(pump.subscribe("sites/south/pump7/#", 1).await, 0x87);
    assert_eq!(dial("pump8", field.client_with("x", &[uri])).refusal().await, 0x85);
    for (what, leaf) in [
        ("of another authority", office.client_with("x", &[uri])),
        ("of another host", field.client_with("x", &["spiffe://plant.example.evil/north/pump7"])),
        ("of two devices", field.client_with("x", &[uri, "spiffe://plant.example/north/pump9"])),
        ("of a wildcard", field.client_with("x", &["spiffe://plant.example/+/pump7"])),
        ("of nobody", field.client("pump7")),
    ] {
        assert_eq!(dial("pump7", leaf).refusal().await, 0x86, "{what}");
    }
    pump.ping().await;
}
