//! Refusing politely: HTTP requests that come to nothing before anything was agreed, and closing so that the last words
//! arrive.

use std::fmt::Write as _;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Octets of a request head.
const MAX_HEAD: usize = 16 * 1024;
/// Octets that a refused client may still send.
const MAX_UNREAD: usize = 64 * 1024;

/// A refusal: status line, further headers, and a sentence for whoever tries it by hand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: &'static str,
    pub(crate) headers: &'static str,
    pub(crate) words: &'static str,
}

pub(crate) const fn refuse(status: &'static str, headers: &'static str, words: &'static str) -> Refusal {
    Refusal { status, headers, words }
}

/// Reads up to the empty line; returns where it ends, or how to refuse what is no request head.
pub(crate) async fn read_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> io::Result<Result<usize, Refusal>> {
    loop {
        let seen = buffer.len();
        if (&mut *stream).take((MAX_HEAD - seen) as u64).read_buf(buffer).await? == 0 {
            if seen >= MAX_HEAD {
                return Ok(Err(refuse("431 Request Header Fields Too Large", "", "the request head is over 16 KiB")));
            }
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if seen == 0 && !buffer.first().is_some_and(u8::is_ascii_uppercase) {
            return Ok(Err(refuse(
                "400 Bad Request",
                "",
                "this port speaks MQTT over WebSocket, and this is not HTTP",
            )));
        }
        // Parsed once, when it is whole: a head that drips in octet by octet costs no more than another.
        let from = seen.saturating_sub(3);
        let fresh = buffer.get(from..).unwrap_or_default();
        let end = fresh.windows(4).position(|window| window == b"\r\n\r\n").map(|at| from + at + 4);
        if let Some(end) = end {
            return Ok(Ok(end));
        }
    }
}

/// Sends a refusal. The connection is of no use afterwards: [`linger`] and close it.
pub(crate) async fn answer<S: AsyncWrite + Unpin>(stream: &mut S, refusal: &Refusal) -> io::Result<()> {
    let Refusal { status, headers, words } = refusal;
    let mut text = String::with_capacity(256);
    let body = format!("{{\"error\":\"{words}\"}}\n");
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "HTTP/1.1 {status}\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await
}

/// Ends our side and waits until the client has ended its own, or was too much: closing a socket with unread input would
/// discard what was written last.
pub(crate) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    let mut budget = MAX_UNREAD;
    while budget > 0 {
        match stream.read(&mut unread).await? {
            0 => break,
            octets => budget = budget.saturating_sub(octets),
        }
    }
    Ok(())
}
