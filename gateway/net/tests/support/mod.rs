//! What the tests with real sockets share: certificates made on the spot, a handler that shows what it was given.

#![allow(dead_code, unreachable_pub)] // Each test binary uses its part.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_net::{AsyncStream, Bound, ConnectionHandler, Facts, ListenerSpec, Listening, Protocol, Transport};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Longer than anything here takes; reached only when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for what must come.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it never came")
}

/// What a listener handed over.
pub enum Given {
    Tcp(std::net::TcpStream, Facts),
    Stream(Box<dyn AsyncStream>, Facts),
}

/// Passes connections on to the test.
struct Show(mpsc::UnboundedSender<Given>);

impl ConnectionHandler for Show {
    fn speaks(&self) -> Protocol {
        Protocol::Mqtt
    }
    fn tcp(&self, stream: std::net::TcpStream, facts: Facts) {
        let _ = self.0.send(Given::Tcp(stream, facts));
    }
    fn stream(&self, stream: Box<dyn AsyncStream>, facts: Facts) {
        let _ = self.0.send(Given::Stream(stream, facts));
    }
}

/// A running listener on a loopback port.
pub struct Running {
    pub listening: Listening,
    given: mpsc::UnboundedReceiver<Given>,
}

impl Running {
    pub fn start(spec: ListenerSpec) -> Self {
        let (sender, given) = mpsc::unbounded_channel();
        let listening = Bound::bind(spec).unwrap().serve(Arc::new(Show(sender))).unwrap();
        Self { listening, given }
    }

    pub fn address(&self) -> SocketAddr {
        self.listening.local_addrs()[0]
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    pub async fn next(&mut self) -> Given {
        soon(self.given.recv()).await.unwrap()
    }

    pub async fn tcp(&mut self) -> (std::net::TcpStream, Facts) {
        match self.next().await {
            Given::Tcp(stream, facts) => (stream, facts),
            Given::Stream(..) => panic!("a stream was handed over in place of a socket"),
        }
    }

    pub async fn stream(&mut self) -> (Box<dyn AsyncStream>, Facts) {
        match self.next().await {
            Given::Stream(stream, facts) => (stream, facts),
            Given::Tcp(..) => panic!("a socket was handed over in place of a stream"),
        }
    }

    /// Nothing was handed over so far.
    pub fn nothing_given(&mut self) -> bool {
        self.given.try_recv().is_err()
    }
}

pub fn spec(transport: Transport) -> ListenerSpec {
    ListenerSpec::new("test", vec!["127.0.0.1:0".parse::<SocketAddr>().unwrap()], transport)
}

/// An authority with what it issues.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub struct Issued {
    pub cert: rcgen::Certificate,
    pub key: KeyPair,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub fn issue(&self, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        Issued { cert: params.signed_by(&key, &self.0).unwrap(), key }
    }

    pub fn server(&self) -> Issued {
        self.issue(CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap())
    }

    pub fn client(&self, name: &str) -> Issued {
        self.issue(client_params(name))
    }
}

pub fn client_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![format!("{name}.devices.example")]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Plant, East");
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A client that trusts `authority` and shows `client`.
pub fn client_config(
    authority: &Authority,
    client: Option<&Issued>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let key = PrivateKeyDer::try_from(client.key.serialize_der()).unwrap();
            builder.with_client_auth_cert(vec![client.cert.der().clone()], key).unwrap()
        }
    }
}

pub async fn tls_connect(
    address: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from("LocalHost").unwrap();
    let stream = TcpStream::connect(address).await?;
    soon(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}
