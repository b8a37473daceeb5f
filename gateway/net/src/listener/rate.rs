//! Rates of events, in total and per address, in bounded memory.
//!
//! The generic cell rate algorithm: one number says at what time the next event would be exactly on schedule. An event
//! is refused when that time is further ahead than the burst allows. Nothing has to be refilled or swept.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};

use portcullis_grant::Peer;

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Events a second, in the long run. 0 refuses everything.
    pub per_second: u32,
    /// Events at once after a pause. 0 counts as 1.
    pub burst: u32,
}

impl Rate {
    /// Nanoseconds between two events on schedule. None: there is no next event.
    fn interval(self) -> Option<u64> {
        1_000_000_000_u64.checked_div(u64::from(self.per_second))
    }
}

/// One schedule: the time, in nanoseconds since the listener's start, at which the next event would be due.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Schedule(u64);

impl Schedule {
    /// Counts an event at `now`, unless it comes too early.
    pub(crate) fn admit(&mut self, rate: Rate, now: u64) -> bool {
        let Some(interval) = rate.interval() else { return false };
        let due = self.0.max(now) + interval;
        let ahead = interval * u64::from(rate.burst.max(1));
        if due - now > ahead {
            return false;
        }
        self.0 = due;
        true
    }

    /// Takes back an event that was counted and came to nothing.
    pub(crate) fn give_back(&mut self, rate: Rate) {
        self.0 = self.0.saturating_sub(rate.interval().unwrap_or(0));
    }
}

/// Addresses remembered at one time. At 32 octets each the table is 256 KiB, made when a rate is first checked.
const SETS: usize = 2048;
const WAYS: usize = 4;

/// Schedules of the addresses that came lately.
///
/// The table never grows: an address has four possible places, chosen by a hash with a random seed, and a newcomer takes
/// the place whose schedule lies furthest back. A schedule in the past says nothing, so only a crowd of addresses that
/// are all over their rate can make the table forget one; the total rate is what bounds such a crowd.
#[derive(Debug)]
pub(crate) struct AddressTable {
    seed: RandomState,
    places: Box<[(Option<u128>, Schedule)]>,
}

impl AddressTable {
    /// An empty table.
    pub(crate) fn new() -> Self {
        Self { seed: RandomState::new(), places: vec![(None, Schedule::default()); SETS * WAYS].into_boxed_slice() }
    }

    /// Counts an event of `address` at `now`, unless it comes too early.
    pub(crate) fn admit(&mut self, peer: Peer, rate: Rate, now: u64) -> bool {
        let key = key(peer);
        let set = (self.seed.hash_one(key) as usize % SETS) * WAYS;
        let Some(places) = self.places.get_mut(set..set + WAYS) else { return false };
        if let Some((_, schedule)) = places.iter_mut().find(|place| place.0 == Some(key)) {
            return schedule.admit(rate, now);
        }
        let Some(place) = places.iter_mut().min_by_key(|place| place.1.0) else { return false };
        *place = (Some(key), Schedule::default());
        place.1.admit(rate, now)
    }
}

/// What counts as one address: an IPv4 address, the /64 that a provider gives to one customer, or a user of this machine.
fn key(peer: Peer) -> u128 {
    match peer {
        Peer::Ip(address) => match address.ip().to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => Ipv6Addr::to_bits(v6) >> 64 << 64,
        },
        // No address has such a key: that of an IPv4 address has 48 bits, and of an IPv6 address the last 64 are 0.
        Peer::Unix { user } => 1 << 63 | user.map_or(0, |user| 1 << 32 | u128::from(user)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn peer(address: IpAddr) -> Peer {
        Peer::from(std::net::SocketAddr::from((address, 7)))
    }

    #[test]
    fn users_of_this_machine_do_not_share_a_schedule() {
        let rate = Rate { per_second: 1, burst: 1 };
        let mut table = AddressTable::new();
        for user in [None, Some(0), Some(1000), Some(u32::MAX)] {
            assert!(table.admit(Peer::Unix { user }, rate, SECOND), "{user:?}");
            assert!(!table.admit(Peer::Unix { user }, rate, SECOND), "{user:?}");
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let rate = Rate { per_second: 10, burst: 5 };
        let mut schedule = Schedule::default();
        let at_once = (0..20).filter(|_| schedule.admit(rate, SECOND)).count();
        assert_eq!(at_once, 5);
        let in_a_second = (0..1000).filter(|step| schedule.admit(rate, SECOND + step * SECOND / 1000)).count();
        assert!((9..=10).contains(&in_a_second), "{in_a_second}");
    }

    #[test]
    fn a_rate_of_zero_refuses_everything() {
        assert!(!Schedule::default().admit(Rate { per_second: 0, burst: 9 }, SECOND));
    }

    #[test]
    fn a_burst_of_zero_still_lets_one_through() {
        assert!(Schedule::default().admit(Rate { per_second: 1, burst: 0 }, SECOND));
    }

    #[test]
    fn what_is_given_back_can_be_had_again() {
        let rate = Rate { per_second: 1, burst: 2 };
        let mut schedule = Schedule::default();
        for _ in 0..2 {
            assert!(schedule.admit(rate, SECOND) && schedule.admit(rate, SECOND));
            assert!(!schedule.admit(rate, SECOND));
            schedule.give_back(rate);
            schedule.give_back(rate);
        }
    }

    #[test]
    fn addresses_do_not_share_a_schedule_but_the_halves_of_a_network_do() {
        let rate = Rate { per_second: 1, burst: 1 };
        let mut table = AddressTable::new();
        let mut admit = |text: &str| table.admit(peer(text.parse().unwrap()), rate, SECOND);
        assert!(admit("192.0.2.1"));
        assert!(!admit("192.0.2.1"));
        assert!(!admit("::ffff:192.0.2.1"), "mapped is the same address");
        assert!(admit("192.0.2.2"));
        assert!(admit("2001:db8::1"));
        assert!(!admit("2001:db8::ffff:2"), "the same /64");
        assert!(admit("2001:db8:0:1::1"));
    }

    #[test]
    fn a_crowd_of_quiet_addresses_does_not_wash_out_a_loud_one() {
        let rate = Rate { per_second: 1, burst: 10 };
        let loud = peer("192.0.2.1".parse().unwrap());
        let mut table = AddressTable::new();
        while table.admit(loud, rate, SECOND) {}
        for n in 0..50_000_u32 {
            table.admit(peer(IpAddr::from((0x0a00_0000 + n).to_be_bytes())), rate, SECOND);
        }
        assert!(!table.admit(loud, rate, SECOND));
    }
}
