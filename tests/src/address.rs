//! Addresses for servers that cannot be told to take any free port.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

/// An address that is the caller's alone, and stays so while whoever listens there is away: a port of 127.0.0.1 that was
/// free a moment ago may be somebody's by the time that a server takes it.
///
/// All of 127.0.0.0/8 is this machine. The process identifier (22 bits) chooses an address that no other process has, and
/// the port lies below those that the system gives out.
#[must_use]
pub fn own() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 64 | (high & 0x3f), middle, low);
    SocketAddr::from((host, NEXT.fetch_add(1, Ordering::Relaxed)))
}
