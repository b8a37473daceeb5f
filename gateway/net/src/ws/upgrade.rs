//! The opening handshake (RFC 6455 §4.2), and clear words for whatever else an HTTP client asks of this port.
//!
//! On sub-protocols, MQTT 5 §6 says that the client must offer `mqtt` [MQTT-6.0.0-3] and that what the server selects
//! is `mqtt` [MQTT-6.0.0-4]. `mqttv3.1`, which MQTT 3.1 clients offer, is echoed when `mqtt` is not offered; a listener
//! may list others for clients of other origin. A client that offers nothing is let in without a sub-protocol: the bytes
//! decide what it speaks. One that offers only others is refused, since it expects something else.

use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_grant::{HttpHead, PeerDetails};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::refusal::{Refusal, answer, linger, read_head, refuse};
use crate::request::Target;
use crate::ws::{WebSocketSpec, WsStream};

/// Lines of the request head.
const MAX_HEADERS: usize = 64;
/// How long a refused client may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// What was agreed.
#[derive(Debug)]
struct Upgrade {
    head: HttpHead,
    accept: String,
    protocol: Option<String>,
}

/// Reads the request, answers it, and gives the stream of bytes within. The head goes to `details`.
pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    spec: &WebSocketSpec,
    details: &mut PeerDetails,
) -> io::Result<WsStream<S>> {
    let mut buffer = Vec::with_capacity(1024);
    let upgrade = match read_head(&mut stream, &mut buffer).await? {
        Ok(end) => negotiate(buffer.get(..end).unwrap_or_default(), spec).map(|upgrade| (end, upgrade)),
        Err(refusal) => Err(refusal),
    };
    match upgrade {
        Ok((end, Upgrade { head, accept, protocol })) => {
            let mut answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n"
            );
            if let Some(protocol) = protocol {
                answer.extend(["Sec-WebSocket-Protocol: ", &protocol, "\r\n"]);
            }
            answer.push_str("\r\n");
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
            details.http = Some(head);
            // An eager client has sent its first frames already.
            buffer.drain(..end);
            Ok(WsStream::new(stream, buffer))
        }
        Err(refusal) => {
            let why = io::Error::new(io::ErrorKind::InvalidData, format!("{}: {}", refusal.status, refusal.words));
            // The client is refused in any case; whether it hears why is its own affair.
            let _ = tokio::time::timeout(LINGER, async {
                answer(&mut stream, &refusal).await?;
                linger(&mut stream).await
            })
            .await;
            Err(why)
        }
    }
}

/// Decides about a whole request head.
fn negotiate(head: &[u8], spec: &WebSocketSpec) -> Result<Upgrade, Refusal> {
    const BAD: &str = "400 Bad Request";
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err(refuse("431 Request Header Fields Too Large", "", "more than 64 header lines"));
        }
        Ok(httparse::Status::Partial) | Err(_) => return Err(refuse(BAD, "", "the request head is malformed")),
    }
    let method = request.method.unwrap_or_default();
    let target = request.path.and_then(Target::parse).ok_or(refuse(BAD, "", "the request target is malformed"))?;
    if request.version != Some(1) {
        return Err(refuse("505 HTTP Version Not Supported", "", "WebSocket needs HTTP/1.1"));
    }
    let mut fields = Vec::with_capacity(request.headers.len());
    for header in request.headers.iter() {
        let value = std::str::from_utf8(header.value).map_err(|_| refuse(BAD, "", "a header value is not UTF-8"))?;
        fields.push((header.name.to_ascii_lowercase(), value.to_owned()));
    }
    let one = |name: &str| {
        let mut values = fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        (values.next(), values.next().is_some())
    };
    let (Some(host), false) = one("host") else {
        return Err(refuse(BAD, "", "exactly one Host header is needed"));
    };
    if one("transfer-encoding").0.is_some() || one("content-length").0.is_some_and(|length| length.trim() != "0") {
        return Err(refuse(BAD, "", "a WebSocket upgrade has no body"));
    }
    if target.path != spec.path {
        return Err(refuse("404 Not Found", "", "there is no WebSocket at this path"));
    }
    if method != "GET" {
        return Err(refuse("405 Method Not Allowed", "Allow: GET\r\n", "a WebSocket is opened with GET"));
    }
    let lists = |name: &str, token: &str| {
        let mut values = fields.iter().filter(|(field, _)| field == name).flat_map(|(_, value)| value.split(','));
        values.any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    if !lists("upgrade", "websocket") || !lists("connection", "upgrade") {
        return Err(refuse(
            "426 Upgrade Required",
            "Upgrade: websocket\r\n",
            "this port speaks MQTT over WebSocket; connect with ws:// or wss:// and sub-protocol mqtt",
        ));
    }
    if one("sec-websocket-version") != (Some("13"), false) {
        return Err(refuse(
            "426 Upgrade Required",
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            "only version 13 of WebSocket is spoken",
        ));
    }
    let key = match one("sec-websocket-key") {
        (Some(key), false) if STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) => key,
        _ => return Err(refuse(BAD, "", "Sec-WebSocket-Key must be the base64 of 16 octets")),
    };
    if let (Some(origins), (Some(origin), _)) = (&spec.origins, one("origin"))
        && !origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    {
        return Err(refuse("403 Forbidden", "", "pages of this origin may not connect"));
    }
    let offered =
        || fields.iter().filter(|(field, _)| field == "sec-websocket-protocol").flat_map(|(_, value)| value.split(','));
    let protocol = spec.subprotocols.iter().find(|known| offered().any(|name| name.trim() == **known)).cloned();
    if protocol.is_none() && offered().next().is_some() {
        return Err(refuse(BAD, "", "none of these WebSocket sub-protocols is spoken here; mqtt usually is"));
    }
    let accept = accept_key(key);
    let authority = target.authority.unwrap_or(host).to_ascii_lowercase();
    let query = target.query.map(str::to_owned);
    let head = HttpHead { method: method.to_owned(), authority, path: target.path, query, headers: fields };
    Ok(Upgrade { head, accept, protocol })
}

/// §4.2.2, point 5.4. SHA-1 is no secret's guard here: it only proves that the server knows the protocol.
fn accept_key(key: &str) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(context.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /mqtt?x=1 HTTP/1.1\r\nHost: Gateway:15675\r\nUpgrade: WebSocket\r\nConnection: keep-alive, \
                        Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                        Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\nOrigin: https://console.example\r\n\r\n";

    fn ask(request: &str) -> Result<Upgrade, Refusal> {
        negotiate(request.as_bytes(), &WebSocketSpec::default())
    }

    fn status(request: &str) -> String {
        ask(request).map_or_else(|refusal| refusal.status[..3].to_owned(), |_| "101".to_owned())
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let upgrade = ask(GOOD).unwrap();
        assert_eq!(upgrade.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(upgrade.protocol.as_deref(), Some("mqtt"));
        assert_eq!(upgrade.head.authority, "gateway:15675");
        assert_eq!((upgrade.head.path.as_str(), upgrade.head.query.as_deref()), ("/mqtt", Some("x=1")));
        assert_eq!(upgrade.head.headers[0], ("host".to_owned(), "Gateway:15675".to_owned()));
    }

    #[test]
    fn sub_protocols() {
        let offer = |line: &str| ask(&GOOD.replace("Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n", line));
        assert_eq!(offer("Sec-WebSocket-Protocol: mqttv3.1\r\n").unwrap().protocol.as_deref(), Some("mqttv3.1"));
        assert_eq!(offer("").unwrap().protocol, None);
        assert_eq!(offer("Sec-WebSocket-Protocol: chat\r\n").unwrap_err().status, "400 Bad Request");
        let twice = "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: mqtt\r\n";
        assert_eq!(offer(twice).unwrap().protocol.as_deref(), Some("mqtt"));
    }

    #[test]
    fn a_listener_agrees_on_the_sub_protocols_that_it_lists_and_no_others() {
        let spec =
            WebSocketSpec { subprotocols: vec!["mqtt".to_owned(), "layer-1.0".to_owned()], ..WebSocketSpec::default() };
        let offer = |names: &str| negotiate(GOOD.replace("mqttv3.1, mqtt", names).as_bytes(), &spec);
        assert_eq!(offer("layer-1.0").unwrap().protocol.as_deref(), Some("layer-1.0"));
        assert_eq!(offer("layer-1.0, mqtt").unwrap().protocol.as_deref(), Some("mqtt"), "the listener's order counts");
        assert_eq!(offer("mqttv3.1").unwrap_err().status, "400 Bad Request");
        assert_eq!(offer("Layer-1.0").unwrap_err().status, "400 Bad Request");
    }

    #[test]
    fn origins_are_checked_when_they_are_listed() {
        let spec = |origin: &str| WebSocketSpec { origins: Some(vec![origin.to_owned()]), ..WebSocketSpec::default() };
        assert!(negotiate(GOOD.as_bytes(), &spec("https://console.example")).is_ok());
        assert_eq!(negotiate(GOOD.as_bytes(), &spec("https://x.example")).unwrap_err().status, "403 Forbidden");
        let no_browser = GOOD.replace("Origin: https://console.example\r\n", "");
        assert!(negotiate(no_browser.as_bytes(), &spec("https://x.example")).is_ok());
    }

    #[test]
    fn each_mistake_has_its_status() {
        for (from, to, expected) in [
            ("/mqtt?x=1", "/other", "404"),
            ("/mqtt?x=1", "/x/../mqtt", "101"),
            ("/mqtt?x=1", "*", "400"),
            ("GET", "POST", "405"),
            ("HTTP/1.1", "HTTP/1.0", "505"),
            ("Upgrade: WebSocket", "Upgrade: h2c", "426"),
            ("Connection: keep-alive, Upgrade", "Connection: close", "426"),
            ("Version: 13", "Version: 8", "426"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "400"),
            ("Sec-WebSocket-Key", "X-Key", "400"),
            ("Host: Gateway:15675\r\n", "", "400"),
            ("Host: Gateway:15675\r\n", "Host: a\r\nHost: b\r\n", "400"),
            ("Origin: ", "Content-Length: 5\r\nOrigin: ", "400"),
            ("Origin: ", "Transfer-Encoding: chunked\r\nOrigin: ", "400"),
            ("Origin: ", " bad\r\nOrigin: ", "400"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            assert_eq!(status(&GOOD.replacen(from, to, 1)), expected, "{from} -> {to}");
        }
        let many = GOOD.replace("Origin: ", &format!("{}Origin: ", "A: b\r\n".repeat(MAX_HEADERS)));
        assert_eq!(status(&many), "431");
        let mut latin = GOOD.as_bytes().to_vec();
        let at = GOOD.find("console").unwrap();
        latin[at] = 0xe9;
        assert!(negotiate(&latin, &WebSocketSpec::default()).unwrap_err().words.contains("UTF-8"));
    }
}
