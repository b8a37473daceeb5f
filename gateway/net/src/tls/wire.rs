//! The socket beneath TLS, on which little is said at a time.
//!
//! A handshake writes when it has something to say, and one of the things is said for later: the tickets of TLS 1.3, which
//! nobody waits for. What is written meanwhile is kept until the other side has to be heard, and tickets go with the first
//! answer of the protocol within: one system call and one packet less for each side.

use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use portcullis_router::DirectWriter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::socket::{Socket, Watched};

/// Octets that may be kept when more is written behind them. A handshake is bounded by TLS itself.
const MOST_KEPT: usize = 16 * 1024;

/// See the module's description.
pub(crate) struct Wire {
    socket: Watched,
    /// Written, and not sent yet.
    kept: Vec<u8>,
    /// The handshake is over: what is flushed is sent.
    established: bool,
    /// What is kept of the handshake is nothing that the other side waits for.
    may_wait: bool,
    /// Something was read. From now on the other side has to be waited for, each time.
    heard: bool,
}

impl Wire {
    /// A non-blocking socket that is registered with no runtime.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            socket: Watched::new(Socket::new(stream)),
            kept: Vec::new(),
            established: false,
            may_wait: false,
            heard: false,
        }
    }

    /// The handshake is over. `tickets`: what it said last can only be tickets (TLS 1.3, where the client has the last word
    /// that counts), and waits for the first answer.
    pub(crate) fn establish(&mut self, tickets: bool) {
        self.established = true;
        self.may_wait = tickets;
    }

    fn poll_socket_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            match self.socket.socket().try_write_parts(parts) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            let mut guard = ready!(self.socket.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|fd| fd.get_ref().try_write_parts(parts)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let kept = std::mem::take(&mut self.kept);
            let sent = self.poll_socket_write(cx, &[IoSlice::new(&kept)]);
            self.kept = kept;
            match ready!(sent)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n if n == self.kept.len() => self.kept = Vec::new(),
                n => drop(self.kept.drain(..n)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let room = buffer.initialize_unfilled();
        let length = room.len();
        match me.socket.poll_read(cx, length, me.heard, |socket| socket.read(room)) {
            Poll::Ready(read) => {
                me.heard = true;
                buffer.advance(read?);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                if !me.kept.is_empty() && !me.may_wait {
                    // The other side may wait for it.
                    if let Poll::Ready(Err(e)) = me.poll_send(cx) {
                        return Poll::Ready(Err(e));
                    }
                    // To send may have been to be watched anew.
                    if me.socket.poll_readable(cx)? {
                        cx.waker().wake_by_ref();
                    }
                }
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        if me.established && me.kept.is_empty() {
            return me.poll_socket_write(cx, parts);
        }
        if me.established && me.kept.len() > MOST_KEPT {
            ready!(me.poll_send(cx))?;
        }
        let before = me.kept.len();
        parts.iter().for_each(|part| me.kept.extend_from_slice(part));
        Poll::Ready(Ok(me.kept.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.established { me.poll_send(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Sends what is kept. The socket itself says good-bye when it is closed, as it is next: whoever has shut a stream down
    /// drops it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if !self.kept.is_empty() {
            // Why a handshake failed. If it cannot be said at once, it is not said.
            let _: io::Result<usize> = self.socket.socket().try_write(&self.kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn connected() -> (TcpStream, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (client, Wire::new(server))
    }

    fn came(client: &mut TcpStream, octets: usize) -> Vec<u8> {
        let mut buffer = vec![0; octets];
        client.read_exact(&mut buffer).unwrap();
        buffer
    }

    #[tokio::test]
    async fn what_a_handshake_says_is_sent_when_the_other_side_has_to_be_heard() {
        let (mut client, mut wire) = connected();
        wire.write_all(b"flight").await.unwrap();
        wire.flush().await.unwrap();
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        client.set_nonblocking(false).unwrap();
        waits(&mut wire);
        assert_eq!(came(&mut client, 6), b"flight");
        client.write_all(b"finished").unwrap();
        assert_eq!(wire.read(&mut [0; 8]).await.unwrap(), 8);
    }

    fn waits(wire: &mut Wire) {
        let mut buffer = [0; 8];
        let mut room = ReadBuf::new(&mut buffer);
        assert!(Pin::new(wire).poll_read(&mut Context::from_waker(Waker::noop()), &mut room).is_pending());
    }

    #[tokio::test]
    async fn tickets_go_with_the_first_answer() {
        let (mut client, mut wire) = connected();
        wire.write_all(b"tickets").await.unwrap();
        wire.flush().await.unwrap();
        wire.establish(true);
        waits(&mut wire);
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        client.set_nonblocking(false).unwrap();
        wire.write_all(b" answer").await.unwrap();
        wire.flush().await.unwrap();
        assert_eq!(came(&mut client, 14), b"tickets answer");
    }

    #[tokio::test]
    async fn the_last_word_of_an_older_handshake_waits_for_no_answer() {
        let (mut client, mut wire) = connected();
        wire.write_all(b"finished").await.unwrap();
        wire.flush().await.unwrap();
        wire.establish(false);
        waits(&mut wire);
        assert_eq!(came(&mut client, 8), b"finished");
    }

    #[tokio::test]
    async fn why_a_handshake_failed_is_told() {
        let (mut client, mut wire) = connected();
        wire.write_all(b"alert").await.unwrap();
        drop(wire);
        assert_eq!(came(&mut client, 5), b"alert");
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_waited_for_and_loses_nothing() {
        let (mut client, mut wire) = connected();
        wire.write_all(b"tickets").await.unwrap();
        wire.establish(true);
        let much = vec![7; 16 << 20];
        let told = 7 + much.len();
        let reading = tokio::task::spawn_blocking(move || came(&mut client, told));
        wire.write_all(&much).await.unwrap();
        wire.flush().await.unwrap();
        let all = reading.await.unwrap();
        assert!(all.starts_with(b"tickets") && all[7..] == *much);
    }
}
