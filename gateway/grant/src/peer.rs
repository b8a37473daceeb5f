//! The other end of a connection.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where a client connects from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// An address and a port, IPv4-mapped IPv6 already unmapped.
    Ip(SocketAddr),
    /// A process of this machine, over a Unix socket.
    Unix {
        /// The number of the user that it runs as, where the system tells.
        user: Option<u32>,
    },
}

impl Peer {
    /// Its address, if it has one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip().to_canonical()),
            Self::Unix { .. } => None,
        }
    }

    /// Its port; 0 if it has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Unix { .. } => 0,
        }
    }

    /// Who it is without the port: what many connections of one client have in common. `192.0.2.7`, or `unix:1000` for
    /// a process of user 1000.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Ip(address) => match address.ip().to_canonical() {
                IpAddr::V4(address) => dotted(address),
                IpAddr::V6(address) => address.to_string(),
            },
            Self::Unix { .. } => self.to_string(),
        }
    }
}

/// An address as it is written. Every login tells its policy; the standard library's way, which can align and fill, takes ten
/// times as long.
fn dotted(address: Ipv4Addr) -> String {
    let mut text = String::with_capacity(15);
    for octet in address.octets() {
        if !text.is_empty() {
            text.push('.');
        }
        for (least, digit) in [(100, octet / 100), (10, octet / 10 % 10), (0, octet % 10)] {
            if octet >= least {
                text.push(char::from(b'0' + digit));
            }
        }
    }
    text
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix { user: Some(user) } => write!(f, "unix:{user}"),
            Self::Unix { user: None } => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_usual() {
        for octet in 0..=255 {
            let address = Ipv4Addr::new(octet, 0, 255 - octet, octet / 3);
            assert_eq!(dotted(address), address.to_string());
        }
    }

    #[test]
    fn a_peer_is_shown_with_its_port_and_named_without() {
        let mapped = Peer::from("[::ffff:192.0.2.7]:5000".parse::<SocketAddr>().unwrap());
        assert_eq!((mapped.to_string().as_str(), mapped.address().as_str()), ("192.0.2.7:5000", "192.0.2.7"));
        let local = Peer::Unix { user: Some(1000) };
        assert_eq!((local.to_string().as_str(), local.address().as_str(), local.port()), ("unix:1000", "unix:1000", 0));
        assert_eq!(Peer::Unix { user: None }.to_string(), "unix");
    }
}
