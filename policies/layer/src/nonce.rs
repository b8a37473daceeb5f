//! Nonces: what an identity token must answer. Each is good once, whatever comes of it, and for ten minutes.

use policy_support::SchemeGateway;
use policy_support::deny;
use policy_support::wit::types::{Denial, DenyReason};

use crate::config::Config;
use crate::rate::{self, failed};

/// Seconds that a nonce is good for.
const LIFETIME: u32 = 600;

/// Octets of randomness in a nonce, which is written as twice as many hexadecimal digits.
const OCTETS: u32 = 20;

/// A nonce that nobody has had before. It is not kept: whoever asks for it remembers it.
pub fn fresh(gateway: &impl SchemeGateway) -> String {
    gateway.random(OCTETS).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Gives a nonce to an address, and remembers it for [`consume`].
///
/// # Errors
/// The address has had too many within the last minute, or nothing can be stored.
pub fn issue(gateway: &impl SchemeGateway, config: &Config, address: &str) -> Result<String, Denial> {
    rate::count(gateway, "nonces", address, config.nonces_per_minute, 60)?;
    let nonce = fresh(gateway);
    match gateway.set_if_absent(&key(&nonce), b"", Some(LIFETIME)).map_err(failed)? {
        true => Ok(nonce),
        false => Err(deny(DenyReason::Unavailable, "the generator of random numbers repeats itself")),
    }
}

/// Uses a nonce up. True: it was given out by [`issue`], is not too old, and was not used before.
///
/// # Errors
/// The store does not answer.
pub fn consume(gateway: &impl SchemeGateway, nonce: &str) -> Result<bool, Denial> {
    let formed = nonce.len() == 2 * OCTETS as usize && nonce.bytes().all(|octet| octet.is_ascii_hexdigit());
    // Reading costs the disk nothing; taking does, and a stranger may guess as often as they like.
    Ok(formed
        && gateway.get(&key(nonce)).map_err(failed)?.is_some()
        && gateway.take(&key(nonce)).map_err(failed)?.is_some())
}

fn key(nonce: &str) -> String {
    format!("nonce/{nonce}")
}

#[cfg(test)]
mod tests {
    use super::{consume, issue};
    use crate::config::Config;
    use policy_support::fake::Fake;
    use policy_support::wit::types::DenyReason;

    #[test]
    fn a_nonce_is_good_once_and_for_ten_minutes() {
        let mut gateway = Fake { now: 1_000, ..Fake::default() };
        let config = Config::parse("").unwrap();
        let nonce = issue(&gateway, &config, "192.0.2.1").unwrap();
        assert_eq!(nonce.len(), 40);
        assert_eq!(consume(&gateway, &nonce), Ok(true));
        assert_eq!(consume(&gateway, &nonce), Ok(false));
        let late = issue(&gateway, &config, "192.0.2.1").unwrap();
        assert_ne!(late, nonce);
        gateway.now += 600;
        assert_eq!(consume(&gateway, &late), Ok(false));
    }

    #[test]
    fn what_was_never_given_out_is_no_nonce() {
        let gateway = Fake::default();
        for other in ["", "x", "../rate/nonces/192.0.2.1", &"0".repeat(40), &"g".repeat(40), &"0".repeat(100_000)] {
            assert_eq!(consume(&gateway, other), Ok(false), "{other}");
        }
    }

    #[test]
    fn too_many_nonces_for_one_address_are_refused() {
        let gateway = Fake::default();
        let config = Config::parse(r#"{"nonces-per-minute":1}"#).unwrap();
        assert!(issue(&gateway, &config, "192.0.2.1").is_ok());
        assert_eq!(issue(&gateway, &config, "192.0.2.1").unwrap_err().reason, DenyReason::RateExceeded);
    }
}
