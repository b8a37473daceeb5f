//! Taking a PROXY header off a connection, and not an octet more: what follows belongs to TLS, MQTT or HTTP.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::proxy::header::{MAX_HEADER, Parsed, parse};

/// Octets that are looked at in one go: every header without large extensions.
const LOOK: usize = 512;

/// Reads the header, and gives the client's address if it names one. Whoever calls sees to it that it comes in time.
///
/// Looks before it reads: bytes that prove not to end the header are all of it, and where it ends is known before the
/// last of it is taken. The usual header costs two system calls.
///
/// # Errors
/// The connection ends before the header does, or does not begin with one.
pub(crate) async fn receive(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut taken: Vec<u8> = Vec::new();
    let mut look = [0; LOOK];
    loop {
        let seen = stream.peek(&mut look).await?;
        if seen == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it was closed before its PROXY header was whole",
            ));
        }
        let before = taken.len();
        taken.extend_from_slice(look.get(..seen).unwrap_or_default());
        let (taking, done) = match parse(&taken) {
            Parsed::Malformed(why) => return Err(io::Error::new(io::ErrorKind::InvalidData, why)),
            Parsed::Incomplete if taken.len() >= MAX_HEADER => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the PROXY header does not end"));
            }
            Parsed::Incomplete => (seen, None),
            Parsed::Done(header) => (header.length.saturating_sub(before), Some(header)),
        };
        // They are there already.
        stream.read_exact(look.get_mut(..taking).unwrap_or_default()).await?;
        if let Some(header) = done {
            return Ok(header.source);
        }
    }
}
