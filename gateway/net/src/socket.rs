//! A plain TCP socket that its owner reads and anybody may write, and how the runtime is asked to watch it.
//!
//! It is watched only when there is something to wait for: a client's first octets are usually there when its connection is
//! accepted, and then it is let in without the runtime having heard of it. So it is with room to write, which hardly any
//! connection ever waits for: to be told of it once, for nothing, would be an event in each connection's life.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use portcullis_router::DirectWriter;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// Shared by the connection and its mailbox; the descriptor is closed when the last of them lets go, so that a publisher
/// in the middle of a write never meets a descriptor that is somebody else's by then.
pub(crate) struct Socket {
    stream: TcpStream,
    /// Whether the runtime watches it for room to write as well. For its owner alone; here it costs no octet.
    writes_watched: AtomicBool,
}

/// A socket as its owner has it.
pub(crate) enum Watched {
    /// Nothing was waited for yet.
    Not(Arc<Socket>),
    /// The same, and there was nothing more to read: its owner waits for it, or has it parked, before the turn is over.
    Emptied(Arc<Socket>),
    /// The runtime watches it. What that takes is not kept in each idle connection.
    By(Box<AsyncFd<Arc<Socket>>>),
}

/// Registers the socket with the runtime of the calling task.
///
/// tokio's own `TcpStream` would do without `unsafe`, but it cannot be shared with the publishers who write to it: the
/// direct write is what makes a delivery one system call.
#[allow(unsafe_code)]
fn register(socket: Arc<Socket>, interest: Interest) -> io::Result<Box<AsyncFd<Arc<Socket>>>> {
    socket.writes_watched.store(interest.is_writable(), Ordering::Relaxed);
    // SAFETY: the descriptor must stay open and the same for as long as the `AsyncFd` lives. It holds an `Arc` of the
    // socket, which owns the descriptor, closes it only when dropped and is never given another one.
    Ok(Box::new(unsafe { AsyncFd::register_with_interest(socket, interest) }?))
}

impl Watched {
    /// A socket that is non-blocking and registered with no runtime.
    pub(crate) fn new(socket: Arc<Socket>) -> Self {
        socket.writes_watched.store(false, Ordering::Relaxed);
        Self::Not(socket)
    }

    /// The socket itself.
    pub(crate) fn socket(&self) -> &Arc<Socket> {
        match self {
            Self::Not(socket) | Self::Emptied(socket) => socket,
            Self::By(fd) => fd.get_ref(),
        }
    }

    /// Reads with `read`, which has room for so much. What is not watched yet is tried first, unless there is hardly anything
    /// to be found (`wait`).
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        wait: bool,
        mut read: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if let Self::Not(socket) = self
            && !wait
            && let Some(result) = read_now(socket, &mut read)
        {
            return Poll::Ready(result);
        }
        let fd = self.watch()?;
        loop {
            let mut guard = ready!(fd.poll_read_ready(cx))?;
            match guard.try_io(|fd| read(fd.get_ref())) {
                Ok(Ok(n)) => {
                    if n > 0 && n < room {
                        // A short read emptied the socket: the next readiness is an event, and asking for it costs no system
                        // call.
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(n));
                }
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(e)) => return Poll::Ready(Err(e)),
                Err(_would_block) => {}
            }
        }
    }

    /// The same, but what is not watched yet stays so where there is nothing: then it waits for [`Self::poll_readable`].
    pub(crate) fn poll_read_unwatched(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        mut read: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::By(_) => return self.poll_read(cx, room, true, read),
            Self::Emptied(_) => {}
            Self::Not(socket) => match read_now(socket, &mut read) {
                Some(result) => return Poll::Ready(result),
                None => *self = Self::Emptied(Arc::clone(socket)),
            },
        }
        Poll::Pending
    }

    /// After a read that took all there was: whoever watches the socket wakes its owner when there is more; what is not watched
    /// waits for [`Self::poll_readable`]. True: there may be more already.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::By(fd) => fd.poll_read_ready(cx).is_ready(),
            Self::Not(socket) | Self::Emptied(socket) => {
                *self = Self::Emptied(Arc::clone(socket));
                false
            }
        }
    }

    /// Asks to be woken when there is something to read. True: there may be already.
    ///
    /// # Errors
    /// It cannot be watched.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        Ok(self.watch()?.poll_read_ready(cx).is_ready())
    }

    /// Asks to be woken when there is room to write, after an attempt that found none.
    pub(crate) fn poll_write_ready(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyGuard<'_, Arc<Socket>>>> {
        let socket = Arc::clone(self.socket());
        if !socket.writes_watched.load(Ordering::Relaxed) {
            // The old registration ends first: a descriptor has one. Whoever reads asks anew in the same poll.
            *self = Self::new(Arc::clone(&socket));
            *self = Self::By(register(socket, Interest::READABLE | Interest::WRITABLE)?);
        }
        self.watch()?.poll_write_ready(cx)
    }

    fn watch(&mut self) -> io::Result<&AsyncFd<Arc<Socket>>> {
        if let Self::Not(socket) | Self::Emptied(socket) = self {
            *self = Self::By(register(Arc::clone(socket), Interest::READABLE)?);
        }
        match self {
            Self::By(fd) => Ok(fd),
            Self::Not(_) | Self::Emptied(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Reads without waiting. None: there was nothing.
pub(crate) fn read_now(
    socket: &Socket,
    mut read: impl FnMut(&Socket) -> io::Result<usize>,
) -> Option<io::Result<usize>> {
    loop {
        match read(socket) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
            result => return Some(result),
        }
    }
}

impl Socket {
    /// Non-blocking, and registered with no runtime.
    pub(crate) fn new(stream: TcpStream) -> Arc<Self> {
        Arc::new(Self { stream, writes_watched: AtomicBool::new(false) })
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(buffer)
    }

    /// Reads into what the buffer has room for.
    pub(crate) fn read_behind(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        Ok(rustix::io::read(&self.stream, rustix::buffer::spare_capacity(buffer))?)
    }

    /// Writes from several places at once.
    pub(crate) fn try_write_parts(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.stream).write_vectored(parts)
    }

    /// Ends our side of the connection; what was written still arrives.
    pub(crate) fn shut_down(&self) {
        // Fails when the other side is gone already, which is as good.
        let _: io::Result<()> = self.stream.shutdown(Shutdown::Write);
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl DirectWriter for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.stream).write(bytes)
    }
}
