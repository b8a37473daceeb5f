//! A listening socket, of TCP or of Unix, and what it accepts.
//!
//! Both give the same type to the rest of this room: a stream socket is a descriptor, and reading, peeking, writing and
//! shutting down are the same system calls on either. What only TCP has (Nagle's delay, an address of the peer) is asked
//! here and nowhere else.

use std::io;
#[cfg(target_os = "linux")]
use std::net::SocketAddr;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use portcullis_grant::Peer;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::listener::unix::SocketFile;

/// Listens, and is not registered with a runtime yet.
#[derive(Debug)]
pub(crate) enum Socket {
    /// An address.
    Tcp(TcpListener),
    /// A path. The file goes with the socket.
    Unix(UnixListener, SocketFile),
}

impl Socket {
    /// Registers it with the runtime of the calling task.
    pub(crate) fn register(self) -> io::Result<Accepts> {
        Ok(match self {
            Self::Tcp(socket) => Accepts::Tcp(watched(socket)?),
            Self::Unix(socket, file) => Accepts::Unix(watched(socket)?, file),
        })
    }

    /// Who else may connect, where that is a matter of a file.
    pub(crate) fn file(&self) -> Option<&SocketFile> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(_, file) => Some(file),
        }
    }
}

/// Accepts connections.
#[derive(Debug)]
pub(crate) enum Accepts {
    Tcp(AsyncFd<TcpListener>),
    Unix(AsyncFd<UnixListener>, #[expect(dead_code, reason = "removes the file when it is dropped")] SocketFile),
}

impl Accepts {
    /// The next connection, and whose it is. It is registered with no runtime: tokio's own listeners do that, and to undo
    /// it for a plain connection, which registers itself, takes two system calls of the ten that a short connection is
    /// made of.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        match self {
            Self::Tcp(socket) => socket.async_io(Interest::READABLE, accept_tcp).await,
            Self::Unix(socket, _) => {
                let accept = |socket: &UnixListener| {
                    let (stream, _) = socket.accept()?;
                    stream.set_nonblocking(true)?;
                    let peer = Peer::Unix { user: user(&stream) };
                    Ok((TcpStream::from(OwnedFd::from(stream)), peer))
                };
                socket.async_io(Interest::READABLE, accept).await
            }
        }
    }
}

/// The next connection, which never blocks: Linux says so with accept4(2), elsewhere it takes a call more.
#[cfg(target_os = "linux")]
fn accept_tcp(socket: &TcpListener) -> io::Result<(TcpStream, Peer)> {
    use rustix::net::{SocketFlags, acceptfrom_with};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (stream, peer) = rustix::io::retry_on_intr(|| acceptfrom_with(socket, flags))?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((stream.into(), peer.into()))
}

/// The next connection, which never blocks.
#[cfg(not(target_os = "linux"))]
fn accept_tcp(socket: &TcpListener) -> io::Result<(TcpStream, Peer)> {
    let (stream, peer) = socket.accept()?;
    stream.set_nonblocking(true)?;
    Ok((stream, peer.into()))
}

/// The listening socket, registered with the runtime of the calling task.
#[allow(unsafe_code)]
fn watched<S: AsRawFd>(socket: S) -> io::Result<AsyncFd<S>> {
    // SAFETY: the descriptor must stay open and the same for as long as the `AsyncFd` lives. That owns the socket (it is
    // called with listeners alone), which owns the descriptor, closes it only when dropped and is never given another one.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}

/// The user that the other end runs as.
#[cfg(target_os = "linux")]
fn user(stream: &UnixStream) -> Option<u32> {
    rustix::net::sockopt::socket_peercred(stream).ok().map(|credentials| credentials.uid.as_raw())
}

/// The user that the other end runs as: this system does not tell.
#[cfg(not(target_os = "linux"))]
fn user(_: &UnixStream) -> Option<u32> {
    None
}
