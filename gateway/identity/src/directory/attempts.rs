//! Slowing those who guess: a lock per name that is tried, whether somebody has it or not, one per account, and a rate per
//! address.
//!
//! Wrong passwords are counted twice: by what was asked for, and by whom it found. The first count is the one that is told:
//! a user who is asked for in two ways has two, exactly as nobody has, or the lock of one name would tell that another is the
//! same user's. The second is the one that guesses are bounded by: when it is full, whoever asks by another name is
//! answered as for a wrong password, in the same time, whatever the password is.
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
    /// Wrong passwords for one user, by whatever names, one after the other within `window`, after which the user is locked.
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
    /// Whether it found a user: no stranger can multiply these, and none can push them out.
    known: bool,
}

/// A digest of what was asked for, or of whom that found: see `users::asked` and `users::account`.
pub(super) type Asked = [u8; 32];

#[derive(Debug)]
pub(super) struct Attempts {
    rule: LockOut,
    names: Mutex<HashMap<Asked, Count>>,
    addresses: Mutex<HashMap<IpAddr, Count>>,
}

impl Attempts {
    pub(super) fn new(rule: LockOut) -> Self {
        Self { rule, names: Mutex::default(), addresses: Mutex::default() }
    }

    /// Seconds that an address must wait.
    pub(super) fn wait_for(&self, address: Option<IpAddr>, now: u64) -> Option<u32> {
        let addresses = self.addresses.lock();
        let count = addresses.get(&network(address?))?;
        (count.until > now && count.wrong >= self.rule.per_address).then(|| (count.until - now) as u32)
    }

    /// Until when a name, or an account, is locked.
    pub(super) fn locked(&self, asked: &Asked, now: u64) -> Option<u64> {
        let count = self.names.lock().get(asked).copied();
        count.filter(|count| count.until > now && count.wrong >= self.rule.after).map(|count| count.until)
    }

    /// Notes a wrong password, with the account of whoever has that name.
    pub(super) fn wrong(&self, asked: Asked, account: Option<Asked>, address: Option<IpAddr>, now: u64) {
        let mut names = self.names.lock();
        let window = u64::from(self.rule.window);
        for counted in std::iter::once(asked).chain(account) {
            make_room(&mut names, now);
            let count = one_more(&mut names, counted, now, window);
            count.known |= account.is_some();
            if count.wrong == self.rule.after {
                count.until = now + u64::from(self.rule.lasts);
            }
        }
        drop(names);
        if let Some(address) = address {
            let mut addresses = self.addresses.lock();
            make_room(&mut addresses, now);
            one_more(&mut addresses, network(address), now, MINUTE);
        }
    }

    /// Forgets wrong passwords: the right one came, or an operator set another.
    pub(super) fn forget(&self, asked: &[Asked]) {
        let mut names = self.names.lock();
        for asked in asked {
            names.remove(asked);
        }
    }
}

fn one_more<K: Eq + Hash>(counts: &mut HashMap<K, Count>, key: K, now: u64, window: u64) -> &mut Count {
    let fresh = Count { wrong: 0, until: now + window, known: false };
    let count = counts.entry(key).or_insert(fresh);
    if count.until <= now {
        *count = fresh;
    }
    count.wrong = count.wrong.saturating_add(1);
    count
}

/// Forgets what is over when the map is full; if nothing is, some entry that found nobody: an attacker who fills it pays for each with a
/// hash, and is held by the rate of the address meanwhile.
fn make_room<K: Eq + Hash + Clone>(counts: &mut HashMap<K, Count>, now: u64) {
    if counts.len() < REMEMBERED {
        return;
    }
    counts.retain(|_, count| count.until > now);
    if counts.len() >= REMEMBERED {
        let some = counts.iter().find(|(_, count)| !count.known).map(|(key, _)| key.clone());
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
    fn the_map_of_the_unknown_is_bounded_and_pushes_nobody_known_out() {
        let attempts = Attempts::new(RULE);
        for _ in 0..RULE.after {
            attempts.wrong([7; 32], Some([8; 32]), None, 1000);
        }
        for n in 0..REMEMBERED as u32 + 100 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&n.to_le_bytes());
            attempts.wrong(digest, None, Some(IpAddr::from((u128::from(n) << 64).to_be_bytes())), 1000);
        }
        assert_eq!(attempts.names.lock().len(), REMEMBERED);
        assert_eq!(attempts.addresses.lock().len(), REMEMBERED);
        assert_eq!(attempts.locked(&[7; 32], 1000), Some(1050));
        assert_eq!(attempts.locked(&[8; 32], 1000), Some(1050));
        attempts.wrong([9; 32], None, None, 10_000);
        assert_eq!(attempts.names.lock().len(), 1, "what is over is forgotten first");
    }

    #[test]
    fn a_network_is_one_address() {
        let attempts = Attempts::new(RULE);
        for host in 1..=4_u16 {
            let address = IpAddr::from([0x2001, 0xdb8, 0, 7, host, 0, 0, host]);
            attempts.wrong([host as u8; 32], None, Some(address), 1000);
        }
        assert_eq!(attempts.wait_for("2001:db8:0:7::99".parse().ok(), 1000), Some(60));
        assert_eq!(attempts.wait_for("2001:db8:0:8::99".parse().ok(), 1000), None);
        assert_eq!(attempts.wait_for("2001:db8:0:7::99".parse().ok(), 1060), None);
        for _ in 0..4 {
            attempts.wrong([0; 32], None, "::ffff:192.0.2.1".parse().ok(), 1000);
        }
        assert_eq!(attempts.wait_for("192.0.2.1".parse().ok(), 1030), Some(30));
        assert_eq!(attempts.wait_for(None, 1000), None);
    }

    #[test]
    fn old_wrong_passwords_do_not_count() {
        let attempts = Attempts::new(RULE);
        let wrong = |now| attempts.wrong([1; 32], Some([2; 32]), None, now);
        [0, 99, 100].into_iter().for_each(wrong);
        assert_eq!(attempts.locked(&[1; 32], 100), None, "the first two are over");
        [101, 102].into_iter().for_each(wrong);
        assert_eq!(attempts.locked(&[1; 32], 102), Some(152));
        assert_eq!(attempts.locked(&[1; 32], 152), None);
    }
}
