//! `<data>/admin.json`: how commands find the gateway that runs on a data directory. Readable by nobody else, because
//! whoever can read it may do what an administrator may.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{self, Readers};

/// Where the admin API is, and what opens it.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct RuntimeFile {
    /// Address of the admin API, as this machine reaches it.
    pub(crate) address: SocketAddr,
    /// Bearer token, made anew at each start.
    pub(crate) token: String,
    /// Process identifier of the gateway.
    pub(crate) pid: u32,
}

impl RuntimeFile {
    /// Of this process, with a new token.
    ///
    /// # Errors
    /// The operating system has no randomness.
    pub(crate) fn new(bound: SocketAddr) -> io::Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        let token = secret.iter().map(|octet| format!("{octet:02x}")).collect();
        Ok(Self { address: reachable(bound), token, pid: std::process::id() })
    }

    /// Writes it.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn write(&self, data: &Path) -> io::Result<()> {
        files::write(&path(data), serde_json::to_string(self)?.as_bytes(), Readers::Owner)
    }

    /// Reads it. None: no gateway with an admin API was started on this directory since the last one stopped.
    ///
    /// # Errors
    /// What the operating system says, or that the file is not what a gateway writes.
    pub(crate) fn read(data: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(path(data)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes it: the gateway stops.
    pub(crate) fn remove(data: &Path) {
        // If it stays, commands find nobody at the address and say so.
        let _ = std::fs::remove_file(path(data));
    }
}

fn path(data: &Path) -> PathBuf {
    data.join("admin.json")
}

/// An address that can be connected to: the wildcard is everywhere, so also on loopback.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_secret_and_reads_back() {
        let data = tempfile::tempdir().unwrap();
        assert!(RuntimeFile::read(data.path()).unwrap().is_none());
        let written = RuntimeFile::new(([0, 0, 0, 0], 9090).into()).unwrap();
        written.write(data.path()).unwrap();
        let mode = std::fs::metadata(path(data.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = RuntimeFile::read(data.path()).unwrap().unwrap();
        assert_eq!(read.address, ([127, 0, 0, 1], 9090).into());
        assert_eq!((read.token.len(), read.token), (64, written.token));
        RuntimeFile::remove(data.path());
        assert!(RuntimeFile::read(data.path()).unwrap().is_none());
    }

    #[test]
    fn tokens_differ() {
        let token = || RuntimeFile::new(([127, 0, 0, 1], 1).into()).unwrap().token;
        assert_ne!(token(), token());
    }
}
