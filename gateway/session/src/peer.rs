//! The other end of a connection in as few octets as it takes: every idle connection keeps it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use portcullis_grant::Peer;

/// A [`Peer`] in 20 octets instead of 32. What does not fit into it is kept elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packed {
    V4(Ipv4Addr, u16),
    V6([u16; 8], u16),
    /// Another process, and the lower and upper half of its user's number.
    Unix(Option<[u16; 2]>),
}

impl Packed {
    /// None: an IPv6 address with a zone or a flow label.
    pub(crate) fn of(peer: &Peer) -> Option<Self> {
        Some(match peer {
            Peer::Ip(SocketAddr::V4(v4)) => Self::V4(*v4.ip(), v4.port()),
            Peer::Ip(SocketAddr::V6(v6)) => {
                let packed = Self::V6(v6.ip().segments(), v6.port());
                return (*v6 == SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0)).then_some(packed);
            }
            Peer::Unix { user } => Self::Unix(user.map(|user| [user as u16, (user >> 16) as u16])),
        })
    }

    pub(crate) fn unpack(self) -> Peer {
        match self {
            Self::V4(ip, port) => Peer::Ip(SocketAddr::new(IpAddr::V4(ip), port)),
            Self::V6(segments, port) => Peer::Ip(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(segments)), port)),
            Self::Unix(user) => {
                Peer::Unix { user: user.map(|[lower, upper]| u32::from(lower) | u32::from(upper) << 16) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_out_again_or_was_not_packed() {
        let ip = |text: &str| Peer::Ip(text.parse().unwrap());
        for peer in [
            ip("192.0.2.7:5000"),
            ip("[2001:db8::7]:65535"),
            Peer::Unix { user: None },
            Peer::Unix { user: Some(0) },
            Peer::Unix { user: Some(0xFFFF_FFFE) },
        ] {
            assert_eq!(Packed::of(&peer).map(Packed::unpack), Some(peer));
        }
        assert_eq!(Packed::of(&ip("[fe80::1%3]:5000")), None, "its zone would be lost");
    }
}
