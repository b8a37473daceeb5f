//! Slowing those who guess: a lock per user, known or not, and a rate per address.
//!
//! Both are kept in memory and bounded. A restart forgets them: it opens no door that the next wrong password does not
//! begin to close again.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use parking_lot::Mutex;

/// How those who guess passwords are slowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockOut {
    /// Wrong passwords for one user, one after the other within `window`, after which the user is locked.
    pub after: u32,
    /// Seconds.
    pub window: u32,
    /// Seconds for which the user stays locked.
    pub lasts: u32,
    /// Wrong passwords from one address (IPv6: from one /64) within a minute, after which it must wait.
    pub per_address: u32,
}

impl Default for LockOut {
    /// Ten wrong passwords within a quarter of an hour lock for a quarter of an hour; 30 a minute per address.
    fn default() -> Self {
        Self { after: 10, window: 900, lasts: 900, per_address: 30 }
    }
}

/// Seconds over which attempts of an address are counted.
const MINUTE: u64 = 60;
/// Entries that are remembered of each kind that a stranger can multiply.
const REMEMBERED: usize = 65_536;

#[derive(Clone, Copy, Debug)]
struct Count {
    wrong: u32,
    /// When this count is forgotten, or the lock opens.
    until: u64,
}

/// Who an attempt is for.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A user's identifier. There are no more of them than users.
    Known(String),
    /// A digest of whatever was asked for.
    Unknown([u8; 32]),
}

#[derive(Debug)]
pub(super) struct Attempts {
    rule: LockOut,
    known: Mutex<HashMap<String, Count>>,
    unknown: Mutex<HashMap<[u8; 32], Count>>,
    addresses: Mutex<HashMap<IpAddr, Count>>,
}

impl Attempts {
    pub(super) fn new(rule: LockOut) -> Self {
        Self { rule, known: Mutex::default(), unknown: Mutex::default(), addresses: Mutex::default() }
    }

    /// Seconds that an address must wait.
    pub(super) fn wait_for(&self, address: Option<IpAddr>, now: u64) -> Option<u32> {
        let addresses = self.addresses.lock();
        let count = addresses.get(&network(address?))?;
        (count.until > now && count.wrong >= self.rule.per_address).then(|| (count.until - now) as u32)
    }

    /// Until when the target is locked.
    pub(super) fn locked(&self, target: &Target, now: u64) -> Option<u64> {
        let count = match target {
            Target::Known(id) => self.known.lock().get(id).copied(),
            Target::Unknown(digest) => self.unknown.lock().get(digest).copied(),
        };
        count.filter(|count| count.until > now && count.wrong >= self.rule.after).map(|count| count.until)
    }

    /// Notes a wrong password.
    pub(super) fn wrong(&self, target: Target, address: Option<IpAddr>, now: u64) {
        match target {
            Target::Known(id) => self.count(&mut self.known.lock(), id, now),
            Target::Unknown(digest) => {
                let mut unknown = self.unknown.lock();
                make_room(&mut unknown, now);
                self.count(&mut unknown, digest, now);
            }
        }
        if let Some(address) = address {
            let mut addresses = self.addresses.lock();
            make_room(&mut addresses, now);
            let fresh = Count { wrong: 0, until: now + MINUTE };
            let count = addresses.entry(network(address)).or_insert(fresh);
            if count.until <= now {
                *count = fresh;
            }
            count.wrong = count.wrong.saturating_add(1);
        }
    }

    /// Forgets wrong passwords: the right one came, or an operator set another.
    pub(super) fn forget(&self, user_id: &str) {
        self.known.lock().remove(user_id);
    }

    fn count<K: Eq + Hash>(&self, counts: &mut HashMap<K, Count>, target: K, now: u64) {
        let fresh = Count { wrong: 0, until: now + u64::from(self.rule.window) };
        let count = counts.entry(target).or_insert(fresh);
        if count.until <= now {
            *count = fresh;
        }
        count.wrong = count.wrong.saturating_add(1);
        if count.wrong == self.rule.after {
            count.until = now + u64::from(self.rule.lasts);
        }
    }
}

/// Forgets what is over when the map is full; if nothing is, some entry: an attacker who fills it pays for each with a
/// hash, and is held by the rate of the address meanwhile.
fn make_room<K: Eq + Hash + Clone>(counts: &mut HashMap<K, Count>, now: u64) {
    if counts.len() < REMEMBERED {
        return;
    }
    counts.retain(|_, count| count.until > now);
    if counts.len() >= REMEMBERED {
        let some = counts.keys().next().cloned();
        some.map(|key| counts.remove(&key));
    }
}

/// Whoever has one IPv6 address has the 2^64 of its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: LockOut = LockOut { after: 3, window: 100, lasts: 50, per_address: 4 };

    #[test]
    fn the_map_of_the_unknown_is_bounded() {
        let attempts = Attempts::new(RULE);
        for n in 0..REMEMBERED as u32 + 100 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&n.to_le_bytes());
            attempts.wrong(Target::Unknown(digest), Some(IpAddr::from((u128::from(n) << 64).to_be_bytes())), 1000);
        }
        assert_eq!(attempts.unknown.lock().len(), REMEMBERED);
        assert_eq!(attempts.addresses.lock().len(), REMEMBERED);
        attempts.wrong(Target::Unknown([9; 32]), None, 10_000);
        assert_eq!(attempts.unknown.lock().len(), 1, "what is over is forgotten first");
    }

    #[test]
    fn a_network_is_one_address() {
        let attempts = Attempts::new(RULE);
        for host in 1..=4_u16 {
            let address = IpAddr::from([0x2001, 0xdb8, 0, 7, host, 0, 0, host]);
            attempts.wrong(Target::Unknown([host as u8; 32]), Some(address), 1000);
        }
        assert_eq!(attempts.wait_for("2001:db8:0:7::99".parse().ok(), 1000), Some(60));
        assert_eq!(attempts.wait_for("2001:db8:0:8::99".parse().ok(), 1000), None);
        assert_eq!(attempts.wait_for("2001:db8:0:7::99".parse().ok(), 1060), None);
        for _ in 0..4 {
            attempts.wrong(Target::Unknown([0; 32]), "::ffff:192.0.2.1".parse().ok(), 1000);
        }
        assert_eq!(attempts.wait_for("192.0.2.1".parse().ok(), 1030), Some(30));
        assert_eq!(attempts.wait_for(None, 1000), None);
    }

    #[test]
    fn old_wrong_passwords_do_not_count() {
        let attempts = Attempts::new(RULE);
        let target = || Target::Known("u".to_owned());
        attempts.wrong(target(), None, 0);
        attempts.wrong(target(), None, 99);
        attempts.wrong(target(), None, 100);
        assert_eq!(attempts.locked(&target(), 100), None, "the first two are over");
        attempts.wrong(target(), None, 101);
        attempts.wrong(target(), None, 102);
        assert_eq!(attempts.locked(&target(), 102), Some(152));
        assert_eq!(attempts.locked(&target(), 152), None);
    }
}
