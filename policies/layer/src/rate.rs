//! How often one address may ask for something that costs the gateway a place in its store.

use std::net::{IpAddr, Ipv6Addr};

use policy_support::SchemeGateway;
use policy_support::wit::store;
use policy_support::wit::types::{Denial, DenyReason};
use policy_support::{deny, digest};

/// Counts one use of `what` by an address, and refuses it beyond `limit` (0: none) within `window` seconds. An IPv6
/// address counts as its /64: whoever has one has all of them.
///
/// # Errors
/// It is over the limit, or nothing can be stored.
pub fn count(gateway: &impl SchemeGateway, what: &str, address: &str, limit: i64, window: u32) -> Result<(), Denial> {
    if limit == 0 {
        return Ok(());
    }
    let key = format!("rate/{what}/{}", network(address));
    let over = || Denial {
        retry_after: Some(window),
        ..deny(DenyReason::RateExceeded, format!("more than {limit} {what} for one address within {window} s"))
    };
    // Reading costs the disk nothing: whoever is over the limit must not make it write.
    let so_far = gateway.get(&key).map_err(failed)?.and_then(|text| String::from_utf8(text).ok()?.parse::<i64>().ok());
    if so_far.is_some_and(|count| count >= limit) {
        return Err(over());
    }
    match gateway.increment(&key, 1, Some(window)).map_err(failed)? {
        count if count > limit => Err(over()),
        _ => Ok(()),
    }
}

/// The refusal when the store does not do its part.
pub fn failed(error: store::Error) -> Denial {
    let why = match error {
        store::Error::Full => "the policy's share of storage is used up".to_owned(),
        store::Error::Invalid(why) | store::Error::Other(why) => why,
    };
    deny(DenyReason::Unavailable, format!("the store failed: {why}"))
}

/// An address as it is counted. What is no address is counted by its digest, so that a key stays short.
fn network(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V4(address)) => address.to_string(),
        Ok(IpAddr::V6(address)) => match address.segments() {
            [a, b, c, d, ..] => Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_string(),
        },
        Err(_) => digest::sha256(&[address]),
    }
}

#[cfg(test)]
mod tests {
    use super::count;
    use policy_support::fake::Fake;
    use policy_support::wit::types::DenyReason;

    #[test]
    fn an_address_is_slowed_and_others_are_not() {
        let mut gateway = Fake { now: 1_000, ..Fake::default() };
        let ask = |gateway: &Fake, address: &str| count(gateway, "nonces", address, 2, 60);
        for _ in 0..2 {
            assert_eq!(ask(&gateway, "192.0.2.1"), Ok(()));
        }
        let refused = ask(&gateway, "192.0.2.1").unwrap_err();
        assert_eq!((refused.reason, refused.retry_after), (DenyReason::RateExceeded, Some(60)));
        assert_eq!(ask(&gateway, "192.0.2.2"), Ok(()));
        gateway.now += 60;
        assert_eq!(ask(&gateway, "192.0.2.1"), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let gateway = Fake::default();
        assert_eq!(count(&gateway, "nonces", "2001:db8::1", 1, 60), Ok(()));
        assert!(count(&gateway, "nonces", "2001:db8::ffff:2", 1, 60).is_err());
        assert_eq!(count(&gateway, "nonces", "2001:db8:0:1::1", 1, 60), Ok(()));
    }

    #[test]
    fn no_limit_stores_nothing() {
        let gateway = Fake::default();
        assert_eq!(count(&gateway, "nonces", "192.0.2.1", 0, 60), Ok(()));
        assert!(gateway.scheme.values.borrow().is_empty());
    }
}
