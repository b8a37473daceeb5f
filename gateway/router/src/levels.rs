//! The levels below a level, by name.
//!
//! What a name leads to is kept apart from the table that finds it: that table stays small enough for the processor's own
//! memory, and of the large part, which is not, a look-up touches one place.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::large::Large;

/// The name of a level. Most fit where the node is: with many subscriptions each pointer that is followed is a wait for memory.
pub(crate) type Name = SmallVec<[u8; 16]>;

/// Names, and what each leads to.
pub(crate) struct Levels<T> {
    /// Level names come from strangers: the seed is random.
    hasher: foldhash::quality::RandomState,
    /// Where each name is in `places`. Four thousand million of them do not fit into any memory.
    index: HashTable<u32>,
    places: allocator_api2::vec::Vec<(Name, T), Large>,
}

impl<T> Default for Levels<T> {
    fn default() -> Self {
        let hasher = foldhash::quality::RandomState::default();
        Self { hasher, index: HashTable::new(), places: allocator_api2::vec::Vec::new_in(Large) }
    }
}

impl<T> Levels<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        let is_it = |at: &u32| self.places.get(*at as usize).is_some_and(|(other, _)| other.as_slice() == name);
        self.index.find(self.hasher.hash_one(name), is_it).map(|at| *at as usize)
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&T> {
        self.find(name).and_then(|at| self.places.get(at)).map(|(_, it)| it)
    }

    pub(crate) fn get_mut(&mut self, name: &[u8]) -> Option<&mut T> {
        self.find(name).and_then(|at| self.places.get_mut(at)).map(|(_, it)| it)
    }

    /// What the name leads to, made if there is nothing.
    pub(crate) fn enter(&mut self, name: &[u8]) -> &mut T
    where
        T: Default,
    {
        let at = self.find(name).unwrap_or_else(|| {
            let at = self.places.len();
            self.places.push((Name::from_slice(name), T::default()));
            let (hasher, places) = (&self.hasher, &self.places);
            self.index.insert_unique(hasher.hash_one(name), at as u32, |at| hash_of(hasher, places, *at));
            at
        });
        &mut self.places[at].1
    }

    /// Takes a name away. The last one takes its place.
    pub(crate) fn remove(&mut self, name: &[u8]) {
        let (hasher, places) = (&self.hasher, &self.places);
        let is_it = |at: &u32| places.get(*at as usize).is_some_and(|(other, _)| other.as_slice() == name);
        let Ok(found) = self.index.find_entry(hasher.hash_one(name), is_it) else { return };
        let (at, _) = found.remove();
        let last = (self.places.len() - 1) as u32;
        if last != at
            && let Some(moved) = self.index.find_mut(hash_of(hasher, places, last), |other| *other == last)
        {
            *moved = at;
        }
        self.places.swap_remove(at as usize);
        self.shrink();
    }

    /// Gives back what is mostly empty: a table grows in a storm of subscriptions that may never come again.
    fn shrink(&mut self) {
        if self.places.capacity() > 64 && self.places.len() < self.places.capacity() / 8 {
            self.places.shrink_to(self.places.len() * 2);
            let (hasher, places) = (&self.hasher, &self.places);
            self.index.shrink_to(places.len() * 2, |at| hash_of(hasher, places, *at));
        }
    }
}

fn hash_of<T>(hasher: &foldhash::quality::RandomState, places: &[(Name, T)], at: u32) -> u64 {
    hasher.hash_one(places[at as usize].0.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn each_name_leads_to_its_own_whatever_else_comes_and_goes(
            steps in prop::collection::vec((any::<bool>(), 0_u16..200), 0..2000),
        ) {
            let (mut levels, mut expected) = (Levels::<u16>::default(), BTreeMap::new());
            for (comes, n) in steps {
                let name = format!("level {n}");
                if comes {
                    *levels.enter(name.as_bytes()) += 1;
                    *expected.entry(name).or_default() += 1;
                } else {
                    levels.remove(name.as_bytes());
                    expected.remove(&name);
                }
                prop_assert_eq!(levels.is_empty(), expected.is_empty());
            }
            for n in 0..200 {
                let name = format!("level {n}");
                prop_assert_eq!(levels.get(name.as_bytes()), expected.get(&name));
                prop_assert_eq!(levels.get_mut(name.as_bytes()).copied(), expected.get(&name).copied());
            }
        }
    }

    #[test]
    fn a_storm_of_names_leaves_no_room_behind() {
        let mut levels = Levels::<u64>::default();
        let name = |n: u64| n.to_be_bytes();
        for n in 0..100_000 {
            *levels.enter(&name(n)) = n;
        }
        for n in 0..100_000 {
            if n % 1000 != 0 {
                levels.remove(&name(n));
            }
        }
        assert!(levels.places.capacity() < 1000, "{}", levels.places.capacity());
        for n in 0..100_000 {
            assert_eq!(levels.get(&name(n)).copied(), (n % 1000 == 0).then_some(n));
        }
    }
}
