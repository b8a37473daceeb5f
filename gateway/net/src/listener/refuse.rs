//! Telling clients that a limit keeps them out, as long as that is cheap.
//!
//! A connection over a limit is a connection too many, so that its refusal must not cost what the limit saves: a few are
//! told at one time, each within two seconds, and what comes beyond is closed at once. Within TLS nobody is told, since
//! the handshake is the dear part.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use portcullis_grant::Peer;
use portcullis_mqtt::{
    ConnAck, ConnAckProperties, Connect, Packet, ProtocolVersion, ReasonCode, decode_connect, frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::debug;

use crate::handler::Protocol;
use crate::listener::admission::Refused;
use crate::listener::serve::Shared;
use crate::proxy;
use crate::refusal;

/// Refusals under way at one time, by listener. Each holds a descriptor beyond `max_connections`.
pub(crate) const AT_A_TIME: usize = 64;
/// From accept to the end of the connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// Octets of a CONNECT that is answered.
const MAX_CONNECT: u32 = 64 * 1024;

/// Refuses a connection. `header`: a PROXY header is still to come.
pub(crate) fn refuse(stream: TcpStream, peer: Peer, refused: Refused, header: bool, shared: &Arc<Shared>) {
    debug!(listener = %shared.name, %peer, why = refused.words(), "connection refused");
    if shared.transport.is_tls() {
        return;
    }
    let Ok(place) = Arc::clone(&shared.refusals).try_acquire_owned() else { return };
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let stopped = shared.stop.stopped();
        tokio::select! {
            told = tokio::time::timeout(PATIENCE, tell(stream, refused, header, &shared)) => {
                if let Ok(Err(error)) = told {
                    debug!(listener = %shared.name, %peer, %error, "the refusal was not told");
                }
            }
            () = stopped => {}
        }
        drop(place);
    });
}

async fn tell(mut stream: TcpStream, refused: Refused, header: bool, shared: &Shared) -> io::Result<()> {
    if header {
        proxy::receive(&mut stream).await?;
    }
    if shared.speaks == Protocol::Http || shared.transport.is_websocket() {
        http(&mut stream, refused).await?;
    } else {
        mqtt(&mut stream, refused).await?;
    }
    shared.admission.refusal_told();
    refusal::linger(&mut stream).await
}

/// Answers the first request, an upgrade or not, with 503 (RFC 9110 §15.6.4).
async fn http(stream: &mut TcpStream, refused: Refused) -> io::Result<()> {
    // Rates are by the second; nobody knows when one of too many connections will end.
    let answer = match refused {
        Refused::Full => refusal::refuse("503 Service Unavailable", "Retry-After: 10\r\n", "too many connections"),
        Refused::Rate => refusal::refuse("503 Service Unavailable", "Retry-After: 1\r\n", "too many new connections"),
        Refused::AddressRate => refusal::refuse(
            "503 Service Unavailable",
            "Retry-After: 1\r\n",
            "too many new connections from this address",
        ),
    };
    match refusal::read_head(stream, &mut Vec::with_capacity(1024)).await? {
        Ok(_) => refusal::answer(stream, &answer).await,
        Err(mistake) => Err(io::Error::new(io::ErrorKind::InvalidData, mistake.words)),
    }
}

/// Answers CONNECT. Whoever sends something else has not asked to be let in.
async fn mqtt(stream: &mut TcpStream, refused: Refused) -> io::Result<()> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut bytes = Vec::new();
    let packet = loop {
        if bytes.first().is_some_and(|first| *first != 0x10) {
            return Err(invalid("the first packet is not a CONNECT".to_owned()));
        }
        if let Some(packet) = frame(&bytes, 0, MAX_CONNECT).map_err(|error| invalid(error.to_string()))? {
            break packet;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let connect = decode_connect(bytes.get(packet.body..packet.end).unwrap_or_default())
        .map_err(|error| invalid(error.to_string()))?;
    let answer = connack(&connect, refused).ok_or_else(|| invalid("the client takes no CONNACK".to_owned()))?;
    stream.write_all(&answer).await
}

/// MQTT 5 §3.2.2.2: 0x97 where an administrative limit is exceeded, and 0x9F where it is the rate of connections. (0x89
/// says that the server is busy, which it is not.) Before MQTT 5 both are return code 3, "server unavailable" (3.1.1
/// §3.2.2.3). None: the client takes no packet that is large enough.
fn connack(connect: &Connect<'_>, refused: Refused) -> Option<Vec<u8>> {
    let (reason, words) = match refused {
        Refused::Full => (ReasonCode::QUOTA_EXCEEDED, "too many connections"),
        Refused::Rate => (ReasonCode::CONNECTION_RATE_EXCEEDED, "too many new connections"),
        Refused::AddressRate => (ReasonCode::CONNECTION_RATE_EXCEEDED, "too many new connections from this address"),
    };
    let code = if connect.version == ProtocolVersion::V5 { reason.0 } else { reason.connect_return_code() };
    let most = connect.properties.maximum_packet_size.map_or(u32::MAX, |size| size.get()) as usize;
    // The text goes only where it fits (§3.2.2.3.9).
    [Some(words), None].into_iter().find_map(|reason_string| {
        let properties = ConnAckProperties { reason_string, ..ConnAckProperties::default() };
        let mut packet = Vec::new();
        let connack = ConnAck { session_present: false, code, properties };
        Packet::ConnAck(connack).encode(connect.version, &mut packet).ok()?;
        (packet.len() <= most).then_some(packet)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(connect: &[u8], refused: Refused) -> Option<Vec<u8>> {
        connack(&decode_connect(connect).unwrap(), refused)
    }

    #[test]
    fn each_limit_has_its_code_in_each_version() {
        let v5 = b"\0\x04MQTT\x05\x02\0\0\0\0\x01a";
        let v311 = b"\0\x04MQTT\x04\x02\0\0\0\x01a";
        let v31 = b"\0\x06MQIsdp\x03\x02\0\0\0\x01a";
        for (refused, code, words) in [
            (Refused::Full, 0x97, "too many connections"),
            (Refused::Rate, 0x9f, "too many new connections"),
            (Refused::AddressRate, 0x9f, "too many new connections from this address"),
        ] {
            let answer = answered(v5, refused).unwrap();
            assert_eq!(answer[..4], [0x20, u8::try_from(answer.len() - 2).unwrap(), 0, code]);
            assert!(answer.ends_with(words.as_bytes()));
            assert_eq!(answered(v311, refused).unwrap(), [0x20, 2, 0, 3]);
            assert_eq!(answered(v31, refused).unwrap(), [0x20, 2, 0, 3]);
        }
    }

    #[test]
    fn no_answer_is_larger_than_the_client_takes() {
        for most in 1..60_u8 {
            let connect = [&b"\0\x04MQTT\x05\x02\0\0\x05\x27\0\0\0"[..], &[most, 0, 1, b'a']].concat();
            match answered(&connect, Refused::Full) {
                Some(answer) => assert!(answer.len() <= usize::from(most)),
                None => assert!(most < 5),
            }
        }
        let roomy = b"\0\x04MQTT\x05\x02\0\0\x05\x27\0\0\0\x40\0\x01a";
        assert!(answered(roomy, Refused::Full).unwrap().ends_with(b"too many connections"));
    }
}
