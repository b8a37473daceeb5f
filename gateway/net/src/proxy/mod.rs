//! The PROXY protocol, versions 1 and 2 (haproxy.org, `proxy-protocol.txt` of 2020): a load balancer says, ahead of
//! everything else, whose connection it passes on.
//!
//! Who may say so is named by the configuration: a header is as good as an address, so that a stranger who could send one
//! would be whoever he likes. A listener that expects it serves nobody else, as the specification demands: guessing
//! whether a header is there would let a client of the balancer bring a second one.

mod header;
mod network;
mod receive;

pub use header::{Header, MAX_HEADER, Parsed, parse};
pub use network::{Network, NetworkError};
pub(crate) use receive::receive;

use portcullis_grant::Peer;

/// Which peers speak for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySpec {
    /// Who they are. Whoever else connects is closed before a byte is read.
    pub from: Vec<Balancer>,
}

/// Peers that speak for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balancer {
    /// Those with an address of this network.
    Network(Network),
    /// Those who may connect to our Unix sockets.
    Unix,
}

impl ProxySpec {
    /// Whether this peer is among them.
    #[must_use]
    pub fn trusts(&self, peer: Peer) -> bool {
        self.from.iter().any(|balancer| match (balancer, peer) {
            (Balancer::Network(network), Peer::Ip(address)) => network.contains(address.ip()),
            (Balancer::Unix, Peer::Unix { .. }) => true,
            _ => false,
        })
    }
}
