//! Reading and writing a connection, whichever way its bytes arrive.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use portcullis_router::{DirectWriter, Flush, Mailbox};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::handler::AsyncStream;
use crate::socket::{Socket, Watched, read_now};

pub(super) enum Io {
    /// Plain TCP.
    Direct(Watched),
    /// TLS or WebSocket. Boxed twice, so that it takes no more room than a socket.
    Stream(Box<Box<dyn AsyncStream>>),
    /// Plain TCP that is parked: the runtime does not know it. Whoever finds nothing to read or no room to write is not woken
    /// for it by this; more to read is the parking's to hear of, and with no room it is parked no longer.
    Parked(Arc<Socket>),
}

impl Io {
    pub(super) fn of(stream: Box<dyn AsyncStream>) -> Self {
        Self::Stream(Box::new(stream))
    }

    /// Reads once. `Ready(Ok(0))` is the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Direct(socket) => {
                let room = buffer.len();
                socket.poll_read_unwatched(cx, room, |socket| socket.read(buffer))
            }
            Self::Stream(stream) => {
                let mut buffer = ReadBuf::new(buffer);
                ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
                Poll::Ready(Ok(buffer.filled().len()))
            }
            Self::Parked(socket) => waiting(read_now(socket, |socket| socket.read(buffer))),
        }
    }

    /// Reads once, behind what the buffer holds, as much as it has room for. The room was never written to: to fill it with
    /// zeros first would be to write everything twice.
    pub(super) fn poll_read_behind(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        match self {
            Self::Direct(socket) => {
                let room = buffer.capacity() - buffer.len();
                socket.poll_read_unwatched(cx, room, |socket| socket.read_behind(buffer))
            }
            Self::Stream(stream) => pin!(stream.read_buf(buffer)).poll(cx),
            Self::Parked(socket) => waiting(read_now(socket, |socket| socket.read_behind(buffer))),
        }
    }

    /// Writes what waits in the mailbox. Pending: the rest goes when the socket takes more, and the task is woken then.
    pub(super) fn poll_write_mailbox(
        &mut self,
        cx: &mut Context<'_>,
        mailbox: &Mailbox,
        unflushed: &mut bool,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Direct(socket) => {
                if !mailbox.is_blocked() {
                    // Left by a publisher who had written long enough.
                    return match mailbox.flush() {
                        Flush::Blocked => self.poll_write_mailbox(cx, mailbox, unflushed),
                        Flush::Dead => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                        Flush::Done | Flush::Owner => Poll::Ready(Ok(())),
                    };
                }
                loop {
                    let mut guard = ready!(socket.poll_write_ready(cx))?;
                    mailbox.unblock();
                    // Inside `try_io`, so that a writable edge between the attempt and the clearing is not lost.
                    let tried = guard.try_io(|_| match mailbox.flush() {
                        Flush::Blocked => Err(io::ErrorKind::WouldBlock.into()),
                        Flush::Dead => Err(io::ErrorKind::BrokenPipe.into()),
                        Flush::Done | Flush::Owner => Ok(()),
                    });
                    if let Ok(result) = tried {
                        return Poll::Ready(result);
                    }
                }
            }
            Self::Stream(stream) => {
                while let Some(mut output) = mailbox.take_output() {
                    while !output.unwritten().is_empty() {
                        match Pin::new(&mut *stream).poll_write(cx, output.unwritten()) {
                            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                            Poll::Ready(Ok(n)) => output.advance(n),
                            Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                            Poll::Pending => {
                                mailbox.return_output(output);
                                return Poll::Pending;
                            }
                        }
                    }
                    *unflushed = true;
                    mailbox.return_output(output);
                }
                if *unflushed {
                    ready!(Pin::new(stream).poll_flush(cx))?;
                    *unflushed = false;
                }
                Poll::Ready(Ok(()))
            }
            Self::Parked(_) if mailbox.is_blocked() => Poll::Pending,
            Self::Parked(_) => match mailbox.flush() {
                Flush::Blocked => Poll::Pending,
                Flush::Dead => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Flush::Done | Flush::Owner => Poll::Ready(Ok(())),
            },
        }
    }

    /// Writes bytes that do not go through a mailbox.
    pub(super) fn poll_write_bytes(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        at: &mut usize,
    ) -> Poll<io::Result<()>> {
        while *at < bytes.len() {
            let rest = &bytes[*at..];
            let n = match self {
                Self::Direct(socket) => match socket.socket().try_write(rest) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        let mut guard = ready!(socket.poll_write_ready(cx))?;
                        match guard.try_io(|fd| fd.get_ref().try_write(rest)) {
                            Ok(result) => result?,
                            Err(_would_block) => continue,
                        }
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    result => result?,
                },
                Self::Stream(stream) => ready!(Pin::new(stream).poll_write(cx, rest))?,
                Self::Parked(socket) => match socket.try_write(rest) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    result => result?,
                },
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *at += n;
        }
        match self {
            Self::Direct(_) | Self::Parked(_) => Poll::Ready(Ok(())),
            Self::Stream(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Says good-bye as the transport wants it.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Stream(stream) => return Pin::new(stream).poll_shutdown(cx).map(drop),
            Self::Direct(socket) => socket.socket().shut_down(),
            Self::Parked(socket) => socket.shut_down(),
        }
        Poll::Ready(())
    }
}

fn waiting(read: Option<io::Result<usize>>) -> Poll<io::Result<usize>> {
    read.map_or(Poll::Pending, Poll::Ready)
}
