//! What is known of a client before anybody has decided about it: where its bytes came from, and what it offers.

use std::sync::Arc;

use bytes::Bytes;
use portcullis_mqtt::ProtocolVersion;

use crate::peer::Peer;
use crate::principal::Principal;

/// Where the bytes came from: known before any credential is looked at.
#[derive(Clone, Debug)]
pub struct ConnectionFacts {
    /// Unique while the data directory lives. Good for logs.
    pub id: Arc<str>,
    /// The `name` of the `[[listener]]`.
    pub listener: Arc<str>,
    /// `mqtt` or `http`.
    pub protocol: &'static str,
    /// MQTT: the protocol level of CONNECT ([`ProtocolVersion`] as a number). HTTP: the major version.
    pub protocol_version: u8,
    /// `tcp`, `tls`, `ws` or `wss`.
    pub transport: &'static str,
    /// Who is at the other end.
    pub peer: Peer,
    /// What is dear and seldom asked for. None on plain TCP.
    pub details: Option<Arc<PeerDetails>>,
    /// Who is already known on this connection (re-authentication, renewal, guarded HTTP mounts).
    pub identity: Option<Arc<Principal>>,
}

/// What a TLS handshake or an HTTP upgrade told, kept only while a policy may ask for it.
#[derive(Clone, Debug, Default)]
pub struct PeerDetails {
    /// SNI (RFC 6066 §3), in lower case.
    pub server_name: Option<String>,
    /// The session's parameters, on TLS.
    pub tls: Option<TlsSession>,
    /// The client's leaf certificate, if the handshake verified one.
    pub certificate: Option<Certificate>,
    /// The HTTP request that is to be authenticated, or that opened the WebSocket.
    pub http: Option<HttpHead>,
}

/// Parameters of a TLS session.
#[derive(Clone, Debug)]
pub struct TlsSession {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// IANA name of the cipher suite.
    pub cipher_suite: String,
    /// ALPN (RFC 7301).
    pub application_protocol: Option<String>,
}

/// A verified client certificate (RFC 5280); the fields are those of the contract's `peer.certificate`.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Distinguished name, RFC 4514.
    pub subject: String,
    /// The last common name of the subject.
    pub common_name: Option<String>,
    /// Distinguished name of the issuer, RFC 4514.
    pub issuer: String,
    /// Lower-case hexadecimal, two digits an octet.
    pub serial: String,
    /// SHA-256 of `der`: 64 lower-case hexadecimal digits.
    pub fingerprint: String,
    /// Seconds since 1970.
    pub not_before_at: u64,
    /// Seconds since 1970.
    pub not_after_at: u64,
    /// `(kind, value)` as the contract's `alternative-name`, in the certificate's order.
    pub alternative_names: Vec<(&'static str, String)>,
    /// The certificate itself.
    pub der: Bytes,
}

/// The head of an HTTP request.
#[derive(Clone, Debug)]
pub struct HttpHead {
    /// Upper case.
    pub method: String,
    /// Host header or `:authority`, lower case.
    pub authority: String,
    /// Percent-encoded as received, dot segments resolved.
    pub path: String,
    /// Percent-encoded as received.
    pub query: Option<String>,
    /// Names in lower case, in the order of the wire.
    pub headers: Vec<(String, String)>,
}

/// What a client offers to prove who it is. On HTTP everything is empty: the policy asks for headers.
#[derive(Clone, Default)]
pub struct Credentials {
    /// MQTT client identifier, empty when the client left it to the gateway.
    pub client_id: String,
    /// User name of CONNECT.
    pub username: Option<String>,
    /// Password of CONNECT. None and empty differ.
    pub password: Option<Vec<u8>>,
    /// MQTT 5 authentication method (§3.1.2.11.9).
    pub method: Option<String>,
    /// MQTT 5 authentication data.
    pub data: Option<Vec<u8>>,
    /// User properties of CONNECT or AUTH.
    pub user_properties: Vec<(String, String)>,
}

impl std::fmt::Debug for Credentials {
    // Passwords and authentication data never reach a log by accident.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|p| format!("[{} octets]", p.len())))
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl ConnectionFacts {
    /// The MQTT version, if this is an MQTT connection whose CONNECT was read.
    #[must_use]
    pub fn mqtt_version(&self) -> Option<ProtocolVersion> {
        (self.protocol == "mqtt").then(|| ProtocolVersion::from_level(self.protocol_version)).flatten()
    }
}
