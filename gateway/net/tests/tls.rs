//! TLS with real handshakes: what a client's certificate tells, what is refused, what is replaced.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use portcullis_grant::PeerDetails;
use portcullis_net::{ClientAuth, Tls, TlsError, TlsHandle, TlsPurpose, TlsSpec, Transport};
use rcgen::CertificateParams;
use rustls::version::{TLS12, TLS13};
use support::{Authority, Issued, Running, client_config, client_params, soon, spec, tls_connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn tls(server: &Issued, client_ca: Option<&Authority>, auth: ClientAuth, purpose: TlsPurpose) -> Result<Tls, TlsError> {
    let client_ca = client_ca.map(Authority::pem);
    Tls::from_pem(
        server.cert.pem().as_bytes(),
        server.key.serialize_pem().as_bytes(),
        client_ca.as_deref().map(str::as_bytes),
        auth,
        purpose,
    )
}

fn start(authority: &Authority, auth: ClientAuth) -> (Running, TlsHandle) {
    let ca = (auth != ClientAuth::None).then_some(authority);
    let handle = TlsHandle::new(&tls(&authority.server(), ca, auth, TlsPurpose::Mqtt).unwrap());
    (Running::start(spec(Transport::Tls).with_tls(handle.clone())), handle)
}

async fn details(running: &mut Running) -> PeerDetails {
    (**running.stream().await.1.details.as_ref().unwrap()).clone()
}

#[tokio::test]
async fn bytes_go_both_ways_and_the_session_is_described() {
    let authority = Authority::new("ca");
    let (mut running, _) = start(&authority, ClientAuth::None);
    for (version, name, suite) in [(&TLS13, "1.3", "TLS_AES_"), (&TLS12, "1.2", "TLS_ECDHE_ECDSA_WITH_")] {
        let mut config = client_config(&authority, None, &[version]);
        config.alpn_protocols = vec![b"mqtt".to_vec()];
        let mut client = tls_connect(running.address(), config).await.unwrap();
        let (mut stream, facts) = running.stream().await;
        let details = facts.details.as_ref().unwrap();
        assert_eq!(details.server_name.as_deref(), Some("localhost"), "SNI in lower case");
        let session = details.tls.as_ref().unwrap();
        assert_eq!((session.version, session.application_protocol.as_deref()), (name, Some("mqtt")));
        assert!(session.cipher_suite.starts_with(suite), "{}", session.cipher_suite);
        assert!(details.certificate.is_none() && details.http.is_none());
        client.write_all(b"ping").await.unwrap();
        let mut word = [0; 4];
        soon(stream.read_exact(&mut word)).await.unwrap();
        stream.write_all(&word).await.unwrap();
        stream.flush().await.unwrap();
        soon(client.read_exact(&mut word)).await.unwrap();
        assert_eq!(&word, b"ping");
    }
}

#[tokio::test]
async fn a_verified_client_certificate_is_told_in_the_words_of_the_contract() {
    let authority = Authority::new("ca");
    let (mut running, _) = start(&authority, ClientAuth::Optional);
    let device = authority.client("pump-7");
    let _client = tls_connect(running.address(), client_config(&authority, Some(&device), &[&TLS13])).await.unwrap();
    let certificate = details(&mut running).await.certificate.unwrap();
    assert_eq!(certificate.subject, "CN=pump-7,O=Plant\\, East");
    assert_eq!(certificate.common_name.as_deref(), Some("pump-7"));
    assert_eq!(certificate.issuer, "CN=ca");
    assert_eq!(certificate.alternative_names, [("dns", "pump-7.devices.example".to_owned())]);
    assert_eq!(&certificate.der[..], &device.cert.der()[..]);

    let _without = tls_connect(running.address(), client_config(&authority, None, &[&TLS13])).await.unwrap();
    assert!(details(&mut running).await.certificate.is_none());
}

/// TLS 1.3 tells a client about its certificate only with the first read.
async fn refused(address: std::net::SocketAddr, config: rustls::ClientConfig) {
    if let Ok(mut client) = tls_connect(address, config).await {
        assert!(soon(client.read(&mut [0; 16])).await.is_err());
    }
}

#[tokio::test]
async fn wrong_expired_and_missing_certificates_end_the_handshake() {
    let authority = Authority::new("ca");
    let stranger = Authority::new("another ca").client("pump-7");
    let mut past = client_params("pump-7");
    past.not_before = rcgen::date_time_ymd(2020, 1, 1);
    past.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let expired = authority.issue(past);
    for auth in [ClientAuth::Optional, ClientAuth::Required] {
        let (mut running, _) = start(&authority, auth);
        for wrong in [&stranger, &expired] {
            refused(running.address(), client_config(&authority, Some(wrong), &[&TLS13])).await;
        }
        if auth == ClientAuth::Required {
            refused(running.address(), client_config(&authority, None, &[&TLS12])).await;
        }
        assert!(running.nothing_given());
    }
}

#[tokio::test]
async fn other_application_protocols_are_refused() {
    let authority = Authority::new("ca");
    let (running, _) = start(&authority, ClientAuth::None);
    let mut config = client_config(&authority, None, &[&TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    assert!(tls_connect(running.address(), config).await.is_err());
}

#[tokio::test]
async fn a_replaced_certificate_serves_the_next_handshake_and_forgets_tickets() {
    let authority = Authority::new("ca");
    let (mut running, handle) = start(&authority, ClientAuth::None);
    // One configuration, so that the client remembers its tickets.
    let config = client_config(&authority, None, &[&TLS13]);
    let mut kinds = Vec::new();
    for step in 0..3 {
        if step == 2 {
            handle.replace(&tls(&authority.server(), None, ClientAuth::None, TlsPurpose::Mqtt).unwrap());
        }
        let mut client = tls_connect(running.address(), config.clone()).await.unwrap();
        let (mut stream, _facts) = running.stream().await;
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
        // The ticket comes before the first byte.
        soon(client.read_exact(&mut [0])).await.unwrap();
        kinds.push(client.get_ref().1.handshake_kind().unwrap());
    }
    use rustls::HandshakeKind::{Full, Resumed};
    assert_eq!(kinds, [Full, Resumed, Full]);
}

#[test]
fn each_mistake_is_named() {
    let authority = Authority::new("ca");
    let (server, other) = (authority.server(), authority.server());
    let cert = server.cert.pem();
    let key = server.key.serialize_pem();
    let load = |cert: &str, key: &str, ca: Option<&str>, auth| {
        Tls::from_pem(cert.as_bytes(), key.as_bytes(), ca.map(str::as_bytes), auth, TlsPurpose::Mqtt)
    };
    let error = |cert: &str, key: &str| load(cert, key, None, ClientAuth::None).unwrap_err();
    assert!(load(&cert, &key, None, ClientAuth::None).is_ok());
    assert!(matches!(error("", &key), TlsError::NoCertificate { .. }));
    assert!(matches!(error(&cert, ""), TlsError::NoKey { .. }));
    assert!(matches!(error(&cert, &cert), TlsError::NoKey { .. }));
    assert!(matches!(error(&cert[..300], &key), TlsError::Damaged { .. }));
    assert!(matches!(error(&cert, &other.key.serialize_pem()), TlsError::Mismatch { .. }));
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert!(matches!(error(&cert, &encrypted), TlsError::EncryptedKey { .. }));
    let out_of_order = format!("{}{}", other.cert.pem(), cert);
    let words = error(&out_of_order, &key).to_string();
    assert!(words.contains("put the server's certificate first"), "{words}");
    let no_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(error(no_x509, &key), TlsError::BadCertificate { .. }));
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(matches!(error(&cert, no_key), TlsError::BadKey { .. }));
    let ca = |ca: Option<&str>| load(&cert, &key, ca, ClientAuth::Required).unwrap_err();
    assert!(matches!(ca(None), TlsError::NoClientCa));
    assert!(matches!(ca(Some("")), TlsError::NoCertificate { .. }));
    assert!(matches!(ca(Some(no_x509)), TlsError::BadClientCa { .. }));
}

#[test]
fn a_missing_file_is_named_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gone.pem");
    let spec = TlsSpec {
        cert: path.clone(),
        key: path,
        client_ca: None,
        client_crl: Vec::new(),
        client_auth: ClientAuth::None,
        purpose: TlsPurpose::Mqtt,
    };
    let words = spec.load().unwrap_err().to_string();
    assert!(words.starts_with("cannot read the certificate /") && words.contains("gone.pem: "), "{words}");
}

#[test]
fn dates_that_are_over_or_ahead_are_warned_of() {
    use std::time::{Duration, UNIX_EPOCH};
    let authority = Authority::new("ca");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2024, 2, 1);
    let tls = tls(&authority.issue(params), None, ClientAuth::None, TlsPurpose::Mqtt).unwrap();
    let warnings = |day: u64| tls.warnings(UNIX_EPOCH + Duration::from_secs(1_704_067_200 + day * 86_400));
    assert!(warnings(10).is_empty());
    assert!(warnings(36)[0].contains("ended 5 day(s) ago"), "{:?}", warnings(36));
    assert!(tls.warnings(UNIX_EPOCH)[0].contains("clock"));
}
