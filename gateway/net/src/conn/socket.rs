//! A plain TCP socket that its owner reads and anybody may write.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use portcullis_router::DirectWriter;
use tokio::io::unix::AsyncFd;

/// Shared by the connection and its mailbox; the descriptor is closed when the last of them lets go, so that a publisher
/// in the middle of a write never meets a descriptor that is somebody else's by then.
pub(super) struct Socket(pub TcpStream);

/// Registers the socket with the runtime of the calling task.
///
/// tokio's own `TcpStream` would do without `unsafe`, but it cannot be shared with the publishers who write to it: the
/// direct write is what makes a delivery one system call.
#[allow(unsafe_code)]
pub(super) fn register(socket: Arc<Socket>) -> io::Result<AsyncFd<Arc<Socket>>> {
    // SAFETY: the descriptor must stay open and the same for as long as the `AsyncFd` lives. It holds an `Arc` of the
    // socket, which owns the descriptor, closes it only when dropped and is never given another one.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

impl Socket {
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Reads into what the buffer has room for.
    pub(super) fn read_behind(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        Ok(rustix::io::read(&self.0, rustix::buffer::spare_capacity(buffer))?)
    }

    /// Ends our side of the connection; what was written still arrives.
    pub(super) fn shut_down(&self) {
        // Fails when the other side is gone already, which is as good.
        let _: io::Result<()> = self.0.shutdown(Shutdown::Write);
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl DirectWriter for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }
}
