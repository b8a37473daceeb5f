//! Addresses and networks as people write them: `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// A network (RFC 4632, RFC 4291 §2.3), or one address. IPv4-mapped IPv6 is IPv4 here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Leading bits that count: 0 to 32, or to 128.
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// What stands before the `/`, or alone, is not an address.
    #[error("it does not begin with an IPv4 or IPv6 address")]
    Address,
    /// What follows the `/` is not a number of bits that the address has.
    #[error("the number of bits after `/` is not one from 0 to {0}")]
    Prefix(u8),
    /// The address has bits behind the prefix: was it meant as one address, or as the network?
    #[error("the address has bits beyond its network")]
    Beyond {
        /// The network that the address is in.
        network: Network,
    },
}

impl Network {
    /// Whether the address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }

    /// The same prefix of this address, without the bits behind it.
    fn masked(address: IpAddr, prefix: u8) -> Self {
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        };
        Self { address, prefix }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address = IpAddr::from_str(address).map_err(|_| NetworkError::Address)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let Some(bits) = bits else {
            let address = address.to_canonical();
            return Ok(Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } });
        };
        // `parse` would take a sign.
        let digits = bits.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = bits.parse().ok().filter(|n| digits && *n <= most).ok_or(NetworkError::Prefix(most))?;
        let network = Self::masked(address, prefix);
        if network.address != address {
            return Err(NetworkError::Beyond { network });
        }
        // Within ::ffff:0:0/96 there is IPv4 and nothing else.
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), mapped @ IpAddr::V4(_)) if prefix >= 96 => {
                Ok(Self { address: mapped, prefix: prefix - 96 })
            }
            _ => Ok(network),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn what_is_in_a_network_and_what_is_not() {
        for (network, inside, outside) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.32.0.0/11", "10.63.0.1", "10.64.0.0"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::/0", "2001:db8::1", "192.0.2.7"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "::2"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ] {
            assert!(contains(network, inside), "{inside} in {network}");
            assert!(!contains(network, outside), "{outside} in {network}");
        }
    }

    #[test]
    fn what_is_no_network() {
        for (text, error) in [
            ("", NetworkError::Address),
            ("balancer", NetworkError::Address),
            ("10.0.0/8", NetworkError::Address),
            ("10.0.0.1:80", NetworkError::Address),
            ("[::1]", NetworkError::Address),
            ("10.0.0.0/", NetworkError::Prefix(32)),
            ("10.0.0.0/33", NetworkError::Prefix(32)),
            ("10.0.0.0/+8", NetworkError::Prefix(32)),
            ("10.0.0.0/8/8", NetworkError::Prefix(32)),
            ("::/129", NetworkError::Prefix(128)),
            ("10.0.0.1/8", NetworkError::Beyond { network: "10.0.0.0/8".parse().unwrap() }),
            ("2001:db8::1/32", NetworkError::Beyond { network: "2001:db8::/32".parse().unwrap() }),
            ("0.0.0.1/0", NetworkError::Beyond { network: "0.0.0.0/0".parse().unwrap() }),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
    }

    #[test]
    fn it_is_shown_as_it_is_written() {
        for text in ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::/0"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
    }
}
