//! Topic aliases towards one client (MQTT 5 §3.3.2.3.4): which topics of late go by a number.
//!
//! A client that takes aliases pays for its traffic, and most of what a small message weighs is its topic. A topic is
//! given an alias when it comes a second time, and loses it to another that collides with it and comes more often: so
//! topics that come once, such as the answers to requests, cost nothing. What is held is bounded by the client's maximum
//! and ours; a client that takes none holds nothing.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// Aliases held for one client at most, whatever it takes.
const MOST: u16 = 64;

/// A topic that is shorter gains nothing: the alias takes three octets.
const SHORTEST: usize = 4;

/// What a PUBLISH says about its topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Alias {
    /// The topic alone.
    #[default]
    None,
    /// The topic, and the alias that it has from now on.
    Set(u16),
    /// The alias alone.
    Known(u16),
}

#[derive(Debug, Default)]
struct Place {
    /// The topic that has this alias; empty: none.
    topic: Box<str>,
    /// The hash of the last other topic that would have had it; 0: none since `topic` was sent.
    rival: u64,
}

/// The aliases of one connection.
#[derive(Debug)]
pub(crate) struct Aliases {
    seed: RandomState,
    /// The place of an alias is its number less one.
    places: Box<[Place]>,
}

impl Aliases {
    /// For a client with this Topic Alias Maximum (§3.1.2.11.5). None: it takes none.
    pub(crate) fn new(maximum: u16) -> Option<Box<Self>> {
        let most = usize::from(maximum.min(MOST));
        if most == 0 {
            return None;
        }
        let places = std::iter::repeat_with(Place::default).take(most).collect();
        Some(Box::new(Self { seed: RandomState::default(), places }))
    }

    /// What the next PUBLISH with this topic says; it has to be sent then. `may_set`: whether there is room in it for an
    /// alias beside the topic.
    pub(crate) fn next(&mut self, topic: &str, may_set: bool) -> Alias {
        if topic.len() < SHORTEST {
            return Alias::None;
        }
        let hash = self.seed.hash_one(topic).max(1);
        let index = (hash % self.places.len() as u64) as usize;
        let Some(place) = self.places.get_mut(index) else { return Alias::None };
        let number = index as u16 + 1;
        if *place.topic == *topic {
            place.rival = 0;
            return Alias::Known(number);
        }
        if place.rival != hash || !may_set {
            place.rival = hash;
            return Alias::None;
        }
        *place = Place { topic: topic.into(), rival: 0 };
        Alias::Set(number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_topic_gets_an_alias_when_it_comes_again() {
        let mut aliases = Aliases::new(5).unwrap();
        assert_eq!(aliases.next("a/topic", true), Alias::None);
        let Alias::Set(number) = aliases.next("a/topic", true) else { panic!("the second time") };
        assert!((1..=5).contains(&number));
        assert_eq!(aliases.next("a/topic", true), Alias::Known(number));
    }

    #[test]
    fn without_room_for_it_no_alias_is_given() {
        let mut aliases = Aliases::new(1).unwrap();
        for _ in 0..3 {
            assert_eq!(aliases.next("a/topic", false), Alias::None);
        }
        assert_eq!(aliases.next("a/topic", true), Alias::Set(1));
        assert_eq!(aliases.next("a/topic", false), Alias::Known(1));
    }

    #[test]
    fn what_comes_in_turn_keeps_its_alias_and_what_has_ceased_loses_it() {
        let mut aliases = Aliases::new(1).unwrap();
        aliases.next("first", true);
        aliases.next("first", true);
        for _ in 0..5 {
            assert_eq!(aliases.next("second", true), Alias::None);
            assert_eq!(aliases.next("first", true), Alias::Known(1));
        }
        assert_eq!(aliases.next("second", true), Alias::None);
        assert_eq!(aliases.next("second", true), Alias::Set(1));
        assert_eq!(aliases.next("first", true), Alias::None);
    }

    proptest! {
        #[test]
        fn the_client_always_knows_the_topic(
            maximum in 1_u16..100,
            topics in proptest::collection::vec((0_u8..40, any::<bool>()), 1..400),
        ) {
            let mut aliases = Aliases::new(maximum).unwrap();
            let mut client = HashMap::new();
            for (topic, may_set) in topics {
                let topic = format!("topic/{topic}");
                match aliases.next(&topic, may_set) {
                    Alias::None => {}
                    Alias::Set(number) => {
                        prop_assert!(may_set && (1..=maximum).contains(&number));
                        client.insert(number, topic);
                    }
                    Alias::Known(number) => prop_assert_eq!(client.get(&number), Some(&topic)),
                }
            }
        }
    }
}
