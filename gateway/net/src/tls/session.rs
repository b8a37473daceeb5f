//! What a finished TLS handshake told about the session and the client.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_grant::{PeerDetails, TlsSession};
use rustls::{ProtocolVersion, ServerConnection};

use crate::tls::certificate::read_certificate;

/// Writes the facts into `details`.
///
/// # Errors
/// The client's certificate cannot be read, or is out of its dates. The verifier has checked the dates of a full
/// handshake; a resumed one brings the certificate of an earlier day.
pub(crate) fn describe(connection: &ServerConnection, details: &mut PeerDetails) -> io::Result<()> {
    details.server_name = connection.server_name().map(str::to_ascii_lowercase);
    details.tls = Some(TlsSession {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "1.3",
        },
        cipher_suite: connection.negotiated_cipher_suite().map(|suite| iana_name(suite.suite())).unwrap_or_default(),
        application_protocol: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
    });
    let Some(leaf) = connection.peer_certificates().and_then(|chain| chain.first()) else { return Ok(()) };
    let certificate = read_certificate(leaf)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the client's certificate cannot be read"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if now < certificate.not_before_at || now > certificate.not_after_at {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the client's certificate is out of its dates"));
    }
    details.certificate = Some(certificate);
    Ok(())
}

/// rustls writes `TLS13_AES_…` for what IANA calls `TLS_AES_…`.
fn iana_name(suite: rustls::CipherSuite) -> String {
    let name = suite.as_str().unwrap_or("unknown");
    name.strip_prefix("TLS13_").map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}"))
}
